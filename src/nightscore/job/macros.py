"""The SQL macros that a job may call: for rules (`macros.sql`), for labels (`measures.sql`).

Those that a job calls are part of its hash: where a later version writes one otherwise, its days are made of
other SQL, and a plan sees that.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

FILES = ("macros.sql", "measures.sql")
ONE = re.compile(r"CREATE MACRO (\w+)\(.*?;\n", re.DOTALL)
CALL = re.compile(r"\b(\w+)\s*\(")


@cache
def read_macros() -> Mapping[str, str]:
    """All of them: name -> the statement that makes it, in an order in which each knows those it calls."""
    texts = [files("nightscore.job").joinpath(name).read_text(encoding="utf-8") for name in FILES]
    return {found[1]: found[0] for text in texts for found in ONE.finditer(text)}


def macros_called(*sql: str) -> dict[str, str]:
    """Those that some SQL calls, and those that they call; in the order of `read_macros`.

    A name in a comment or a text counts, too: one too many changes no row.
    """
    known, called = read_macros(), _named(sql)
    while more := _named(known[name] for name in called) - called:
        called |= more
    return {name: text for name, text in known.items() if name in called}


def _named(sql: Iterable[str]) -> set[str]:
    return {name for text in sql for name in map(str.lower, CALL.findall(text))} & read_macros().keys()
