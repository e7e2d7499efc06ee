"""Rows that can't be scored: set aside with their reasons, within a budget, and scored again after a fix."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from nightscore import load, query, run
from nightscore.cli.main import call
from nightscore.common.errors import Broken, NotYet
from nightscore.common.units import as_day
from nightscore.common.workspace import open_workspace
from nightscore.pipeline.publish.foreign_head import ForeignHead
from nightscore.pipeline.publish.repair import repair_table
from nightscore.pipeline.replay import replay_rejects
from nightscore.review.rejects import summarize_rejects
from nightscore.review.verify import verify_days
from nightscore.store.published.catalog import read_catalog
from tests.behaviour.conftest import Build
from tests.behaviour.world import DAY
from tests.support.workspace import JOB, linear_model

ROWS = 3_000
POLICY = """\
scoring: {features_null: {a: fail}}
domain: {a: {max: 0.9}, colour: {in: [red, green]}, score: {min: -10}}
policy: {bad_row: reject, max_rejected: 20%}
"""
REJECTING = JOB.replace("  outputs: {score: y}", "  columns: [a, b, c]\n  outputs: {score: y}") + POLICY


def features(rows: int = ROWS) -> pa.Table:
    """A day with every kind of bad row, some rows with two of them."""
    i = np.arange(rows)
    rng = np.random.default_rng(7)
    a, b = rng.random(rows, np.float32), rng.random(rows, np.float32)
    a[i % 50 == 1] = np.nan
    b[i % 83 == 2] = np.nan
    b[i % 89 == 4] = 100
    b[i % 211 == 8] = np.inf
    c = pa.array(i % 7, mask=i % 41 == 5)
    colour = np.where(i % 61 == 6, "blue", np.where(i % 2, "red", "green"))
    return pa.table({"id": pa.array(i, mask=i % 97 == 3), "a": a, "b": b, "c": c, "colour": colour})


def recount(table: pa.Table, weights: tuple[float, float, float]) -> dict[str, np.ndarray]:
    """Which rows are bad, and why, by NumPy; each for the first of its reasons."""
    a, b = (table[n].to_numpy().astype(np.float64) for n in ("a", "b"))
    c = table["c"].to_numpy(zero_copy_only=False).astype(np.float64)
    with np.errstate(invalid="ignore"):
        score = a * weights[0] + b * weights[1] + np.nan_to_num(c) * weights[2]
    faults = {
        "features null_key": np.isnan(table["id"].to_numpy(zero_copy_only=False).astype(float)),
        "features null_value": np.isnan(a),
        "features out_of_domain": (a > np.float32(0.9))
        | (table["colour"].to_numpy(zero_copy_only=False) == "blue"),
        "score null_value": np.isnan(c),
        "outputs nan_output": ~np.isfinite(score),
        "outputs out_of_domain": score < -10,
    }
    left = np.ones(len(table), bool)
    found = {}
    for name, bad in faults.items():
        found[name] = bad & left
        left &= ~bad
    return found | {"": left}


def write(root: Path, table: pa.Table) -> None:
    path = root / f"data/lake/rows/day={DAY}/part-0.parquet"
    path.unlink(missing_ok=True)
    pq.write_table(table, path, row_group_size=700)


@pytest.fixture
def root(fresh: Build) -> Path:
    made = fresh(rows=1, job=REJECTING, days=(DAY,))
    linear_model(made / "data/models/linear.onnx", (1.0, -2.0, 0.5), ("a", "b", "c"))
    write(made, features())
    return made


def counts(root: Path) -> dict[str, int]:
    select = "SELECT stage || ' ' || reason AS why, count(*) AS n FROM mini_rejects GROUP BY ALL"
    return {row["why"]: row["n"] for row in query(select, root).to_pylist()}


def test_the_rejects_are_those_of_a_recount_and_the_scores_are_all_others(root: Path) -> None:
    """Each bad row stands once in the rejects, with the first of its reasons; no other row does. P3."""
    receipt = run(load("mini", root), DAY)
    truth = recount(features(), (1.0, -2.0, 0.5))
    good = truth.pop("")
    assert counts(root) == {why: int(bad.sum()) for why, bad in truth.items() if bad.any()}
    assert set(counts(root)) == set(truth)
    assert (receipt.rows.read, receipt.rows.scored) == (ROWS, good.sum())
    assert receipt.rows.rejected == ROWS - good.sum() == sum(one.rows for one in receipt.rejects)
    ids = query("SELECT id FROM mini_scores ORDER BY id", root)["id"].to_pylist()
    assert ids == np.flatnonzero(good).tolist()
    halves = [
        [int(h[i : i + 16], 16) for i in (0, 16)] for h in (receipt.key_hash.out, receipt.key_hash.rejected)
    ]
    sums = [sum(half) % 2**64 for half in zip(*halves, strict=True)]
    assert receipt.key_hash.in_ == "".join(f"{half:016x}" for half in sums)
    [found] = verify_days(open_workspace(root), "mini")
    assert found.differences == []
    assert run(load("mini", root), DAY).status == "unchanged"


def test_a_reject_tells_its_row_and_what_is_wrong_with_it(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Key, stage, code, message, and the features that were read, as JSON; the command groups them."""
    job = load("mini", root)
    run(job, DAY)
    table = query("SELECT * FROM mini_rejects WHERE id = 6", root).to_pylist()
    assert [(r["stage"], r["reason"], r["message"]) for r in table] == [
        ("features", "out_of_domain", "column 'colour' is blue; allowed: one of red, green")
    ]
    row = {**features().slice(6, 1).to_pylist()[0], "id": 6}
    assert json.loads(table[0]["features"]) == pytest.approx(row)
    most = summarize_rejects(job, as_day(DAY))[0]
    assert (most.reason, most.examples[0]["id"]) == ("out_of_domain", 0)
    assert most.rows == counts(root)["features out_of_domain"]
    assert call(["--workspace", str(root), "rejects", "mini", "--day", DAY]) == 0
    shown = capsys.readouterr().out
    assert "60 null_value in features" in shown
    assert "id=1: column 'a' (float) is null or NaN; its policy is fail" in shown
    assert '"a": "nan"' in shown


def test_more_rejects_than_the_budget_publish_nothing(root: Path) -> None:
    """One row more than max_rejected stops the run, and the reasons are counted; as many are published."""
    bad = sum(int(b.sum()) for why, b in recount(features(), (1.0, -2.0, 0.5)).items() if why)
    file = root / "jobs/mini/job.yaml"
    file.write_text(REJECTING.replace("20%", str(bad - 1)))
    with pytest.raises(
        Broken, match=rf"of 3,000 rows can't be published, and policy.max_rejected \({bad - 1}\)"
    ) as e:
        run(load("mini", root), DAY)
    assert "null_value" in str(e.value)
    assert not (root / "data/tables").exists()
    file.write_text(REJECTING.replace("20%", str(bad)))
    assert run(load("mini", root), DAY).rows.rejected == bad


def test_a_share_is_of_all_rows_and_counts_whole_ones(root: Path) -> None:
    """0.1% of 3,000 rows are 3."""
    (root / "jobs/mini/job.yaml").write_text(REJECTING.replace("20%", "0.1%"))
    with pytest.raises(Broken, match=r"policy.max_rejected \(0.1%\) allows 3: "):
        run(load("mini", root), DAY)


FAILS = {
    "a key": ({"id": [1, None, 3]}, "id=None: key column 'id' is null"),
    "a feature": ({"a": [0.5, 0.5, None]}, "id=3: column 'a' (float) is null or NaN; its policy is fail"),
    "a domain": ({"a": [0.5, 0.95, 0.99]}, "id=2: column 'a' is 0.95"),
    "a text": (
        {"colour": ["red", "red", "mauve"]},
        "id=3: column 'colour' is mauve; allowed: one of red, green",
    ),
    "a row of the model": (
        {"c": [1, None, 2]},
        "id=2: column 'c' (int64) has 1 null values; give it a value",
    ),
    "an output": ({"b": [1.0, 1.0, 7.0]}, "id=3: column 'score' is -13; allowed: at least -10"),
}


@pytest.mark.parametrize(("values", "says"), FAILS.values(), ids=FAILS.keys())
def test_by_default_the_first_bad_row_stops_the_run_and_is_named(
    root: Path, values: dict[str, list[object]], says: str
) -> None:
    """bad_row: fail, budget 0: the message names the row and what is wrong with it; nothing is published."""
    (root / "jobs/mini/job.yaml").write_text(
        REJECTING.replace("bad_row: reject, max_rejected: 20%", "empty: fail")
    )
    good = {"id": [1, 2, 3], "a": [0.5] * 3, "b": [0.5] * 3, "c": [1, 1, 1], "colour": ["red"] * 3}
    arrays = {name: pa.array((good | values)[name], features(1).schema.field(name).type) for name in good}
    write(root, pa.table(arrays))
    with pytest.raises(Broken) as caught:
        run(load("mini", root), DAY)
    assert says in str(caught.value)
    assert "nothing is published" in str(caught.value)
    assert not (root / "data/tables").exists()


def test_nan_outputs_alone_may_be_set_aside(root: Path) -> None:
    """nan_output: reject, though other bad rows stop the run; and fail, though others are set aside."""
    table = features()
    keep = recount(table, (1.0, -2.0, 0.5))
    write(root, table.filter(pa.array(keep[""] | keep["outputs nan_output"])))
    text = REJECTING.replace("features_null: {a: fail}", "nan_output: reject").replace(
        "bad_row: reject, ", ""
    )
    (root / "jobs/mini/job.yaml").write_text(text)
    assert counts_of(run(load("mini", root), DAY)) == {"nan_output": int(keep["outputs nan_output"].sum())}
    other = REJECTING.replace("features_null: {a: fail}", "nan_output: fail")
    (root / "jobs/mini/job.yaml").write_text(other)
    with pytest.raises(Broken, match="the model gives NaN as score"):
        run(load("mini", root), DAY)


def counts_of(receipt: object) -> dict[str, int]:
    return {one.reason: one.rows for one in receipt.rejects}  # type: ignore[attr-defined]


def test_a_key_among_scores_and_rejects_is_no_key(root: Path) -> None:
    """Of two rows with one key, a good and a bad one, nobody knows which is meant."""
    table = features(10)
    write(
        root, pa.concat_tables([table, table.slice(7, 1).set_column(1, "a", pa.array([2.0], pa.float32()))])
    )
    (root / "jobs/mini/job.yaml").write_text(REJECTING.replace("20%", "100%"))
    with pytest.raises(Broken, match=r"not unique within the day, rejects included: id=7 \(2 rows\)"):
        run(load("mini", root), DAY)


def test_a_day_without_a_bad_row_has_an_empty_partition_of_rejects(root: Path) -> None:
    """The table is there from the first day on, so that who queries it finds it."""
    table = features()
    write(root, table.filter(pa.array(recount(table, (1.0, -2.0, 0.5))[""])))
    receipt = run(load("mini", root), DAY)
    assert (receipt.rows.rejected, receipt.tables["mini_rejects"].rows) == (0, 0)
    assert query("SELECT count(*) AS n FROM mini_rejects", root).to_pylist() == [{"n": 0}]
    with pytest.raises(Broken, match="published without a reject; there is nothing to replay"):
        replay_rejects(load("mini", root), DAY)


SQL = {"streamed": "features: rows", "sql": "features: features.sql"}


@pytest.mark.parametrize("how", SQL.values(), ids=SQL.keys())
@pytest.mark.sample(1)
@pytest.mark.slow
def test_a_replay_publishes_the_day_merged(root: Path, how: str) -> None:
    """After a fix of the data the rows that were rejected are scored; the others are carried, bit for bit.

    Rows without a key stay rejected. The proof covers the same rows; the next run scores the day whole.
    """
    (root / "jobs/mini/job.yaml").write_text(REJECTING.replace("features: rows", how))
    (root / "jobs/mini/features.sql").write_text("SELECT * EXCLUDE (day) FROM rows; -- all")
    before = run(load("mini", root), DAY)
    old = query("SELECT * EXCLUDE (run_id) FROM mini_scores ORDER BY id", root)
    fixed = {
        "a": pa.array(np.nan_to_num(features()["a"].to_numpy(), nan=0.25).clip(0, 0.9)),
        "c": features()["c"].fill_null(0),
    }
    table = features()
    for name, column in fixed.items():
        table = table.set_column(table.column_names.index(name), name, column)
    write(root, table)
    receipt = replay_rejects(load("mini", root), DAY)
    truth = recount(table, (1.0, -2.0, 0.5))
    good = truth.pop("")
    new = query("SELECT * EXCLUDE (run_id) FROM mini_scores ORDER BY id", root)
    assert new["id"].to_pylist() == np.flatnonzero(good).tolist()
    carried = new.filter(pa.compute.is_in(new["id"], value_set=old["id"].combine_chunks()))
    assert carried.sort_by("id").equals(old.sort_by("id"))
    assert counts(root) == {why: int(bad.sum()) for why, bad in truth.items() if bad.any()}
    assert (receipt.rows.read, receipt.key_hash.in_) == (before.rows.read, before.key_hash.in_)
    assert receipt.replayed and receipt.replayed.run_id == before.run_id
    assert receipt.replayed.rows + receipt.replayed.carried == ROWS
    assert [one.differences for one in verify_days(open_workspace(root), "mini")] == [[]]
    assert {f.run_id for t in receipt.tables for f in read_catalog(open_workspace(root)).files(t)} == {
        receipt.run_id
    }
    whole = run(load("mini", root), DAY)
    assert whole.status == "published", "a day of two causes is not unchanged"
    assert query("SELECT * EXCLUDE (run_id) FROM mini_scores ORDER BY id", root).equals(new)


@pytest.mark.slow
def test_a_replay_keeps_a_column_that_came_by_evolve(root: Path) -> None:
    """Of the rows that it carries, too."""
    run(load("mini", root), DAY)
    evolving = REJECTING.replace("keep: [a]", "keep: [a, b]") + "on_schema_change: evolve\n"
    (root / "jobs/mini/job.yaml").write_text(evolving)
    run(load("mini", root), DAY)
    old = query("SELECT id, b FROM mini_scores ORDER BY id", root)
    table = features()
    fixed = pa.array(np.nan_to_num(table["a"].to_numpy(), nan=0.25))
    write(root, table.set_column(table.schema.get_field_index("a"), "a", fixed))
    replay_rejects(load("mini", root), DAY)
    new = query("SELECT id, b FROM mini_scores ORDER BY id", root)
    carried = new.filter(pa.compute.is_in(new["id"], value_set=old["id"].combine_chunks()))
    assert new.num_rows > old.num_rows and carried.equals(old) and old["b"].null_count == 0


def test_a_replay_that_changes_nothing_is_as_the_run_before(root: Path) -> None:
    """The same rows stay rejected, for the same reasons; the next plain run is unchanged."""
    run(load("mini", root), DAY)
    before = counts(root)
    receipt = replay_rejects(load("mini", root), DAY)
    assert counts(root) == before
    again = run(load("mini", root), DAY)
    assert (again.status, again.run_id) == ("unchanged", receipt.run_id)


@pytest.mark.slow
def test_a_replay_does_not_bury_what_another_engine_did(root: Path) -> None:
    """Refused, as a run is, with the way on; after a repair it publishes."""
    run(load("mini", root), DAY)
    write(root, features().set_column(3, "c", pa.array(np.arange(ROWS) % 7)))
    DeltaTable(str(root / "data/tables/mini_scores")).delete("id < 100")
    with pytest.raises(ForeignHead, match=r"DELETE by delta-rs.*nightscore repair mini_scores --day"):
        replay_rejects(load("mini", root), DAY)
    repair_table(open_workspace(root), "mini_scores", by="Ada", because="a slip")
    assert replay_rejects(load("mini", root), DAY).status == "published"


def test_a_replay_carries_no_damaged_row(root: Path) -> None:
    """A published file that is not the one of the receipt stops it; so does a day that is not published."""
    with pytest.raises(Broken, match="not published"):
        replay_rejects(load("mini", root), DAY)
    run(load("mini", root), DAY)
    [file] = [root / f.path.key for f in read_catalog(open_workspace(root)).files("mini_scores")]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink()
    file.write_bytes(data)
    with pytest.raises(Broken, match="not the file of which the receipt of run"):
        replay_rejects(load("mini", root), DAY)


PICKY = """
import pyarrow as pa
import pyarrow.compute as pc
from nightscore.scorers import scorer

calls = []

def checked(chunk):
    calls.append(chunk.num_rows)
    return pa.RecordBatch.from_arrays([pc.multiply(chunk["a"], 2.0)], ["y"])

@scorer(inputs={"a": pa.float64()}, outputs={"y": pa.float64()})
def raises(chunk):
    if any(value in (3.0, 77.0, 78.0) for value in chunk["a"].to_pylist()):
        raise ValueError("there is a bad one")
    return checked(chunk)

@scorer(inputs={"a": pa.float64()}, outputs={"y": pa.float64()})
def small(chunk):
    if chunk.num_rows > 10:
        raise MemoryError("too many")
    return checked(chunk)

@scorer(inputs={"a": pa.float64()}, outputs={"y": pa.float64()})
def never(chunk):
    raise MemoryError("not even one")

@scorer(inputs={"a": pa.float64()}, outputs={"y": pa.float64()})
def together(chunk):
    if chunk.num_rows > 10:
        raise ValueError("too many")
    return checked(chunk)
"""


@pytest.fixture
def picky(fresh: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job whose scorer is a function with a will of its own; `id` and `a` are 0 to 999."""
    from tests.support.packages import build

    project = '[project]\nname = "picky"\nversion = "1"\n[tool.setuptools]\npy-modules = ["picky"]\n'
    monkeypatch.syspath_prepend(str(build(tmp_path / "p", {"picky.py": PICKY, "pyproject.toml": project})))
    monkeypatch.delitem(sys.modules, "picky", raising=False)
    root = fresh(rows=1, days=(DAY,))
    write(root, pa.table({"id": np.arange(1000), "a": np.arange(1000.0)}))
    return root


def use(root: Path, function: str, policy: str = "") -> None:
    model = f"model:\n  kind: python\n  entry: picky:{function}\n  outputs: {{score: y}}\n"
    (root / "jobs/mini/job.yaml").write_text(
        "job: mini\nabout: x\nowner: x\ninputs: {rows: {path: data/lake/rows, partition: day}}\n"
        f"features: rows\nkey: [id]\n{model}{policy}"
    )


@pytest.mark.slow
def test_a_chunk_that_fails_is_halved_until_the_rows_at_fault_stand_alone(picky: Path) -> None:
    """Three rows of a thousand make their chunk fail: these are rejected, with the scorer's words."""
    use(picky, "raises", "policy: {bad_row: reject, max_rejected: 3}\n")
    receipt = run(load("mini", picky), DAY)
    found = query("SELECT id, stage, reason, message FROM mini_rejects ORDER BY id", picky).to_pylist()
    said = "picky:raises: ValueError: there is a bad one"
    assert found == [
        {"id": i, "stage": "score", "reason": "scorer_error", "message": said} for i in (3, 77, 78)
    ]
    assert receipt.rows.scored == 997
    use(picky, "raises")
    with pytest.raises(Broken, match="id=3: picky:raises: ValueError: there is a bad one"):
        run(load("mini", picky), DAY)


@pytest.mark.slow
def test_a_chunk_for_which_there_is_no_memory_is_halved(picky: Path) -> None:
    """Down to sizes that fit, and nothing is rejected; where not even one row fits, it is not yet time."""
    use(picky, "small")
    assert run(load("mini", picky), DAY).rows.scored == 1000
    assert query("SELECT bool_and(score = 2 * id) AS ok FROM mini_scores", picky).to_pylist() == [
        {"ok": True}
    ]
    import picky as module

    assert max(module.calls) <= 10
    use(picky, "never", "policy: {bad_row: reject, max_rejected: 100%}\n")
    with pytest.raises(NotYet, match="there is no memory to score one row: not even one"):
        run(load("mini", picky), DAY)


@pytest.mark.slow
def test_rows_that_fail_only_together_are_no_rejects(picky: Path) -> None:
    """A scorer that fails by the number of rows has a mistake of its own; its parts are not believed."""
    use(picky, "together", "policy: {bad_row: reject, max_rejected: 100%}\n")
    with pytest.raises(
        Broken, match=r"rows can't be scored together, though each part of them can: .*too many"
    ):
        run(load("mini", picky), DAY)
