"""A model of kind topk: a Parquet file of items and their factors, read into what is multiplied."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nightscore.scorers.arrays import tensor
from nightscore.scorers.contract import is_numeric_type
from nightscore.scorers.errors import ChunkError, ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.topk import select

BLOCK_ITEMS = 1024
LARGEST = 1e37  # a score; float32 holds a little more

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Items:
    """The items that may be given.

    `ids` are sorted: an item's number is its place there. Everything else is sorted by `norms`, the longest
    first, and `numbers` and `places` lead from the one to the other. `factors` is [items, filled]: the
    factors, then the bias where there is one, then zeros. `blocks` is [blocks, width, BLOCK_ITEMS]: the same
    transposed, without the zeros, NaN where there is no item.
    """

    ids: pa.Array
    numbers: Ints
    places: Ints
    norms: Doubles
    factors: Floats
    blocks: Floats
    dimensions: int
    biased: bool


def read_items(model: ModelFile) -> Items:
    """The items of a Parquet file.

    Raises:
        ModelError: it is none, or has other columns, types or values than it may.
    """
    try:
        table = pq.read_table(pa.BufferReader(model.data)).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise ModelError(f"{model.name}: no Parquet file: {error}") from error
    allowed = ("item", "factors", "bias", "available")
    names = table.column_names
    if (
        not {"item", "factors"} <= set(names)
        or not set(names) <= set(allowed)
        or len(set(names)) < len(names)
    ):
        raise ModelError(
            f"{model.name}: has the columns {', '.join(names)}; needed: item, factors; "
            "allowed: bias, available"
        )
    for name in names:
        if table[name].null_count:
            raise ModelError(f"{model.name}: column {name!r} has {table[name].null_count} null values")
    return _sorted(
        model.name, _ids(model.name, table), *_factors(model.name, table), _available(model.name, table)
    )


def _ids(name: str, table: pa.Table) -> pa.Array:
    column = table["item"].combine_chunks()
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if not (text or pa.types.is_integer(column.type)):
        raise ModelError(f"{name}: column 'item' is {column.type}; allowed: integers, or texts")
    ids = column.cast(pa.string() if text else pa.int64())
    if len(ids.unique()) != len(ids):
        twice = next(entry["values"] for entry in ids.value_counts().to_pylist() if entry["counts"] > 1)
        raise ModelError(f"{name}: item {twice!r} stands there twice")
    return ids


def _factors(name: str, table: pa.Table) -> tuple[Floats, bool]:
    """The factors [items, dimensions], and behind them the bias where there is one; whether there is one."""
    column = table["factors"].combine_chunks()
    listed = any(
        is_(column.type) for is_ in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    )
    if not listed or not pa.types.is_floating(column.type.value_type) or not len(column):
        raise ModelError(
            f"{name}: column 'factors' is {column.type}, {len(column)} rows; needed: lists of floats"
        )
    try:
        with np.errstate(over="ignore"):
            factors: Any = tensor(column, "factors", (len(column[0]),), np.float32)
    except ChunkError as error:
        raise ModelError(f"{name}: {error}") from error
    biased = "bias" in table.column_names
    if biased:
        if not is_numeric_type(table["bias"].type):
            raise ModelError(f"{name}: column 'bias' is {table['bias'].type}; allowed: numbers")
        factors = np.column_stack([factors, table["bias"].to_numpy().astype(np.float32)])
    wrong = np.flatnonzero(~np.isfinite(factors).all(axis=1))
    if len(wrong):
        raise ModelError(
            f"{name}: item {table['item'][wrong[0]]} has a factor or bias that is no finite number"
        )
    return factors, biased


def _available(name: str, table: pa.Table) -> npt.NDArray[np.bool_]:
    if "available" not in table.column_names:
        return np.ones(table.num_rows, np.bool_)
    if not pa.types.is_boolean(table["available"].type):
        raise ModelError(f"{name}: column 'available' is {table['available'].type}; allowed: booleans")
    available: npt.NDArray[np.bool_] = table["available"].to_numpy()
    if not available.any():
        raise ModelError(f"{name}: no item is available")
    return available


def _sorted(
    name: str, ids: pa.Array, factors: Floats, biased: bool, available: npt.NDArray[np.bool_]
) -> Items:
    by_id = pc.sort_indices(ids).to_numpy()
    by_id = by_id[available[by_id]]
    width = factors.shape[1]
    filled = np.zeros((len(by_id), -(-width // select.SUMS) * select.SUMS), np.float32)
    filled[:, :width] = factors[by_id]
    lengths = norms(filled)
    if lengths.max() > LARGEST:
        raise ModelError(f"{name}: factors above {LARGEST:g}")
    numbers = np.argsort(-lengths, kind="stable")
    places = np.empty_like(numbers)
    places[numbers] = np.arange(len(numbers))
    filled = filled[numbers]
    blocks = np.full((-(-len(by_id) // BLOCK_ITEMS), width, BLOCK_ITEMS), np.nan, np.float32)
    for i, block in enumerate(blocks):
        part = filled[i * BLOCK_ITEMS : (i + 1) * BLOCK_ITEMS, :width]
        block[:, : len(part)] = part.T
    return Items(
        ids.take(pa.array(by_id)), numbers, places, lengths[numbers], filled, blocks, width - biased, biased
    )


def norms(factors: Floats) -> Doubles:
    """The Euclidean length of each row, in float64."""
    lengths: Doubles = np.sqrt(np.square(factors.astype(np.float64)).sum(axis=1))
    return lengths
