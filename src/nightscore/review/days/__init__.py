"""Where each day of each job stands: published, held, failed, waiting, running, missing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
