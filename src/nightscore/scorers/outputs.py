"""Which output of a model becomes which column."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nightscore.scorers.errors import ModelError


@dataclass(frozen=True)
class OutputColumn:
    """One output column: a model output, and of one of rank 2 which column, or all of them as a list."""

    column: str
    source: str
    index: int | None
    whole: bool = False


def parse_outputs(named: Mapping[str, str]) -> list[OutputColumn]:
    """The outputs that a job names: column -> `name`, `name[index]` or `name[*]`.

    Raises:
        ModelError: a source is none of these.
    """
    return [_output(column, source) for column, source in named.items()]


def _output(column: str, source: str) -> OutputColumn:
    found = re.fullmatch(r"([^\[\]]+)(?:\[([0-9]+|\*)\])?", source)
    if found is None:
        raise ModelError(f"output {column!r}: {source!r} is no output's name, or name[index], or name[*]")
    index, whole = found[2], found[2] == "*"
    return OutputColumn(column, found[1], int(index) if index and not whole else None, whole)
