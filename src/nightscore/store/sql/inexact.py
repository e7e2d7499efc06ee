"""Values of DuckDB that Arrow has not, so that a result would have others in their place, quietly."""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.common import Broken

OTHERS = {  # DuckDB's type, as it stands in the name of a column's type -> what becomes of it in Arrow
    "UHUGEINT": "a decimal of 128 bits, of which half of its numbers are none",
    "TIME WITH TIME ZONE": "a time of day without its offset",
}


def refuse_inexact_types(columns: Iterable[tuple[str, str]]) -> None:
    """Raise `Broken` at a column (name, DuckDB's type) whose values, or those inside them, Arrow changes."""
    for name, kind in columns:
        for lost, becomes in OTHERS.items():
            if lost in kind:
                raise Broken(
                    f"query: column {name!r} is {kind}; its {lost} would become {becomes}; say what is "
                    f'meant: CAST("{name}" AS VARCHAR)'
                )


def refuse_infinite_moments(batch: pa.RecordBatch) -> None:
    """Raise `Broken` at a date or moment that is infinite: Arrow has none, and shows a year far away."""
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if not (pa.types.is_date32(field.type) or pa.types.is_timestamp(field.type)):
            continue
        width = field.type.bit_width
        ends = pc.min_max(column.view(pa.int32() if width == 32 else pa.int64())).as_py()
        if (1 << (width - 1)) - 1 in (ends["max"], -(ends["min"] or 0)):
            raise Broken(
                f"query: column {field.name!r} ({field.type}) has an infinite value, and Arrow has none; "
                f'leave it out, CASE WHEN isfinite("{field.name}") THEN "{field.name}" END, or '
                f'CAST("{field.name}" AS VARCHAR)'
            )
