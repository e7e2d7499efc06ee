"""What every room uses: errors, files, progress, signals, YAML, units, the workspace; nothing heavy."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
