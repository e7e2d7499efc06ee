"""A published day onward, once: to a database, as a file, or by a plug-in."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
