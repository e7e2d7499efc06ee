"""Rows 2, 21, 24, 29: SIGTERM and SIGINT at each stage, frozen processes, runs that overlap.

tests/cli/test_main.py stops a command deep in DuckDB's work; tests/behaviour/test_together.py freezes runs at
every commit. Here it is the command itself, at each stage, and what it leaves.
"""

import contextlib
import io
import json
import os
import signal
import sys
import time
from inspect import signature
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from nightscore.common.errors import NotYet
from tests.behaviour.conftest import ROWS, Build
from tests.behaviour.processes import Fault, Night, _set_into, _Strike, night, spawn, start
from tests.behaviour.world import DAY, READERS, TABLES, Truth, no_half_files, ours, receipts
from tests.faults.marks import mostly_slow
from tests.support.workspace import DAYS, JOB

NEW = Truth(ROWS, (4.0, 1.0))
STAGES = ("plan", "score", "prove", "decide", "audit", "link", "publication", "commit mini_scores",
          "commit receipts")  # fmt: skip
CALLS = ("pyarrow.parquet.ParquetWriter.write_table", "nightscore.store.sql.engine.Engine.stream")
SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
WITHIN = 2.0  # seconds, as promised; most of it is the machine's, which may be busy


def command(answers: Connection, arguments: list[str], fault: Fault | None) -> None:
    """`nightscore ARGUMENTS…` as its main function runs it, with a signal to itself at a step."""
    from nightscore.cli.main import call
    from nightscore.common import progress
    from nightscore.common.signals import exit_on_signals

    os.dup2(os.open(f"{arguments[1]}.out", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 1)
    os.dup2(os.open(f"{arguments[1]}.err", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
    sys.argv = ["nightscore", *arguments]
    exit_on_signals("--json" in arguments) if signature(exit_on_signals).parameters else exit_on_signals()
    if fault is not None:
        strike = _Strike(fault)

        def struck(told: bool = [False]) -> None:
            if not told[0]:
                answers.send({"message": str(time.monotonic())})
            strike()
            if fault.signal != signal.SIGSTOP and strike._reached == fault.nth:
                time.sleep(30)  # the signal must end it; what it does meanwhile does not matter

        if "." in fault.at:
            _set_into(fault, struck)
        else:
            report = lambda stage, *_: struck() if stage == fault.at else None  # noqa: E731
            progress.show_progress = lambda: contextlib.nullcontext(report)  # type: ignore[assignment]
    code = call(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def begun(root: Path, fault: Fault | None, *arguments: str) -> Night:
    return spawn(command, ["--workspace", str(root), *(arguments or ("run", "mini", "--day", DAY))], fault)


def printed(root: Path, kind: str) -> str:
    return Path(f"{root}.{kind}").read_text()


def left_over(root: Path) -> list[str]:
    """Temporary files and folders below data/."""
    found = [
        p for p in (root / "data").rglob("*") if p.name.endswith(".tmp") or p.name.startswith(".duckdb-")
    ]
    return [p.relative_to(root).as_posix() for p in found]


@pytest.mark.parametrize(("number", "code"), [SIGNALS[0], pytest.param(*SIGNALS[1], marks=pytest.mark.slow)])
@pytest.mark.parametrize("at", mostly_slow([*STAGES, *CALLS], ["score"]))
def test_a_signal_stops_the_command_at_any_stage(
    published: Path, at: str, number: signal.Signals, code: int
) -> None:
    """P9: within two seconds, with 143 or 130; readers see one whole night, and the next run completes."""
    NEW.write_model(published)
    night_ = begun(published, Fault(at, signal=number))
    assert night_.answers.poll(60)
    sent = float(night_.answers.recv()["message"])
    night_.process.join(60)
    assert night_.process.exitcode == code
    assert time.monotonic() - sent < WITHIN
    assert number.name in printed(published, "err")
    seen = [ours(published, name) for name in TABLES]
    assert len({one.runs for one in seen}) == 1
    no_half_files(published)
    assert night(published, DAY).status in ("published", "unchanged")
    assert all(reader(published, name).is_(NEW, name) for name in TABLES for reader in READERS)
    assert len(receipts(published)) == 2


@pytest.mark.parametrize("at", [CALLS[0], pytest.param(CALLS[1], marks=pytest.mark.slow)])
def test_a_stopped_command_leaves_no_temporary_file(published: Path, at: str) -> None:
    """P8, P9: half-written files and DuckDB's folders are removed; what is finished is kept."""
    NEW.write_model(published)
    night_ = begun(published, Fault(at, after=True, signal=signal.SIGTERM))
    night_.process.join(60)
    assert night_.process.exitcode == 143
    assert left_over(published) == []


def test_a_stopped_command_says_that_it_was_cancelled(published: Path) -> None:
    """P9: with --json one document, as at every other end: status `cancelled`."""
    NEW.write_model(published)
    night_ = begun(published, Fault("score", signal=signal.SIGTERM), "run", "mini", "--day", DAY, "--json")
    night_.process.join(60)
    assert night_.process.exitcode == 143
    assert json.loads(printed(published, "out"))["status"] == "cancelled"


@pytest.mark.slow
def test_a_second_signal_changes_nothing(published: Path) -> None:
    """P9: an impatient Ctrl-C, Ctrl-C, or a scheduler's SIGTERM after it: the same end, no traceback."""
    NEW.write_model(published)
    night_ = begun(published, Fault("score", signal=signal.SIGINT))
    assert night_.answers.poll(60)
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ProcessLookupError):
            os.kill(night_.process.pid or 0, number)
    night_.process.join(60)
    assert night_.process.exitcode in (130, 143)
    assert "Traceback" not in printed(published, "err")


def test_a_command_that_was_frozen_and_comes_too_late_ends_with_75(published: Path) -> None:
    """Row 29 (P7): SIGSTOP, another run publishes, SIGCONT: nothing of it is published, and it says why."""
    NEW.write_model(published)
    frozen = begun(published, Fault("link", signal=signal.SIGSTOP))
    assert frozen.answers.poll(60) and frozen.answers.recv()
    wait_until_frozen(frozen)
    later = Truth(ROWS, (8.0, 1.0))
    later.write_model(published)
    end = night(published, DAY)
    assert end.status == "published"
    frozen.thaw()
    frozen.process.join(60)
    assert frozen.process.exitcode == NotYet.exit_code == 75
    assert "another run has published 2020-01-02" in printed(published, "err")
    assert all(reader(published, name).is_(later, name) for name in TABLES for reader in READERS)
    assert receipts(published)[-1][2] == end.run_id
    [superseded] = (published / f"data/runs/mini/{DAY}").glob("*/superseded.json")
    assert "publishes nothing" in json.loads(superseded.read_text())["reason"]


def wait_until_frozen(frozen: Night) -> None:
    stat = Path(f"/proc/{frozen.process.pid}/stat")
    deadline = time.monotonic() + 60
    while stat.read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- runs that overlap ---


def backfilled(answers: Connection, root: Path, options: dict[str, Any]) -> None:
    from nightscore import backfill, load

    ends = list(backfill(load("mini", root), DAYS[0], DAYS[-1], **options))
    answers.send(
        {
            "message": json.dumps(
                [getattr(end, "status", "NotYet" if isinstance(end, NotYet) else "Broken") for _, end in ends]
            )
        }
    )


@pytest.mark.slow
def test_a_backfill_and_the_nightly_run_of_one_of_its_days(fresh: Build) -> None:
    """Row 24 (P7): each day is of one run, whole; who did not publish a day says so."""
    root = fresh()
    backfill = spawn(backfilled, root, {"params": {"n": 3}})
    nightly = start(root, DAYS[-1], params={"n": 4})
    ends, last = json.loads(backfill.wait().message), nightly.wait()
    assert ends[1:] == ["published"] * 2
    assert {ends[0], last.status or last.error} <= {"published", "NotYet"}
    assert "published" in (ends[0], last.status)
    for day, allowed in zip(DAYS, ((3,), (3,), (3, 4)), strict=True):
        seen = {name: ours(root, name, day) for name in TABLES}
        assert any(all(seen[t].is_(Truth(ROWS, n=n, day=day), t) for t in TABLES) for n in allowed), day
        assert len({one.runs for one in seen.values()}) == 1
    found = receipts(root)
    assert len(found) == len(set(found)) == [*ends, last.status].count("published")


@pytest.mark.slow
def test_a_frozen_run_holds_up_no_other_day_and_no_other_job(fresh: Build) -> None:
    """P7: with a run frozen between two commits, other days, other jobs and readers go on."""
    root = fresh()
    other = root / "jobs/other"
    other.mkdir()
    (other / "job.yaml").write_text(JOB.replace("job: mini", "job: other").replace("mini_top", "other_top"))
    (other / "top.sql").write_text((root / "jobs/mini/top.sql").read_text())
    assert night(root, DAYS[0]).status == "published"
    frozen = start(root, DAY, Fault("commit mini_scores", signal=signal.SIGSTOP))
    assert frozen.frozen()
    assert night(root, DAYS[2]).status == "published"
    assert night(root, DAY, job="other").status == "published"
    assert ours(root, "mini_scores", DAYS[0]).is_(Truth(ROWS, day=DAYS[0]), "mini_scores")
    assert ours(root, "mini_scores", DAY).rows.num_rows == 0
    frozen.thaw()
    assert frozen.wait().status == "published"
    assert all(ours(root, name, day).is_(Truth(ROWS, day=day), name) for name in TABLES for day in DAYS)


@pytest.mark.disk_only(reason="a sign of life of a killed process counts for half an hour in a bucket")
def test_a_killed_run_leaves_no_lock(published: Path) -> None:
    """P7, P9: a killed process leaves no lock behind that holds up the next run or `gc`."""
    from nightscore.common.workspace import open_workspace
    from nightscore.store.published.gc import collect_garbage

    NEW.write_model(published)
    assert night(published, DAY, Fault("score")).killed
    with contextlib.redirect_stdout(io.StringIO()):
        assert [one.reason for one in collect_garbage(open_workspace(published), 0.0)].count(
            "stopped and not taken up"
        ) == 1
    assert night(published, DAY).status == "published"
