"""A trained model -> an .onnx file that is the same model, and the rows and scores that prove it."""

import lazy_loader

# On use, not at import: pandas and ONNX are a second.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
