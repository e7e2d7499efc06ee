"""Sums of key hashes are hashlib's, for every type of key that is hashed by the compiled kernel."""

import hashlib
import platform
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightscore.scorers import machine_code
from nightscore.store import has_hashed_types, sum_key_hashes
from nightscore.store.tables.key_sums import _compiled

KINDS: dict[Any, st.SearchStrategy[Any]] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.int8(): st.integers(-128, 127),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.uint32(): st.integers(0, 2**32 - 1),
    pa.uint16(): st.integers(0, 2**16 - 1),
    pa.uint8(): st.integers(0, 255),
    pa.string(): st.text(max_size=4) | st.integers(40, 140).map("é".__mul__),
}


def by_hashlib(keys: pa.RecordBatch) -> tuple[int, int]:
    """A row at a time."""
    lower = upper = 0
    for row in zip(*(column.to_pylist() for column in keys.columns), strict=True):
        texts = [b"" if value is None else str(value).encode() for value in row]
        parts = [b"" if v is None else b"%d:%s" % (len(t), t) for v, t in zip(row, texts, strict=True)]
        digest = hashlib.md5(b",".join(parts)).digest()  # noqa: S324 - as receipts have it
        lower += int.from_bytes(digest[:8], "little")
        upper += int.from_bytes(digest[8:], "little")
    return lower % 2**64, upper % 2**64


@settings(max_examples=80, deadline=None)
@given(data=st.data(), kinds=st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=4))
def test_sums_are_hashlibs(data: st.DataObject, kinds: list[pa.DataType]) -> None:
    """Of any columns, nulls, and rows before the first of a slice."""
    count = data.draw(st.integers(0, 130))
    columns = [
        pa.array(data.draw(st.lists(st.none() | KINDS[k], min_size=count, max_size=count)), k) for k in kinds
    ]
    keys = pa.RecordBatch.from_arrays(columns, [f"k{i}" for i in range(len(kinds))])
    part = keys.slice(data.draw(st.integers(0, count)))
    assert has_hashed_types(keys.schema)
    assert sum_key_hashes(part) == by_hashlib(part)


def test_texts_of_every_length_around_a_block() -> None:
    """The length of a text, its end and its own length share the last of MD5's blocks, or take one more."""
    for texts in ([n * "x" for n in range(200)], [n * "x" for n in range(200, 0, -1)]):
        keys = pa.RecordBatch.from_pydict({"k": texts})
        assert sum_key_hashes(keys) == by_hashlib(keys)


def test_rows_of_several_layouts() -> None:
    """More rows than are laid out at once, the last of them alone."""
    keys = pa.RecordBatch.from_pydict({"a": pa.array(range(-9_000, 9_001)), "b": pa.array(["é"] * 18_001)})
    assert sum_key_hashes(keys) == by_hashlib(keys)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="processors of another kind are not told apart so")
@pytest.mark.parametrize("processor", [("x86-64", ""), ("core2", ""), ("x86-64-v3", "")])
def test_the_same_sums_on_every_processor(
    processor: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors of 512 bits, of 256 and of 128."""
    keys = pa.RecordBatch.from_pydict(
        {"a": pa.array([-(2**63), None, *range(98)]), "b": pa.array(["é" * i for i in range(100)])}
    )
    _compiled.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(machine_code, "this_processor", lambda: processor)
        found = sum_key_hashes(keys)
    _compiled.cache_clear()
    assert found == by_hashlib(keys)


@pytest.mark.parametrize(
    "kind", [pa.date32(), pa.float64(), pa.large_string(), pa.decimal128(9, 2), pa.bool_()]
)
def test_types_whose_texts_only_sql_knows(kind: pa.DataType) -> None:
    """They are hashed there."""
    assert not has_hashed_types(pa.schema([("a", pa.int64()), ("k", kind)]))
