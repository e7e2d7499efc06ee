"""Several decision tables of one job: each sees those that stand before it in job.yaml."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import query
from nightscore.common.errors import Broken
from nightscore.common.units import as_day
from nightscore.evaluation.decision_changes import compare_challenger_decisions
from nightscore.job.loader import load
from nightscore.pipeline.binding import check_sql
from nightscore.pipeline.context import Day
from nightscore.pipeline.executors import run
from nightscore.pipeline.steps import draft_plan
from nightscore.store.sql.engine import Engine
from nightscore.store.sql.views import View
from tests.support.workspace import JOB, linear_model, make_workspace, rows_of, write_day

DAY = "2020-01-02"
DECIDE = "decide:\n  mini_top: top.sql\n"
COUNTED = DECIDE + "  mini_count: count.sql\n"
COUNT = """\
SELECT count(*) AS chosen, CAST(sum(rank) AS BIGINT) AS ranks, (SELECT count(*) FROM scores) AS scored
FROM mini_top
"""
BESIDE = "  champion: data/models/linear.onnx\n  challengers: [data/models/turned.onnx]\n  outputs"


def make(root: Path, job: str) -> Path:
    make_workspace(root, rows=200, job=job)
    (root / "jobs/mini/count.sql").write_text(COUNT)
    return root


def test_a_decision_reads_the_one_before_it(tmp_path: Path) -> None:
    """What it sees is what is published, without the run's column; both tables go out with one receipt."""
    root = make(tmp_path, JOB.replace(DECIDE, COUNTED))
    receipt = run(load("mini", root), DAY, params={"n": 7})
    assert receipt.status == "published"
    found = query(f"SELECT chosen, ranks, scored FROM mini_count WHERE day = DATE '{DAY}'", root)
    assert found.to_pylist() == [{"chosen": 7, "ranks": 28, "scored": 200}]


def test_a_decision_that_reads_a_later_one_is_refused(tmp_path: Path) -> None:
    """`check` says so, with the file and the way on; before, the table was said not to exist."""
    turned = "decide:\n  mini_count: count.sql\n  mini_top: top.sql\n"
    root = make(tmp_path, JOB.replace(DECIDE, turned))
    later = r"jobs/mini/count\.sql: reads mini_top, which stands later in job\.yaml; move it up"
    with pytest.raises(Broken, match=later):
        check_sql(load("mini", root))
    with pytest.raises(Broken, match=later):
        run(load("mini", root), DAY)
    check_sql(load("mini", make(tmp_path / "w", JOB.replace(DECIDE, COUNTED))))


@pytest.mark.parametrize(
    ("file", "sql", "says"),
    [
        (
            "top.sql",
            "SELECT * FROM scores ANTI JOIN mini_top USING (id)",
            "mini_top, which is this table",
        ),
        ("top.sql", "SELECT * FROM Mini_Rejects", "mini_rejects, which is made after the decisions"),
        (
            "features.sql",
            "SELECT id, a, b FROM rows SEMI JOIN scores USING (id)",
            "scores, which is made",
        ),
        ("features.sql", "SELECT id, a, b FROM mini_top", "mini_top, which is made of these features"),
    ],
)
def test_what_is_not_made_yet_can_not_be_read(tmp_path: Path, file: str, sql: str, says: str) -> None:
    """Features come first, then the scores, the decisions in their order, and the rejects."""
    root = make(tmp_path, JOB.replace("features: rows", "features: features.sql"))
    (root / "jobs/mini" / file).write_text(sql)
    with pytest.raises(Broken, match=f"jobs/mini/{file}: reads {says}"):
        check_sql(load("mini", root))


def test_a_name_of_its_own_with_is_not_a_table_that_comes_later(tmp_path: Path) -> None:
    """What a WITH calls as a later table, or an input, is that."""
    root = make(tmp_path, JOB.replace("features: rows", "features: features.sql"))
    sql = "WITH mini_top AS (SELECT id, a, b FROM rows) SELECT * FROM mini_top"
    (root / "jobs/mini/features.sql").write_text(sql)
    assert run(load("mini", root), DAY).status == "published"


WIDE = {  # over s, a sum of integers (a HUGEINT): 9,900 and 10,000; what is right, as Python has it
    "s // 16": [9_900 // 16, 10_000 // 16],
    "CASE WHEN g = 0 THEN s ELSE 0.5 END": [9_900, 0.5],
    "least(s, 0.75)": [0.75, 0.75],
    "list_sum([s, 0.5])": [9_900.5, 10_000.5],
    "s + 0.25": [9_900.25, 10_000.25],
}


SUMS = """\
job: wide
about: sums
owner: tests
inputs:
  rows: {path: data/lake/rows, partition: day}
features: features.sql
key: [g]
keep: [s]
model: none
"""


def add(root: Path, name: str, job: str, **sql: str) -> None:
    """A job folder of these texts."""
    folder = root / "jobs" / name
    folder.mkdir(exist_ok=True)
    (folder / "job.yaml").write_text(job)
    for file, text in sql.items():
        (folder / f"{file}.sql").write_text(text)


@pytest.mark.parametrize("says", WIDE)
@pytest.mark.parametrize("kept", [True, False], ids=["from the scores", "from a decision"])
@pytest.mark.sample(2)
def test_a_sum_of_integers_is_one_for_the_sql_that_reads_it(tmp_path: Path, says: str, kept: bool) -> None:
    """It is stored as a decimal of 38 digits, in which DuckDB has no room for a half."""
    sums = "SELECT id % 2 AS g, sum(id) AS s FROM rows GROUP BY g"
    job = f"""\
job: wide
about: sums
owner: tests
inputs:
  rows: {{path: data/lake/rows, partition: day}}
features: features.sql
key: [{"g" if kept else "id"}]
{"keep: [s]" if kept else ""}
model: none
decide:
  wide_sums: sums.sql
  wide_halves: halves.sql
"""
    root = make_workspace(tmp_path, rows=200)
    folder = root / "jobs/wide"
    folder.mkdir()
    (folder / "job.yaml").write_text(job)
    (folder / "features.sql").write_text(sums if kept else "SELECT id FROM rows")
    (folder / "sums.sql").write_text("SELECT g, s FROM scores" if kept else sums.replace("rows", "scores"))
    (folder / "halves.sql").write_text(f"SELECT g, {says} AS h FROM {'scores' if kept else 'wide_sums'}")
    run(load("wide", root), DAY)
    found = query("SELECT h FROM wide_halves ORDER BY g", root)["h"].to_pylist()
    assert [float(h) for h in found] == WIDE[says]


@pytest.mark.parametrize("says", WIDE)
@pytest.mark.sample(1)
def test_a_sum_of_integers_is_one_for_another_job_that_reads_it(tmp_path: Path, says: str) -> None:
    """The table has a decimal of 38 digits, which is no integer to DuckDB."""
    root = make_workspace(tmp_path, rows=200)
    add(root, "wide", SUMS, features="SELECT id % 2 AS g, sum(id) AS s FROM rows GROUP BY g")
    reads = SUMS.replace("rows: {path: data/lake/rows, partition: day}", "wide: {table: wide_scores}")
    add(root, "reads", reads.replace("job: wide", "job: reads"), features=f"SELECT g, {says} AS s FROM wide")
    run(load("wide", root), DAY)
    run(load("reads", root), DAY)
    found = query("SELECT s FROM reads_scores ORDER BY g", root)["s"].to_pylist()
    assert [float(h) for h in found] == WIDE[says]


READ_BACK = {  # a column, what the next decision asks of it, and what Python says, of ids 0 to 3
    ("id::UTINYINT", "u - 1"): [-1, 0, 1, 2],
    ("[id::HUGEINT]", "u[1] // 2"): [0, 0, 1, 1],
    ("[id::HUGEINT]", "CASE WHEN id = 1 THEN u[1] ELSE 0.5 END"): [0.5, 1, 0.5, 0.5],
    ("('0000000' || id || '-0000-0000-0000-00000000000A')::UUID", "right(u, 2)"): ["0a"] * 4,
    ("('{\"a\": ' || id || '}')::JSON", "u ->> 'a'"): ["0", "1", "2", "3"],
    ("('x' || id)::ENUM('x3', 'x2', 'x1', 'x0')::VARCHAR", "max(u) OVER ()"): ["x3"] * 4,
    ("'A' COLLATE NOCASE = 'a'", "u"): [True] * 4,
}


@pytest.mark.parametrize("case", READ_BACK, ids=" ".join)
@pytest.mark.sample(2)
def test_what_is_read_back_has_the_values_that_it_had(tmp_path: Path, case: tuple[str, str]) -> None:
    """Other types in the table, the same values for the decision that reads it."""
    root = make_workspace(tmp_path, rows=4)
    first, second = f"SELECT id, {case[0]} AS u FROM scores", f"SELECT id, {case[1]} AS v FROM wide_a"
    text = SUMS.replace("key: [g]\nkeep: [s]", "key: [id]") + "decide:\n  wide_a: a.sql\n  wide_b: b.sql\n"
    add(root, "wide", text, features="SELECT id FROM rows", a=first, b=second)
    run(load("wide", root), DAY)
    assert query("SELECT v FROM wide_b ORDER BY id", root)["v"].to_pylist() == READ_BACK[case]


REORDERED = {
    "CASE WHEN id = 0 THEN 'b' ELSE 'a' END::ENUM('b', 'a')": "column 'u' is ENUM",
    "[CASE WHEN id = 0 THEN 'b' ELSE 'a' END::ENUM('b', 'a')]": "column 'u' is ENUM",
    "CASE WHEN id = 0 THEN 'A' ELSE 'b' END COLLATE NOCASE": "column 'u' is a text with COLLATE",
}


@pytest.mark.parametrize("reader", ["SELECT max(u) AS u FROM {}", "SELECT * FROM {}"])
@pytest.mark.parametrize("kept", [True, False], ids=["from the scores", "from a decision"])
@pytest.mark.parametrize("column", REORDERED)
@pytest.mark.sample(2)
def test_a_column_that_is_compared_otherwise_once_it_is_stored_is_refused(
    tmp_path: Path, column: str, kept: bool, reader: str
) -> None:
    """Where a later decision, or an audit, names it; a table that nothing reads back stores its text."""
    root = make_workspace(tmp_path, rows=4)
    made = f"SELECT id, {column} AS u FROM {'rows' if kept else 'scores'}"
    text = SUMS.replace("key: [g]\nkeep: [s]", "key: [id]\nkeep: [u]" if kept else "key: [id]")
    features = made if kept else "SELECT id FROM rows"
    text += "decide:\n  wide_a: a.sql\n"
    first = "SELECT id FROM scores" if kept else made
    add(root, "wide", text, features=features, a=first)
    assert run(load("wide", root), DAY).status == "published"
    second = reader.format("scores" if kept else "wide_a")
    add(root, "wide", text + "  wide_b: b.sql\n", features=features, a=first, b=second)
    with pytest.raises(Broken, match=REORDERED[column]) as found:
        run(load("wide", root), DAY)
    assert str(found.value).startswith("jobs/wide/features.sql" if kept else "jobs/wide/a.sql")
    assert "jobs/wide/b.sql reads it" in str(found.value)
    audit = "audit:\n  - {name: first, sql: SELECT count(*) > 0 FROM " + second.partition("FROM ")[2]
    add(root, "wide", text + audit + " WHERE u IS NOT NULL}\n", features=features, a=first)
    with pytest.raises(Broken, match=REORDERED[column]):
        run(load("wide", root), DAY)


def test_decisions_share_an_engine_that_is_told_of_what_they_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three decisions, one of an input: one engine, without the input of many days that none names."""
    root = make_workspace(tmp_path, rows=4)
    for number in range(1, 29):
        write_day(root, f"2019-12-{number:02}", 4)
    text = SUMS.replace("key: [g]\nkeep: [s]", "key: [id]").replace(
        "partition: day}", "partition: day, lookback: 60}"
    )
    text = text.replace("features:", "  other: {path: data/lake/other.parquet}\nfeatures:")
    text += "decide:\n  wide_a: a.sql\n  wide_b: b.sql\n  wide_c: c.sql\n"
    pq.write_table(pa.table({"id": [1, 2]}), root / "data/lake/other.parquet")
    features = f"SELECT id FROM rows WHERE day = DATE '{DAY}'"
    chain = {"a": "FROM scores", "b": "FROM wide_a", "c": "SELECT * FROM wide_b SEMI JOIN other USING (id)"}
    add(root, "wide", text, features=features, **chain)
    opened, told = Engine.__init__, []

    def spy(self: Engine, views: Sequence[View], *rest: object, **named: object) -> None:
        told.append({view.name: len(view.files) for view in views})
        opened(self, views, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "__init__", spy)
    run(load("wide", root), DAY)
    assert query("SELECT id FROM wide_c ORDER BY id", root)["id"].to_pylist() == [1, 2]
    deciding = [names for names in told if "other" in names and "staged scores" in names]
    assert [set(names) for names in deciding] == [{"other", "staged scores", "the source"}]
    assert sum(names.get("rows", 0) > 1 for names in told) == 1  # the features alone


def test_the_judge_reads_earlier_decisions_as_they_are_stored(tmp_path: Path) -> None:
    """As a night does: an unsigned integer is a wider one for the next decision, and no error."""
    job = JOB.replace(DECIDE, COUNTED).replace("  path: data/models/linear.onnx\n  outputs", BESIDE)
    root = make(tmp_path, job.partition("audit:")[0] + "judge: {days: 1, max_flips: 0%}\n")
    (root / "jobs/mini/top.sql").write_text(
        "SELECT id, (id % 4)::UTINYINT AS u, score > 1 AS high FROM scores"
    )
    (root / "jobs/mini/count.sql").write_text("SELECT id, u - 1 AS less, high FROM mini_top")
    linear_model(root / "data/models/turned.onnx", (-1.0, -2.0))
    run(load("mini", root), DAY)
    day = Day(load("mini", root), draft_plan(load("mini", root), as_day(DAY)))
    scores = sorted((root / "data/tables/mini_scores").rglob("*.parquet"))
    changes = {
        one.table: (one.changed, one.rows) for one in compare_challenger_decisions(day, scores, "turned")
    }
    rows = rows_of(DAY, 200).to_pandas()
    high = int((rows["a"] + 2 * rows["b"] > 1).sum())  # of the turned model, none is
    assert changes == {"mini_top": (high, 200), "mini_count": (high, 200)}


def test_the_judge_decides_in_the_same_order(tmp_path: Path) -> None:
    """A challenger's ten are counted from the challenger's, not from the champion's: here the ten worst."""
    job = JOB.replace(DECIDE, COUNTED).replace("  path: data/models/linear.onnx\n  outputs", BESIDE)
    job += "judge: {days: 1, max_flips: 0%}\n"
    root = make(tmp_path, job)
    sums = "SELECT CAST(sum(id) AS BIGINT) AS ids FROM mini_top"
    (root / "jobs/mini/count.sql").write_text(sums)
    linear_model(root / "data/models/turned.onnx", (-1.0, -2.0))
    run(load("mini", root), DAY)
    day = Day(load("mini", root), draft_plan(load("mini", root), as_day(DAY)))
    scores = sorted((root / "data/tables/mini_scores").rglob("*.parquet"))
    changes = {
        one.table: (one.changed, one.rows) for one in compare_challenger_decisions(day, scores, "turned")
    }
    rows = rows_of(DAY, 200).to_pandas()
    ranked = rows.assign(y=rows["a"] + 2 * rows["b"]).sort_values("y")["id"]
    assert ranked.head(10).sum() != ranked.tail(10).sum()
    assert changes == {"mini_top": (10, 10), "mini_count": (1, 1)}
