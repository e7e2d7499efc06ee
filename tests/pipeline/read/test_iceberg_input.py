"""An Iceberg table of another engine is read as its snapshot says, columns by their numbers."""

# ruff: noqa: E501 - a row of a table of cases is one line

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from nightscore import query
from nightscore.common.errors import Broken
from nightscore.job.loader import load
from nightscore.pipeline.executors import run
from nightscore.pipeline.read import inputs
from nightscore.pipeline.steps import draft_plan, features
from tests.support.workspace import JOB, make_workspace, rows_of

pytest.importorskip("pyiceberg", reason="nightscore[iceberg] is not installed")

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
    write_manifest_list,
)
from pyiceberg.table import StaticTable, Table
from pyiceberg.transforms import DayTransform, IdentityTransform
from pyiceberg.types import LongType
from pyiceberg.utils.config import Config

DAYS = [dt.date(2020, 1, day) for day in (1, 2, 3)]
DAY = DAYS[1]


def workspace(root: Path, entry: str, sql: str = "", keep: str = "a, region") -> Path:
    """The job `mini` over a table, streamed or by SQL."""
    text = JOB.replace("{path: data/lake/rows, partition: day}", f"{{{entry}}}")
    make_workspace(root, job=text.replace("keep: [a]", f"keep: [{keep}]"), days=())
    if sql:
        file = root / "jobs/mini/job.yaml"
        file.write_text(file.read_text().replace("features: rows", "features: features.sql"))
        (root / "jobs/mini/features.sql").write_text(sql)
    return root


def catalog(root: Path) -> SqlCatalog:
    (root / "data/lake").mkdir(parents=True, exist_ok=True)
    made = SqlCatalog("test", uri=f"sqlite:///{root}/catalog.db", warehouse=f"file://{root}/data/lake")
    made.create_namespace_if_not_exists("shop")
    return made


def rows(count: int = 1_000, first: int = 0) -> pa.Table:
    """Rows of three days in turn, with the moment of each, in two regions."""
    table = rows_of("2020-01-01", count).set_column(0, "id", pa.array(range(first, first + count)))
    moments = [dt.datetime.combine(DAYS[i % 3], dt.time(23, i % 60), dt.UTC) for i in range(count)]
    table = table.append_column("day", pa.array([moment.date() for moment in moments]))
    table = table.append_column("moment", pa.array(moments, pa.timestamp("us", "UTC")))
    return table.append_column("region", pa.array([None if i % 2 else "a b/ä=%" for i in range(count)]))


def table_of(root: Path, by_day: str = "day") -> Table:
    """A table of three days, partitioned by a column, or by the day of the column `moment`."""
    made = catalog(root).create_table("shop.sales", schema=rows(1).schema)
    with made.update_spec() as spec:
        spec.add_identity("day") if by_day == "day" else spec.add_field("moment", DayTransform(), by_day)
    made.append(rows())
    return made


def metadata(root: Path, table: Table) -> str:
    """The table's metadata file, relative to the workspace."""
    return Path(table.metadata_location.removeprefix("file://")).relative_to(root).as_posix()


def of_job(root: Path, table: Table, more: str = "partition: day", **options: Any) -> Path:
    return workspace(root, f"iceberg: {metadata(root, table)}, {more}", **options)


def truth(
    table: Table | StaticTable, columns: tuple[str, ...], day: dt.date = DAY, snapshot: int | None = None
) -> pa.Table:
    """The rows of a day, by pyiceberg's own reader of all rows."""
    found = table.scan(snapshot_id=snapshot).to_arrow()
    found = found.filter(pc.equal(found["day"], day)).select(columns).sort_by("id")
    return found.cast(
        pa.schema([f.with_type(pa.string()) if f.type == pa.large_string() else f for f in found.schema])
    )


def same(one: pa.Table, other: pa.Table) -> bool:
    return (
        one.replace_schema_metadata().to_pylist() == other.to_pylist()
        and one.schema.types == other.schema.types
    )


def seen(root: Path, day: dt.date = DAY) -> pa.Table:
    return features(load("mini", root), day)


def message(root: Path, day: dt.date = DAY) -> str:
    with pytest.raises(Broken) as caught:
        draft_plan(load("mini", root), day)
    return str(caught.value)


SQL = "SELECT id, a, b, region FROM rows WHERE day = getvariable('day')"


@pytest.mark.parametrize("sql", ["", SQL], ids=["streamed", "sql"])
@pytest.mark.sample(1)
def test_rows_that_were_deleted_stay_deleted(tmp_path: Path, sql: str) -> None:
    """1,000 rows, 500 deleted by rewriting: the others are published; the receipt has the snapshot."""
    table = table_of(tmp_path)
    table.delete("id >= 200 and id < 700")
    of_job(tmp_path, table, sql=sql)
    receipts = [run(load("mini", tmp_path), day) for day in DAYS]
    assert sum(receipt.rows.published for receipt in receipts) == 500
    assert receipts[0].snapshots == {"rows": f"snapshot {table.current_snapshot().snapshot_id}"}
    for day in DAYS:
        found = query(
            "SELECT id, a, region FROM mini_scores WHERE day = $1 ORDER BY id", tmp_path, values=[str(day)]
        )
        assert same(found, truth(table, ("id", "a", "region"), day))


def test_days_by_the_transform_of_a_moment(tmp_path: Path) -> None:
    """The field's name is the column of the day; an hour before midnight is of its day in UTC."""
    table = table_of(tmp_path, "moment_day")
    sql = "SELECT id, a, b, region, moment_day AS d FROM rows"
    of_job(tmp_path, table, "partition: moment_day, lookback: 2", sql=sql, keep="a, region, d")
    found = seen(tmp_path)
    expected = pa.concat_tables([truth(table, ("id", "day"), day) for day in DAYS[:2]]).sort_by("id")
    assert found["id"].to_pylist() == expected["id"].to_pylist()
    assert found["d"].to_pylist() == expected["day"].to_pylist()
    assert inputs.list_input_days(load("mini", tmp_path)) == DAYS


def test_rows_of_a_day_by_a_column_that_is_no_partition(tmp_path: Path) -> None:
    """A moment says the day; files whose metrics have none of the days are not read."""
    table = catalog(tmp_path).create_table("shop.sales", schema=rows(1).schema)
    for day in DAYS:
        table.append(rows().filter(pc.equal(rows()["day"], day)))
    of_job(tmp_path, table, "day_column: moment, lookback: 2", sql="SELECT id, a, b, region FROM rows")
    found = features(load("mini", tmp_path), DAY)
    expected = pa.concat_tables([truth(table, ("id",), day) for day in DAYS[:2]]).sort_by("id")
    assert found["id"].to_pylist() == expected["id"].to_pylist()
    assert len(inputs.resolve_inputs(load("mini", tmp_path), DAY)["rows"]) == 2


@pytest.mark.parametrize("sql", ["", SQL], ids=["streamed", "sql"])
@pytest.mark.sample(1)
def test_columns_go_by_their_numbers(tmp_path: Path, sql: str) -> None:
    """A and b change names, region is new under an old name: what older files call so is not read for it."""
    table = table_of(tmp_path)
    with table.update_schema() as change:
        change.rename_column("a", "other").rename_column("region", "area")
    with table.update_schema() as change:
        change.rename_column("b", "a")
    with table.update_schema() as change:
        change.rename_column("other", "b").add_column("region", LongType())
    of_job(tmp_path, table, sql=sql)
    run(load("mini", tmp_path), DAY)
    found = query("SELECT id, a, region FROM mini_scores ORDER BY id", tmp_path)
    old = rows()
    expected = old.filter(pc.equal(old["day"], DAY))
    assert found["a"].to_pylist() == expected["b"].to_pylist()
    assert found["region"].to_pylist() == [None] * expected.num_rows
    assert same(found, truth(table, ("id", "a", "region")))


@pytest.mark.slow
def test_a_snapshot_is_pinned_and_a_later_one_counts_by_the_files_of_the_days(tmp_path: Path) -> None:
    """Another day's rows: unchanged. This day's: a new run. A snapshot that is named: as it was."""
    table = table_of(tmp_path)
    first = table.current_snapshot().snapshot_id
    of_job(tmp_path, table)
    assert run(load("mini", tmp_path), DAY).status == "published"
    file = tmp_path / "jobs/mini/job.yaml"

    def now(more: str = "partition: day") -> None:
        before = file.read_text().splitlines()
        entry = f"  rows: {{iceberg: {metadata(tmp_path, table)}, {more}}}"
        file.write_text("\n".join(entry if line.startswith("  rows:") else line for line in before) + "\n")

    later = rows(30, 5_000)
    table.append(later.set_column(3, "day", pa.array([dt.date(2020, 2, 1)] * 30)))
    before = inputs.resolve_inputs(load("mini", tmp_path), DAY)["rows"]
    now()
    after = inputs.resolve_inputs(load("mini", tmp_path), DAY)["rows"]
    assert [(f.path, f.fingerprint) for f in before] == [(f.path, f.fingerprint) for f in after]
    table.delete("id = 1")
    now()
    assert run(load("mini", tmp_path), DAY).rows.published == truth(table, ("id",)).num_rows
    now(f"partition: day, snapshot: {first}")
    assert run(load("mini", tmp_path), DAY).rows.published == truth(table, ("id",), snapshot=first).num_rows


def test_a_table_of_a_catalog_is_read_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By pyiceberg's own configuration, each plan at the snapshot that the catalog says."""
    import pyiceberg.catalog
    from pyiceberg.utils.config import Config

    table = table_of(tmp_path)
    for name, value in (
        ("TYPE", "sql"),
        ("URI", f"sqlite:///{tmp_path}/catalog.db"),
        ("WAREHOUSE", f"file://{tmp_path}/data/lake"),
    ):
        monkeypatch.setenv(f"PYICEBERG_CATALOG__TEST__{name}", value)
    monkeypatch.setattr(pyiceberg.catalog, "_ENV_CONFIG", Config())  # which it reads when it is imported
    workspace(tmp_path, "iceberg: shop.sales, catalog: test, partition: day", sql=SQL)
    assert same(seen(tmp_path), truth(table, ("id", "a", "b", "region")))
    table.delete("id < 500")
    assert same(seen(tmp_path), truth(table, ("id", "a", "b", "region")))


def test_what_is_not_understood_is_named(tmp_path: Path) -> None:
    """No such field or snapshot; a folder without a hint; a plain path; nothing written yet; no such file."""
    table = table_of(tmp_path)
    of_job(tmp_path, table, sql=SQL)
    file = tmp_path / "jobs/mini/job.yaml"
    text = file.read_text()
    place = metadata(tmp_path, table)
    folder = Path(place).parents[1].as_posix()
    for old, new, says in (
        ("partition: day", "partition: region", "'region' is no partition field by identity or day; its partition fields: day (identity)"),
        ("partition: day", "partition: day, snapshot: 5", "has no snapshot 5"),
        (f"iceberg: {place}", f"iceberg: {folder}", "has no metadata/version-hint.text"),
        (f"iceberg: {place}, partition: day", f"path: {folder}", "write the input as {iceberg: "),
        (place, f"{folder}/metadata/none.metadata.json", "none.metadata.json"),
    ):  # fmt: skip
        file.write_text(text.replace(old, new))
        assert says in message(tmp_path), says
    hint = tmp_path / folder / "metadata/version-hint.text"
    hint.write_text(Path(place).name)
    file.write_text(text.replace(f"iceberg: {place}", f"iceberg: {folder}"))
    assert same(seen(tmp_path), truth(table, ("id", "a", "b", "region")))


def test_files_of_before_the_table_had_days_are_refused(tmp_path: Path) -> None:
    """Rows of no known day: by the name of a file."""
    table = catalog(tmp_path).create_table("shop.sales", schema=rows(1).schema)
    table.append(rows(30))
    with table.update_spec() as spec:
        spec.add_identity("day")
    table.append(rows(30, 100))
    of_job(tmp_path, table, sql=SQL)
    assert "was written when the table had no partition field 'day'" in message(tmp_path)


def with_deletes(
    root: Path, table: Table, content: DataFileContent, names: list[str], values: list[Any]
) -> str:
    """One more snapshot, as engines that merge on read write it: a delete file for a file of the day.

    pyiceberg writes none. It makes the manifests here, by its own writers, from a delete file of ours.
    """
    folder = Path(table.location().removeprefix("file://"))
    [task] = table.scan(row_filter=f"day = '{DAY}'").plan_files()
    if content is DataFileContent.POSITION_DELETES:
        deletes = pa.table({names[0]: [task.file.file_path] * len(values), names[1]: values})
        numbers, equality = ["2147483546", "2147483545"], None
    else:
        deletes, numbers, equality = pa.table({names[0]: values}), ["1"], [1]
    fields = [f.with_metadata({"PARQUET:field_id": n}) for f, n in zip(deletes.schema, numbers, strict=True)]
    path = folder / "data/deletes.parquet"
    pq.write_table(deletes.cast(pa.schema(fields)), path)
    number, snapshot = table.metadata.last_sequence_number + 1, 4711
    part = DataFile.from_args(
        content=content, file_path=f"file://{path}", file_format=FileFormat.PARQUET, partition=task.file.partition,
        record_count=len(values), file_size_in_bytes=path.stat().st_size, equality_ids=equality,
    )  # fmt: skip
    part.spec_id = task.file.spec_id
    manifest, listed = folder / "metadata/deletes.avro", folder / "metadata/list.avro"
    with Deletes(
        table.spec(), table.schema(), table.io.new_output(f"file://{manifest}"), snapshot, "null"
    ) as writer:
        writer.add_entry(
            ManifestEntry.from_args(status=ManifestEntryStatus.ADDED, snapshot_id=snapshot, data_file=part)
        )
    before = table.current_snapshot()
    with write_manifest_list(
        2, table.io.new_output(f"file://{listed}"), snapshot, before.snapshot_id, number, "null"
    ) as every:
        every.add_manifests([*before.manifests(table.io), writer.to_manifest_file()])
    said = json.loads(Path(table.metadata_location.removeprefix("file://")).read_text())
    said["snapshots"].append({**said["snapshots"][-1], "snapshot-id": snapshot, "parent-snapshot-id": before.snapshot_id,
                              "sequence-number": number, "manifest-list": f"file://{listed}"})  # fmt: skip
    said |= {"current-snapshot-id": snapshot, "last-sequence-number": number}
    said["refs"]["main"]["snapshot-id"] = snapshot
    made = folder / "metadata/00099-deletes.metadata.json"
    made.write_text(json.dumps(said))
    return made.relative_to(root).as_posix()


class Deletes(ManifestWriterV2):
    """A manifest of delete files."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


def test_rows_that_a_delete_file_takes_are_refused_and_not_read_past(tmp_path: Path) -> None:
    """By position: pyiceberg reads three rows less. A day whose files have none is read."""
    table = table_of(tmp_path)
    place = with_deletes(tmp_path, table, DataFileContent.POSITION_DELETES, ["file_path", "pos"], [0, 5, 7])
    read = StaticTable.from_metadata(str(tmp_path / place))
    assert truth(read, ("id",)).num_rows == truth(table, ("id",)).num_rows - 3
    workspace(tmp_path, f"iceberg: {place}, partition: day", sql=SQL)
    assert "are deleted by a delete file, which is not heeded here" in message(tmp_path)
    assert same(seen(tmp_path, DAYS[0]), truth(table, ("id", "a", "b", "region"), DAYS[0]))


def test_equality_deletes_are_refused(tmp_path: Path) -> None:
    """By value: whatever pyiceberg says of them, no row is read past them."""
    table = table_of(tmp_path)
    place = with_deletes(tmp_path, table, DataFileContent.EQUALITY_DELETES, ["id"], [1, 4])
    workspace(tmp_path, f"iceberg: {place}, partition: day", sql=SQL)
    assert "delete" in message(tmp_path)


def partitioned(root: Path, rows: pa.Table, *fields: tuple[str, str]) -> Table:
    """A table partitioned by some columns, each with the name of its partition field."""
    made = catalog(root).create_table("shop.sales", schema=rows.schema)
    with made.update_spec() as spec:
        for column, name in fields:
            spec.add_field(column, IdentityTransform(), name)
    made.append(rows)
    return made


def with_column(name: str, values: list[Any], kind: pa.DataType | None = None) -> pa.Table:
    return rows(len(values)).append_column(name, pa.array(values, kind))


def test_a_partition_by_a_nested_field_is_no_column_of_that_name(tmp_path: Path) -> None:
    """`place.region` is another than `region`, whose values are those of the rows."""
    nested = with_column("place", [{"region": f"in {i % 2}"} for i in range(90)])
    table = partitioned(tmp_path, nested, ("day", "day"), ("place.region", "place_region"))
    of_job(tmp_path, table, sql=SQL)
    assert same(seen(tmp_path), truth(table, ("id", "a", "b", "region")))


def test_a_partition_goes_by_its_column_whatever_that_is_called_now(tmp_path: Path) -> None:
    """Two columns swap their names: at either snapshot each row has the values of its own columns."""
    table = partitioned(
        tmp_path, with_column("other", [f"o{i}" for i in range(90)]), ("day", "day"), ("region", "part")
    )
    before = table.current_snapshot()
    assert before
    for old, new in (("region", "x"), ("other", "region"), ("x", "other")):
        with table.update_schema() as update:
            update.rename_column(old, new)
    wanted = ("id", "a", "b", "region", "other")
    for i, snapshot in enumerate((None, before.snapshot_id)):
        pinned = "" if snapshot is None else f", snapshot: {snapshot}"
        root = workspace(
            tmp_path / f"w{i}",
            f"iceberg: t/v1.metadata.json, partition: day{pinned}",
            SQL.replace("region", "region, other"),
        )
        (root / "t").mkdir()
        (root / "t/v1.metadata.json").write_text(
            Path(table.metadata_location.removeprefix("file://")).read_text()
        )
        (root / "workspace.yaml").write_text(f"roots: {{lake: {tmp_path / 'data/lake'}}}\n")
        found = seen(root).select(wanted)
        assert found.to_pylist() == truth(table, wanted, snapshot=snapshot).to_pylist()


@pytest.mark.parametrize("name", ["day", "of_day"])
def test_a_day_column_that_was_renamed_is_still_the_partition(tmp_path: Path, name: str) -> None:
    """By the name of the partition field, and by that of the column now."""
    table = partitioned(tmp_path, rows(90), ("day", "day"))
    with table.update_schema() as update:
        update.rename_column("day", "of_day")
    root = of_job(tmp_path, table, f"partition: {name}", sql="SELECT id, a, b, region FROM rows", keep="a")
    found = table.scan(row_filter=f"of_day = '{DAY}'").to_arrow()
    assert seen(root)["id"].to_pylist() == sorted(found["id"].to_pylist())


MOMENT = dt.datetime(1969, 12, 31, 3, 4, 5, 678901)
PARTS = {  # values whose folders' names have to be encoded by some writers, and are no addresses
    "a moment": (MOMENT, pa.timestamp("us")), "of a zone": (MOMENT.replace(tzinfo=dt.UTC), pa.timestamp("us", "UTC")),
    "a time": (dt.time(1, 2, 3, 4), pa.time64("us")), "a path": ("a/b?c#d%41 +e", pa.string()),
}  # fmt: skip


@pytest.mark.parametrize(("value", "kind"), PARTS.values(), ids=PARTS)
def test_paths_of_files_are_read_as_they_stand_in_the_metadata(
    tmp_path: Path, value: object, kind: pa.DataType
) -> None:
    """Decoded, %3A would be another file, which is gone."""
    table = partitioned(tmp_path, with_column("v", [value] * 90, kind), ("day", "day"), ("v", "v"))
    root = of_job(
        tmp_path,
        table,
        sql="SELECT id, a, b, region, CAST(v AS VARCHAR) AS v FROM rows",
        keep="a, region, v",
    )
    shown = (
        str(value)
        if not isinstance(value, dt.datetime) or value.tzinfo is None
        else f"{value:%Y-%m-%d %H:%M:%S.%f}+00"
    )
    assert seen(root)["v"].to_pylist() == [shown] * 30


ADDRESSES = [
    "postgres//bob:s3cr3t-word@host/db",
    "odd://bob:s3cr3t-word@host/db",
    "http://bob:s3cr3t-word@127.0.0.1:9/x",
]


@pytest.mark.parametrize("uri", ADDRESSES)
def test_no_setting_of_a_catalog_stands_in_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    """Pyiceberg repeats an address that it does not understand, password and all."""
    monkeypatch.setenv("PYICEBERG_CATALOG__SHOP__URI", uri)
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())
    workspace(tmp_path, "iceberg: shop.sales, catalog: shop, partition: day")
    assert "s3cr3t-word" not in message(tmp_path)


@pytest.mark.parametrize("by", ["day", "moment", "column"])
def test_rows_without_a_day_are_refused_or_left_out_by_name(tmp_path: Path, by: str) -> None:
    """As of files: in whatever file they lie, also one of other days alone; pyiceberg's reader counts them."""
    entry = "day_column: day" if by == "column" else "partition: day"
    column = "moment" if by == "moment" else "day"
    made = catalog(tmp_path).create_table("shop.sales", schema=rows(1).schema)
    if by != "column":
        with made.update_spec() as spec:
            spec.add_identity("day") if by == "day" else spec.add_field("moment", DayTransform(), "day_of")
        entry = entry if by == "day" else "partition: day_of"
    made.append(rows(300))
    later = rows(300)
    values = [None if i % 100 == 0 else v for i, v in enumerate(later[column].to_pylist())]
    values = [v and v + dt.timedelta(days=60) for v in values]
    at = later.column_names.index(column)
    made.append(later.set_column(at, column, pa.array(values, later.schema.field(column).type)))
    assert made.scan().to_arrow()[column].null_count == 3
    root = of_job(tmp_path, made, entry)
    with pytest.raises(Broken, match=r"3 (rows|nulls).*no_day: ignore in the input leaves"):
        run(load("mini", root), DAY)
    file = root / "jobs/mini/job.yaml"
    file.write_text(file.read_text().replace(entry, f"{entry}, no_day: ignore"))
    receipt = run(load("mini", root), DAY)
    assert receipt.rows.published == rows(300)["day"].to_pylist().count(DAY)
    name = "day_of" if by == "moment" else "day"
    said = (f"{name}=__HIVE_DEFAULT_PARTITION__ (3 rows in 1 file)",)
    assert receipt.ignored == ({} if by == "column" else {"rows": said})
