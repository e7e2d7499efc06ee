"""A workspace and a job from nothing: `nightscore init`, `nightscore new`, and what else a beginning needs.

Nothing that is there is written over.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
