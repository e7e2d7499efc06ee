"""Names of columns as SQL of DuckDB says them."""

import re

from nightscore.store import quote_identifier

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
WORDS = """
all analyse analyze and anti any array as asc asof asymmetric at both case cast check collate column
constraint create cross default deferrable desc describe distinct do else end except false fetch for
foreign from full glob group having ilike in initially inner intersect into is isnull join lambda
lateral leading left like limit natural not notnull null offset on only or order outer overlaps
pivot placing positional primary qualify references returning right select semi show similar some
summarize symmetric table tablesample then to trailing true union unique unpivot using variadic when
where window with
"""  # of DuckDB, which no column is called without quotes
KEYWORDS = frozenset(WORDS.split())


def sql_name(column: str) -> str:
    """A column as SQL says it: quoted where that is needed."""
    return column if PLAIN.fullmatch(column) and column.lower() not in KEYWORDS else quote_identifier(column)


def sql_as(found: str, name: str) -> str:
    """A column under a name."""
    return sql_name(found) if found == name else f"{sql_name(found)} AS {sql_name(name)}"
