"""What a run may be asked for, and what is refused at once, with what is allowed."""

import datetime as dt

import pytest

from nightscore import Broken, RunRequest


@pytest.mark.parametrize("known_at", [dt.date(2020, 1, 1), 20200101, 1.5, ["2020-01-01"]], ids=str)
def test_what_is_no_moment_is_no_known_at(known_at: object) -> None:
    """A date has no time of day: midnight of which zone?"""
    with pytest.raises(TypeError, match=r"known_at is .*allowed: a datetime"):
        RunRequest(known_at=known_at)  # type: ignore[arg-type]


@pytest.mark.parametrize("known_at", [None, "", "2020-01-01T00:00Z", dt.datetime(2020, 1, 1, tzinfo=dt.UTC)])
def test_moments_and_texts_are(known_at: dt.datetime | str | None) -> None:
    """An empty text is none, as a form sends it."""
    assert RunRequest(known_at=known_at).known_at == known_at


@pytest.mark.parametrize("name", ["model", "device"])
@pytest.mark.parametrize("value", ["", "  ", 5])
def test_an_empty_model_or_device_is_no_wish(name: str, value: object) -> None:
    """Otherwise the job's own would score, and nobody would know what was meant."""
    with pytest.raises(Broken, match=f"{name} .* is not allowed"):
        RunRequest(**{name: value})  # type: ignore[arg-type]
