"""DuckDB's types by their names: which are numbers, and which have values of any size."""

NUMBER_TYPES = frozenset({  # and DECIMAL(…)
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
    "UHUGEINT", "FLOAT", "DOUBLE",
})  # fmt: skip
NARROW = frozenset({"BOOLEAN", "DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "UUID"})

TEXTS = frozenset({"VARCHAR", "BLOB", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"})


def is_told_by_text(kind: str) -> bool:
    """Whether values of this DuckDB type are equal where their texts are, and nowhere else.

    Not so of floating-point numbers (0.0 and -0.0) and intervals (30 days and a month).
    """
    return (kind in NARROW | TEXTS or is_number(kind)) and kind not in ("FLOAT", "DOUBLE")


def is_number(kind: str) -> bool:
    """Whether a column of this DuckDB type holds numbers."""
    return kind in NUMBER_TYPES or (kind.startswith("DECIMAL(") and kind.endswith(")"))


def is_narrow(kind: str) -> bool:
    """Whether its values are of one size, as those of texts, lists and what holds such are not."""
    return kind in NARROW or is_number(kind)
