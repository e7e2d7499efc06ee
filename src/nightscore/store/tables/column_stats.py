"""What table files hold, read back: of each column the nulls, the sum, the least and the greatest.

Sums are exact: floating-point numbers are added as integers and rounded once, at the end, so that a sum does
not depend on the order of rows, on threads, or on the engine that adds them up another time.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.common import Broken, file_sha256
from nightscore.scorers import is_numeric_type
from nightscore.store.documents.receipt import ColumnProof
from nightscore.store.tables.staging import RUN_ID, open_staged

LOWEST = -1074  # the exponent of the smallest positive float64, 2**-1074
HALF = 26  # bits; a mantissa has 53, and sums of its halves over a row group are exact in float64
MAX_DIGITS = 76  # of a decimal256
FEW_DIGITS = 28  # of decimals of which ten thousand million add up to 38, which a decimal128 holds
ROWS = 1 << 20  # of which such sums are exact


class Tally:
    """The running counts of one column."""

    def __init__(self, kind: pa.DataType) -> None:
        self.kind = kind
        self.nulls = self.nans = 0
        self.total: int | Decimal = 0
        self.infinite = 0.0
        self.bounds: list[Any] = []

    def add(self, column: pa.Array) -> None:
        """Count some more rows. Of lists, the elements are added up and the null lists are counted."""
        self.nulls += column.null_count
        while pa.types.is_list(column.type):
            column = column.flatten()
        values = column.drop_null()
        if not len(values) or not is_numeric_type(values.type):
            return
        if pa.types.is_floating(values.type):
            values = self._finite(values)
        if len(values):
            self._add(values)

    def merge(self, other: "Tally") -> None:
        """Count the rows of another tally of the same column, too: sums are exact, so in any order."""
        self.nulls, self.nans = self.nulls + other.nulls, self.nans + other.nans
        self.infinite += other.infinite
        self.bounds += other.bounds
        with localcontext(prec=MAX_DIGITS):
            self.total += other.total

    def state(self) -> dict[str, Any]:
        """The counts as JSON, from which `restored` makes them again."""
        ends = [str(min(self.bounds)), str(max(self.bounds))] if self.bounds else []
        return {
            "nulls": self.nulls, "nans": self.nans, "total": str(self.total),
            "infinite": str(self.infinite), "bounds": ends,
        }  # fmt: skip

    @classmethod
    def restored(cls, kind: pa.DataType, state: Mapping[str, Any]) -> "Tally":
        """A tally of a column of a type, from its state."""
        tally, element = cls(kind), _element(kind)
        tally.nulls, tally.nans, tally.infinite = state["nulls"], state["nans"], float(state["infinite"])
        tally.total = Decimal(state["total"]) if pa.types.is_decimal(element) else int(state["total"])
        tally.bounds = [_value(element, text) for text in state["bounds"]]
        return tally

    def proof(self) -> ColumnProof:
        """The counts as a receipt holds them: numbers as texts, which are exact in every reader."""
        if not self.bounds and not self.infinite and not self.nans:
            return ColumnProof(nulls=self.nulls)
        low, high = min(self.bounds, default=None), max(self.bounds, default=None)
        return ColumnProof(
            nulls=self.nulls, nans=self.nans, sum=self._sum(), minimum=_text(low), maximum=_text(high)
        )

    def _finite(self, values: pa.Array) -> pa.Array:
        array = values.to_numpy(zero_copy_only=False).astype(np.float64)
        infinite = array[np.isinf(array)]
        self.nans += int(np.isnan(array).sum())
        with np.errstate(invalid="ignore"):
            self.infinite += float(infinite.sum())
        return pa.array(array[np.isfinite(array)])

    def _add(self, values: pa.Array) -> None:
        extremes = pc.min_max(values)
        self.bounds += [extremes["min"].as_py(), extremes["max"].as_py()]
        if pa.types.is_decimal(values.type):
            few = values.type.precision <= FEW_DIGITS  # a third of the time
            wide = pa.decimal128(38, values.type.scale) if few else pa.decimal256(76, values.type.scale)
            with localcontext(prec=MAX_DIGITS):
                self.total += pc.sum(values.cast(wide)).as_py()
            return
        array = values.to_numpy(zero_copy_only=False)
        adds = exact_float_sum if array.dtype.kind == "f" else exact_integer_sum
        self.total += sum(adds(array[at : at + ROWS]) for at in range(0, len(array), ROWS))

    def _sum(self) -> str:
        if self.infinite:
            return _text(self.infinite) or ""
        if not pa.types.is_floating(_element(self.kind)):
            return str(self.total)
        try:
            return str(float(Fraction(int(self.total), 2**-LOWEST)))
        except OverflowError:  # as IEEE 754 has it: finite numbers whose sum no float64 holds
            return str(math.inf if self.total > 0 else -math.inf)


def exact_float_sum(values: npt.NDArray[np.float64]) -> int:
    """The sum of finite float64 values [rows], in units of 2**-1074, the smallest that there is."""
    mantissas, exponents = np.frexp(values)
    whole = np.ldexp(mantissas, 53).astype(np.int64)
    places = exponents.astype(np.int64) - 53 - LOWEST  # below 0 for denormals, whose last bits are 0 then
    high, low = whole >> HALF, whole & ((1 << HALF) - 1)
    total = 0
    for part, shift in ((high, HALF), (low, 0)):
        sums = np.bincount(places - places.min(), weights=part)
        for place in np.flatnonzero(sums):
            by = int(place) + int(places.min()) + shift
            total += int(sums[place]) << by if by >= 0 else int(sums[place]) >> -by
    return total


def exact_integer_sum(values: npt.NDArray[Any]) -> int:
    """The sum of integers or booleans [rows], however large."""
    if values.dtype.kind in "bu":
        wide = values.astype(np.uint64)
        return (int((wide >> np.uint64(32)).sum()) << 32) + int((wide & np.uint64(2**32 - 1)).sum())
    signed = values.astype(np.int64)
    return (int((signed >> 32).sum()) << 32) + int((signed & (2**32 - 1)).sum())


@dataclass(frozen=True)
class TableProof:
    """The rows of a table's files, the sha256 of each, in order, and what their columns hold."""

    rows: int
    sha256: tuple[str, ...]
    columns: Mapping[str, ColumnProof]


def compute_table_proof(
    files: Sequence[tuple[Path, str]], run_id: str | None, sha256: Sequence[str] | None = None
) -> TableProof:
    """Read files of one table back: every page is held to its checksum, every row to its run.

    DuckDB, which proves and decides on these files, passes over checksums. Each file comes with its name for
    messages. `sha256` are those of the files, where they were taken already. `run_id` is None where the rows
    are another engine's, and may be of any.

    Raises:
        Broken: a page is damaged, or a row is of another run.
    """
    tallies: dict[str, Tally] = {}
    rows = sum(tally_file(path, shown, run_id, tallies) for path, shown in files)
    columns = {name: tally.proof() for name, tally in tallies.items()}
    return TableProof(rows, tuple(sha256 or (file_sha256(path) for path, _ in files)), columns)


def tally_file(
    path: Path,
    shown: str,
    run_id: str | None,
    tallies: dict[str, Tally],
    *seen: Callable[[pa.RecordBatch], Any],
) -> int:
    """Count a file's rows in the tallies of its columns, which are made where need be; gives how many.

    Whatever else looks at each row of a file (`seen`) is shown them too, so that it is read once.

    Raises:
        Broken: a page is damaged, or a row is of another run.
    """
    with open_staged(path, shown) as file:
        for group in range(file.num_row_groups):
            # No name holds a group while the next one is read.
            _add_group(tallies, _look(file.read_row_group(group), seen), shown, run_id)
        return int(file.metadata.num_rows)


def _look(rows: pa.Table, seen: Sequence[Callable[[pa.RecordBatch], Any]]) -> pa.Table:
    """The rows, when all who look at them have."""
    for batch in rows.to_batches() if seen else ():
        for look in seen:
            look(batch)
    return rows


def without_bounds(columns: Mapping[str, ColumnProof], key: Collection[str]) -> dict[str, ColumnProof]:
    """The proof of a table without the least and the greatest of the key's columns, for a receipt."""
    bare = {"minimum": None, "maximum": None}
    return {name: p.model_copy(update=bare) if name in key else p for name, p in columns.items()}


def tally_rows(tallies: dict[str, Tally], rows: pa.Table) -> None:
    """Count some rows of a table in the tallies of its columns, which are made where need be."""
    _add_group(tallies, rows, "", None)


def tally_differences(whole: Mapping[str, Tally], parts: Sequence[Mapping[str, Tally]]) -> list[str]:
    """The columns whose counts are not, exactly, those of some parts together."""
    names = sorted({name for tallies in (whole, *parts) for name in tallies})
    return [n for n in names if _merged(n, [whole]) != _merged(n, parts)]


def _merged(name: str, tallies: Sequence[Mapping[str, Tally]]) -> list[Any] | None:
    found = [one[name] for one in tallies if name in one]
    if not found:
        return None
    total = Tally(found[0].kind)
    for one in found:
        total.merge(one)
    return [total.nulls, total.nans, total.total, str(total.infinite)]


def proof_differences(recorded: Mapping[str, ColumnProof], counted: Mapping[str, ColumnProof]) -> list[str]:
    """What differs between the recorded proof of a table and its columns as counted now, a sentence each."""
    differences = []
    for name in sorted(recorded.keys() | counted.keys()):
        before, now = recorded.get(name), counted.get(name)
        if before is None or now is None:
            differences.append(f"column {name} " + ("is gone" if now is None else "is in no receipt"))
        elif before != (now := _as_recorded(before, now)):
            parts = [p for p in ColumnProof.model_fields if getattr(before, p) != getattr(now, p)]
            differences += [
                f"column {name}: {p} is {getattr(now, p)}, the receipt says {getattr(before, p)}"
                for p in parts
            ]
    return differences


def _as_recorded(before: ColumnProof, now: ColumnProof) -> ColumnProof:
    """The counts without bounds where the recorded ones have none: those of a key."""
    if before.minimum is None and before.maximum is None and before.sum is not None:
        return now.model_copy(update={"minimum": None, "maximum": None})
    return now


def _add_group(tallies: dict[str, Tally], group: pa.Table, shown: str, run_id: str | None) -> None:
    names = set() if run_id is None else set(group.column(RUN_ID).unique().to_pylist())
    if names - {run_id}:
        raise Broken(f"{shown}: staged by run {min(names - {run_id})} and not by run {run_id}")
    for name in group.column_names:
        if name != RUN_ID:
            tally = tallies.setdefault(name, Tally(group.schema.field(name).type))
            for chunk in group.column(name).chunks:
                tally.add(chunk)


def _element(kind: pa.DataType) -> pa.DataType:
    return _element(kind.value_type) if pa.types.is_list(kind) else kind


def _value(kind: pa.DataType, text: str) -> Any:
    """What `str` made a text of."""
    if pa.types.is_boolean(kind):
        return text == "True"
    if pa.types.is_decimal(kind):
        return Decimal(text)
    return float(text) if pa.types.is_floating(kind) else int(text)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
