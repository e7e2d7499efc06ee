"""Missing features become what the job says, column by column; and what it says has to be possible."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.common.errors import Broken
from nightscore.job.loader import load
from nightscore.pipeline.executors import run
from nightscore.pipeline.score.missing_values import filled
from nightscore.pipeline.score.row_checks import NULL_VALUE, feature_faults
from nightscore.pipeline.steps import draft_plan
from tests.support.workspace import JOB, make_workspace

NAN = float("nan")


def column(values: list[object], kind: pa.DataType) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(values, kind), pa.array([1] * len(values))], ["a", "b"])


MODEL = pa.schema([("a", pa.float32())])
CASES = {
    "floats become a number": ([1.0, None, NAN], pa.float32(), 5.0, [1.0, 5.0, 5.0]),
    "integers become a number": ([1, None], pa.int32(), 7.0, [1, 7]),
    "integers become a fraction": ([1, None], pa.int32(), 0.5, [1.0, 0.5]),
    "booleans become missing": ([True, None], pa.bool_(), "nan", [1.0, None]),
    "floats stay missing": ([1.0, None], pa.float64(), "nan", [1.0, None]),
    "nothing is missing": ([1.0, 2.0], pa.float64(), "fail", [1.0, 2.0]),
}


@pytest.mark.parametrize(("values", "kind", "rule", "wanted"), CASES.values(), ids=CASES.keys())
def test_a_missing_value_becomes_what_the_policy_says(
    tmp_path: Path, values: list[object], kind: pa.DataType, rule: float, wanted: list[object]
) -> None:
    """Other values and other columns stay as they are; an empty chunk is no error."""
    job = load(
        "mini", make_workspace(tmp_path, 10, JOB + f"scoring: {{features_null: {{a: {rule}}}}}\n", days=())
    )
    found = filled(job, column(values, kind), MODEL)
    assert found.column("a").to_pylist() == wanted
    assert found.column("b").to_pylist() == [1] * len(values) and found.schema.names == ["a", "b"]
    assert filled(job, column([], kind), MODEL).num_rows == 0


def test_a_policy_of_fail_is_about_the_row_and_fills_nothing(tmp_path: Path) -> None:
    """Nulls and NaN alike are faults, each row once; what is there and what is not stays so."""
    job = load("mini", make_workspace(tmp_path, 10, JOB + "scoring: {features_null: {a: fail}}\n"))
    rows = column([1.0, None, NAN], pa.float64()).add_column(0, "id", pa.array([1, 2, 3]))
    [_, fault] = feature_faults(job, rows, MODEL)
    assert (fault.rows.tolist(), fault.reason) == ([False, True, True], NULL_VALUE)
    assert "column 'a' (double) is null or NaN; its policy is fail" in fault.message
    assert filled(job, rows, MODEL) is rows


def night(root: Path, policy: str) -> Path:
    """A workspace whose feature b is null in every fifth row."""
    job = JOB.replace("features: rows", "features: features.sql") + f"scoring: {{features_null: {policy}}}\n"
    make_workspace(root, 100, job, days=("2020-01-01",))
    sql = "SELECT id, a, CASE WHEN id % 5 > 0 THEN b END AS b FROM rows"
    (root / "jobs/mini/features.sql").write_text(sql)
    return root


def test_a_night_scores_with_the_value_instead(tmp_path: Path) -> None:
    """Y = a + 2 b, with 10 for a missing b."""
    assert run(load("mini", night(tmp_path, "{b: 10}")), "2020-01-01").rows.published == 100
    found = pq.read_table(next((tmp_path / "data/tables/mini_scores").rglob("*.parquet")), partitioning=None)
    rows = pq.read_table(next((tmp_path / "data/lake/rows").rglob("*.parquet")), partitioning=None)
    b = np.where(rows["id"].to_numpy() % 5 > 0, rows["b"].to_numpy(), np.float32(10))
    wanted = rows["a"].to_numpy() + np.float32(2) * b
    np.testing.assert_allclose(found["score"].to_numpy(), wanted, rtol=1e-6)


def test_integers_with_a_gap_in_some_rows_only_are_scored(tmp_path: Path) -> None:
    """A gap in the last row alone makes no other type of it: y = a + 2 b, a is 1, then 5."""
    root = make_workspace(tmp_path, 10, JOB + "scoring: {features_null: {a: 5}}\n", ("2020-01-01",))
    [part] = (root / "data/lake/rows").rglob("*.parquet")
    rows = pq.read_table(part, partitioning=None)
    a = pa.array([1] * (rows.num_rows - 1) + [None], pa.int32())
    pq.write_table(rows.set_column(rows.schema.get_field_index("a"), "a", a), part)
    run(load("mini", root), "2020-01-01")
    found = pq.read_table(next((root / "data/tables/mini_scores").rglob("*.parquet")), partitioning=None)
    wanted = np.float32([1] * 9 + [5]) + np.float32(2) * rows["b"].to_numpy()
    np.testing.assert_allclose(found.sort_by("id")["score"].to_numpy(), wanted, rtol=1e-6)


def test_a_night_stops_where_the_policy_is_fail(tmp_path: Path) -> None:
    """Nothing is published; the message has the column."""
    with pytest.raises(
        Broken, match=r"id=0: column 'b' \(float\) is null or NaN; its policy is fail \(and 19 more"
    ):
        run(load("mini", night(tmp_path, "{b: fail}")), "2020-01-01")
    assert not (tmp_path / "data/tables").exists()


REFUSED = {
    "a column that is no input": (
        "{z: 0}",
        "scoring.features_null.z: is no input of the model; its inputs: a, b",
    ),
    "a column that is only kept": ("{id: 0}", "scoring.features_null.id: is no input of the model"),
}


@pytest.mark.parametrize(("policy", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_a_policy_that_fits_no_input_is_refused(tmp_path: Path, policy: str, says: str) -> None:
    """Before a row is read, with the line of job.yaml."""
    from nightscore.common.units import as_day

    with pytest.raises(Broken, match=says):
        draft_plan(load("mini", night(tmp_path, policy)), as_day("2020-01-01"))
