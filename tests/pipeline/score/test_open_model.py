"""A job whose scorer is a file of its workspace: planned, scored, changed, judged, promoted, raced."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from nightscore import Broken, Job, NotYet, load, query, run
from nightscore.common.units import as_day
from nightscore.evaluation.bakeoff import apply_bakeoff, run_bakeoff
from nightscore.evaluation.judge import judge_challengers
from nightscore.evaluation.promote import promote_model
from nightscore.job.loader import load_all
from nightscore.pipeline.executors import LOCAL_THREADS
from nightscore.pipeline.score import autotune
from nightscore.pipeline.score.open_model import close_models, open_planned_scorer
from nightscore.pipeline.steps import check_job, plan_day, publish_day
from tests.support.workspace import DAYS, JOB, linear_model, make_workspace

KIND = "scorers/mine.py"
SUM = """\
import json
import time
import numpy as np
import pyarrow as pa
from nightscore.scorers import ModelError, Signature, Variant, as_numpy, open_scorer as open_kind

KIND = "scorers/mine.py"
WEIGHT = 2.0


class Sum:
    def __init__(self, options):
        self.slow, self.off = options.threads == 1, options.threads == 3
        self.signature = Signature(
            pa.schema([("a", pa.float32()), ("b", pa.float32())]), pa.schema([("score", pa.float64())])
        )

    def score(self, chunk):
        a, b = (as_numpy(chunk[name], name).astype(np.float64) for name in "ab")
        if self.slow:
            time.sleep(0.002)
        found = pa.array(a + WEIGHT * b + self.off)
        return pa.RecordBatch.from_arrays([found], schema=self.signature.outputs)


def open_scorer(model, options):
    if model is not None:
        raise ModelError("reads no file")
    return Sum(options)


def variants(device):
    return [Variant(KIND, "cpu", 2), Variant(KIND, "cpu", 3)] if device == "auto" else []
"""
ROUND = """\
import pyarrow as pa
import pyarrow.compute as pc
from nightscore.scorers import Signature, open_scorer as open_kind


class Rounded:
    def __init__(self, inner):
        self.inner, self.signature = inner, inner.signature

    def score(self, chunk):
        found = self.inner.score(chunk)
        return pa.RecordBatch.from_arrays([pc.round(found.column(0), 3)], schema=found.schema)


def open_scorer(model, options):
    return Rounded(open_kind("onnx", model, options))
"""
PATH = "  path: data/models/linear.onnx\n"
FORMULA = JOB.replace(PATH, f"  kind: {KIND}\n")
WRAPPED = JOB.replace(PATH, f"  kind: {KIND}\n{PATH}")


def workspace(root: Path, job: str, scorer: str | None, rows: int = 3_000) -> Path:
    """The job `mini` with a scorer of its workspace's own."""
    made = make_workspace(root, rows, job)
    if scorer is not None:
        write(made, scorer)
    return made


def write(root: Path, scorer: str) -> None:
    (root / "scorers").mkdir(exist_ok=True)
    (root / KIND).write_text(scorer)


def line_of(root: Path, text: str) -> int:
    lines = (root / "jobs/mini/job.yaml").read_text().splitlines()
    return next(i for i, line in enumerate(lines, 1) if text in line)


def scores(root: Path, day: str = DAYS[0]) -> Any:
    table = query(f"SELECT a, score FROM mini_scores WHERE day = DATE '{day}' ORDER BY id", root)
    return table["score"].to_numpy()


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Every test is a process that has opened nothing."""
    close_models()
    yield
    close_models()


def test_a_formula_scores_a_night(tmp_path: Path) -> None:
    """Its file is the model: its bytes are in the receipt, and a cause of the day."""
    root = workspace(tmp_path, FORMULA, SUM)
    first = run(load("mini", root), DAYS[0])
    assert first.status == "published" and first.model and first.model.path == KIND
    assert first.model.sha256 == first.model.code and len(first.model.code) == 64
    rows = pq.read_table(root / f"data/lake/rows/day={DAYS[0]}", partitioning=None).sort_by("id")
    wanted = rows["a"].to_numpy().astype(float) + 2 * rows["b"].to_numpy().astype(float)
    assert (scores(root) == wanted).all()
    assert run(load("mini", root), DAYS[0]).status == "unchanged"
    write(root, SUM.replace("WEIGHT = 2.0", "WEIGHT = 3.0"))
    again = run(load("mini", root), DAYS[0])
    assert again.status == "published" and again.model and again.model.sha256 != first.model.sha256
    assert (scores(root) == wanted + rows["b"].to_numpy().astype(float)).all()


def test_threads_that_begin_together_open_a_model_once(tmp_path: Path) -> None:
    """A model may take gigabytes, and its opening minutes."""
    told = tmp_path / "openings"
    slow = f'    with open({str(told)!r}, "a") as file:\n        file.write("x")\n    time.sleep(0.3)\n'
    root = workspace(
        tmp_path / "w", FORMULA, SUM.replace("    if model is not", f"{slow}    if model is not")
    )
    job = load("mini", root)
    plan = plan_day(job, as_day(DAYS[0]))
    close_models()
    told.unlink()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: open_planned_scorer(job, plan), range(4)))
    assert told.read_text() == "x"


def test_a_scorer_around_a_model_is_a_cause_beside_it(tmp_path: Path) -> None:
    """Either of the two files changed makes the day another one."""
    root = workspace(tmp_path, WRAPPED, ROUND)
    first = run(load("mini", root), DAYS[0])
    assert first.model and first.model.path == "data/models/linear.onnx"
    assert first.model.code not in ("", first.model.sha256)
    assert run(load("mini", root), DAYS[0]).status == "unchanged"
    write(root, ROUND.replace(", 3)", ", 2)"))
    second = run(load("mini", root), DAYS[0])
    assert second.status == "published" and second.model and second.model.sha256 == first.model.sha256
    linear_model(root / "data/models/linear.onnx", (1.0, 3.0))
    assert run(load("mini", root), DAYS[0]).status == "published"


def test_a_plan_is_scored_by_the_code_it_was_made_for(tmp_path: Path) -> None:
    """Another process finds the file changed: not yet. The stopped run is not taken up, a new one is made."""
    root = workspace(tmp_path, FORMULA, SUM)
    job = load("mini", root)
    plan = plan_day(job, as_day(DAYS[0]))
    write(root, SUM + "\n# changed\n")
    close_models()
    with pytest.raises(
        NotYet, match=rf"^{KIND}: has changed \(sha256 [0-9a-f]+, planned {plan.code}\); run the"
    ):
        LOCAL_THREADS.map(job, plan, plan.pieces)
    again = plan_day(job, as_day(DAYS[0]))
    assert again.run_id != plan.run_id and again.code != plan.code
    receipt = publish_day(job, again, LOCAL_THREADS.map(job, again, again.pieces))
    assert receipt.model and receipt.model.code == again.code
    write(root, SUM)  # what was planned first is there again: its run is no longer the newest
    close_models()
    assert plan_day(job, as_day(DAYS[0])).code == plan.code


@pytest.mark.slow
def test_a_stopped_run_is_taken_up_by_the_same_code(tmp_path: Path) -> None:
    """In a process that loads the file by its path again."""
    root = workspace(tmp_path, FORMULA, SUM)
    plan = plan_day(load("mini", root), as_day(DAYS[0]))
    code = (
        "import sys, json; from nightscore import load, run\n"
        "found = run(load('mini', sys.argv[1]), sys.argv[2]); print(json.dumps([found.status, found.run_id]))"
    )
    command = [sys.executable, "-c", code, str(root), DAYS[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["published", plan.run_id]


MISTAKES = {
    "no file": (None, rf"model\.kind: {KIND}: can't be read: No such file or directory$"),
    "no Python": ("def", rf"model\.kind: {KIND}:1: is no Python: invalid syntax"),
    "an error": ("\n1 / 0\n", rf"model\.kind: {KIND}:2: can't be loaded: ZeroDivisionError"),
    "variants of another kind": (
        SUM.replace('Variant(KIND, "cpu", 2)', 'Variant("onnx")'),
        rf"model\.kind: {KIND}: variants\('auto'\) gives Variant\(kind='onnx'",
    ),
    "other outputs": (
        SUM.replace("pa.array(a + WEIGHT * b + self.off)", "pa.array([0.0])"),
        rf"model\.kind: of a chunk without rows: {KIND}: gives 1 rows for 0 rows",
    ),
}


@pytest.mark.parametrize(("scorer", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_check_names_the_line_of_the_job(tmp_path: Path, scorer: str | None, says: str) -> None:
    """And of the scorer, where it is to blame, before a row is read."""
    root = workspace(tmp_path, FORMULA, scorer, rows=10)
    with pytest.raises(Broken, match=rf"^jobs/mini/job\.yaml:{line_of(root, 'kind:')}: {says}"):
        check_job(load("mini", root))


def test_a_scorer_outside_the_workspace_is_refused(tmp_path: Path) -> None:
    """Through a link, too; and nothing of it runs."""
    outside = tmp_path / "outside.py"
    outside.write_text("raise SystemExit('ran')\n")
    root = workspace(tmp_path / "w", FORMULA, None, rows=10)
    (root / "scorers").mkdir()
    (root / KIND).symlink_to(outside)
    with pytest.raises(Broken, match=rf"job\.yaml:\d+: model\.kind: {KIND} lies outside the workspace"):
        check_job(load("mini", root))


NAMES = [
    "../mine.py",
    "/srv/mine.py",
    "mine.py",
    "scorers/../x.py",
    "scorers/mine",
    "scorers/mine.txt",
    "Mine",
]


@pytest.mark.parametrize("kind", NAMES)
def test_what_is_no_kind_is_said_when_the_job_is_read(tmp_path: Path, kind: str) -> None:
    """With its line, and what is allowed."""
    root = workspace(tmp_path, FORMULA.replace(KIND, kind), None, rows=1)
    says = (
        f": model.kind: {kind!r} is not allowed: the name of a kind, such as onnx, or a file of the workspace"
    )
    with pytest.raises(Broken, match=rf"job\.yaml:{line_of(root, 'kind:')}{re.escape(says)}"):
        load("mini", root)


def test_reading_jobs_runs_nothing(tmp_path: Path) -> None:
    """A scheduler reads jobs often, and what a scorer does at import is not its business."""
    root = workspace(tmp_path, FORMULA, "raise SystemExit('ran')\n", rows=1)
    [job], broken = load_all(load("mini", root).workspace)
    assert job.spec.model.name == KIND and not broken


def test_variants_take_part_in_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured, and held to the plain one: two threads are faster, three are wrong."""
    monkeypatch.setattr(autotune, "WORTH_IT", 0.0)
    monkeypatch.setattr(autotune, "EACH", 0.05)
    monkeypatch.setattr(autotune, "SECONDS", 60.0)
    root = workspace(tmp_path, FORMULA, SUM)
    receipt = run(load("mini", root), DAYS[0])
    assert receipt.variant and (receipt.variant.kind, receipt.variant.threads) == (KIND, 2)
    tried = {one.variant: one.refused for one in receipt.tried}
    assert tried[f"{KIND} on cpu, 3 threads a piece"].startswith("its scores are ")
    named = workspace(tmp_path / "named", FORMULA + "scoring: {device: cpu}\n", SUM)
    plain = run(load("mini", named), DAYS[0])
    assert plain.variant and plain.variant.why == "the only one that the job allows"


@pytest.fixture
def raced(tmp_path: Path) -> Job:
    """A champion and a challenger, both through the scorer, over two published days."""
    champion = (
        f"  kind: {KIND}\n  champion: data/models/linear.onnx\n  challengers: [data/models/other.onnx]\n"
    )
    asked = "judge: {days: 2, max_flips: 100%}\n"
    root = workspace(tmp_path, JOB.replace(PATH, champion) + asked, ROUND, rows=500)
    linear_model(root / "data/models/other.onnx", (1.0, 2.001))
    for day in DAYS[:2]:
        run(load("mini", root), day)
    return load("mini", root)


@pytest.mark.slow
def test_a_challenger_is_scored_judged_and_promoted(raced: Job) -> None:
    """By the same file as the champion."""
    root = raced.workspace.root
    table = query("SELECT * FROM mini_scores", root)
    assert "other__score" in table.column_names and table["other__score"].null_count == 0
    [found] = judge_challengers(raced).verdicts
    assert found.verdict == "PROMOTE", found.reasons
    promote_model(raced, "other", by="tests")
    receipt = run(load("mini", root), DAYS[2])
    assert receipt.model and receipt.model.path == "data/models/other.onnx"
    assert receipt.promotion and receipt.promotion.model == receipt.model.path


def test_a_formula_is_promoted_by_nobody(tmp_path: Path) -> None:
    """It is code, which version control knows."""
    root = workspace(tmp_path, FORMULA, SUM, rows=10)
    with pytest.raises(Broken, match=rf"model\.kind: the model is code, {KIND}, and no file"):
        promote_model(load("mini", root), "data/models/linear.onnx", by="tests")


@pytest.mark.slow
def test_a_bake_off_races_a_formula_s_variants(tmp_path: Path) -> None:
    """In processes of their own; the one that is taken scores the next night, until the file changes."""
    root = workspace(tmp_path, FORMULA, SUM.replace("sleep(0.002)", "sleep(0.1)"))
    found = run_bakeoff(load("mini", root), as_day(DAYS[2]), rounds=1, seconds=0.1)
    lines = {one.name: one for one in found.results}
    assert set(lines) >= {"reference", "scorers-mine-py-on-cpu-2-threads-a-piece"}
    assert "refused" in lines["scorers-mine-py-on-cpu-3-threads-a-piece"].status
    assert found.taken.startswith("scorers-mine-py-on-cpu-2-threads-a-piece") and found.variant
    apply_bakeoff(load("mini", root), found)
    night = run(load("mini", root), DAYS[2])
    assert night.variant and night.variant.why == f"bake-off: {found.taken}" and night.variant.threads == 2
    write(root, SUM + "\n# changed\n")
    close_models()
    night = run(load("mini", root), DAYS[2])
    assert night.variant and "bake-off" not in night.variant.why
