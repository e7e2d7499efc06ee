from . import hold as hold
