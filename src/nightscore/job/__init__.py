"""A job: what its job.yaml may say, read and checked; light to import."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
