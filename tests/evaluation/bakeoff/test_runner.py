"""A bake-off on a small workspace, and the nights that use what it took.

The model is a network with more layers than it needs, so that there is something to take out. Everything is
real: processes, ONNX Runtime, staged files, decisions.
"""

import dataclasses
import datetime as dt
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from nightscore.cli.main import call
from nightscore.common.errors import Broken
from nightscore.evaluation.bakeoff import BakeOff, apply_bakeoff, run_bakeoff
from nightscore.job.loader import Job, load
from nightscore.job.parts.accuracy_budget import AccuracyBudget
from nightscore.pipeline.executors import run
from nightscore.pipeline.score.deviation import Deviation
from nightscore.store.documents.variant_file import VARIANT_FILE, VariantFile, read_variant
from tests.pipeline.score.test_open_model import FORMULA, SUM
from tests.pipeline.score.test_open_model import workspace as workspace_of
from tests.support.workspace import JOB, linear_model, make_workspace, rows_of

pytestmark = pytest.mark.slow  # real nights of whole jobs

DAY, HELD = dt.date(2020, 1, 3), "2020-01-02"
BUDGET = JOB + "budget: {max_abs: 0.001, decision_flips: 10%}\n"


def wide_network(path: Path, twins: int = 256) -> None:
    """A score of a + 2 b by hidden neurons that are all copies of two: nearly all of them can go."""
    hidden = np.zeros((2, twins), np.float32)
    hidden[0, ::2], hidden[1, 1::2] = 1, 1
    out = np.zeros((twins, 1), np.float32)
    out[::2], out[1::2] = 2 / twins, 4 / twins
    weights = [numpy_helper.from_array(hidden, "W1"), numpy_helper.from_array(out, "W2")]
    weights += [numpy_helper.from_array(np.zeros(n, np.float32), f"b{i}") for i, n in ((1, twins), (2, 1))]
    nodes = [
        helper.make_node("Gemm", ["X", "W1", "b1"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "W2", "b2"], ["y"]),
    ]  # fmt: skip
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    model = helper.make_model(
        helper.make_graph(nodes, "wide", [x], [y], weights), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    helper.set_model_props(model, {"columns": json.dumps(["a", "b"])})
    path.write_bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BakeOff]:
    """A workspace, and what a bake-off of one technique found: each candidate takes a second of a core."""
    root = wide_workspace(tmp_path_factory.mktemp("baked"))
    return root, run_bakeoff(load("mini", root), DAY, rounds=2, seconds=0.05, only=["pruning"])


def wide_workspace(root: Path) -> Path:
    """The job `mini` with a budget and a network that is wider than it needs."""
    make_workspace(root, rows=20_000, job=BUDGET)
    wide_network(root / "data/models/linear.onnx")
    return root


@pytest.fixture
def workspace(baked: tuple[Path, BakeOff], tmp_path: Path) -> Iterator[tuple[Path, BakeOff]]:
    """A copy of it."""
    shutil.copytree(baked[0], tmp_path / "copy")
    yield tmp_path / "copy", baked[1]


def job_of(root: Path) -> Job:
    return load("mini", root)


def forced(job: Job, found: BakeOff, name: str = "half") -> VariantFile:
    """variant.yaml of a model that scores all but the same, whatever was the fastest here."""
    model = onnx.load(job.workspace.root / "data/models/linear.onnx")
    model.doc_string = "another file with the same weights"
    file = job.workspace.root / f"data/variants/mini/{name}.onnx"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(model.SerializeToString())
    return written(job, found, f"data/variants/mini/{name}.onnx")


def written(job: Job, found: BakeOff, path: str) -> VariantFile:
    from nightscore.common.files import file_sha256
    from nightscore.common.progress import silent
    from nightscore.evaluation.bakeoff.candidates import reference_candidate
    from nightscore.evaluation.bakeoff.workload import stage_workload
    from nightscore.store.documents.variant_file import (
        BakeoffEvidence,
        ModelOf,
        machine_facts,
        variant_settings,
        write_variant,
    )
    from nightscore.store.documents.versions import library_versions

    with stage_workload(job, DAY, silent) as whole:
        plan = reference_candidate(whole).plan
    evidence = BakeoffEvidence(
        day=str(DAY), held_out=HELD, rows=1, rows_per_second=2, reference_rows_per_second=1,
        change={"max_abs": 0.0}, held_out_change={"max_abs": 0.0},
    )  # fmt: skip
    variant = VariantFile(
        variant="half", technique="pruning", why="taken: in a test",
        model=ModelOf(path=path, sha256=file_sha256(job.workspace.root / path)),
        how=variant_settings(plan.variant, 1000),
        reference=ModelOf(path=plan.model_path, sha256=plan.model_sha256), budget=found.budget,
        machine=machine_facts(), versions=library_versions(), evidence=evidence,
    )  # fmt: skip
    write_variant(job, variant)
    return variant


def test_every_candidate_has_a_line_and_one_is_taken(baked: tuple[Path, BakeOff]) -> None:
    """The reference is the first; each has a sentence; what is taken kept the budget on both days."""
    every_line_is_right(baked[1])


@pytest.mark.slow
def test_candidates_of_three_techniques_have_a_line_each(tmp_path: Path) -> None:
    """The same of other engines and of other graphs."""
    job = load("mini", wide_workspace(tmp_path))
    found = run_bakeoff(job, DAY, rounds=2, seconds=0.05, only=["engine", "graph", "pruning"])
    assert {one.technique for one in found.results} == {"engine", "graph", "pruning"}
    every_line_is_right(found)


def every_line_is_right(found: BakeOff) -> None:
    assert found.results[0].name == "reference"
    assert found.results[0].times == 1.0
    assert all(one.why for one in found.results)
    assert sum(one.name == found.taken for one in found.results) == 1
    assert found.held_out == HELD
    taken = next(one for one in found.results if one.name == found.taken)
    if taken.name != "reference":
        assert taken.change and not taken.change.breaks(found.budget)
        assert taken.held_out and not taken.held_out.breaks(found.budget)


def test_a_bakeoff_leaves_nothing_and_publishes_nothing(baked: tuple[Path, BakeOff]) -> None:
    """No run folder, no table, no variant.yaml."""
    root, _ = baked
    assert not list((root / "data").glob("runs/mini/*/*"))
    assert not (root / "data/tables").exists()
    assert not (root / "jobs/mini" / VARIANT_FILE).exists()


def test_a_pruned_network_is_smaller_and_scores_alike(baked: tuple[Path, BakeOff]) -> None:
    """Neurons that are copies of others go without a trace in the scores."""
    _, found = baked
    pruned = [one for one in found.results if one.technique == "pruning" and one.rounds]
    assert pruned
    assert min(one.bytes for one in pruned) < found.results[0].bytes
    assert all(one.change.max_abs < 1e-3 for one in pruned if one.status != "refused" and one.change)


def test_what_is_applied_scores_the_next_night(workspace: tuple[Path, BakeOff]) -> None:
    """The receipt names the variant, its file and sha256, and the canary; the model stays the reference."""
    root, found = workspace
    variant = forced(job_of(root), found)
    receipt = run(job_of(root), DAY)
    assert receipt.variant and receipt.variant.canary
    assert (receipt.variant.name, receipt.variant.sha256) == ("half", variant.model.sha256)
    assert receipt.variant.canary.rows == 4096
    assert receipt.model and receipt.model.sha256 == variant.reference.sha256
    assert all(audit.passed for audit in receipt.audits)
    assert run(job_of(root), DAY).status == "unchanged"


def test_taking_a_variant_away_is_a_cause(workspace: tuple[Path, BakeOff]) -> None:
    """The day is scored again, by the model itself."""
    root, found = workspace
    forced(job_of(root), found)
    run(job_of(root), DAY)
    (root / "jobs/mini" / VARIANT_FILE).unlink()
    again = run(job_of(root), DAY)
    assert again.status == "published"
    assert again.variant and not again.variant.name


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("machine", "processor"), "another", "machine: processor is"),
        (("versions", "onnxruntime"), "1.0", "version: onnxruntime is"),
        (("reference", "sha256"), "0" * 64, "the model is"),
        (("budget",), {"max_abs": 0.5}, "the budget is another one"),
        (("model", "sha256"), "0" * 64, "has another sha256"),
        (("model", "path"), "data/variants/gone.onnx", "is gone"),
    ],
)
def test_a_stale_choice_is_not_used_and_the_receipt_says_why(
    workspace: tuple[Path, BakeOff], path: tuple[str, ...], value: object, said: str
) -> None:
    """A changed machine, library, model, budget or file: the reference scores, with a warning."""
    root, found = workspace
    forced(job_of(root), found)
    file = root / "jobs/mini" / VARIANT_FILE
    document = yaml.safe_load(file.read_text())
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    file.write_text(yaml.safe_dump(document))
    receipt = run(job_of(root), DAY)
    [warned] = [audit for audit in receipt.audits if not audit.passed]
    assert receipt.status == "published"
    assert said in warned.detail
    assert "nightscore bakeoff mini" in warned.detail
    assert receipt.variant and not receipt.variant.name


def test_beyond_the_budget_the_canary_falls_back_to_the_reference(workspace: tuple[Path, BakeOff]) -> None:
    """The scores are those of the model, byte for byte; the receipt has what the canary saw."""
    root, found = workspace
    plain_scores = scores(root, run(job_of(root), DAY))
    job = job_of(root)
    wide_network(root / "data/variants/mini-other.onnx") if (root / "data/variants").mkdir() else None
    model = onnx.load(root / "data/models/linear.onnx")
    model.graph.initializer[1].CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(model.graph.initializer[1]) * np.float32(1.01), "W2")
    )
    (root / "data/variants/off.onnx").write_bytes(model.SerializeToString())
    written(job, found, "data/variants/off.onnx")
    receipt = run(job_of(root), DAY, force=True)
    [warned] = [audit for audit in receipt.audits if not audit.passed]
    assert "canary rows, a score moves by" in warned.detail
    assert receipt.variant and receipt.variant.canary and receipt.variant.canary.max_abs > 0.001
    assert scores(root, receipt) == plain_scores


def test_a_variant_that_is_no_model_costs_a_warning(workspace: tuple[Path, BakeOff]) -> None:
    """Never the night."""
    root, found = workspace
    (root / "data/variants").mkdir()
    (root / "data/variants/bad.onnx").write_bytes(b"no model")
    written(job_of(root), found, "data/variants/bad.onnx")
    receipt = run(job_of(root), DAY)
    [warned] = [audit for audit in receipt.audits if not audit.passed]
    assert "can't be tried" in warned.detail


def test_a_file_that_no_bakeoff_wrote_is_broken(workspace: tuple[Path, BakeOff]) -> None:
    """With the file, what is amiss, and how to be rid of it."""
    root, _ = workspace
    (root / "jobs/mini" / VARIANT_FILE).write_text("variant: 3\n")
    with pytest.raises(Broken, match=r"jobs/mini/variant.yaml: variant: .*`nightscore bakeoff mini"):
        run(job_of(root), DAY)


def test_apply_writes_what_was_taken_or_removes_what_was_there(workspace: tuple[Path, BakeOff]) -> None:
    """With the reference taken, no variant.yaml is left."""
    root, found = workspace
    job = job_of(root)
    forced(job, found)
    reference = dataclasses.replace(found, variant=None, taken="reference")
    assert apply_bakeoff(job, reference) == ""
    assert read_variant(job) is None
    if found.variant:
        assert apply_bakeoff(job, found) == "jobs/mini/variant.yaml"
        assert read_variant(job) == found.variant


def test_a_candidate_that_ends_its_process_costs_a_line(tmp_path: Path) -> None:
    """The line says by which signal; the bake-off goes on."""
    from nightscore.common.progress import silent
    from nightscore.evaluation.bakeoff.candidates import reference_candidate
    from nightscore.evaluation.bakeoff.worker import Trial, TrialFailed
    from nightscore.evaluation.bakeoff.workload import stage_workload

    job = load("mini", make_workspace(tmp_path, rows=100))
    with stage_workload(job, DAY, silent) as whole, Trial(job, reference_candidate(whole).plan, 60) as trial:
        trial.speed(0)
        trial._process.kill()
        with pytest.raises(TrialFailed, match="its process ended by SIGKILL"):
            trial.speed(0)


def test_a_model_that_can_not_be_scored_is_said_to_be_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No candidate can be held to it: broken, with the row and why, and nothing to report to anybody."""
    raises = "        if chunk.num_rows:\n            raise ValueError('too steep')\n"
    fails = SUM.replace("        if self.slow:\n", f"{raises}        if self.slow:\n")
    root = workspace_of(tmp_path, FORMULA, fails, rows=100)
    assert call(["--workspace", str(root), "bakeoff", "mini", "--day", str(DAY)]) == 1
    message = capsys.readouterr().err
    assert f"job mini: the model itself can't be scored on {DAY}" in message and "too steep" in message
    assert "unexpected" not in message and "report it" not in message


@pytest.mark.slow
def test_the_command_prints_a_table_and_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A budget that nothing keeps leaves the reference; page, picture and JSON are there."""
    root = make_workspace(tmp_path, rows=500)
    arguments = ["--workspace", str(root), "bakeoff", "mini", "--day", str(DAY), "--rounds", "1"]
    assert call([*arguments, "--budget", "max_abs=0", "--only", "engine"]) == 0
    out = capsys.readouterr().out
    assert "reference" in out
    assert "budget    max_abs 0" in out
    folder = root / f"data/bakeoffs/mini/{DAY}"
    assert {file.name for file in folder.iterdir()} == {"bakeoff.html", "bakeoff.json", "bakeoff.png"}
    assert (folder / "bakeoff.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((folder / "bakeoff.json").read_text())["results"][0]["name"] == "reference"


def test_a_budget_that_can_not_be_is_misuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the option, the value and what is allowed."""
    root = make_workspace(tmp_path, rows=10)
    arguments = ["--workspace", str(root), "bakeoff", "mini", "--day", str(DAY)]
    assert call([*arguments, "--budget", "max_bas=1"]) == 2
    assert "names: max_abs, rank_correlation" in capsys.readouterr().err
    assert call([*arguments, "--budget", "max_abs=0.1", "--apply"]) == 2
    assert "--apply goes by the budget of job.yaml" in capsys.readouterr().err


def test_a_budget_without_a_limit_is_refused() -> None:
    """Naming only the columns of decisions limits nothing."""
    with pytest.raises(ValueError, match="limits nothing"):
        AccuracyBudget(decision_columns={"top": ["id"]})


def scores(root: Path, receipt: object) -> list[object]:
    run_id = receipt.run_id  # type: ignore[attr-defined]
    files = sorted((root / "data/tables/mini_scores").rglob(f"*{run_id}*.parquet"))
    return [pq.read_table(file, partitioning=None).drop(["run_id"]).to_pylist() for file in files]


def test_a_candidate_whose_scores_depend_on_the_rows_beside_them_is_refused(tmp_path: Path) -> None:
    """As int8 with scales of the batch is: what is published would depend on how the day was cut."""
    from nightscore.evaluation.bakeoff.stress import _swayed
    from nightscore.scorers.contract import Options
    from nightscore.scorers.files.model_file import read_model
    from nightscore.scorers.onnx.scorer import open_onnx

    linear_model(tmp_path / "plain.onnx")
    model = onnx.load(tmp_path / "plain.onnx")
    del model.graph.node[:]
    one = numpy_helper.from_array(np.array(0.01, np.float32), "share")
    model.graph.initializer.append(one)
    model.graph.node.extend(
        [
            helper.make_node("MatMul", ["X", "W"], ["own"]),
            helper.make_node("ReduceMax", ["own"], ["most"], keepdims=1),
            helper.make_node("Mul", ["most", "share"], ["sway"]),
            helper.make_node("Add", ["own", "sway"], ["y"]),
        ]
    )
    (tmp_path / "swayed.onnx").write_bytes(model.SerializeToString())
    plain, swayed = (
        open_onnx(read_model(tmp_path / f"{name}.onnx", name), Options({"score": "y"}))
        for name in ("plain", "swayed")
    )
    rows = rows_of("2020-01-01", 64).select(["a", "b"]).combine_chunks().to_batches()[0]
    assert _swayed(plain, plain, rows, 1e-5) == ""
    assert "depends on the rows beside it" in _swayed(plain, swayed, rows, 1e-5)


def test_of_a_part_of_a_day_the_other_end_can_be_held_out(tmp_path: Path) -> None:
    """The last pieces of as many rows, and all of them where that is the day."""
    from nightscore.common.progress import silent
    from nightscore.evaluation.bakeoff.workload import stage_workload

    job = load("mini", make_workspace(tmp_path, rows=100_000))
    with stage_workload(job, DAY, silent) as whole:
        last = whole.last(1000)
        assert [piece.index for piece in last.plan.pieces] == [whole.plan.pieces[-1].index]
        assert whole.last(10**9).plan.pieces == whole.plan.pieces
        assert whole.first(1000).plan.rows == 1000


@pytest.mark.parametrize(("after", "known"), [(0, True), (1, True), (2, False)])
def test_the_metric_sees_labels_of_later_days_and_says_where_there_are_none(
    tmp_path: Path, after: int, known: bool
) -> None:
    """One number over scores and the inputs, cut so many days after the scored day."""
    from nightscore.common.progress import silent
    from nightscore.evaluation.bakeoff.workload import stage_workload
    from nightscore.evaluation.bakeoff.yardstick import Yardstick
    from nightscore.pipeline.executors import LOCAL_THREADS

    root = make_workspace(
        tmp_path,
        rows=50,
        job=JOB + f"budget: {{metric: {{sql: seen.sql, max_drop: 0.1, after_days: {after}}}}}\n",
    )
    (root / "jobs/mini/seen.sql").write_text(
        "SELECT count(DISTINCT day) FROM rows WHERE EXISTS (FROM scores)"
    )
    job = load("mini", root)
    with stage_workload(job, dt.date(2020, 1, 2), silent) as whole:
        LOCAL_THREADS.map(job, whole.plan, whole.plan.pieces)
        change = Yardstick(job, whole.plan).measure_deviation(whole.plan)
    assert job.spec.budget
    if known:
        assert (change.metric, change.metric_before) == (1 + after, 1 + after)
        assert change.breaks(job.spec.budget) == []
    else:
        assert change.breaks(job.spec.budget) == ["there are no labels for the metric on this day"]


def test_a_metric_that_falls_breaks_the_budget() -> None:
    """By more than max_drop; the sentence has both numbers."""
    budget = AccuracyBudget.model_validate({"metric": {"sql": "m.sql", "max_drop": 0.01}})
    assert Deviation(metric=0.795, metric_before=0.8).breaks(budget) == []
    [said] = Deviation(metric=0.7, metric_before=0.8).breaks(budget)
    assert said == "the metric falls from 0.8000 to 0.7000, allowed by 0.01"
