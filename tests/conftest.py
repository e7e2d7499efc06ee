"""Settings of all tests."""

from hypothesis import settings

# A busy machine makes an example slow, not wrong.
settings.register_profile("nightscore", deadline=None)
settings.load_profile("nightscore")
