"""Settings of all tests."""

import gc

import pytest
from hypothesis import settings

# A busy machine makes an example slow, not wrong.
settings.register_profile("nightscore", deadline=None)
settings.load_profile("nightscore")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Put what was imported by now, half a million objects, out of the collector's sight.

    Each full collection would go through them: a third of a second, several times in many tests.
    """
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let the interpreter's own last collection see everything again."""
    gc.unfreeze()
