"""What SQL may say and see, and what runs it: the home of duckdb."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
