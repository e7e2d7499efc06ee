"""Categories of a column, declared once: what a chunk's own values are would change from chunk to chunk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.scorers.errors import ChunkError

SHOWN = 10


@dataclass(frozen=True)
class Category:
    """The values that a column can have, in order; see `category`."""

    values: tuple[str, ...] | tuple[int, ...]
    ordered: bool = False
    unknown: Literal["fail", "null"] = "fail"

    @property
    def type(self) -> pa.DataType:
        """What a column of the features has to be: texts or integers."""
        return pa.string() if isinstance(self.values[0], str) else pa.int64()

    def encoded(self, column: pa.Array, name: str) -> pa.Array:
        """The column [rows] as categories, the same ones in each chunk.

        Raises:
            ChunkError: a value is none of them, and `unknown` is fail.
        """
        values = pa.array(self.values, self.type)
        places = pc.index_in(column, values)
        if self.unknown == "fail" and places.null_count > column.null_count:
            row = pc.index(pc.and_(places.is_null(), column.is_valid()), True).as_py()
            shown = ", ".join(map(str, self.values[:SHOWN]))
            more = f" and {len(self.values) - SHOWN} more" if len(self.values) > SHOWN else ""
            raise ChunkError(
                f"column {name!r} holds {column[row].as_py()!r:.100} in row {row} of the chunk, which is "
                f"none of its categories ({shown}{more}); unknown='null' would take it for a missing value"
            )
        return pa.DictionaryArray.from_arrays(places, values, ordered=self.ordered)


def category(
    values: Sequence[str] | Sequence[int], *, ordered: bool = False, unknown: Literal["fail", "null"] = "fail"
) -> Category:
    """Declare all categories of a column, those of the training, such as `category(["basic", "plus"])`.

    Args:
        values: all of them, texts or integers, in the order of their codes.
        ordered: whether that order means something.
        unknown: what becomes of another value: `fail` (the row can't be scored), or `null`, a missing value,
            as pandas makes of it.

    Raises:
        TypeError: they are no texts and no integers, some are the same, or there is none.
    """
    listed = tuple(values)
    kinds = {type(value) for value in listed}
    if kinds not in ({str}, {int}) or len(set(listed)) < len(listed):
        raise TypeError(
            f"category({list(listed)!r:.100}): allowed are different texts, or different integers"
        )
    if unknown not in ("fail", "null"):
        raise TypeError(f"category(…, unknown={unknown!r}): allowed: 'fail', 'null'")
    return Category(listed, ordered, unknown)  # type: ignore[arg-type]
