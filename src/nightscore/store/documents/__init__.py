"""What a run is told and what it tells: plans, receipts, choices; how a day is cut."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
