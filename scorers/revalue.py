"""A book under scenarios: what the positions in a stock make or lose in each of a list of moves.

A scorer around another, which prices one option: it asks for every position in every move, and gives lists
of sums. So 10,000 positions under 8,000 days are some eighty rows, and 80 million prices that nobody keeps.

The model is the file of the scorer that prices, `path: scorers/black_scholes.py`: its bytes are the day's
model, as this file's are. It has to take spot, strike, rate, years, volatility and right, and to give price.

One row in, one row out. A row is a stock and the positions in it; n positions, m moves:

    spot, volatility, rate                float64: what the stock closed at; both of the latter a year
    quantities, strikes, years, rights    lists of n float64: shares, < 0 when sold, and what is priced
    price_ratios, volatility_ratios       lists of m float64: what spot and volatility are multiplied by

    value     float64, US dollars: what the positions are worth
    pnl[*]    list of m float64, US dollars: by how much they are worth more after each move

Money is rounded to the cent position by position, halves away from 0 as SQL does, and summed in cents: whole
numbers, exact in any order. A NaN in spot, volatility or rate makes the row NaN. Beside the chunk, memory is
that of one position's moves.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.scorers import (
    ChunkError,
    MissingValueError,
    ModelError,
    ModelFile,
    Options,
    Scorer,
    ScorerFile,
    Signature,
    as_numpy,
)
from nightscore.scorers import open_scorer as open_kind

NUMBERS = ("spot", "volatility", "rate")
POSITIONS = ("quantities", "strikes", "years", "rights")
MOVES = ("price_ratios", "volatility_ratios")
OUTPUTS = {"value": pa.float64(), "pnl[*]": pa.list_(pa.float64())}
PRICED = ("spot", "strike", "rate", "years", "volatility", "right")

Numbers = npt.NDArray[np.float64]


class Revalued:
    """Values and P&L of rows of positions. Keeps nothing of a chunk; several threads may call."""

    def __init__(self, pricer: Scorer, options: Options) -> None:
        """`pricer` gives one column, `price`."""
        self._pricer, self._sources = pricer, list(options.outputs.values())
        numbers = [(name, pa.float64()) for name in NUMBERS]
        lists = [(name, pa.list_(pa.float64())) for name in (*POSITIONS, *MOVES)]
        outputs = [(column, OUTPUTS[source]) for column, source in options.outputs.items()]
        self._signature = Signature(pa.schema(numbers + lists), pa.schema(outputs))

    @property
    def signature(self) -> Signature:
        """The columns needed and given."""
        return self._signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """Each row's value and P&L.

        Raises:
            ChunkError: lists of one row that belong together differ in length, or a null is in one.
        """
        numbers = np.array([as_numpy(chunk.column(name), name) for name in NUMBERS], np.float64)
        lists = {name: _lists(chunk, name) for name in (*POSITIONS, *MOVES)}
        values, pnl = np.empty(chunk.num_rows), []
        for row in range(chunk.num_rows):
            positions = _stacked(row, POSITIONS, lists)
            values[row], moved = self._revalued(numbers[:, row], positions, _stacked(row, MOVES, lists))
            pnl.append(moved)
        given = {"value": pa.array(values), "pnl[*]": _as_lists(pnl)}
        return pa.RecordBatch.from_arrays(
            [given[source] for source in self._sources], schema=self._signature.outputs
        )

    def _revalued(self, market: Numbers, positions: Numbers, moves: Numbers) -> tuple[float, Numbers]:
        """The value of positions [4, n] and their P&L under moves [2, m]: ([], [m]), US dollars."""
        spot, volatility, rate = market
        spots, volatilities = np.concatenate([np.ones((2, 1)), moves], axis=1) * np.array(
            [[spot], [volatility]]
        )
        m = len(spots)
        worth, total = 0.0, np.zeros(m - 1)
        rates = np.full(m, rate)
        for quantity, strike, years, right in positions.T:
            columns = [spots, np.full(m, strike), rates, np.full(m, years), volatilities, np.full(m, right)]
            chunk = pa.RecordBatch.from_arrays([pa.array(column) for column in columns], names=list(PRICED))
            prices = self._pricer.score(chunk).column("price").to_numpy()
            worth += float(_cents(quantity * prices[:1])[0])
            total += _cents(quantity * (prices[1:] - prices[0]))
        return worth / 100, total / 100


def open_scorer(model: ModelFile | None, options: Options) -> Scorer:
    """A scorer of options, around the one whose file is the model.

    Raises:
        ModelError: no file is named that prices, the job names columns, or an output that there is not.
    """
    if model is None or not model.name.endswith(".py"):
        raise ModelError("needs a scorer that prices; name its file in model.path: scorers/black_scholes.py")
    if options.columns is not None:
        raise ModelError(
            f"takes the columns {', '.join((*NUMBERS, *POSITIONS, *MOVES))}; leave model.columns out"
        )
    wrong = [source for source in options.outputs.values() if source not in OUTPUTS]
    if wrong:
        raise ModelError(f"gives no {wrong[0]!r}; its outputs: {', '.join(OUTPUTS)}")
    if options.device not in ("auto", "cpu"):
        raise ModelError(f"has no device {options.device!r}; allowed: cpu")
    root = Path(__file__).parents[1]
    file = ScorerFile(model.name, root / model.name, model.sha256, model.data)
    pricer = open_kind(model.name, None, Options({"price": "price"}, device="cpu"), file)
    if set(pricer.signature.inputs.names) != set(PRICED):
        raise ModelError(
            f"{model.name} takes {', '.join(pricer.signature.inputs.names)}; allowed: {', '.join(PRICED)}"
        )
    return Revalued(pricer, options)


def _lists(chunk: pa.RecordBatch, name: str) -> tuple[Numbers, npt.NDArray[np.int64]]:
    """A column of lists: all their numbers, and where each row's begin, with the end of the last."""
    column = chunk.column(name)
    flat = column.flatten()
    if column.null_count or flat.null_count:
        raise MissingValueError(f"column {name!r} has null values; its lists have none")
    lengths = np.array([0, *column.value_lengths().to_pylist()], np.int64)
    return as_numpy(flat, name).astype(np.float64, copy=False), np.cumsum(lengths)


def _stacked(
    row: int, names: tuple[str, ...], lists: dict[str, tuple[Numbers, npt.NDArray[np.int64]]]
) -> Numbers:
    """A row's lists of those names, which belong together, as an array [names, length]."""
    parts = [flat[edges[row] : edges[row + 1]] for flat, edges in (lists[name] for name in names)]
    lengths = {len(part) for part in parts}
    if len(lengths) > 1:
        found = ", ".join(f"{name} {len(part)}" for name, part in zip(names, parts, strict=True))
        raise ChunkError(f"lists of row {row} of the chunk differ in length: {found}")
    return np.stack(parts)


def _cents(dollars: Numbers) -> Numbers:
    """To whole cents, halves away from 0."""
    scaled = dollars * 100
    return np.trunc(scaled + np.copysign(0.5, scaled))


def _as_lists(rows: list[Numbers]) -> pa.ListArray:
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int64).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(np.concatenate([np.empty(0), *rows])))
