"""Every type that a table can hold, in a PostgreSQL: read back by psycopg it is what pyarrow holds."""

import datetime as dt
import decimal
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.common import Broken
from nightscore.common.workspace import Workspace
from nightscore.delivery.contract import Parcel
from nightscore.delivery.key_hash import hash_files
from nightscore.job import Postgres
from tests.delivery.conftest import rows_at

DAY = dt.date(2020, 1, 2)
NAN, INF = math.nan, math.inf
NOON = dt.datetime(2020, 1, 2, 12, 0, 0, 123456, dt.UTC)
CASES: dict[str, tuple[pa.DataType, list[object]]] = {
    "bool": (pa.bool_(), [True, False, None]),
    "int8": (pa.int8(), [-128, 127, None]),
    "int16": (pa.int16(), [-(2**15), 2**15 - 1, None]),
    "int32": (pa.int32(), [-(2**31), 2**31 - 1, None]),
    "int64": (pa.int64(), [-(2**63), 2**63 - 1, None]),
    "float64": (pa.float64(), [0.1, 5e-324, 1.7976931348623157e308, -0.0, INF, -INF, NAN, None, 2 / 3]),
    "text": (pa.string(), ["", None, 'a "b", c', "\\N", "\\", "\n\r\t", "ü𝄞", " x ", "NULL", "{}", "'"]),
    "bytes": (pa.binary(), [b"", b"\x00\xff", None]),
    "date": (pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31), None]),
    "instant": (pa.timestamp("us", "UTC"), [NOON, dt.datetime(1, 1, 1, tzinfo=dt.UTC), None]),
    "decimal": (
        pa.decimal128(38, 4),
        [decimal.Decimal("-0.0500"), decimal.Decimal("9" * 34 + ".9999"), None],
    ),
    "whole decimal": (
        pa.decimal128(20, 0),
        [decimal.Decimal(18446744073709551615), None],
    ),  # unsigned 64 bits
    "ints": (pa.list_(pa.int32()), [[1, None, -3], [], None]),
    "floats": (pa.list_(pa.float64()), [[0.1, INF, None], []]),
    "texts": (pa.list_(pa.string()), [["a", "", None, "NULL", '"', "\\", ",{}", "ü"], []]),
    "dates": (pa.list_(pa.date32()), [[DAY, None]]),
    "decimals": (pa.list_(pa.decimal128(9, 2)), [[decimal.Decimal("1.50"), None]]),
}


def deliver(column: pa.Array, folder: Path, table: str = "t") -> None:
    """A table of an id and one column, delivered."""
    pytest.importorskip("psycopg")
    from nightscore.delivery.postgres import PostgresChannel

    rows = pa.table({"id": pa.array(range(len(column)), pa.int64()), "v": column})
    (folder / "data").mkdir(exist_ok=True)
    pq.write_table(rows, folder / "rows.parquet", write_page_checksum=True)
    space, files = Workspace(folder), (folder / "rows.parquet",)
    parcel = Parcel(
        "mini", "mini_top", DAY, "run", 1, len(column), rows.schema, files,
        lambda key: hash_files(space, files, rows.schema, key),
    )  # fmt: skip
    PostgresChannel(Postgres(connection="crm", table=table, key=["id"])).deliver(parcel)


def same(found: object, expected: object) -> bool:
    """Equal, and NaN is NaN, and -0.0 is no 0.0."""
    return repr(found) == repr(expected) if isinstance(expected, float) else found == expected


@pytest.mark.parametrize("case", CASES)
def test_values_come_back_as_they_are(case: str, crm: str, tmp_path: Path) -> None:
    """To the bit, null and empty apart."""
    kind, values = CASES[case]
    deliver(pa.array(values, kind), tmp_path)
    found = [row[0] for row in rows_at(crm, "SELECT v FROM t ORDER BY id")]
    assert len(found) == len(values)
    assert all(map(same, found, values)), (found, values)


def test_float32_comes_back_to_the_bit(crm: str, tmp_path: Path) -> None:
    """Read in twice the width, which holds each exactly."""
    values = pa.array([0.1, 1e-45, 3.4028235e38, NAN, -INF, None], pa.float32())
    deliver(values, tmp_path)
    found = [row[0] for row in rows_at(crm, "SELECT v::float8 FROM t ORDER BY id")]
    assert all(map(same, found, values.to_pylist())), found


@pytest.mark.parametrize(
    "case", ["int64", "text", "bytes", "date", "instant", "decimal", "whole decimal", "bool"]
)
def test_the_key_hash_of_both_engines_is_one(case: str, crm: str, tmp_path: Path) -> None:
    """DuckDB's over a file is PostgreSQL's over a table, for each type that a key may have."""
    from nightscore.delivery.key_hash import postgres_sum

    kind, values = CASES[case]
    column = pa.array([value for value in values if value is not None], kind)
    deliver(column, tmp_path)
    schema = pa.schema([("v", kind)])
    [(there,)] = rows_at(crm, f"SELECT {postgres_sum(schema, ['v'])} FROM t")
    assert there == hash_files(Workspace(tmp_path), [tmp_path / "rows.parquet"], schema, ["v"])


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array(["a\0b"]), "column 'v' has a text with a NUL character"),
        (pa.array([["a\0b"]]), "column 'v' has a text with a NUL character"),
        (pa.array([[[1]]]), "column 'v' is list<.*, which no column of PostgreSQL is"),
        (pa.array([{"a": 1}]), "column 'v' is struct<.*, which no column of PostgreSQL is"),
    ],
)
def test_what_it_cannot_hold_is_refused_by_name(
    column: pa.Array, said: str, crm: str, tmp_path: Path
) -> None:
    """And nothing is there."""
    with pytest.raises(Broken, match=said):
        deliver(column, tmp_path)
    assert rows_at(crm, "SELECT to_regclass('t')") == [(None,)]
