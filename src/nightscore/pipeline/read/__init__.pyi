from . import inputs as inputs
