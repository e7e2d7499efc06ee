"""The documents of a run, and where they and the tables lie; the homes of DuckDB and Delta."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
