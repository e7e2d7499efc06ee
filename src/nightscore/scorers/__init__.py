"""Scorers: one chunk of rows in, one chunk of predictions out. They know nothing of jobs.

What a scorer's author needs, of a workspace's file or of a package, is here:

    from nightscore.scorers import ModelFile, Options, Scorer, Signature
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
