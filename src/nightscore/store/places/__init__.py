"""Places below `data/`, a module each: what is written there, and how; room for a later `Store` protocol."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
