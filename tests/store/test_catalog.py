"""What is published, by day and by run."""

import datetime as dt
from pathlib import Path

from nightscore.common.workspace import Workspace
from nightscore.store.published.catalog import Pinned
from nightscore.store.published.receipt_rows import CatalogEntry

AT = dt.datetime(2020, 1, 9, tzinfo=dt.UTC)


def entry(job: str, day: int, run: str) -> CatalogEntry:
    return CatalogEntry(job, f"2020-01-{day:02}", run, 1, AT, {}, Path("none"))


def test_the_day_before_is_the_last_published_one_as_it_is_in_force(tmp_path: Path) -> None:
    """Of the same job, whatever was published in between, and in whichever order."""
    history = entry("a", 5, "five"), entry("b", 4, "other"), entry("a", 2, "two"), entry("a", 2, "again")
    state = Pinned(Workspace(tmp_path), 1, history)
    found = {day: state.previous("a", dt.date(2020, 1, day)) for day in (2, 3, 5, 6, 31)}
    runs = {day: one and one.run_id for day, one in found.items()}
    assert runs == {2: None, 3: "again", 5: "again", 6: "five", 31: "five"}
