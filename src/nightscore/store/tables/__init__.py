"""Delta tables and their files, read and written: the home of deltalake."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
