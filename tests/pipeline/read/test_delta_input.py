"""A Delta table of another engine is read as its log says: at one version, by that version's rows alone."""

# ruff: noqa: E501 - tables of cases, and actions of a log, are one line

import base64
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from nightscore import query
from nightscore.common.errors import Broken, NotYet
from nightscore.job.loader import load
from nightscore.pipeline.executors import run
from nightscore.pipeline.read import inputs
from nightscore.pipeline.steps import draft_plan, features, plan_day, publish_day, score_piece
from tests.support.workspace import JOB, make_workspace, rows_of

DAYS = [dt.date(2020, 1, day) for day in (1, 2, 3)]
DAY = DAYS[1]
SQL = "SELECT id, a, b, region FROM rows WHERE day = getvariable('day')"
ODD = "a b/ä=%"  # a value of a partition that a folder's name has to encode


def workspace(root: Path, entry: str = "", sql: str = "", keep: str = "a, region") -> Path:
    """The job `mini` over the table `data/lake/sales`, streamed or by SQL."""
    text = JOB.replace(
        "{path: data/lake/rows, partition: day}", f"{{delta: data/lake/sales, {entry or 'partition: day'}}}"
    )
    make_workspace(root, job=text.replace("keep: [a]", f"keep: [{keep}]"), days=())
    if sql:
        file = root / "jobs/mini/job.yaml"
        file.write_text(file.read_text().replace("features: rows", "features: features.sql"))
        (root / "jobs/mini/features.sql").write_text(sql)
    return root


def rows(count: int = 1_000) -> pa.Table:
    """Rows of three days in turn, of two regions."""
    table = rows_of("2020-01-01", count)
    table = table.append_column("day", pa.array([DAYS[i % 3] for i in range(count)]))
    return table.append_column("region", pa.array([None if i % 2 else ODD for i in range(count)]))


def written(root: Path, table: pa.Table | None = None, **options: Any) -> Path:
    path = root / "data/lake/sales"
    write_deltalake(str(path), rows() if table is None else table, partition_by=["day", "region"], **options)
    return path


def truth(path: Path, columns: Sequence[str], day: dt.date = DAY, version: int | None = None) -> pa.Table:
    """The rows of a day by deltalake's own reader of whole tables."""
    found = pa.table(DeltaTable(str(path), version=version).scan())
    found = pa.table(
        [c.cast(pa.string()) if c.type == pa.string_view() else c for c in found.columns], found.column_names
    )
    return found.filter(pc.equal(found["day"], day)).select(columns).sort_by("id").combine_chunks()


def seen(root: Path, day: dt.date = DAY) -> pa.Table:
    return features(load("mini", root), day).combine_chunks()


def message(root: Path, day: dt.date = DAY) -> str:
    with pytest.raises(Broken) as caught:
        draft_plan(load("mini", root), day)
    return str(caught.value)


# --- the rows of a version ---


@pytest.mark.parametrize("sql", ["", SQL], ids=["streamed", "sql"])
@pytest.mark.sample(1)
def test_rows_that_were_deleted_stay_deleted(tmp_path: Path, sql: str) -> None:
    """1,000 rows, 500 deleted: what is published are the others, as deltalake reads them; the receipt has the version."""
    root = workspace(tmp_path, sql=sql)
    path = written(root)
    DeltaTable(str(path)).delete("id % 4 < 2")
    receipts = [run(load("mini", root), day) for day in DAYS]
    assert sum(receipt.rows.published for receipt in receipts) == 500
    assert receipts[0].snapshots == {"rows": "version 1"}
    for day in DAYS:
        found = query(
            "SELECT id, a, region FROM mini_scores WHERE day = $1 ORDER BY id", root, values=[str(day)]
        )
        assert found.combine_chunks().equals(truth(path, ["id", "a", "region"], day))


def test_no_later_day_is_seen(tmp_path: Path) -> None:
    """Of a lookback of two days these two, whatever else the table has."""
    sql = "SELECT id, a, b, region, day AS d FROM rows"
    root = workspace(tmp_path, "partition: day, lookback: 2", sql, keep="a, region, d")
    path = written(root)
    found = seen(root, DAYS[1])
    assert sorted(set(found["d"].to_pylist())) == DAYS[:2]
    assert found.num_rows == truth(path, ["id"], DAYS[0]).num_rows + truth(path, ["id"], DAYS[1]).num_rows
    assert inputs.list_input_days(load("mini", root)) == DAYS


def test_a_version_that_is_named_is_read_whatever_came_since(tmp_path: Path) -> None:
    root = workspace(tmp_path, "partition: day, version: 0", SQL)
    path = written(root)
    write_deltalake(str(path), rows(300), mode="overwrite")
    assert seen(root).equals(truth(path, ["id", "a", "b", "region"], version=0))
    assert draft_plan(load("mini", root), DAY).snapshots == {"rows": "version 0"}


@pytest.mark.slow
def test_a_later_version_is_a_cause_only_with_other_files_of_the_days(tmp_path: Path) -> None:
    """Another day's rows: unchanged. This day's: a new run, with its rows."""
    root = workspace(tmp_path)
    path = written(root)
    assert run(load("mini", root), DAY).status == "published"
    later = rows(30).set_column(3, "day", pa.array([dt.date(2020, 2, 1)] * 30))
    write_deltalake(str(path), later, mode="append")
    DeltaTable(str(path)).delete("day = '2020-01-03'")
    assert run(load("mini", root), DAY).status == "unchanged"
    DeltaTable(str(path)).delete("id = 1")
    receipt = run(load("mini", root), DAY)
    assert (receipt.status, receipt.snapshots) == ("published", {"rows": "version 3"})
    assert receipt.rows.published == truth(path, ["id"]).num_rows


@pytest.mark.slow
def test_a_run_stays_with_the_version_of_its_plan(tmp_path: Path) -> None:
    """Another engine overwrites the day between plan and publish: the rows of the plan are published."""
    root = workspace(tmp_path)
    path = written(root)
    before = truth(path, ["id", "a", "region"])
    job = load("mini", root)
    plan = plan_day(job, DAY)
    write_deltalake(str(path), rows(90), mode="overwrite")
    staged = [score_piece(job, plan, piece) for piece in plan.pieces]
    assert publish_day(job, plan, staged).status == "published"
    assert query("SELECT id, a, region FROM mini_scores ORDER BY id", root).combine_chunks().equals(before)
    assert run(job, DAY).rows.published == 30


def test_what_a_vacuum_took_is_named(tmp_path: Path) -> None:
    """In the middle of a run: not yet. A named version whose files are gone: broken, with the way on."""
    root = workspace(tmp_path)
    path = written(root)
    job = load("mini", root)
    plan = plan_day(job, DAY)
    DeltaTable(str(path)).delete("id % 2 = 0")
    DeltaTable(str(path)).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    with pytest.raises(NotYet, match="removed while it was being read"):
        score_piece(job, plan, plan.pieces[0])
    assert run(job, DAY).rows.published == truth(path, ["id"]).num_rows
    file = root / "jobs/mini/job.yaml"
    file.write_text(file.read_text().replace("partition: day", "partition: day, version: 0"))
    text = message(root)
    assert "data/lake/sales, version 0: its file data/lake/sales/day=2020-01-02/" in text
    assert "let its version be a later one" in text


def test_columns_that_were_added_are_null_before(tmp_path: Path) -> None:
    """By the table's schema, whichever file lacks them."""
    sql = "SELECT id, a, b, region, more FROM rows"
    root = workspace(tmp_path, "partition: day, lookback: 2", sql, keep="a, region, more")
    path = written(root)
    more = (
        rows(30).set_column(0, "id", pa.array(range(5_000, 5_030))).append_column("more", pa.array(range(30)))
    )
    write_deltalake(str(path), more, mode="append", schema_mode="merge")
    expected = pa.concat_tables([truth(path, ["id", "more"], day) for day in DAYS[:2]]).sort_by("id")
    assert seen(root).select(["id", "more"]).equals(expected.combine_chunks())


@pytest.mark.parametrize("sql", ["", "SELECT id, a, b, region FROM rows"], ids=["streamed", "sql"])
@pytest.mark.sample(1)
def test_rows_of_a_day_by_a_column_that_is_no_partition(tmp_path: Path, sql: str) -> None:
    """Rows of the day and no later ones; files whose statistics have none of the days are no cause."""
    root = workspace(tmp_path, "day_column: day", sql)
    path = str(root / "data/lake/sales")
    write_deltalake(path, rows())
    DeltaTable(path).delete("id % 2 = 0")
    for i, day in enumerate(DAYS, 1):
        numbered = rows(90).set_column(0, "id", pa.array(range(1_000 * i, 1_000 * i + 90)))
        write_deltalake(path, numbered.set_column(3, "day", pa.array([day] * 90)), mode="append")
    assert run(load("mini", root), DAY).rows.published == truth(Path(path), ["id"]).num_rows
    found = query("SELECT id, a, region FROM mini_scores ORDER BY id", root).combine_chunks()
    assert found.equals(truth(Path(path), ["id", "a", "region"]))
    assert len(inputs.resolve_inputs(load("mini", root), DAY)["rows"]) == 2  # of four
    assert inputs.list_input_days(load("mini", root)) == DAYS
    later = rows(30).set_column(3, "day", pa.array([dt.date(2020, 2, 1)] * 30))
    write_deltalake(path, later, mode="append")
    assert run(load("mini", root), DAY).status == "unchanged"


# --- tables that are made by the protocol, as other engines write them ---


def crafted(
    root: Path, files: Mapping[str, tuple[pa.Table, dict[str, Any]]], fields: Sequence[dict[str, Any]], *,
    keys: Sequence[str] = ("day",), features: Sequence[str] = (), configuration: Mapping[str, str] | None = None,
    **options: Any,
) -> Path:  # fmt: skip
    """A table of one commit: paths in the log -> rows, and more of the add action."""
    path = root / "data/lake/sales"
    (path / "_delta_log").mkdir(parents=True)
    versions = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": list(features),
        "writerFeatures": list(features),
    }
    schema = json.dumps({"type": "struct", "fields": list(fields)})
    made = {"id": "1", "format": {"provider": "parquet", "options": {}}, "schemaString": schema,
            "partitionColumns": list(keys), "configuration": dict(configuration or {}), "createdTime": 1}  # fmt: skip
    actions: list[dict[str, Any]] = [{"protocol": versions}, {"metaData": made}]
    for name, (table, more) in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path / name, **options)
        add = {"path": name, "size": (path / name).stat().st_size, "modificationTime": 1, "dataChange": True,
               "stats": json.dumps({"numRecords": table.num_rows})}  # fmt: skip
        actions.append({"add": add | more})
    (path / "_delta_log/00000000000000000000.json").write_text("\n".join(map(json.dumps, actions)))
    return path


def field(name: str, kind: str, inside: str = "", number: int = 0) -> dict[str, Any]:
    mapped = {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": inside}
    return {"name": name, "type": kind, "nullable": True, "metadata": mapped if inside else {}}


PLAIN = [
    field("id", "long"),
    field("a", "float"),
    field("b", "float"),
    field("day", "date"),
    field("region", "string"),
]
DATA = rows_of("2020-01-01", 20)


def on(day: dt.date | None, **more: Any) -> dict[str, Any]:
    return {"partitionValues": {"day": None if day is None else str(day)}, **more}


def test_values_of_partitions_are_those_of_the_log(tmp_path: Path) -> None:
    """A file whose folders say another day, and one whose name says nothing."""
    root = workspace(
        tmp_path, "partition: day, lookback: 3", "SELECT id, a, b, day AS d FROM rows", keep="a, d"
    )
    crafted(root, {"day=1999-01-01/x.parquet": (DATA, on(DAYS[0])),
                   "Ab/12.parquet": (DATA.set_column(0, "id", pa.array(range(20, 40))), on(DAYS[1]))}, PLAIN[:4])  # fmt: skip
    found = seen(root)
    assert found["d"].to_pylist() == [DAYS[0]] * 20 + [DAYS[1]] * 20


@pytest.mark.parametrize("mode", ["name", "id"])
@pytest.mark.parametrize("sql", ["", "SELECT id, a, b, region FROM rows"], ids=["streamed", "sql"])
@pytest.mark.sample(1)
def test_columns_that_were_renamed_are_read_by_what_files_call_them(
    tmp_path: Path, mode: str, sql: str
) -> None:
    """A and b have changed their names: b's values come from the column that was a, and both from col-2 and col-3."""
    names = {"id": "col-1", "b": "col-2", "a": "col-3", "region": "col-4"}
    kinds = {"id": "long", "b": "float", "a": "float", "region": "string"}
    fields = [field(n, kinds[n], inside, i) for i, (n, inside) in enumerate(names.items(), 1)]
    fields.append(field("day", "date", "col-9", 9))
    table = pa.table([DATA["id"], DATA["a"], DATA["b"], pa.array(["x"] * 20)], names=[*names.values()])
    numbered = pa.schema(
        [f.with_metadata({"PARQUET:field_id": str(i)}) for i, f in enumerate(table.schema, 1)]
    )
    if mode == "id":
        numbered = pa.schema([f.with_name(f"any-{i}") for i, f in enumerate(numbered)])
    table = pa.table(table.columns, schema=numbered)
    root = workspace(tmp_path, sql=sql)
    crafted(root, {"f.parquet": (table, {"partitionValues": {"col-9": str(DAY)}})}, fields, features=["columnMapping"],
            configuration={"delta.columnMapping.mode": mode, "delta.columnMapping.maxColumnId": "9"})  # fmt: skip
    assert run(load("mini", root), DAY).rows.published == 20
    found = query("SELECT id, a, score, region FROM mini_scores ORDER BY id", root)
    assert found["a"].to_pylist() == DATA["b"].to_pylist()
    expected = pc.add(DATA["b"], pc.multiply(DATA["a"], pa.scalar(2, pa.float32())))  # weights 1, 2 of a, b
    assert found["score"].to_pylist() == pytest.approx(expected.to_pylist(), rel=1e-6)


def test_types_that_the_table_has_widened_are_read_wider(tmp_path: Path) -> None:
    """int32 in an older file of a table of longs; an INT96 of Spark is the instant that it was."""
    moment = dt.datetime(2020, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)
    table = DATA.set_column(0, "id", DATA["id"].cast(pa.int32()))
    table = table.append_column("at", pa.array([moment.replace(tzinfo=None)] * 20, pa.timestamp("us")))
    root = workspace(tmp_path, sql="SELECT id, a, b, at FROM rows", keep="a, at")
    sql = root / "jobs/mini/features.sql"
    sql.write_text('SELECT id, a, b, "at" FROM rows')
    crafted(root, {"f.parquet": (table, on(DAY))}, [*PLAIN[:4], field("at", "timestamp")],
            features=["typeWidening"], use_deprecated_int96_timestamps=True)  # fmt: skip
    found = seen(root)
    assert found.schema.field("id").type == pa.int64()
    assert found["at"].to_pylist() == [moment] * 20


Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
B85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"


def vector(*deleted: int) -> dict[str, Any]:
    """A deletion vector of some rows, inline: a magic number and one roaring bitmap of an array container."""
    numbers = b"".join(n.to_bytes(2, "little") for n in deleted)
    bitmap = b"".join(n.to_bytes(4, "little") for n in (12346, 1)) + (0).to_bytes(2, "little")
    bitmap += (len(deleted) - 1).to_bytes(2, "little") + (16).to_bytes(4, "little") + numbers
    data = (1681511377).to_bytes(4, "little") + (1).to_bytes(8, "little") + bytes(4) + bitmap
    text = base64.b85encode(data + bytes(-len(data) % 4)).decode().translate(str.maketrans(B85, Z85))
    return {"deletionVector": {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(data),
                               "cardinality": len(deleted)}}  # fmt: skip


def test_a_deletion_vector_is_refused_by_its_file_and_not_read_past(tmp_path: Path) -> None:
    """Deltalake reads 17 of the 20 rows; a day whose files have none is read."""
    root = workspace(tmp_path, sql="SELECT id, a, b FROM rows", keep="a")
    path = crafted(root, {"x.parquet": (DATA, on(DAYS[0], **vector(1, 3, 4))), "y.parquet": (DATA, on(DAYS[1]))},
                   PLAIN[:4], features=["deletionVectors"])  # fmt: skip
    assert truth(path, ["id"], DAYS[0])["id"].to_pylist() == [i for i in range(20) if i not in (1, 3, 4)]
    text = message(root, DAYS[0])
    assert "rows of x.parquet are deleted by a deletion vector" in text
    assert "REORG TABLE" in text
    assert seen(root, DAYS[1]).num_rows == 20


def test_a_deletion_vector_that_can_t_be_read_breaks_the_run(tmp_path: Path) -> None:
    """With the table and the way on: which rows count is not known."""
    root = workspace(tmp_path, sql="SELECT id, a, b FROM rows", keep="a")
    damaged = vector(1)
    damaged["deletionVector"]["pathOrInlineDv"] = "0" * 40
    crafted(root, {"x.parquet": (DATA, on(DAYS[0], **damaged))}, PLAIN[:4], features=["deletionVectors"])
    text = message(root, DAYS[0])
    assert "data/lake/sales, version 0: a deletion vector can't be read" in text and "REORG TABLE" in text


# --- what is no such table, or not understood ---


def test_a_delta_table_as_a_plain_path_says_how_it_is_written(tmp_path: Path) -> None:
    """At the path, below it and above it: with the folder of the table."""
    root = workspace(tmp_path)
    written(root)
    file = root / "jobs/mini/job.yaml"
    for path in ("data/lake/sales", "data/lake/sales/day=2020-01-02", "data/lake"):
        file.write_text(JOB.replace("{path: data/lake/rows, partition: day}", f"{{path: {path}}}")
                        .replace("features: rows", "features: features.sql"))  # fmt: skip
        assert "write the input as {delta: data/lake/sales}" in message(root)


def test_what_is_no_table_or_not_understood_is_named(tmp_path: Path) -> None:
    """No log; no such version; no such partition; a partition that is no day; a feature that is not known."""
    root = workspace(tmp_path, sql=SQL)
    (root / "data/lake/sales").mkdir(parents=True)
    assert "jobs/mini/job.yaml:5: inputs.rows: data/lake/sales is no Delta Lake table" in message(root)
    (root / "data/lake/sales").rmdir()
    path = crafted(root, {"x.parquet": (DATA, on(None))}, PLAIN[:4])
    assert "20 rows in 1 file have day = null, which is no day; no_day: ignore" in message(root)
    file = root / "jobs/mini/job.yaml"
    written_as = file.read_text()
    file.write_text(written_as.replace("partition: day", "partition: region"))
    assert "'region' is no column that the table is partitioned by; it is by day" in message(root)
    file.write_text(written_as.replace("partition: day", "partition: day, version: 7"))
    assert "has no version 7; its log has 0 to 0, and without version the newest is read" in message(root)
    file.write_text(written_as)
    log = path / "_delta_log/00000000000000000000.json"
    log.write_text(log.read_text().replace('"readerFeatures": []', '"readerFeatures": ["variantType"]')
                   .replace('"writerFeatures": []', '"writerFeatures": ["variantType"]'))  # fmt: skip
    assert "needs a reader of variantType" in message(root)


def test_a_file_that_is_not_what_the_table_says_is_refused(tmp_path: Path) -> None:
    root = workspace(tmp_path, sql="SELECT id, a, b FROM rows", keep="a")
    crafted(root, {"x.parquet": (DATA.set_column(0, "id", pa.array(["1"] * 20)), on(DAY))}, PLAIN[:4])
    assert "x.parquet: column 'id' is VARCHAR, and the table says BIGINT" in message(root)


def test_a_contract_says_what_is_read_of_a_table(tmp_path: Path) -> None:
    """Its columns and wider types; a null, a column that is not there or a narrower type is broken."""
    root = workspace(
        tmp_path, "partition: day, columns: {id: BIGINT NOT NULL, a: DOUBLE, b: FLOAT, region: VARCHAR}", SQL
    )
    written(root)
    assert seen(root).schema.field("a").type == pa.float64()
    file = root / "jobs/mini/job.yaml"
    text = file.read_text()
    for old, new, says in (
        ("id: BIGINT", "id: INTEGER", "column 'id' is BIGINT in data/lake/sales, version 0, and INTEGER in its contract"),
        ("a: DOUBLE", "A: DOUBLE", "column 'A' is absent in data/lake/sales, version 0"),
    ):  # fmt: skip
        file.write_text(text.replace(old, new))
        assert says in message(root)
    file.write_text(text.replace("region: VARCHAR", "region: VARCHAR NOT NULL"))
    with pytest.raises(Broken, match=r"column 'region' has .* nulls; its contract is NOT NULL"):
        run(load("mini", root), DAY)


def test_a_table_lies_in_a_root_and_our_own_are_read_by_their_names(tmp_path: Path) -> None:
    """`{root: lake, delta: sales}`; a table that a job publishes is {table: …}."""
    root = workspace(tmp_path / "w", sql=SQL)
    lake = tmp_path / "lake"
    write_deltalake(str(lake / "sales"), rows(), partition_by=["day", "region"])
    (root / "workspace.yaml").write_text(f"roots: {{lake: {lake}}}\n")
    file = root / "jobs/mini/job.yaml"
    file.write_text(file.read_text().replace("delta: data/lake/sales", "root: lake, delta: sales"))
    assert seen(root).equals(truth(lake / "sales", ["id", "a", "b", "region"]))
    assert run(load("mini", root), DAY).inputs[0].path.startswith("lake:sales/day=2020-01-02/")
    file.write_text(file.read_text().replace("root: lake, delta: sales", "delta: data/tables/mini_scores"))
    assert "Read it as {table: mini_scores}" in message(root)


@pytest.mark.parametrize(("missing", "kind"), [("fail", Broken), ("wait", NotYet)])
def test_a_day_without_rows_is_a_policy_by_day_column_too(
    tmp_path: Path, missing: str, kind: type[Exception]
) -> None:
    """No file of the table may have rows of the day, by its statistics: it may still come."""
    root = workspace(tmp_path, "day_column: day", SQL)
    write_deltalake(str(root / "data/lake/sales"), rows())
    file = root / "jobs/mini/job.yaml"
    file.write_text(file.read_text() + f"policy: {{missing: {missing}}}\n")
    with pytest.raises(kind, match="no partition of 2020-01-09 in rows"):
        draft_plan(load("mini", root), dt.date(2020, 1, 9))


def test_a_day_without_rows_is_skipped_where_that_is_the_policy(tmp_path: Path) -> None:
    """By `day_column`, as by partitions."""
    root = workspace(tmp_path, "day_column: day", SQL)
    write_deltalake(str(root / "data/lake/sales"), rows())
    file = root / "jobs/mini/job.yaml"
    file.write_text(file.read_text() + "policy: {missing: skip}\n")
    assert draft_plan(load("mini", root), dt.date(2020, 1, 9)).status == "skipped"


# --- rows without a day ---


@pytest.mark.parametrize("by", ["partition", "column", "column that is a partition"])
def test_rows_without_a_day_are_refused_or_left_out_by_name(tmp_path: Path, by: str) -> None:
    """As of files: in whatever file they lie, also one of other days alone; deltalake's reader counts them."""
    entry = "partition: day" if by == "partition" else "day_column: day"
    root = workspace(tmp_path, entry)
    table, path = rows(300), tmp_path / "data/lake/sales"
    day = table["day"].to_pylist()
    keys = [] if by == "column" else ["day"]
    write_deltalake(str(path), table, partition_by=keys)
    later = pa.array([None if i % 100 == 0 else dt.date(2020, 3, 1) for i in range(300)])
    later_rows = table.set_column(table.column_names.index("day"), "day", later)
    write_deltalake(str(path), later_rows, mode="append", partition_by=keys)
    whole = pa.table(DeltaTable(str(path)).scan())
    assert whole["day"].null_count == 3
    with pytest.raises(Broken, match=r"3 (rows|nulls).*no_day: ignore in the input leaves"):
        run(load("mini", root), DAY)
    file = root / "jobs/mini/job.yaml"
    file.write_text(file.read_text().replace(entry, f"{entry}, no_day: ignore"))
    receipt = run(load("mini", root), DAY)
    assert receipt.rows.published == day.count(DAY)
    said = ("day=__HIVE_DEFAULT_PARTITION__ (3 rows in 1 file)",)
    assert receipt.ignored == ({"rows": said} if by == "partition" else {})


def test_a_file_whose_nulls_nobody_counted_is_looked_at(tmp_path: Path) -> None:
    """A log that says least and greatest, and no count of nulls: the file may have rows without a day."""
    root, path = workspace(tmp_path, "day_column: day"), tmp_path / "data/lake/sales"
    write_deltalake(str(path), rows(30))
    later = rows(30).set_column(
        rows(30).column_names.index("day"), "day", pa.array([None, *[dt.date(2020, 3, 1)] * 29])
    )
    write_deltalake(str(path), later, mode="append")
    log = path / "_delta_log/00000000000000000001.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "add" in line:
            stats = json.loads(line["add"]["stats"])
            line["add"]["stats"] = json.dumps({k: v for k, v in stats.items() if k != "nullCount"})
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(Broken, match=r"column 'day' has 1 null;"):
        run(load("mini", root), DAY)


def test_no_day_is_for_tables_with_days(tmp_path: Path) -> None:
    root = workspace(tmp_path, "no_day: ignore")
    assert "needs partition or day_column" in message(root)
