"""What is older than it is kept goes, for every reader and from the disk; the rest, and receipts, stay.

Truth is the calendar, and what plain deltalake and pyarrow read.
"""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest
from deltalake import DeltaTable

from nightscore import Broken, load, query, run
from nightscore.cli.main import call
from nightscore.job import load_all
from nightscore.lifecycle import apply_retention, find_due
from nightscore.store import catalog, collect_garbage, removals, storage
from nightscore.store.tables.log_files import outlived_log
from tests.behaviour.world import copy
from tests.support.places import place
from tests.support.workspace import JOB, make_workspace

TODAY = dt.datetime.now(dt.UTC).date()  # of all of this module's days, from which they are old
AGES = (100, 91, 90, 89, 1)  # days ago; the third is as old as what is kept no more
DAYS = tuple((TODAY - dt.timedelta(days=age)).isoformat() for age in AGES)
GONE, KEPT = DAYS[:3], DAYS[3:]
AT_ONCE = -0.001  # hours: a bucket's times are whole seconds, and the last one counts, too
RETAIN = JOB + "retain: 90 days\n"


@pytest.fixture(autouse=True)
def still_today() -> None:
    """What is ninety days old is another day after midnight, and these tests know those of before."""
    if dt.datetime.now(dt.UTC).date() != TODAY:
        pytest.skip(f"began on {TODAY}, and it is past midnight (UTC)")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five published days, of which three are due."""
    root = make_workspace(tmp_path_factory.mktemp("retention") / "w", 50, RETAIN, days=DAYS)
    for day in DAYS:
        run(load("mini", root), day)
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return copy(template, tmp_path / "w")


def days_seen(root: Path, table: str = "mini_scores") -> list[str]:
    """By our reader."""
    found = query(f"SELECT DISTINCT day::VARCHAR AS day FROM {table} ORDER BY 1", root)
    return list(found["day"].to_pylist())


def days_at_head(root: Path, table: str = "mini_scores") -> list[str]:
    """By deltalake's."""
    days = DeltaTable(root / "data/tables" / table).to_pyarrow_table(columns=["day"])["day"]
    return sorted({str(day) for day in days.to_pylist()})


def days_on_disk(root: Path, table: str = "mini_scores") -> list[str]:
    return sorted({p.parent.name[4:] for p in (root / "data/tables" / table).glob("day=*/*.parquet")})


def let_go(root: Path) -> None:
    apply_retention(load("mini", root).workspace, load_all(root)[0])


@pytest.mark.parametrize("table", ["mini_scores", "mini_top"])
def test_a_day_that_is_older_is_gone_for_everybody_and_then_from_the_disk(root: Path, table: str) -> None:
    """At first for readers; whoever reads the files now can end; with a later gc they go."""
    let_go(root)
    assert days_seen(root, table) == days_at_head(root, table) == list(KEPT)
    assert days_on_disk(root, table) == list(DAYS), "a reader may have them open"
    collect_garbage(load("mini", root).workspace, grace_hours=24)
    assert days_on_disk(root, table) == list(DAYS)
    collect_garbage(load("mini", root).workspace, grace_hours=AT_ONCE)
    assert days_on_disk(root, table) == days_seen(root, table) == days_at_head(root, table) == list(KEPT)


def test_receipts_stay_and_say_what_was_removed(root: Path) -> None:
    """Their numbers are the audit trail; verify says why it looks at no file."""
    before = query("SELECT * FROM receipts ORDER BY run_id", root)
    let_go(root)
    collect_garbage(load("mini", root).workspace, grace_hours=AT_ONCE)
    assert query("SELECT * FROM receipts ORDER BY run_id", root).equals(before)
    told = query("SELECT table_name, removed_day, kind, because FROM removals ORDER BY ALL", root).to_pylist()
    assert told == [
        {"table_name": table, "removed_day": day, "kind": "retention", "because": "retain: 90 days"}
        for table in ("mini_scores", "mini_top")
        for day in sorted(GONE)
    ]


def test_verify_says_so_and_holds(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A removed day is no difference."""
    let_go(root)
    collect_garbage(load("mini", root).workspace, grace_hours=AT_ONCE)
    assert call(["verify", "--workspace", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if ": removed  " in line] == [
        f"mini {d}" for d in sorted(GONE)
    ]
    said = [line for line in lines if line.startswith("  ")]
    assert said == [
        f"  {table}: removed by retention on {TODAY} (retain: 90 days)"
        for _ in GONE
        for table in ("mini_scores", "mini_top")
    ]
    assert sum(": holds" in line for line in lines) == len(KEPT)


@pytest.mark.keeps_times
def test_a_removed_day_that_is_run_again_is_unchanged(root: Path) -> None:
    """It would go again; by force it is published, and goes again."""
    let_go(root)
    assert run(load("mini", root), GONE[0]).status == "unchanged"
    assert days_seen(root) == list(KEPT)
    run(load("mini", root), GONE[0], force=True)
    assert days_seen(root) == days_at_head(root) == sorted([GONE[0], *KEPT])
    let_go(root)
    assert days_seen(root) == days_at_head(root) == list(KEPT)


def test_nothing_goes_that_a_job_reads(root: Path) -> None:
    """A job with a longer lookback would find fewer days, and not know."""
    other = JOB.replace("job: mini", "job: other").replace("features: rows", "features: f.sql")
    other = other.replace("mini_top", "other_top")
    other = other.replace("partition: day}", "partition: day}\n  past: {table: mini_scores, lookback: 91}")
    folder = root / "jobs/other"
    folder.mkdir()
    (folder / "job.yaml").write_text(other)
    (folder / "top.sql").write_text((root / "jobs/mini/top.sql").read_text())
    (folder / "f.sql").write_text("SELECT id, a, b FROM rows")
    with pytest.raises(
        Broken, match=r"mini/job\.yaml:\d+: retain: .* kept for 90 days, and job other reads 91"
    ):
        let_go(root)
    assert days_seen(root) == list(DAYS)
    (folder / "job.yaml").write_text("job: [")
    assert call(["gc", "--workspace", str(root)]) == 0, "who can't be read may read it"
    assert days_seen(root) == list(DAYS)


def test_versions_that_were_replaced_go_by_the_time_of_what_replaced_them(tmp_path: Path) -> None:
    """Time travel to them ends, and says why."""
    root = make_workspace(tmp_path / "w", 50, JOB + "retain: {versions: 7 days}\n", days=DAYS[-1:])
    first = run(load("mini", root), DAYS[-1])
    run(load("mini", root), DAYS[-1], force=True)
    job = load("mini", root)
    assert not apply_retention(job.workspace, [job]), "it was replaced a moment ago"
    state = catalog.read_catalog(job.workspace)
    replaced = [entry for entry in state.history if entry.run_id == first.run_id]
    later = state.history[-1].published_at + dt.timedelta(days=8)
    found = find_due(job.workspace, [job], later)
    assert {(one.run_id, one.table_name) for one in found} == {
        (first.run_id, "mini_scores"), (first.run_id, "mini_top")
    }  # fmt: skip
    found = [replace(one, removed_at=dt.datetime.now(dt.UTC)) for one in found]
    removals.record_removals(job.workspace, found)  # now, and not in a week, so that today's gc finds it done
    collect_garbage(job.workspace, grace_hours=AT_ONCE)
    assert days_seen(root) == days_at_head(root) == [DAYS[-1]]
    assert not list((root / "data/tables/mini_scores").glob(f"day=*/{first.run_id}-*"))
    state = catalog.read_catalog(job.workspace)
    with pytest.raises(Broken, match=r"was removed by version on .* \(retain: versions: 7 days\)"):
        state.files_of(next(e for e in state.history if e.run_id == replaced[0].run_id), "mini_scores")


def test_who_stops_in_between_is_ended_by_the_next(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the record, and before Delta's commit: our readers see it, and in the end all is gone."""
    with monkeypatch.context() as patch:
        patch.setattr(removals, "leave_out", stop)
        with pytest.raises(KeyboardInterrupt):
            let_go(root)
    assert days_seen(root) == list(KEPT), "from the record on"
    assert days_at_head(root) == list(DAYS)
    let_go(root)
    collect_garbage(load("mini", root).workspace, grace_hours=AT_ONCE)
    assert days_seen(root) == days_at_head(root) == days_on_disk(root) == list(KEPT)


def stop(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_features_and_reports_go_by_periods_of_their_own(tmp_path: Path) -> None:
    """The days stay."""
    job = JOB.replace("features: rows", "features: f.sql") + "retain: {features: 90 days, reports: 2 days}\n"
    root = make_workspace(tmp_path / "w", 50, job, days=DAYS[2:])
    (root / "jobs/mini/f.sql").write_text("SELECT id, a, b FROM rows")
    for day in DAYS[2:]:
        run(load("mini", root), day)
        assert call(["report", "mini", "--day", day, "--workspace", str(root)]) == 0
    let_go(root)
    runs = root / "data/runs/mini"
    assert sorted(p.parents[1].name for p in runs.glob("*/*/features.parquet")) == list(KEPT)
    assert sorted(p.parents[1].name for p in runs.glob("*/*/features.sha256")) == list(KEPT)
    pages = storage.runs(load("mini", root).workspace).scratch().glob("mini/*/*/report.html")
    assert [page.parents[1].name for page in pages] == [DAYS[-1]], "on this machine, wherever data/ is"
    assert days_seen(root) == list(DAYS[2:])
    assert call(["verify", "--workspace", str(root)]) == 0


def test_a_dry_run_says_what_is_due_and_removes_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By `nightscore gc --dry-run`."""
    assert call(["gc", "--dry-run", "--workspace", str(root)]) == 0
    out = capsys.readouterr().out
    assert [day for day in DAYS if f"mini_top {day}" in out] == list(GONE)
    assert days_seen(root) == days_at_head(root) == list(DAYS)
    assert not (root / "data/tables/removals").exists()


@pytest.mark.disk_only(reason="data/ is not looked at")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("90", r"retain: 90 is not allowed; allowed: a number of days, such as 90 days"),
        ("0 days", "a number of days"),
        ("{days: 3 weeks}", "a number of days"),
        (
            "{tables: {mini_tops: 3 days}}",
            r"'mini_tops' is no table of the job; allowed: mini_scores, mini_top",
        ),
        ("{}", "says no period"),
    ],
)
def test_a_period_that_is_none_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """With what is allowed."""
    with pytest.raises(Broken, match=says):
        load("mini", make_workspace(tmp_path / "w", 5, JOB + f"retain: {text}\n"))


@pytest.mark.disk_only(reason="data/ is not looked at")
def test_it_is_no_cause_of_a_day(tmp_path: Path) -> None:
    """The hash of the job is what it was."""
    root = make_workspace(tmp_path / "w", 5)
    before = load("mini", root).hash
    (root / "jobs/mini/job.yaml").write_text(RETAIN)
    assert load("mini", root).hash == before


@pytest.mark.slow
@pytest.mark.disk_only(reason="files are removed by hand")
def test_of_a_log_only_what_no_kept_version_needs_goes(tmp_path: Path) -> None:
    """Each version from the oldest that is kept is read as before, by deltalake."""
    root = make_workspace(tmp_path / "w", 5, days=DAYS[-1:])
    for _ in range(25):
        run(load("mini", root), DAYS[-1], force=True)
    table = root / "data/tables/mini_scores"
    newest = DeltaTable(table).version()
    before = {v: sorted(DeltaTable(table, version=v).file_uris()) for v in range(newest + 1)}
    for path in outlived_log(place(table), 17):
        path.local().unlink()
    assert min(int(p.name[:20]) for p in (table / "_delta_log").glob("*.json")) > 0, "something went"
    for version in range(17, newest + 1):
        assert sorted(DeltaTable(table, version=version).file_uris()) == before[version]
