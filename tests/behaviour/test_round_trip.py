"""What other engines read is what the job gave: types, texts, times and checksums."""

import datetime as dt
import decimal
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder

from nightscore import Broken, load, query, run
from tests.behaviour.conftest import Build
from tests.behaviour.world import DAY, plain_files
from tests.support.workspace import JOB

TYPED = JOB.replace(
    "key: [id]\nkeep: [a]", "key: [name, moment]\nkeep: [price, small, flag, date, blob, tags, wide]"
)
TOP = """\
SELECT name, moment, price, score FROM scores
QUALIFY row_number() OVER (ORDER BY score DESC, name) <= getvariable('n')
"""
NAMES = [
    "",
    " ",
    "o'hara",
    'a "quoted" one',
    "nul\0inside",
    "żółw 🐢",
    "日本",
    "tab\tnew\nline",
    "%2F/../x",
    "NULL",
]
AT = [dt.datetime(2020, 1, 2, 3, 4, 5, 678_901 + i, tzinfo=dt.UTC) for i in range(len(NAMES))]
COLUMNS = ["name", "moment", "price", "small", "flag", "date", "blob", "tags", "wide"]


def typed_rows() -> pa.Table:
    n = len(NAMES)
    return pa.table(
        {
            "name": pa.array(NAMES),
            "moment": pa.array(AT, pa.timestamp("us", "UTC")),
            "price": pa.array([decimal.Decimal(f"{i}.{i:04d}") for i in range(n)], pa.decimal128(18, 4)),
            "small": pa.array([None if i == 3 else -i for i in range(n)], pa.int8()),
            "flag": pa.array([i % 2 == 0 for i in range(n)]),
            "date": pa.array([dt.date(1969, 12, 31) + dt.timedelta(days=i) for i in range(n)]),
            "blob": pa.array([bytes([0, 255, i]) for i in range(n)]),
            "tags": pa.array([["x", f"y{i}"] if i else [] for i in range(n)], pa.list_(pa.string())),
            "wide": pa.array([2**63 - 1 - i for i in range(n)], pa.int64()),
            "a": pa.array(np.arange(n, dtype=np.float32)),
            "b": pa.array(np.zeros(n, np.float32)),
        }
    )


@pytest.fixture
def typed(fresh: Build) -> Path:
    root = fresh(rows=1, job=TYPED, days=(DAY,))
    (root / "jobs/mini/top.sql").write_text(TOP)
    pq.write_table(typed_rows(), root / f"data/lake/rows/day={DAY}/part-0.parquet")
    assert run(load("mini", root), DAY).status == "published"
    return root


def in_order(table: pa.Table) -> list[dict[str, object]]:
    return sorted(table.select(COLUMNS).to_pylist(), key=lambda row: str(row["moment"]))


def test_every_engine_reads_back_what_the_input_held(typed: Path) -> None:
    """deltalake, DataFusion, DuckDB, pandas and ours: texts with NUL, decimals, UTC times, lists, bytes."""
    table = DeltaTable(str(typed / "data/tables/mini_scores"))
    wanted = in_order(typed_rows())
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        by_duckdb = connection.sql(
            "SELECT * FROM read_parquet($1)", params=[table.file_uris()]
        ).to_arrow_table()
    by_fusion = pa.table(QueryBuilder().register("t", table).execute("SELECT * FROM t").read_all())
    by_pandas = pd.concat(pd.read_parquet(f, columns=COLUMNS) for f in table.file_uris())
    assert in_order(table.to_pyarrow_table()) == wanted
    assert in_order(by_duckdb) == wanted
    assert in_order(by_fusion) == wanted
    assert in_order(query("SELECT * FROM mini_scores", typed)) == wanted
    assert list(by_pandas.sort_values("moment")["name"]) == NAMES
    assert str(by_pandas["moment"].dtype).endswith("UTC]")


def test_times_are_stored_in_utc_and_decimals_as_decimals(typed: Path) -> None:
    """The table's own schema says so, which every engine goes by; reader protocol 1 is enough."""
    table = DeltaTable(str(typed / "data/tables/mini_scores"))
    kinds = {f.name: f.type for f in pa.schema(table.schema())}
    assert kinds["moment"] == pa.timestamp("us", "UTC")
    assert kinds["price"] == pa.decimal128(18, 4)
    assert table.protocol().min_reader_version == 1
    [part] = plain_files(typed, "mini_scores")
    assert part.schema.field("moment").type == pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.timestamp("us"), [dt.datetime(2020, 1, 1)]),
        (pa.time64("us"), [dt.time(1)]),
        (pa.uint64(), [2**64 - 1]),
    ],
    ids=str,
)
def test_a_column_that_a_table_cannot_hold_is_broken_before_a_row_is_read(
    fresh: Build, kind: pa.DataType, values: list[object]
) -> None:
    """The message names the column and what to cast it to; nothing is rounded, shifted or wrapped."""
    root = fresh(rows=1, job=JOB.replace("keep: [a]", "keep: [odd]"), days=(DAY,))
    rows = typed_rows().slice(0, 1).select(["a", "b"]).append_column("odd", pa.array(values, kind))
    rows = rows.append_column("id", pa.array([1]))
    pq.write_table(rows, root / f"data/lake/rows/day={DAY}/part-0.parquet")
    with pytest.raises(Broken, match="column 'odd'"):
        run(load("mini", root), DAY)


@pytest.mark.parametrize("table", ["mini_scores", "mini_top", "receipts"])
def test_a_flipped_bit_in_a_published_file_is_noticed(published: Path, table: str) -> None:
    """Every page has a checksum: a reader that verifies them refuses each of the flipped bits."""
    [path] = (published / f"data/tables/{table}/day={DAY}").glob("*.parquet")
    data = path.read_bytes()
    for column in (pq.read_metadata(path).row_group(0).column(i) for i in (0, 1, 2)):
        end = column.data_page_offset + column.total_compressed_size
        broken = bytearray(data)
        first = column.dictionary_page_offset or column.data_page_offset
        end = first + column.total_compressed_size
        broken[end - 3] ^= 1
        copy = published / "broken.parquet"
        copy.write_bytes(broken)
        with pytest.raises(OSError, match=r"(?i)crc|checksum"):
            pq.read_table(copy, page_checksum_verification=True)


@pytest.mark.disk_only(reason="it moves a workspace, and its inputs would have other times")
def test_a_workspace_may_have_any_name(template: Path, tmp_path: Path) -> None:
    """Spaces, quotes, brackets, stars and other alphabets; what Delta cannot have in a path is refused."""
    from tests.behaviour.world import Truth, copy, ours

    root = copy(template, tmp_path / "it's a \"w[0]* żółw & co")
    assert run(load("mini", root), DAY).status == "unchanged"
    Truth(2_000, (4.0, 1.0)).write_model(root)
    assert run(load("mini", root), DAY).status == "published"
    for name in ("mini_scores", "mini_top"):
        assert ours(root, name).is_(Truth(2_000, (4.0, 1.0)), name)
    for character in "=?#%":
        (tmp_path / f"w{character}w" / "jobs").mkdir(parents=True)
        with pytest.raises(Broken, match="must not contain"):
            load("mini", tmp_path / f"w{character}w")
