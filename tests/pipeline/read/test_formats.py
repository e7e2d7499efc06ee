"""Rows by a column of days, CSV and JSON lines: pandas' and Python's rows, and nothing dropped or rounded."""

import datetime as dt
import gzip
import json
import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from nightscore import Broken, load, run
from nightscore.pipeline import inputs, plan_day
from nightscore.pipeline.read.absent import missing
from nightscore.pipeline.read.integrity import read_text
from nightscore.store import Engine, EngineResources, SqlMistakes
from tests.support.workspace import JOB, make_workspace

DAYS = [dt.date(2026, 1, 30), dt.date(2026, 1, 31), dt.date(2026, 2, 1), dt.date(2026, 2, 2)]
DAY = DAYS[2]
COLUMNS = "columns: {id: BIGINT NOT NULL, region: VARCHAR, amount: 'DECIMAL(12, 2)', a: FLOAT, b: FLOAT}"
SQL = "SELECT id, region, amount, a, b FROM rows"


def rows() -> pd.DataFrame:
    """Some rows a day: with nulls, quotes, commas, line breaks, an empty text."""
    n = 40
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"day": [d for d in DAYS for _ in range(n)]})
    frame["id"] = np.arange(len(frame)) + 2**53
    frame["region"] = np.resize(np.array(["eu", 'a "b"', "x,y", "two\nlines", "é", None], object), len(frame))
    frame["amount"] = [f"{i // 100}.{i % 100:02d}" for i in rng.integers(0, 10**9, len(frame))]
    frame["a"], frame["b"] = (rng.integers(0, 1024, (2, len(frame))) / 1024).astype(np.float32)
    return frame


def job_over(root: Path, spec: str, features: str = "rows") -> object:
    """The job over an input in `data/in`; its features are the input as it is, or SQL."""
    text = JOB.replace("{path: data/lake/rows, partition: day}", f"{{path: data/in, {spec}}}")
    text = text.replace("features: rows", f"features: {features}").replace(
        "keep: [a]", "keep: [region, amount]"
    )
    if not (root / "jobs").exists():
        make_workspace(root, 5, text, ())
    (root / "jobs/mini/job.yaml").write_text(text)
    return load("mini", root)


def seen(job, day: dt.date, select: str = SQL) -> list[tuple]:
    """What SQL of a job sees."""
    files = inputs.resolve_inputs(job, day)
    with Engine(inputs.views(job, files, day), EngineResources(2, 500_000_000, job.workspace.root)) as engine:
        return engine.rows(select)


def or_none(value: object) -> object:
    """Pandas' NaN as a null."""
    return None if pd.isna(value) else value


def wanted(days: list[dt.date]) -> list[tuple]:
    """The same by Python alone."""
    own = rows()[lambda f: f["day"].isin(days)]
    return [
        (int(r.id), None if pd.isna(r.region) else r.region, str(r.amount), r.a, r.b)
        for r in own.itertuples()
    ]


def as_texts(found: list[tuple]) -> list[tuple]:
    return sorted((i, region, str(amount), a, b) for i, region, amount, a, b in found)


def write_csv(folder: Path) -> None:
    """By pandas: plain, gzip and zstd by turns, columns in another order in each, CRLF in one."""
    for i, (day, part) in enumerate(rows().groupby("day")):
        own = folder / f"day={day}"
        own.mkdir(parents=True)
        order = ["id", "region", "amount", "a", "b"][:: -1 if i % 2 else 1]
        ending = ("csv", "csv.gz", "csv.zst", "CSV")[i]
        table = part[order].to_csv(index=False, lineterminator="\r\n" if i == 3 else "\n").encode()
        if i == 0:
            table = b"\xef\xbb\xbf" + table
        packed = {"csv.gz": gzip.compress, "csv.zst": lambda t: pa.compress(t, "zstd", asbytes=True)}
        (own / f"x.{ending}").write_bytes(packed.get(ending, bytes)(table))


def write_json(folder: Path) -> None:
    """By Python's json: lines, large numbers in quotes or not."""
    for day, part in rows().groupby("day"):
        own = folder / f"day={day}"
        own.mkdir(parents=True)
        lines = [
            json.dumps(
                {
                    "id": r.id,
                    "region": or_none(r.region),
                    "amount": r.amount if r.id % 2 else float(r.amount),
                    "a": float(r.a),
                    "b": float(r.b),
                },
                ensure_ascii=bool(r.id % 3),
            )
            for r in part.itertuples()
        ]
        (own / "x.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_parquet(folder: Path) -> None:
    """The same rows in the plain layout."""
    for day, part in rows().groupby("day"):
        table = pa.Table.from_pandas(part.drop(columns="day"), preserve_index=False)
        amount = table["amount"].cast(pa.decimal128(12, 2))
        (folder / f"day={day}").mkdir(parents=True)
        pq.write_table(table.set_column(2, "amount", amount), folder / f"day={day}/x.parquet")


WRITERS = {"csv": write_csv, "json": write_json}


@pytest.mark.parametrize("form", WRITERS)
def test_text_files_are_read_by_their_columns_and_nothing_else(form: str, tmp_path: Path) -> None:
    """Types as declared, columns by name, nulls and empty texts apart, whatever the compression."""
    WRITERS[form](tmp_path / "w/data/in")
    job = job_over(tmp_path / "w", f"partition: day, lookback: 2, format: {form}, {COLUMNS}")
    assert as_texts(seen(job, DAY)) == sorted(wanted(DAYS[1:3]), key=lambda r: r[0])
    kinds = "SELECT DISTINCT typeof(id), typeof(amount), typeof(a), typeof(day) FROM rows"
    assert seen(job, DAY, kinds) == [("BIGINT", "DECIMAL(12,2)", "FLOAT", "DATE")]
    assert inputs.list_input_days(job) == DAYS


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("features", ["rows", "features.sql"])
@pytest.mark.sample(1)
def test_the_published_rows_are_those_of_parquet(form: str, features: str, tmp_path: Path) -> None:
    """Streamed (through the feature snapshot) and by SQL."""
    published = []
    for name, write, spec in (
        ("w", write_parquet, "partition: day"),
        ("x", WRITERS[form], f"partition: day, format: {form}, {COLUMNS}"),
    ):
        root = tmp_path / name
        write(root / "data/in")
        job_over(root, spec, features)
        (root / "jobs/mini/features.sql").write_text(SQL)
        assert run(load("mini", root), DAY.isoformat()).rows.published == 40
        assert run(load("mini", root), DAY.isoformat()).status == "unchanged"
        table = DeltaTable(str(root / "data/tables/mini_scores")).to_pyarrow_table().to_pandas()
        published.append(table.drop(columns="run_id").sort_values("id", ignore_index=True))
    pd.testing.assert_frame_equal(*published)


GERMAN = "csv: {delimiter: ';', quote: \"'\", decimal: ',', encoding: latin-1}"


def write_german(folder: Path) -> None:
    """The same rows as a spreadsheet of another country saves them."""
    frame = rows()
    for day in DAYS:
        (folder / f"day={day}").mkdir(parents=True)
        part = frame[frame["day"] == day].drop(columns="day").assign(note="Größe; 'x'")
        options = {"sep": ";", "decimal": ",", "quotechar": "'", "encoding": "latin-1", "index": False}
        part.astype({"amount": float}).to_csv(folder / f"day={day}/x.csv", **options)


def test_csv_as_other_countries_write_it(tmp_path: Path) -> None:
    """The rows are those of Parquet, to the cent; a text keeps its letters, delimiters and quotes."""
    columns = COLUMNS.replace("a: FLOAT", "note: VARCHAR, a: FLOAT")
    write_german(tmp_path / "w/data/in")
    write_parquet(tmp_path / "x/data/in")
    job = job_over(tmp_path / "w", f"partition: day, format: csv, {GERMAN}, {columns}")
    other = job_over(tmp_path / "x", "partition: day")
    select = "SELECT id, region, amount, a, b FROM rows ORDER BY id"
    assert seen(job, DAY, select) == seen(other, DAY, select)
    assert seen(job, DAY, "SELECT DISTINCT note FROM rows") == [("Größe; 'x'",)]


@pytest.mark.parametrize(
    ("form", "line", "said"),
    [
        (GERMAN, "2;eu;1.234,5;0;0", r"column 'amount': '1\.234,5' is no DECIMAL"),
        (GERMAN, "2;eu;1.5;0;0", r"column 'amount': '1\.5' is no DECIMAL"),
        (GERMAN, "2;eu;1,239;0;0", r"column 'amount': '1,239' is no DECIMAL"),
        (GERMAN, "2;eu;1;0.5;0", r"column 'a': '0\.5' is no FLOAT"),
        (GERMAN, "2;\x80;1;0;0", r"the byte 80 is no letter of latin-1 \(of Windows-1252 it may be '€'\)"),
        ("csv: {delimiter: ';'}", "2;eu;1,5;0;0", r"column 'amount': '1,5' is no DECIMAL"),
        ("csv: {delimiter: ';'}", "2;\xe9;1;0;0", r"x\.csv: line 3: Invalid unicode"),
        ("csv: {delimiter: '|'}", "2;eu;1;0;0", r"column 'id' is not in its header"),
    ],
)
def test_what_is_not_written_as_the_job_says_stops_the_run(
    tmp_path: Path, form: str, line: str, said: str
) -> None:
    """Never another number, or another letter."""
    path = tmp_path / f"w/data/in/day={DAY}/x.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(f"id;region;amount;a;b\n1;eu;1;0;0\n{line}\n".encode("latin-1"))
    job = job_over(tmp_path / "w", f"partition: day, format: csv, {form}, {COLUMNS}")
    with pytest.raises(Broken, match=said):
        run(job, DAY.isoformat())


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("format: csv, csv: {decimal: ','}", "decimal and delimiter are both a comma"),
        ("format: csv, csv: {delimiter: ';', quote: ';'}", "have to differ"),
        ("format: csv, csv: {delimiter: ab}", "delimiter"),
        ("format: csv, csv: {encoding: cp1252}", "latin-1"),
        ("format: json, csv: {delimiter: ';'}", "the format is json"),
    ],
)
def test_a_form_of_csv_that_can_t_be_is_refused(tmp_path: Path, spec: str, said: str) -> None:
    """With the line of job.yaml."""
    with pytest.raises(Broken, match=said):
        job_over(tmp_path / "w", f"partition: day, {spec}, {COLUMNS}")


HEAD = "id,region,amount,a,b\n1,eu,1.00,0,0\n"
BAD_CSV = {
    "a value that is no number": (HEAD + "2,eu,x,0,0\n",
                       r"x\.csv: row 2 \(line 3.*'amount': 'x' is no DECIMAL"),
    "an integer with places": (HEAD + "2.7,eu,1,0,0\n", r"column 'id': '2\.7' is no BIGINT"),
    "money with a third place": (HEAD + "2,eu,1.239,0,0\n", r"column 'amount': '1\.239' is no DECIMAL"),
    "a number too large": (HEAD + "9223372036854775808,eu,1,0,0\n", r"'9223372036854775808' is no BIGINT"),
    "a value too few": (HEAD + "2,eu,1.00,0\n",
                       r"x\.csv: line 3: Expected Number of Columns: 5 Found: 4: 2,eu"),
    "a value too many": (HEAD + "2,eu,1.00,0,0,9\n",
                       r"x\.csv: line 3: Expected Number of Columns: 5 Found: 6"),
    "a quote that stays open": (HEAD + '2,"eu,1.00,0,0\n', r"x\.csv: line 3: Value with unterminated quote"),
    "no UTF-8": (HEAD.encode() + "2,\xe9,1,0,0\n".encode("latin-1"), r"x\.csv: line 3: Invalid unicode"),
    "no key": (HEAD + ",eu,1,0,0\n", r"column 'id' has 1 null; its contract is NOT NULL"),
    "a column that is not declared": ("id,region,amount,a,b,c\n",
                       r"column 'c' is none of the input's columns"),
    "a column that is not there": ("id,region,amount,a\n", r"column 'b' is not in its header"),
    "another case": ("ID,region,amount,a,b\n", r"column 'id' is not in its header"),
    "twice": ("id,id,region,amount,a,b\n", r"column 'id' stands twice"),
    "no header": ("1,eu,1.00,0,0\n", r"column 'id' is not in its header"),
    "lines that end in two ways": (HEAD + '2,"a\r\nb",1.00,0,0\n3,eu,1.00,0,0\r\n',
                       r"x\.csv: line 5 ends with '\\r\\n', and line 1 with '\\n'; allowed is one of them"),
    "a value of a megabyte": (HEAD + f"2,eu,{'9' * 10**6},0,0\n", r"'amount': '9{99}…"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CSV)
@pytest.mark.sample(4)
def test_a_line_that_is_none_stops_the_run(name: str, tmp_path: Path) -> None:
    """With file, line or row, and value; nothing is dropped, rounded or filled."""
    text, said = BAD_CSV[name]
    path = tmp_path / f"w/data/in/day={DAY}/x.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    job = job_over(tmp_path / "w", f"partition: day, format: csv, {COLUMNS}")
    with pytest.raises(Broken, match=said):
        run(job, DAY.isoformat())


GOOD = '{"id": 1, "region": "eu", "amount": "1.00", "a": 0, "b": 0}\n'
BAD_JSON = {
    "an integer with places": (
        GOOD.replace('"id": 1', '"id": 1.5'),
        r"row 1: column 'id': '1\.5' is no BIGINT",
    ),
    "true is no number": (GOOD.replace('"a": 0', '"a": true'), r"column 'a': 'true' is no FLOAT"),
    "money beyond a double": (GOOD.replace('"1.00"', "1234567890.123456789"), r"is no DECIMAL"),
    "half a line": (GOOD + '{"id": 2, "region"\n', r"x\.json: line 2, byte 20: unexpected"),
    "behind empty lines": ("\n" + GOOD + " \n\n" + '{"id": 2', r"x\.json: line 5, byte 9: unexpected"),
    "no UTF-8": ((GOOD + GOOD).replace("eu", "\xe9").encode("latin-1"), r"line 1, byte 22: invalid UTF-8"),
    "over two lines": (GOOD.replace(", ", ",\n"), r"line 1, byte \d+: unexpected end of data; no line"),
    "null": (GOOD + "\n null\n" + GOOD, r"x\.json: line 3: null is no object; no line is left out"),
    "no object": (GOOD + "\n[1]\n", r"x\.json: line 3: Expected OBJECT, but got ARRAY: \[1\]; no line"),
    "an unknown key": (GOOD.replace("}", ', "c": 1}'), r"'c' is none of the input's columns"),
    "a key in no line": ('{"id": 1, "region": "eu", "amount": 1, "a": 0}\n', r"'b' is in none of its lines"),
    "a key twice": (GOOD.replace("{", '{"id": 2, '), r"duplicate key"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_a_line_of_json_that_is_none_stops_the_run(name: str, tmp_path: Path) -> None:
    """The same of JSON lines."""
    text, said = BAD_JSON[name]
    path = tmp_path / f"w/data/in/day={DAY}/x.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    job = job_over(tmp_path / "w", f"partition: day, format: json, {COLUMNS}")
    with pytest.raises(Broken, match=said) as caught:
        run(job, DAY.isoformat())
    assert "Try " not in str(caught.value), "no advice of options that a job has not"


@pytest.mark.parametrize("packed", ["csv.gz", "csv.zst", "json.gz"])
def test_a_packed_file_that_is_cut_is_named_as_the_job_names_it(packed: str, tmp_path: Path) -> None:
    """Relative to the workspace, whoever finds it: the reader of the header, or DuckDB."""
    form, _, ending = packed.partition(".")
    noise = np.random.default_rng(1).integers(0, 10**15, 200_000).astype(str)
    text = "\n".join(["id,region,amount,a,b", *(f"1,{n},1.00,0,0" for n in noise)]) if form == "csv" else GOOD
    data = (
        gzip.compress(text.encode()) if ending == "gz" else pa.compress(text.encode(), "zstd", asbytes=True)
    )
    path = tmp_path / f"w/data/in/day={DAY}/x.{packed}"
    path.parent.mkdir(parents=True)
    for cut in (len(data) - 5, 40):
        path.write_bytes(data[:cut])
        job = job_over(tmp_path / "w", f"partition: day, format: {form}, {COLUMNS}")
        with pytest.raises(Broken, match=rf"data/in/day=2026-02-01/x\.{packed}: ") as caught:
            run(job, DAY.isoformat())
        assert str(tmp_path) not in str(caught.value)


def test_files_of_another_format_say_which(tmp_path: Path) -> None:
    """The way on is the key to write."""
    write_csv(tmp_path / "w/data/in")
    with pytest.raises(
        Broken, match=r"It is csv, and the input's format is parquet: write format: csv and its columns"
    ):
        inputs.resolve_inputs(job_over(tmp_path / "w", "partition: day"), DAY)
    with pytest.raises(Broken, match=r"format is json: write format: csv"):
        inputs.resolve_inputs(job_over(tmp_path / "w", f"partition: day, format: json, {COLUMNS}"), DAY)
    with pytest.raises(Broken, match=r"csv has no types of its own: give them as columns"):
        job_over(tmp_path / "w", "partition: day, format: csv")
    with pytest.raises(Broken, match=r"needs Parquet files"):
        job_over(tmp_path / "w", f"known_at: a, partition: day, format: csv, {COLUMNS}")


KINDS = {
    "DATE": (pa.date32(), lambda d: d),
    "TIMESTAMP": (pa.timestamp("us"), lambda d: dt.datetime(d.year, d.month, d.day, 23, 59, 59, 999_999)),
    "TIMESTAMPTZ": (pa.timestamp("ms", "UTC"), lambda d: dt.datetime(d.year, d.month, d.day, tzinfo=dt.UTC)),
    "TIMESTAMPTZ elsewhere": (
        pa.timestamp("us", "America/New_York"),
        lambda d: dt.datetime(d.year, d.month, d.day, 23, tzinfo=dt.UTC),
    ),
}


def write_one(folder: Path, kind: str, files: int = 2) -> None:
    """All rows in some files without partitions, the day in a column."""
    folder.mkdir(parents=True)
    frame, (arrow, moment) = rows(), KINDS[kind]
    table = pa.Table.from_pandas(frame.drop(columns="day"), preserve_index=False)
    table = table.set_column(2, "amount", table["amount"].cast(pa.decimal128(12, 2)))
    table = table.append_column("ordered", pa.array([moment(d) for d in frame["day"]], arrow))
    for i in range(files):
        own = table.filter(pa.array(np.arange(len(table)) % files == i))
        pq.write_table(own, folder / f"part-{i}.parquet", row_group_size=10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lookback", [1, 3])
@pytest.mark.sample(2)
def test_a_column_of_days_cuts_the_rows(kind: str, lookback: int, tmp_path: Path) -> None:
    """The days of the lookback, by Python; a later day is not seen, whatever SQL asks for."""
    write_one(tmp_path / "w/data/in", kind)
    job = job_over(tmp_path / "w", f"day_column: ordered, lookback: {lookback}")
    assert as_texts(seen(job, DAY)) == sorted(wanted(DAYS[3 - lookback : 3]), key=lambda r: r[0])
    assert seen(job, DAY, "SELECT count(*) FROM rows WHERE CAST(ordered AS DATE) > DATE '2026-02-01'") == [
        (0,)
    ]
    assert inputs.list_input_days(job) == DAYS


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_nanoseconds_are_of_the_day_on_which_they_are(zone: str | None, tmp_path: Path) -> None:
    """What pandas and pyarrow write; to a cast to DATE the last of a day would be of the next. By NumPy."""
    folder = tmp_path / "w/data/in"
    folder.mkdir(parents=True)
    last = np.timedelta64(86_400_000_000_000 - 1, "ns")
    frame = rows()
    starts = frame["day"].to_numpy().astype("datetime64[D]").astype("datetime64[ns]")
    moments = starts + np.where(np.arange(len(frame)) % 2, last, np.timedelta64(0, "ns"))
    table = pa.Table.from_pandas(frame.drop(columns="day"), preserve_index=False)
    table = table.set_column(2, "amount", table["amount"].cast(pa.decimal128(12, 2)))
    table = table.append_column("ordered", pa.array(moments, pa.timestamp("ns", zone)))
    pq.write_table(table, folder / "x.parquet", row_group_size=7)
    job = job_over(tmp_path / "w", "day_column: ordered")
    of_day = moments.astype("datetime64[D]") == np.datetime64(DAY)
    assert run(job, DAY.isoformat()).rows.published == of_day.sum()
    assert [row[0] for row in seen(job, DAY, "SELECT id FROM rows ORDER BY id")] == sorted(
        frame["id"][of_day]
    )
    assert inputs.list_input_days(job) == DAYS


def test_what_came_true_later_is_seen_by_who_asks_for_it(tmp_path: Path) -> None:
    """Labels reach past the day; no run does."""
    write_one(tmp_path / "w/data/in", "TIMESTAMP")
    job = job_over(tmp_path / "w", "day_column: ordered")
    files = inputs.resolve_later_inputs(job, DAY, 1)
    resources = EngineResources(2, 500_000_000, job.workspace.root)
    for after, days in ((0, [DAY]), (1, DAYS[2:])):
        with Engine(inputs.views(job, files, DAY, "", after), resources) as engine:
            assert as_texts(engine.rows(SQL)) == sorted(wanted(days), key=lambda r: r[0])


@pytest.mark.parametrize("features", ["rows", "features.sql"])
@pytest.mark.sample(1)
def test_what_a_column_of_days_publishes_is_what_partitions_do(features: str, tmp_path: Path) -> None:
    """The same rows in one file and in partitions: published alike, with a lookback, too."""
    published = []
    for name, spec in (("w", "partition: day, lookback: 2"), ("x", "day_column: ordered, lookback: 2")):
        root = tmp_path / name
        write_parquet(root / "data/in") if name == "w" else write_one(root / "data/in", "TIMESTAMP")
        job_over(root, spec, features)
        column = "day" if name == "w" else "CAST(ordered AS DATE)"
        (root / "jobs/mini/features.sql").write_text(f"{SQL} WHERE {column} = getvariable('day')")
        receipt = run(load("mini", root), DAY.isoformat())
        assert receipt.rows.published == 40
        assert str(receipt.days_seen["rows"]).startswith("2 of 2")
        table = DeltaTable(str(root / "data/tables/mini_scores")).to_pyarrow_table().to_pandas()
        published.append(table.drop(columns="run_id").sort_values("id", ignore_index=True))
    pd.testing.assert_frame_equal(*published)


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.sample(1)
def test_a_row_without_a_day_stops_the_run(form: str, tmp_path: Path) -> None:
    """Its day is not known, so no day could miss it; left out where the job says so."""
    folder = tmp_path / "w/data/in"
    folder.mkdir(parents=True)
    frame = rows().rename(columns={"day": "ordered"})
    frame.loc[100, "ordered"] = None  # of the day itself
    if form == "csv":
        frame.to_csv(folder / "x.csv", index=False)
    else:
        frame.assign(amount=0.5).to_parquet(folder / "x.parquet")
    spec = "day_column: ordered"
    spec += f", format: csv, {COLUMNS[:-1]}, ordered: DATE}}" if form == "csv" else ""
    with pytest.raises(Broken, match=r"column 'ordered' has 1 null;"):
        run(job_over(tmp_path / "w", spec), DAY.isoformat())
    job = job_over(tmp_path / "w", f"{spec}, no_day: ignore")
    assert run(job, DAY.isoformat()).rows.published == 39


def test_a_day_without_rows_is_missing(tmp_path: Path) -> None:
    """By policy.missing, as a partition that is not there; a hole in a lookback is said."""
    write_one(tmp_path / "w/data/in", "DATE")
    job = job_over(tmp_path / "w", "day_column: ordered, lookback: 3")
    later = dt.date(2026, 2, 4)
    with pytest.raises(Broken, match=r"rows"):
        plan_day(job, later)
    files = inputs.resolve_inputs(job, later)
    assert missing(job, files, later) == ["rows"]
    assert inputs.days_of(job, "rows", files, later) == {"2026-02-02"}


def test_a_column_of_days_of_csv_and_one_of_texts(tmp_path: Path) -> None:
    """Of CSV its type is the declared one; a text is no day."""
    folder = tmp_path / "w/data/in"
    folder.mkdir(parents=True)
    frame = rows().rename(columns={"day": "ordered"})
    frame.to_csv(folder / "all.csv", index=False)
    job = job_over(tmp_path / "w", f"day_column: ordered, format: csv, {COLUMNS[:-1]}, ordered: DATE}}")
    assert as_texts(seen(job, DAY)) == sorted(wanted([DAY]), key=lambda r: r[0])
    assert run(job, DAY.isoformat()).rows.published == 40
    (folder / "all.csv").unlink()
    frame["ordered"] = frame["ordered"].astype(str)
    frame.to_parquet(folder / "all.parquet")
    with pytest.raises(Broken, match=r"column 'ordered' is VARCHAR in .*; allowed: DATE, TIMESTAMP"):
        seen(job_over(tmp_path / "w", "day_column: ordered"), DAY)


def test_row_groups_of_other_days_are_not_read(tmp_path: Path) -> None:
    """The condition is one on the column itself, so DuckDB asks the statistics of row groups."""
    from nightscore.store import View
    from nightscore.store.sql.views import Within

    n = 400
    days = np.repeat(np.datetime64("2025-01-01") + np.arange(n), 1000)
    pq.write_table(
        pa.table({"at": days, "x": np.arange(n * 1000)}), tmp_path / "x.parquet", row_group_size=1000
    )
    day = dt.date(2025, 6, 1)
    view = View("rows", (tmp_path / "x.parquet",), within=Within("at", "DATE", day, day))
    with Engine([view], EngineResources(1, 200_000_000, tmp_path)) as engine:
        plan = engine._connection.execute("EXPLAIN ANALYZE SELECT sum(x) FROM rows").fetchall()[0][1]
    assert "at>=" in plan.replace(" ", "")


LOSSY = {  # what DuckDB would cast without a word -> (the type as a job may write it, what is written)
    "an alias": ("INT4", "1.7"), "another": ("LONG", "1.7"), "of a decimal": ("'DEC(10,2)'", "1.239"),
    "a list": ("'INTEGER[]'", "[1.7, 2]"), "infinite": ("FLOAT", "1e39"), "a double": ("DOUBLE", "1e400"),
    "digits apart": ("DOUBLE", "1_000"), "of another zone": ("TIMESTAMP", "2026-01-05T23:30:00-05:00"),
    "nanoseconds": ("TIMESTAMP", "2026-01-05 10:00:00.1234567"), "a word": ("TIMESTAMP", "epoch"),
    "part of a second": ("TIMESTAMP_S", "2026-01-05 10:00:00.7"),
    "a whole number": ("FLOAT", "16777217"), "of a double": ("DOUBLE", "-9007199254740993.0"),
    "in a list": ("'FLOAT[]'", "[1, 16777217]"),
}  # fmt: skip
WHOLE = {
    "an alias": ("INT4", "17", 17), "a list": ("'INTEGER[]'", "[7, -2]", [7, -2]),
    "endless": ("DOUBLE", "-inf", -np.inf), "exponent": ("FLOAT", "-1.5e3", -1500.0),
    "UTC": ("TIMESTAMP", "2026-01-05T23:30:00Z", dt.datetime(2026, 1, 5, 23, 30)),
    "a zone": ("TIMESTAMPTZ", "2026-01-05T23:30:00-05:00", dt.datetime(2026, 1, 6, 4, 30, tzinfo=dt.UTC)),
    "whole": ("FLOAT", "33554436", 33554436.0), "of a float": ("FLOAT", "0.1", float(np.float32("0.1"))),
    "shortest digits": ("DOUBLE", "123456789012345680000", float("123456789012345680000")),
    "all digits": ("DOUBLE", "99999999999999991611392.00", 1e23), "fraction": ("DOUBLE", "0.1", 0.1),
    "no more than zeros": ("TIMESTAMP_S", "2026-01-05 10:00:00.000", dt.datetime(2026, 1, 5, 10)),
}  # fmt: skip


def one_value(root: Path, form: str, kind: str, said: str) -> object:
    """A job over one row, whose column v is written so."""
    job = job_over(root, f"partition: day, format: {form}, columns: {{id: BIGINT, v: {kind}}}")
    folder = root / f"data/in/day={DAY}"
    folder.mkdir(parents=True)
    if form == "csv":
        (folder / "x.csv").write_text(f'id,v\n1,"{said}"\n')
    else:
        quoted = said if said.startswith("[") else json.dumps(said)
        (folder / "x.json").write_text(f'{{"id": 1, "v": {quoted}}}\n')
    return job


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.parametrize(("kind", "said"), LOSSY.values(), ids=LOSSY)
def test_no_value_is_cast_with_a_loss(form: str, kind: str, said: str, tmp_path: Path) -> None:
    """Neither where rows are read nor where they are checked: it is named, as is the type by its own name."""
    job = one_value(tmp_path / "w", form, kind, said)
    with pytest.raises(Broken, match=re.escape(said.partition(" ")[0])), SqlMistakes("rows"):
        seen(job, DAY, "SELECT v FROM rows")
    with pytest.raises(Broken, match=r"column 'v': .* is no "):
        read_text(job, inputs.resolve_inputs(job, DAY))


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.parametrize(("kind", "said", "value"), WHOLE.values(), ids=WHOLE)
def test_a_value_that_a_type_holds_is_read(
    form: str, kind: str, said: str, value: object, tmp_path: Path
) -> None:
    """The moment, the number or the list that Python has of it."""
    job = one_value(tmp_path / "w", form, kind, said)
    read_text(job, inputs.resolve_inputs(job, DAY))
    assert seen(job, DAY, "SELECT v FROM rows") == [(value,)]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_whole_number_is_read_as_it_is_or_refused(kind: type, tmp_path: Path) -> None:
    """Around powers of two: by Python's integers, one is read where it is the type's; bare in JSON."""
    name, digits = ("FLOAT", 24) if kind is np.float32 else ("DOUBLE", 53)
    job = one_value(tmp_path / "w", "json", name, "0")
    file = tmp_path / f"w/data/in/day={DAY}/x.json"
    numbers = [2**p + d for p in (digits - 1, digits, digits + 2, 60) for d in (-1, 0, 1, 2, 5)]
    for number in numbers:
        file.write_text(f'{{"id": 1, "v": {number}}}\n')
        files = inputs.resolve_inputs(job, DAY)
        if number in (int(kind(number)), int(Decimal(str(kind(number))))):  # its value, its shortest digits
            read_text(job, files)
            assert seen(job, DAY, "SELECT CAST(v AS HUGEINT) FROM rows") == [(int(kind(number)),)]
        else:
            with pytest.raises(Broken, match=f"'{number}' is no {name}, which has not all whole numbers"):
                read_text(job, files)


def test_a_number_of_json_is_no_text(tmp_path: Path) -> None:
    """1.10 would be the text 1.1: who writes a text quotes it."""
    job = one_value(tmp_path / "w", "json", "VARCHAR", "[1.10]")
    file = tmp_path / f"w/data/in/day={DAY}/x.json"
    for said in ("1.10", "1e2"):
        file.write_text(f'{{"id": 1, "v": {said}}}\n')
        with pytest.raises(Broken, match=r"column 'v': .* is no VARCHAR"):
            read_text(job, inputs.resolve_inputs(job, DAY))
    file.write_text('{"id": 1, "v": "1.10"}\n{"id": 2, "v": 12}\n{"id": 3, "v": null}\n')
    read_text(job, inputs.resolve_inputs(job, DAY))
    assert seen(job, DAY, "SELECT v FROM rows ORDER BY id") == [("1.10",), ("12",), (None,)]
