"""What a night keeps for the next ones in data/choices: a cache, without which it chooses once more."""

from pathlib import Path

from nightscore.store import choices


def test_a_choice_is_written_once(tmp_path: Path) -> None:
    """The first one stays; whoever comes later has made the same."""
    path = tmp_path / "choices/a.json"
    choices.record(path, "first")
    choices.record(path, "second")
    assert path.read_text() == "first"


def test_a_choice_that_cannot_be_kept_stops_nothing(tmp_path: Path) -> None:
    """A file where the folder would be, as on a disk that is read-only: no error, and nothing is kept."""
    (tmp_path / "choices").write_text("no folder")
    choices.record(tmp_path / "choices/a.json", "first")
    assert (tmp_path / "choices").read_text() == "no folder"
