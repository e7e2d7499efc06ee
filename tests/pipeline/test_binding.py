"""A job that does not fit together is refused before any row is read, with its file or line."""

# ruff: noqa: E501 - a row of the table of cases is one line

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.common.errors import Broken
from nightscore.common.units import as_day
from nightscore.job.loader import load
from nightscore.pipeline.binding import check_schedule, check_sql
from nightscore.pipeline.executors import run
from nightscore.pipeline.steps import draft_plan
from tests.support.workspace import JOB, TOP, linear_model, make_workspace

DAY = "2020-01-02"
SQL_JOB = JOB.replace("features: rows", "features: features.sql")
AUDIT = "SELECT count(*) = least(getvariable('n'), (SELECT count(*) FROM scores)) FROM mini_top"


@dataclass(frozen=True)
class Case:
    """A change of the mini workspace, and the message that it leads to."""

    says: str
    job: str = JOB
    top: str = TOP
    features: str = "SELECT id, a, b FROM rows"
    model: tuple[str, ...] = ("a", "b")
    also: Callable[[Path], object] = str


def decided(sql: str, says: str) -> Case:
    return Case(f"jobs/mini/top.sql: {says}", top=sql)


def featured(sql: str, says: str) -> Case:
    return Case(says, job=SQL_JOB, features=sql)


def audited(sql: str, says: str) -> Case:
    return Case(f"jobs/mini/job.yaml:17: audit 'as many as asked for': {says}", job=JOB.replace(AUDIT, sql))


CASES = {
    # features and model
    "a column that the model needs is missing": Case(
        "jobs/mini/job.yaml:10: model.path: the model needs column 'c'; the features have no column 'c'",
        model=("a", "b", "c"),
    ),
    "all that is missing is said at once": Case("'c'; the model needs column 'd'; the", model=("c", "d")),
    "a text where the model needs a number": featured(
        "SELECT id, a, b::VARCHAR AS b FROM rows",
        "jobs/mini/job.yaml:10: model.path: column 'b' is string; the model needs float or what converts to it",
    ),
    "a date where the model needs a number": featured("SELECT id, a, day AS b FROM rows", "column 'b' is date32"),
    "a list where the model needs a number": featured("SELECT id, a, [b] AS b FROM rows", "column 'b' is list"),
    "a key that the features lack": Case(
        "jobs/mini/job.yaml:7: key: the features have no column 'household'; their columns: id, a, b",
        job=JOB.replace("key: [id]", "key: [household]"),
    ),
    "a kept column that the features lack": Case(
        "jobs/mini/job.yaml:8: keep: the features have no column 'A'; their columns: id, a, b",
        job=JOB.replace("keep: [a]", "keep: [A]"),
    ),
    "a feature twice": featured(
        "SELECT id, a, b, 2 * b AS b FROM rows", "jobs/mini/features.sql: gives column 'b' twice"
    ),
    "a typo in the features": featured("SELECT id, a, bb FROM rows", "jobs/mini/features.sql: Binder Error"),
    "a syntax error in the features": featured("SELECT id,, a FROM rows", "jobs/mini/features.sql: Parser Error"),
    "features that are two statements": featured("SELECT 1; SELECT 2", "jobs/mini/features.sql: 2 statements"),
    "features that change from run to run": featured(
        "SELECT id, a, random()::FLOAT AS b FROM rows", "jobs/mini/features.sql: random has another value"
    ),
    "features that read another file": featured(
        "SELECT id, a, b FROM read_csv('/etc/passwd')", "jobs/mini/features.sql: read_csv is no table function that SQL may read here"
    ),
    "features that read scores": featured("SELECT id, a, b FROM scores", "jobs/mini/features.sql: reads scores, which is made of these features"),
    "a parameter that is not there": featured(
        "SELECT id, a, b FROM rows WHERE id < (SELECT m FROM params)", "jobs/mini/features.sql: Binder Error"
    ),
    # decisions
    "a typo in a decision": decided("SELECT id, scoer FROM scores", "Binder Error"),
    "an output of another name in a decision": decided("SELECT id, y FROM scores", "Binder Error"),
    "a feature that was not kept in a decision": decided("SELECT id, b FROM scores", "Binder Error"),
    "a decision with a column day": decided(
        "SELECT id, getvariable('day') AS day FROM scores", "gives a column 'day', which the framework sets"
    ),
    "a decision with a column Run_Id": decided("SELECT id, 1 AS Run_Id FROM scores", "gives a column 'Run_Id', which"),
    "a decision with a column twice": decided("SELECT id, id FROM scores", "gives column 'id' twice"),
    "a decision with a column twice in two cases": decided("SELECT id, 1 AS ID FROM scores", "gives column"),
    "a decision that writes": decided("COPY (SELECT 1) TO 'x'", "a COPY statement; allowed: exactly one SELECT"),
    "a decision that changes from run to run": decided("SELECT id, uuid() AS u FROM scores", "uuid has another"),
    "a decision of a type that no table holds": Case(
        "jobs/mini/job.yaml:13: decide.mini_top: column 't' is time64[us], which a table can't hold; cast it",
        top="SELECT id, TIME '12:30:00' AS t FROM scores",
    ),
    "a decision of a struct": Case("column 's' is struct<x: int32>, which", top="SELECT {'x': 1} AS s FROM scores"),
    "a kept column that no table holds": Case(
        "jobs/mini/job.yaml:6: features: column 'i' is month_day_nano_interval, which a table can't hold",
        job=SQL_JOB.replace("keep: [a]", "keep: [i]"), features="SELECT id, a, b, INTERVAL 1 DAY AS i FROM rows",
    ),
    "a kept column that DuckDB hands on as another number": Case(
        "column 'i' is UHUGEINT, which does not leave DuckDB unharmed; cast it",
        job=SQL_JOB.replace("keep: [a]", "keep: [i]"), features="SELECT id, a, b, 1::UHUGEINT AS i FROM rows",
    ),
    "a decision of bits": Case("column 's' is BIT, which does not", top="SELECT '101'::BIT AS s FROM scores"),
    # audits
    "an audit that is no boolean": audited("SELECT count(*) FROM scores", "gives (count_star() int64); an audit is"),
    "an audit of two columns": audited("SELECT true AS x, false AS y", "gives (x bool, y bool); an audit is one"),
    "a typo in an audit": audited("SELECT count(*) = 0 FROM mini_topp", "Catalog Error"),
    "an audit that is no SELECT": audited("PRAGMA version", "a PRAGMA statement; allowed: exactly one SELECT"),
    "an audit that changes from run to run": audited("SELECT today() > day FROM scores", "today has another value"),
    # model
    "a model that is not there": Case(
        "jobs/mini/job.yaml:10: model.path: data/models/linear.onnx: can't be read: No such file",
        also=lambda root: (root / "data/models/linear.onnx").unlink(),
    ),
    "a model that is none": Case(
        "jobs/mini/job.yaml:10: model.path: data/models/linear.onnx: ONNX Runtime can't load it",
        also=lambda root: (root / "data/models/linear.onnx").write_text("no model"),
    ),
    "a model that is not the pinned one": Case(
        "jobs/mini/job.yaml:11: model.sha256: data/models/linear.onnx has sha256 ",
        job=JOB.replace("  outputs:", f"  sha256: {'a' * 64}\n  outputs:"),
    ),
    "an output that the model lacks": Case(
        "output 'score' asks for 'z', which the model does not have; its outputs: y",
        job=JOB.replace("{score: y}", "{score: z}"),
    ),
    "a model outside the workspace": Case(
        "jobs/mini/job.yaml:10: model.path: ../linear.onnx lies outside the workspace",
        job=JOB.replace("data/models/linear.onnx", "../linear.onnx"),
    ),
    "a device that is not here": Case(
        "device 'tpu' is not known; devices here: cpu", job=JOB.replace("decide:", "scoring: {device: tpu}\ndecide:")
    ),
    # inputs
    "an input that is not there": Case(
        "jobs/mini/job.yaml:5: inputs.rows.path: there is no data/lake/nope in the workspace",
        job=JOB.replace("data/lake/rows", "data/lake/nope"),
    ),
    "an input outside the workspace": Case(
        "jobs/mini/job.yaml:5: inputs.rows.path: ../lake lies outside the workspace",
        job=JOB.replace("data/lake/rows", "../lake"),
    ),
    "a table that was never published, without columns": Case(
        "jobs/mini/job.yaml:6: inputs.before: table mini_top has no file in the days that the job may read; give",
        job=JOB.replace("features: rows", "  before: {table: mini_top}\nfeatures: rows"),
    ),
    "a column of a type that is none": Case(
        "input before, columns: Catalog Error: Type with name BIGNT does not exist",
        job=JOB.replace("features: rows", "  before: {table: mini_top, columns: {id: BIGNT}}\nfeatures: rows"),
    ),
}  # fmt: skip


def spoil(root: Path) -> None:
    """Overwrite every data page of the lake: between the magic and the footer there is garbage."""
    for path in (root / "data/lake").rglob("*.parquet"):
        raw = path.read_bytes()
        footer = int.from_bytes(raw[-8:-4], "little") + 8
        path.write_bytes(raw[:4] + b"\xa5" * (len(raw) - 4 - footer) + raw[-footer:])


def build(root: Path, case: Case) -> Path:
    make_workspace(root, rows=50, job=case.job)
    (root / "jobs/mini/top.sql").write_text(case.top)
    (root / "jobs/mini/features.sql").write_text(case.features)
    linear_model(
        root / "data/models/linear.onnx", tuple(map(float, range(1, 1 + len(case.model)))), case.model
    )
    case.also(root)
    return root


def test_spoilt_data_cannot_be_read(tmp_path: Path) -> None:
    """The instrument of these tests works: a spoilt file's footer reads, its rows don't; a fit job checks."""
    root = build(tmp_path, Case(""))
    spoil(root)
    path = root / f"data/lake/rows/day={DAY}/part-0.parquet"
    assert pq.read_metadata(path).num_rows == 50
    with pytest.raises((OSError, pa.ArrowException)):
        pq.read_table(path, partitioning=None)
    assert draft_plan(load("mini", root), as_day(DAY)).status == "score"
    with pytest.raises(Broken, match=r"rows/day=2020-01-02/part-0.parquet"):
        run(load("mini", root), DAY)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_job_that_does_not_fit_is_refused_before_a_row_is_read(tmp_path: Path, case: Case) -> None:
    """The message names the place; it is the same where no row of the inputs can be read; nothing is left."""
    root = build(tmp_path, case)
    spoil(root)
    before = sorted(root.rglob("*"))
    with pytest.raises(Broken) as caught:
        run(load("mini", root), DAY)
    assert case.says in str(caught.value)
    left = {path.relative_to(root).as_posix() for path in set(root.rglob("*")) - set(before)}
    assert {path for path in left if not path.startswith("data/attempts")} <= {"data/runs"}


def test_check_reads_sql_alone(tmp_path: Path) -> None:
    """`check_sql` says what is wrong with the SQL where there is neither data nor a model."""
    root = build(tmp_path, decided("SELECT now()", ""))
    (root / "data/models/linear.onnx").unlink()
    with pytest.raises(Broken, match=r"^jobs/mini/top.sql: now has another value"):
        check_sql(load("mini", root))


CHANGES = {
    "a column that is gone": (
        "SELECT id, score FROM scores", "table mini_top: column 'rank' is int64 in the published table and would be absent",
    ),
    "a column that is new": (
        TOP.replace("SELECT id,", "SELECT id, a,"), "table mini_top: column 'a' is absent in the published table and would be float",
    ),
    "another type": (
        TOP.replace("SELECT id, score", "SELECT id, score::DOUBLE AS score"),
        "table mini_top: column 'score' is float in the published table and would be double",
    ),
    "another case": (
        TOP.replace("SELECT id, score", "SELECT id AS ID, score"), "table mini_top: column 'ID' is absent in the published",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("top", "says"), CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.sample(2)
def test_a_published_table_keeps_its_columns(tmp_path: Path, top: str, says: str) -> None:
    """Other columns than those that were published are refused before a row is read, with the column."""
    root = build(tmp_path, Case(""))
    run(load("mini", root), "2020-01-01")
    (root / "jobs/mini/top.sql").write_text(top)
    spoil(root)
    with pytest.raises(Broken) as caught:
        run(load("mini", root), DAY)
    assert says in str(caught.value)


def test_the_scores_table_keeps_its_columns(tmp_path: Path) -> None:
    """The framework's own table of scores is held to what was published too."""
    root = build(tmp_path, Case(""))
    run(load("mini", root), "2020-01-01")
    (root / "jobs/mini/job.yaml").write_text(JOB.replace("keep: [a]", "keep: [b]"))
    with pytest.raises(Broken, match=r"table mini_scores: column 'a' is float in the published table and"):
        run(load("mini", root), DAY)


def test_integers_with_nulls_fit_until_one_is_met(tmp_path: Path) -> None:
    """Whether an integer feature holds a null only the rows tell: then the column and the remedy are named."""
    root = build(tmp_path, Case("", job=SQL_JOB, features="SELECT id, a, nullif(id, 7) AS b FROM rows"))
    assert draft_plan(load("mini", root), as_day(DAY)).status == "score"
    with pytest.raises(
        Broken, match=r"column 'b' \(int64\) has 1 null values; give it a value in the features"
    ):
        run(load("mini", root), DAY)


def test_floats_with_nulls_are_missing_values(tmp_path: Path) -> None:
    """A null of a float feature is NaN to the model; a model that gives NaN for it is refused with the key."""
    root = build(tmp_path, Case("", job=SQL_JOB, features="SELECT id, a, nullif(b, b) AS b FROM rows"))
    with pytest.raises(Broken, match=r"id=0: the model gives NaN as score \(and 49 more rows"):
        run(load("mini", root), DAY)


NUMBERS = [
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "UTINYINT",
    "UBIGINT",
    "DECIMAL(9,3)",
    "DOUBLE",
    "BOOLEAN",
]


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.sample(3)
def test_every_kind_of_number_fits_a_matrix(tmp_path: Path, kind: str) -> None:
    """Integers, decimals and booleans are numbers to a model that takes a matrix of floats."""
    sql = f"SELECT id, a, (id % 2)::{kind} AS b FROM rows"
    root = build(tmp_path, Case("", job=SQL_JOB, features=sql))
    assert run(load("mini", root), DAY).rows.published == 50
    table = pq.read_table(next((root / "data/tables/mini_scores").rglob("*.parquet")), partitioning=None)
    wanted = table["a"].to_numpy() + np.float32(2) * (table["id"].to_numpy() % 2).astype(np.float32)
    np.testing.assert_array_equal(table["score"].to_numpy(), wanted)


SCHEDULES = {
    "an exchange that nobody knows": (
        "{exchange: XNYX}",
        "",
        r"schedule.exchange: exchange_calendars has no exchange 'XNYX'; did you mean XNYS",
    ),
    "an early close on a holiday": (
        "{exchange: XNYS}",
        'XNYS: {early: {2026-11-26: "13:00"}}',
        "early: 2026-11-26 is no session of XNYS",
    ),
    "an early close that is late": (
        "{exchange: XNYS}",
        'XNYS: {early: {2026-11-25: "17:00"}}',
        "early: 17:00 on 2026-11-25 is after the close at 16:00",
    ),
    "another exchange's mistake": ("{exchange: [XLON, XTKS]}", 'XNYS: {early: {2026-11-26: "13:00"}}', None),
    "a job that heeds no exchange": ('{daily: "02:00"}', 'XNYS: {early: {2026-11-26: "13:00"}}', None),
}


@pytest.mark.filterwarnings("ignore")  # pandas' own
@pytest.mark.parametrize(("schedule", "closures", "says"), SCHEDULES.values(), ids=SCHEDULES.keys())
def test_a_schedule_is_held_to_its_exchanges(
    tmp_path: Path, schedule: str, closures: str, says: str | None
) -> None:
    """What calendars.yaml says of a job's exchanges has to fit their calendars; scheduling itself ignores it."""
    pytest.importorskip("exchange_calendars")
    root = make_workspace(tmp_path, 10, JOB + f"schedule: {schedule}\n", days=("2020-01-01",))
    (root / "calendars.yaml").write_text(closures)
    job = load("mini", root)
    if says is None:
        check_schedule(job)
    else:
        with pytest.raises(Broken, match=says):
            check_schedule(job)
