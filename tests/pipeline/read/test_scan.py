"""Both ways from Parquet to chunks give the same: pyarrow's, taken where it can be, and DuckDB's."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightscore import Broken
from nightscore.common import Workspace
from nightscore.pipeline.read import scan
from nightscore.store import AS_THEY_ARE
from nightscore.store.documents.plan import Piece, RowRange
from nightscore.store.sql.engine import EngineResources

INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
CODECS = ("zstd", "snappy", "gzip", "none")


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Every value of a type that both may be given."""
    if pa.types.is_integer(kind):
        low = 0 if pa.types.is_unsigned_integer(kind) else -(1 << kind.bit_width - 1)
        return st.integers(low, low + (1 << kind.bit_width) - 1)
    if pa.types.is_floating(kind):
        return st.floats(width=kind.bit_width)
    if pa.types.is_decimal(kind):
        return st.integers(-(10**kind.precision) + 1, 10**kind.precision - 1).map(
            lambda n: Decimal(f"{n}E-{kind.scale}")
        )
    days = st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31))
    moments = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31))
    by_type = {
        pa.bool_(): st.booleans(),
        pa.string(): st.text(),
        pa.date32(): days,
        pa.timestamp("us"): moments,
    }
    return by_type[kind]


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A few columns of types that pyarrow decodes for us, nulls among them."""
    decimals = st.builds(pa.decimal128, st.integers(5, 38), st.integers(0, 5))
    kinds = draw(st.lists(st.sampled_from(sorted(scan.ALIKE, key=str)) | decimals, min_size=1, max_size=4))
    rows = draw(st.integers(1, 60))
    columns = [draw(st.lists(st.none() | values(kind), min_size=rows, max_size=rows)) for kind in kinds]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.table(arrays, [f"c{i}" for i in range(len(kinds))])


@settings(max_examples=40, deadline=None)
@given(
    table=tables(),
    group=st.integers(1, 70),
    rows=st.integers(1, 70),
    data=st.data(),
)
def test_pyarrow_and_duckdb_decode_the_same(
    tmp_path_factory: pytest.TempPathFactory, table: pa.Table, group: int, rows: int, data: st.DataObject
) -> None:
    """For each type that is left to pyarrow: the same types, values, nulls and order, in any row groups."""
    root = tmp_path_factory.mktemp("scan")
    options = {"dictionary": data.draw(st.booleans()), "version": data.draw(st.sampled_from(["1.0", "2.0"]))}
    pq.write_table(
        table, root / "x.parquet", row_group_size=group, compression=data.draw(st.sampled_from(CODECS)),
        use_dictionary=options["dictionary"], data_page_version=options["version"],
    )  # fmt: skip
    start = data.draw(st.integers(0, table.num_rows - 1))
    part = RowRange("x.parquet", start, data.draw(st.integers(start + 1, table.num_rows)))
    names = data.draw(st.permutations(table.column_names))
    piece, resources = Piece(0, (part,), ""), EngineResources(1, 64_000_000, root)
    schema = scan.source_schema(Workspace(root), piece, names, resources)
    with scan._opened(root / "x.parquet") as file:
        assert scan._alike(file.schema_arrow, "x.parquet", names, AS_THEY_ARE)
    found = list(scan.scan_chunks(Workspace(root), piece, names, rows, resources))
    wanted = list(scan._selected(Workspace(root), part, names, rows, resources))
    assert {len(chunk) <= rows for chunk in found} == {True}
    assert same(found, wanted, schema)


def same(found: list[pa.RecordBatch], wanted: list[pa.RecordBatch], schema: pa.Schema) -> bool:
    """Whether two results are equal in types and, NaN being equal to NaN, in values."""
    assert [f.type for f in found[0].schema] == [f.type for f in wanted[0].schema] == [f.type for f in schema]
    return repr([column(found, name) for name in schema.names]) == repr(
        [column(wanted, name) for name in schema.names]
    )


def column(chunks: list[pa.RecordBatch], name: str) -> list[Any]:
    return [value for chunk in chunks for value in chunk.column(name).to_pylist()]


def test_other_types_are_what_duckdb_says(tmp_path: Path) -> None:
    """A column that Arrow's own metadata in the file calls something else has DuckDB's type in the chunks."""
    texts = pa.array(["x", None, "y"])
    table = pa.table(
        {
            "dictionary": texts.dictionary_encode(),
            "large": texts.cast(pa.large_string()),
            "half": pa.array([1.0, None, 2.0], pa.float32()).cast(pa.float16()),
            "seconds": pa.array([dt.datetime(2020, 1, 1)] * 3, pa.timestamp("ms")),
            "lasted": pa.array([dt.timedelta(1)] * 3, pa.duration("us")),
            "embedding": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    piece, resources = Piece(0, (RowRange("x.parquet", 0, 3),), ""), EngineResources(1, 64_000_000, tmp_path)
    for name in table.column_names:
        [chunk] = scan.scan_chunks(Workspace(tmp_path), piece, [name], 10, resources)
        assert chunk.schema.types == scan.source_schema(Workspace(tmp_path), piece, [name], resources).types
        assert chunk.schema.types != table.select([name]).schema.types


def test_a_range_within_a_row_group_is_these_rows(tmp_path: Path) -> None:
    """Pieces of one large row group, and of several groups and files, are exactly their rows, in order."""
    for name, first in (("x.parquet", 0), ("y.parquet", 100)):
        pq.write_table(pa.table({"id": range(first, first + 100)}), tmp_path / name, row_group_size=40)
    ranges = [
        ("x.parquet", 5, 12),
        ("x.parquet", 40, 100),
        ("x.parquet", 40, 41),
        ("y.parquet", 0, 79),
        ("y.parquet", 81, 100),
    ]
    piece = Piece(0, tuple(RowRange(*one) for one in ranges), "")
    found = scan.scan_chunks(Workspace(tmp_path), piece, ["id"], 16, EngineResources(1, 64_000_000, tmp_path))
    offset = {"x.parquet": 0, "y.parquet": 100}
    wanted = [offset[name] + row for name, start, stop in ranges for row in range(start, stop)]
    assert column(list(found), "id") == wanted


SIZE = 100_000


@pytest.mark.parametrize("way", ["pyarrow", "DuckDB"])
@pytest.mark.parametrize("shape", ["always long", "always the same", "short, then long", "long, then short"])
def test_a_chunk_is_within_its_bytes(tmp_path: Path, shape: str, way: str) -> None:
    """Texts of 20 kB among short ones, in one row group: no chunk has more bytes, unless it is one row."""
    long, short = [f"{i:05d}" + "x" * 20_000 for i in range(300)], [f"{i}" for i in range(300)]
    texts = {
        "always long": long,
        "always the same": ["x" * 20_000] * 300,
        "short, then long": [*short, *long],
        "long, then short": [*long, *short],
    }[shape]
    columns = {"id": pa.array(range(len(texts))), "t": pa.array(texts)}
    if way == "DuckDB":
        columns["l"] = pa.array([[1.0]] * len(texts))
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", row_group_size=len(texts))
    piece = Piece(0, (RowRange("x.parquet", 0, len(texts)),), "")
    resources = EngineResources(1, 64_000_000, tmp_path)
    found = list(scan.scan_chunks(Workspace(tmp_path), piece, list(columns), 16_384, resources, size=SIZE))
    assert column(found, "t") == texts
    assert max(chunk.nbytes for chunk in found) <= SIZE


def test_fixed_columns_are_read_in_whole_chunks(tmp_path: Path) -> None:
    """How wide their rows are is known: every chunk but the last is as large as it may be."""
    pq.write_table(pa.table({f"c{i}": range(10_000) for i in range(10)}), tmp_path / "x.parquet")
    piece, resources = (
        Piece(0, (RowRange("x.parquet", 0, 10_000),), ""),
        EngineResources(1, 64_000_000, tmp_path),
    )
    names = [f"c{i}" for i in range(10)]
    for rows, size, wanted in ((4_096, 1 << 20, 4_096), (16_384, SIZE, SIZE // 82)):
        found = list(scan.scan_chunks(Workspace(tmp_path), piece, names, rows, resources, size=size))
        assert {len(chunk) for chunk in found[:-1]} == {wanted}


def test_chunks_of_texts_grow_to_the_rows_asked_for(tmp_path: Path) -> None:
    """The first are small, because nothing is known; of short texts the later ones are whole."""
    pq.write_table(pa.table({"t": [str(i) for i in range(20_000)]}), tmp_path / "x.parquet")
    piece, resources = (
        Piece(0, (RowRange("x.parquet", 0, 20_000),), ""),
        EngineResources(1, 64_000_000, tmp_path),
    )
    found = [len(chunk) for chunk in scan.scan_chunks(Workspace(tmp_path), piece, ["t"], 4_096, resources)]
    assert found[:4] == [64, 256, 1024, 4096]
    assert set(found[4:-1]) == {4096}


def test_a_flipped_bit_is_found_where_pages_have_checksums(tmp_path: Path) -> None:
    """Every damaged page of a source with page checksums is `Broken`, and says which file."""
    path = tmp_path / "x.parquet"
    table = pa.table({"id": range(1000), "f": pa.array([float(i % 7) for i in range(1000)], pa.float32())})
    pq.write_table(table, path, write_page_checksum=True, compression="none", use_dictionary=False)
    whole = path.read_bytes()
    piece, resources = (
        Piece(0, (RowRange("x.parquet", 0, 1000),), ""),
        EngineResources(1, 64_000_000, tmp_path),
    )
    for name in table.column_names:
        place = pq.read_metadata(path).row_group(0).column(table.column_names.index(name))
        at = place.data_page_offset + place.total_compressed_size - 100
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(Broken, match=r"x\.parquet: can't be read, or is damaged"):
            list(scan.scan_chunks(Workspace(tmp_path), piece, table.column_names, 100, resources))


def test_text_that_is_no_text_is_broken(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 under the name of a text are refused by both."""
    wrong = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    pq.write_table(pa.table({"t": wrong}), tmp_path / "x.parquet")
    part, resources = RowRange("x.parquet", 0, 1), EngineResources(1, 64_000_000, tmp_path)
    with pytest.raises(Broken, match=r"x\.parquet"):
        list(scan.scan_chunks(Workspace(tmp_path), Piece(0, (part,), ""), ["t"], 10, resources))
    with pytest.raises(Broken, match=r"x\.parquet"):
        list(scan._selected(Workspace(tmp_path), part, ["t"], 10, resources))
