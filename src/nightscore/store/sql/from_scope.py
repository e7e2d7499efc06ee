"""The tables of a FROM and where their columns come from, as `lineage` follows them."""

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


class How(enum.IntEnum):
    """How a column comes from another: as it is, computed, or by a condition alone (CASE, FILTER, OVER)."""

    IDENTITY = 0
    TRANSFORMATION = 1
    CONDITIONAL = 2


Origin = tuple[str, str]  # a view and its column, as the view calls it
Sources = Mapping[Origin, How]
Columns = Mapping[str, Sources | None]  # by name in lower case; None: not known where it comes from
Listed = list[tuple[str, Sources | None]]


class Unfollowed(Exception):
    """It can't be told where a column comes from."""


@dataclass(frozen=True, eq=False)
class Relation:
    """A table of a FROM under its name; `columns` is None where they are not known."""

    name: str
    columns: Columns | None


@dataclass
class From:
    """The tables of a FROM. A column of USING is shown once: `merged` by the table that it is shown of."""

    relations: list[Relation]
    merged: dict[tuple[Relation, str], Sources | None] = field(default_factory=dict)
    hidden: set[tuple[Relation, str]] = field(default_factory=set)

    def shown(self, relation: Relation) -> Iterator[tuple[str, Sources | None]]:
        """The columns of a table as a star has them."""
        if relation.columns is None:
            raise Unfollowed
        for name, sources in relation.columns.items():
            if (relation, name) not in self.hidden:
                yield name, self.merged.get((relation, name), sources)

    def find(self, name: str) -> Sources | None:
        """What a name without a table means; `KeyError` where no table has it."""
        if any(relation.columns is None for relation in self.relations):
            raise Unfollowed
        found = [s for relation in self.relations for n, s in self.shown(relation) if n == name]
        if not found:
            raise KeyError(name)
        return found[0] if len(found) == 1 else None

    def called(self, name: str) -> Relation | None:
        """The table of a name, if it is the only one."""
        named = [relation for relation in self.relations if relation.name == name]
        return named[0] if len(named) == 1 else None


def together(sources: Sequence[Sources | None]) -> Sources | None:
    """All of them; None where one is not known. A column that comes both ways comes the nearer one."""
    every: dict[Origin, How] = {}
    for one in sources:
        if one is None:
            return None
        for origin, how in one.items():
            every[origin] = min(how, every.get(origin, how))
    return every


def field_of(sources: Sources | None, taken_apart: bool) -> Sources | None:
    """The same where a field of the column is taken: no longer the column as it is."""
    if sources is None or not taken_apart:
        return sources
    return {origin: max(how, How.TRANSFORMATION) for origin, how in sources.items()}
