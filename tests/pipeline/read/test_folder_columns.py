"""A column that folders give means the same in SQL and in streamed rows: text, or as `columns` says."""

# ruff: noqa: E501 - a row of a table of cases is one line

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import load, query, run
from nightscore.common.errors import Broken
from nightscore.pipeline.steps import check_job
from nightscore.review.explain import explain_row
from tests.support.workspace import JOB, make_workspace

DAY = "2020-01-03"
ROWS = "{path: data/lake/rows, partition: dt}"
STREAMED = JOB.replace("{path: data/lake/rows, partition: day}", ROWS).replace(
    "key: [id]", "key: [store, id]"
)
SQL = STREAMED.replace("features: rows", "features: features.sql")
MODES = pytest.mark.parametrize("job", [STREAMED, SQL], ids=["streamed", "sql"])
CONTRACT = "{id: BIGINT, a: FLOAT, b: FLOAT, store: INTEGER}"


def rows(*ids: int, **more: object) -> pa.Table:
    """Rows whose score is 3 * id."""
    values = np.array(ids, np.float32)
    return pa.table({"id": pa.array(ids, pa.int64()), "a": values, "b": values, **more})


def workspace(root: Path, job: str, stores: dict[str, pa.Table], day: str = DAY) -> Path:
    """A lake of `dt=…/store=…`."""
    if not root.exists() or not any(root.iterdir()):
        make_workspace(
            root, job=job.replace("decide:\n  mini_top: top.sql\n", "").partition("audit:")[0], days=()
        )
        (root / "jobs/mini/features.sql").write_text("SELECT * FROM rows WHERE dt = getvariable('day')")
    for folder, table in stores.items():
        path = root / f"data/lake/rows/dt={day}/{folder}/x.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
    return root


def published(root: Path, columns: str = "store, id, score") -> list[tuple[object, ...]]:
    found = query(f"SELECT {columns} FROM mini_scores ORDER BY id", root).to_pylist()
    return [tuple(row.values()) for row in found]


VALUES = {  # the name of a folder -> the value; Hive's rules, by hand
    "7": "7", "007": "007", "A12": "A12", "0x10": "0x10", "-0": "-0", "epoch": "epoch", "inf": "inf",
    "1e3": "1e3", "NULL": "NULL", "true": "true", "2020-01-01": "2020-01-01", "S%C3%A3o%20P%2FSP": "São P/SP",
}  # fmt: skip


@MODES
@pytest.mark.sample(1)
@pytest.mark.slow
def test_a_value_of_a_folder_is_its_text(tmp_path: Path, job: str) -> None:
    """Whatever the other values of the day look like: `007` is no 7 and `epoch` no day."""
    stores = {f"store={name}": rows(i) for i, name in enumerate(VALUES)}
    root = workspace(tmp_path, job, stores)
    assert check_job(load("mini", root)).startswith("ok")
    assert run(load("mini", root), DAY).status == "published"
    assert published(root) == [(value, i, 3.0 * i) for i, value in enumerate(VALUES.values())]


@MODES
@pytest.mark.sample(1)
def test_the_type_of_a_folders_column_does_not_change_from_day_to_day(tmp_path: Path, job: str) -> None:
    """Numbers today, a letter tomorrow."""
    root = workspace(tmp_path, job, {"store=12": rows(1)})
    run(load("mini", root), DAY)
    workspace(root, job, {"store=A12": rows(2)}, "2020-01-04")
    run(load("mini", root), "2020-01-04")
    assert published(root) == [("12", 1, 3.0), ("A12", 2, 6.0)]


@MODES
@pytest.mark.sample(1)
def test_columns_give_a_folders_column_its_type(tmp_path: Path, job: str) -> None:
    """And a value that is none of it stops the run."""
    typed = job.replace("partition: dt", f"partition: dt, columns: {CONTRACT}")
    root = workspace(tmp_path, typed, {"store=007": rows(1), "store=12": rows(2)})
    run(load("mini", root), DAY)
    assert published(root) == [(7, 1, 3.0), (12, 2, 6.0)]
    workspace(root, typed, {"store=A12": rows(2)}, "2020-01-04")
    with pytest.raises(Broken, match="A12"):
        run(load("mini", root), "2020-01-04")


@MODES
def test_a_typed_folder_and_its_file_are_compared_as_that_type(tmp_path: Path, job: str) -> None:
    """`store=007` and the integer 7 of its file are one value; 8 is another."""
    typed = job.replace("partition: dt", f"partition: dt, columns: {CONTRACT}")
    root = workspace(tmp_path, typed, {"store=007": rows(1, store=pa.array([7], pa.int32()))})
    run(load("mini", root), DAY)
    assert published(root) == [(7, 1, 3.0)]
    workspace(root, typed, {"store=007": rows(1, store=pa.array([8], pa.int32()))}, "2020-01-04")
    with pytest.raises(Broken, match="column 'store' has 8 in the file and 007 by its folder"):
        run(load("mini", root), "2020-01-04")


@MODES
def test_the_partition_itself_can_be_kept_and_is_a_date(tmp_path: Path, job: str) -> None:
    """It is in no file."""
    root = workspace(tmp_path, job.replace("keep: [a]", "keep: [dt]"), {"store=1": rows(1)})
    run(load("mini", root), DAY)
    assert published(root, "dt, store") == [(dt.date(2020, 1, 3), "1")]


@MODES
def test_a_null_of_a_folder_is_a_null(tmp_path: Path, job: str) -> None:
    """And no key."""
    root = workspace(tmp_path, job, {"store=__HIVE_DEFAULT_PARTITION__": rows(1)})
    with pytest.raises(Broken, match=r"null in the(ir)? key|is null"):
        run(load("mini", root), DAY)


def test_why_finds_a_streamed_row_by_its_folder(tmp_path: Path) -> None:
    """Two rows have one id."""
    root = workspace(
        tmp_path,
        STREAMED,
        {
            "store=1": rows(5),
            "store=2": rows(
                5,
            ).set_column(1, "a", pa.array([7], pa.float32())),
        },
    )
    run(load("mini", root), DAY)
    found = explain_row(load("mini", root), dt.date(2020, 1, 3), {"store": "2", "id": "5"})
    assert found.features is not None
    assert (found.features["store"], found.features["a"]) == ("2", 7.0)


def test_sql_that_took_the_column_for_a_number_is_told_what_to_do(tmp_path: Path) -> None:
    """It was a number by chance until now."""
    root = workspace(tmp_path, SQL, {"store=12": rows(1)})
    (root / "jobs/mini/features.sql").write_text("SELECT * FROM rows WHERE store > 5")
    with pytest.raises(
        Broken, match=r"column 'store' of input rows comes from the names of folders and is text: cast it"
    ):
        run(load("mini", root), DAY)


ALIKE = {
    "a day": ("dt", pa.array([dt.date(2020, 1, 3)] * 2)),
    "midnight": ("dt", pa.array([dt.datetime(2020, 1, 3)] * 2, pa.timestamp("us"))),
    "its text": ("dt", pa.array([DAY] * 2)),
    "a dictionary": ("dt", pa.array([DAY] * 2).dictionary_encode()),
    "a number": ("store", pa.array([12, 12])),
}
OTHER = {
    "an hour": ("dt", pa.array([dt.datetime(2020, 1, 3), dt.datetime(2020, 1, 3, 7)], pa.timestamp("us")), "2020-01-03 07:00:00"),
    "another day": ("dt", pa.array([dt.date(2020, 1, 2), dt.date(2020, 1, 3)]), "2020-01-02"),
    "a number of a day": ("dt", pa.array([20200103] * 2), "20200103"),
    "a null": ("store", pa.array(["12", None]), "null"),
    "another store": ("store", pa.array(["12", "13"]), "13"),
    "a number without its zeros": ("store", pa.array([12.0, 12.5]), "12.5"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "values"), ALIKE.values(), ids=ALIKE.keys())
@MODES
@pytest.mark.sample(3)
def test_a_column_in_folder_and_file_with_one_value_is_the_folders(
    tmp_path: Path, job: str, name: str, values: pa.Array
) -> None:
    """In both modes, as text or a date; of a file with statistics, and of one without."""
    root = workspace(tmp_path, job.replace("keep: [a]", "keep: [dt]"), {"store=12": rows(1, 2)})
    folder = root / f"data/lake/rows/dt={DAY}/store=12"
    pq.write_table(rows(1, 2, **{name: values}), folder / "x.parquet")
    pq.write_table(rows(3, 4, **{name: values}), folder / "y.parquet", write_statistics=False)
    run(load("mini", root), DAY)
    assert published(root, "store, dt, id") == [("12", dt.date(2020, 1, 3), i) for i in (1, 2, 3, 4)]


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize(("name", "values", "says"), OTHER.values(), ids=OTHER.keys())
@MODES
def test_a_column_with_other_values_in_folder_and_file_is_refused(  # noqa: PLR0917 - the table's columns
    tmp_path: Path, job: str, name: str, values: pa.Array, says: str, statistics: bool
) -> None:
    """Both are named, and the key that says which counts."""
    root = workspace(tmp_path, job, {"store=12": rows(1, 2)})
    path = root / f"data/lake/rows/dt={DAY}/store=12/x.parquet"
    pq.write_table(rows(1, 2, **{name: values}), path, write_statistics=statistics)
    with pytest.raises(Broken, match=rf"x.parquet: column '{name}' has .*{says} in the file and") as caught:
        run(load("mini", root), DAY)
    assert "partition_column: folder, or partition_column: file" in str(caught.value)
    assert not (root / "data/tables").exists()


@MODES
def test_a_name_in_another_case_is_refused(tmp_path: Path, job: str) -> None:
    """To SQL it is the same."""
    root = workspace(tmp_path, job, {"store=12": rows(1, 2, Store=pa.array(["12", "12"]))})
    with pytest.raises(Broken, match="has a column 'Store', and its folder gives 'store', one name to SQL"):
        run(load("mini", root), DAY)


@MODES
@pytest.mark.sample(1)
def test_a_person_says_which_counts(tmp_path: Path, job: str) -> None:
    """That of the folder, or that of the file: the same in both modes."""
    table = rows(1, 2, store=pa.array(["x", "y"]), dt=pa.array([dt.date(2019, 1, 1), dt.date(2020, 1, 3)]))
    kept = job.replace("keep: [a]", "keep: [dt]")
    for which, expected in (
        ("folder", [("12", dt.date(2020, 1, 3)), ("12", dt.date(2020, 1, 3))]),
        ("file", [("x", dt.date(2019, 1, 1)), ("y", dt.date(2020, 1, 3))]),
    ):
        text = kept.replace("partition: dt", f"partition: dt, partition_column: {which}")
        root = workspace(tmp_path / which, text, {"store=12": table})
        (root / "jobs/mini/features.sql").write_text("SELECT * FROM rows")
        run(load("mini", root), DAY)
        assert published(root, "store, dt") == expected


UNLIKE = {
    "another key": ({"store=1": rows(1), "shop=2": rows(2)}, r"lies in a folder shop=…, .*store=1/x.parquet does not|lies in a folder store=…"),
    "no key": ({"store=1": rows(1), ".": rows(2)}, r"lies in a folder store=…, .* does not"),
    "the day again": ({f"dt={DAY}": rows(1)}, "two folders give a value of 'dt'"),
    "the key again": ({"store=1/Store=2": rows(1)}, "two folders give a value of 'Store'"),
    "a backslash": ({"store=a\\b": rows(1)}, "which DuckDB takes for a /"),
    "two equal signs": ({"store=1=2": rows(1)}, "has more than one ="),
}  # fmt: skip


@pytest.mark.parametrize(("stores", "says"), UNLIKE.values(), ids=UNLIKE.keys())
def test_folders_that_give_other_columns_are_refused(
    tmp_path: Path, stores: dict[str, pa.Table], says: str
) -> None:
    """No row lacks a column, and none has two values of one."""
    with pytest.raises(Broken, match=says):
        run(load("mini", workspace(tmp_path, SQL, stores)), DAY)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("INTEGER", "1.7"), ("INT4", "1.7"), ("INTEGER", "1e2"), ("DATE", "2020-01-01 23%3A00"), ("DOUBLE", "1e400"),
        ("'DECIMAL(5, 2)'", "1.239"), ("'TIMESTAMP'", "2020-01-01T23%3A30-05%3A00"), ("BOOLEAN", "yes"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("template", ["dt", "'{day:%Y%m%d}'"])
def test_a_folder_is_not_cast_with_a_loss(tmp_path: Path, kind: str, value: str, template: str) -> None:
    """DuckDB would take 1.7 for the integer 2: the folder is named, whatever the type is called."""
    contract = CONTRACT.replace("INTEGER", kind)
    root = workspace(
        tmp_path,
        SQL.replace("partition: dt", f"partition: {template}, columns: {contract}"),
        {f"store={value}": rows(1)},
    )
    if template != "dt":
        (root / f"data/lake/rows/dt={DAY}").rename(root / "data/lake/rows/20200103")
    with pytest.raises(Broken, match=r"its folder says store = '.*', which is no "):
        run(load("mini", root), DAY)


@pytest.mark.parametrize(("kind", "value"), [("INT", 7), ("'DECIMAL(5, 2)'", "7.00")])
def test_a_type_of_a_folder_may_be_spelled_as_sql_allows(tmp_path: Path, kind: str, value: object) -> None:
    """INT is INTEGER, and a decimal has a comma in it."""
    contract = CONTRACT.replace("INTEGER", kind)
    job = SQL.replace("partition: dt", f"partition: dt, columns: {contract}")
    root = workspace(tmp_path, job, {"store=007": rows(1)})
    run(load("mini", root), DAY)
    assert [(str(s), i) for s, i, _ in published(root)] == [(str(value), 1)]
