"""A day that an audit holds back: staged, unread, and published or dropped by a person alone."""

import json
from pathlib import Path

import pytest

from nightscore import load, query, run
from nightscore.cli.main import call
from nightscore.common.errors import Broken, NotYet
from nightscore.common.units import as_day
from nightscore.common.workspace import Workspace, open_workspace
from nightscore.pipeline.publish.hold import Held, discard_day, read_held_days, release_day
from nightscore.review.verify import verify_days
from nightscore.store import run_folder, storage
from nightscore.store.places import held
from nightscore.store.published.catalog import read_catalog
from nightscore.store.published.gc import collect_garbage
from tests.behaviour.conftest import ROWS, Build
from tests.behaviour.world import DAY, NO_GRACE, TABLES, Truth, ours
from tests.support.workspace import JOB, write_day

LIMIT = "  - rows: {between: [0.8, 1.25]}\n  - {name: many, sql: SELECT count(*) > 1500 FROM scores}\n"
WHO = {"by": "Ada", "because": "half of the stores were closed"}


@pytest.fixture
def space(fresh: Build) -> Workspace:
    """A workspace in which DAY, with 1,000 rows, is held: an audit wants more than 1,500."""
    root = fresh(rows=1, job=JOB + LIMIT, days=(DAY,))
    write_day(root, DAY, 1_000)
    with pytest.raises(Held):
        run(load("mini", root), DAY)
    return open_workspace(root)


def test_a_held_day_is_staged_and_published_nowhere(space: Workspace) -> None:
    """The tables are not even made; `held` has the audits and the staged files."""
    assert read_catalog(space).history == ()
    assert not (space.root / "data/tables").exists()
    [one] = read_held_days(space)
    assert (one.receipt.job, one.receipt.day, one.receipt.status) == ("mini", DAY, "held")
    assert [a.name for a in one.receipt.audits if not a.passed] == ["many"]
    assert set(one.files) == set(TABLES)
    assert all((space.root / path).is_file() for some in one.files.values() for path in some)


def test_a_released_day_is_published_as_it_was_staged(space: Workspace) -> None:
    """The receipt keeps the audit that did not pass, and says who released the day, when and why."""
    receipt = release_day(space, "mini", as_day(DAY), **WHO)
    assert receipt.status == "published" and receipt.released
    assert (receipt.released.by, receipt.released.because) == (WHO["by"], WHO["because"])
    assert [a.passed for a in receipt.audits] == [True, True, False]
    assert all(ours(space.root, name).is_(Truth(1_000), name) for name in TABLES)
    stored = json.loads(query("SELECT receipt FROM receipts", space.root)["receipt"][0].as_py())
    assert stored["released"]["by"] == "Ada"
    assert [one.differences for one in verify_days(space)] == [[]]
    assert list(read_held_days(space)) == []
    assert run(load("mini", space.root), DAY).status == "unchanged"
    with pytest.raises(Broken, match=f"job mini: {DAY} is not held; held: nothing"):
        release_day(space, "mini", as_day(DAY), **WHO)


def test_a_discarded_day_is_gone_and_the_next_run_begins_anew(space: Workspace) -> None:
    """Nothing of it is published; gc removes what was staged; a run of the same causes is held again."""
    [before] = read_held_days(space)
    discard_day(space, "mini", as_day(DAY), **WHO)
    assert list(read_held_days(space)) == []
    with pytest.raises(Held):
        run(load("mini", space.root), DAY)
    [after] = read_held_days(space)
    assert after.receipt.run_id != before.receipt.run_id
    removed = {one.path: one.reason for one in collect_garbage(space, NO_GRACE)}
    assert removed == {f"data/runs/mini/{DAY}/{before.receipt.run_id}": "discarded"}


def test_gc_leaves_what_is_held(space: Workspace) -> None:
    """However old: a person may come back from a holiday."""
    assert collect_garbage(space, grace_hours=0) == []
    assert release_day(space, "mini", as_day(DAY), **WHO).rows.published == 1_000


def test_a_held_day_that_would_pass_now_is_published_by_the_next_run(
    space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """With more rows nobody has to release it; the run that was held before is then outdated, and says so."""
    at = ["--workspace", str(space.root), "held"]
    assert call(at) == 0 and "only be discarded" not in capsys.readouterr().out
    write_day(space.root, DAY, ROWS)
    receipt = run(load("mini", space.root), DAY)
    assert receipt.rows.published == ROWS
    assert call(at) == 0
    shown = f"run {receipt.run_id} has published the day since: this one can only be discarded"
    assert shown in capsys.readouterr().out
    with pytest.raises(NotYet, match="another run has published"):
        release_day(space, "mini", as_day(DAY), **WHO)
    assert all(ours(space.root, name).is_(Truth(ROWS), name) for name in TABLES)


def test_what_changed_since_it_was_held_is_not_released(space: Workspace) -> None:
    """A flipped bit, or a file that is gone: named, and nothing is published."""
    [one] = read_held_days(space)
    path = space.root / one.files["mini_scores"][0]
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(Broken, match="changed or gone since the day was held; run the day again"):
        release_day(space, "mini", as_day(DAY), **WHO)
    assert read_catalog(space).history == ()


@pytest.mark.parametrize("empty", ["by", "because"])
def test_a_release_says_who_and_why(space: Workspace, empty: str) -> None:
    """Without a name or a reason nothing is released, nor discarded."""
    for act in (release_day, discard_day):
        with pytest.raises(Broken, match=f"{empty} is empty"):
            act(space, "mini", as_day(DAY), **{**WHO, empty: " "})  # type: ignore[operator]
    assert len(list(read_held_days(space))) == 1


def test_a_person_sees_decides_and_is_told(space: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands: held says what has not passed, release publishes, and the receipt shows by whom."""
    at = ["--workspace", str(space.root)]
    assert call([*at, "run", "mini", "--day", DAY]) == 1
    assert f"nightscore release mini --day {DAY} --by NAME --because TEXT" in capsys.readouterr().err
    assert call([*at, "held", "mini"]) == 0
    shown = capsys.readouterr().out
    assert f"mini {DAY}: held" in shown and "fail: many: gives false" in shown
    done = ["--day", DAY, "--by", "Ada", "--because", "a holiday"]
    assert call([*at, "release", "mini", *done]) == 0
    assert "UTC: a holiday" in capsys.readouterr().out
    assert call([*at, "held"]) == 0
    assert capsys.readouterr().out == "no day is held\n"
    assert call([*at, "discard", "mini", *done]) == 1
    assert "is not held" in capsys.readouterr().err


def test_a_release_that_is_killed_is_completed_by_the_next_run(space: Workspace) -> None:
    """Killed between the publication and the first commit: published once, by whom it was released."""
    from nightscore.pipeline.publish import commit

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commit, "_complete", killed)
        with pytest.raises(KeyboardInterrupt):
            release_day(space, "mini", as_day(DAY), **WHO)
    assert run(load("mini", space.root), DAY).status == "unchanged"
    [entry] = read_catalog(space).history
    receipt = entry.read_receipt()
    assert receipt.released and receipt.released.by == "Ada"
    assert Path(space.root / "data/tables/mini_scores").is_dir()


def test_marks_lead_to_what_is_held_and_decide_nothing(space: Workspace) -> None:
    """One too many is harmless; none at all, as before there were any, and one too few are mended."""
    [one] = read_held_days(space)
    marks = storage.place_of(space, held.HOME)
    run_of_it = run_folder.folder_of_run(space, "mini", DAY, one.receipt.run_id)

    def look() -> list[str]:
        return [day.receipt.day for day in read_held_days(space)]

    marks.remove()
    assert look() == [DAY] and held.mark_of(run_of_it).exists(), "of a version without marks"
    killed = run_folder.folder_of_run(space, "mini", "2020-01-01", "20200101T000000-0a1b2c3d-4e5f60")
    held.mark_held(killed)
    assert look() == [DAY], "killed before it was held"
    held.unmark_held(run_of_it)
    assert look() == [] and [day.receipt.day for day in read_held_days(space, thorough=True)] == [DAY]
    held.unmark_held(run_of_it)
    assert [removed.path for removed in collect_garbage(space, grace_hours=NO_GRACE)] == [
        held.mark_of(killed).key
    ]
    assert look() == [DAY], "held by an older version since"
    release_day(space, "mini", as_day(DAY), **WHO)
    assert look() == [] and [seen.key for seen in marks.walk()] == [f"{held.HOME}/{held.ALL}"]
