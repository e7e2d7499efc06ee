"""Values that training can't have had in a column, and a lake may: a null among integers, infinity, 1e39.

Or 2.5 in a column of floats that are codes of categories: LightGBM takes it for 2.

Where the library raises, or the file gives another score than the library, a job's `domain` refuses them.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nightscore.common import clipped, first_line
from nightscore.exporting.comparison import Case, Floats
from nightscore.exporting.conversion import TOLERANCE
from nightscore.exporting.edges import Score, spread
from nightscore.exporting.rows import Column, Rows, as_arrow

NULL, LARGE, INFINITE = "null", "beyond float32", "infinite"
PART = "no whole number"
BEYOND = (NULL, LARGE, INFINITE)
CODES = 20  # of a column that are tried beside
Domains = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Probe:
    """Rows with such values in a column, and the domain that refuses them."""

    what: str
    column: str
    frame: pd.DataFrame
    domain: dict[str, Any]


def beyond(
    rows: Rows,
    score: Score,
    far: Callable[[Case], Floats],
    trained: tuple[str, Mapping[str, Sequence[Any]]],
) -> tuple[Domains, list[str]]:
    """The domains of columns that can't have such values, and why, in words.

    `trained` is the library, and the categories that the model has seen by column. `far` says how far the
    file's scores of a case are from the library's [n], or raises anything.
    """
    found: Domains = {}
    notes = []
    library, known = trained
    made = {PART: list(_parts(rows, known)), **{what: list(_probes(rows, what)) for what in BEYOND}}
    for what, all_of_it in made.items():
        probes = [one for one in all_of_it if what in (PART, NULL) or one.column not in found]
        refused, why = _refused(probes, rows, score, far)
        found |= {one.column: found.get(one.column, {}) | one.domain for one in refused}
        if refused:
            said = f"{library} raises: {clipped(why)}" if why else f"the .onnx does not score as {library}"
            domain = json.dumps({one.column: one.domain for one in refused}, ensure_ascii=False)
            names = ", ".join(one.column for one in refused)
            notes.append(f"where {names} is {what}, {said}. In job.yaml: domain: {domain}")
    return found, notes


def _refused(
    probes: Sequence[Probe], rows: Rows, score: Score, far: Callable[[Case], Floats]
) -> tuple[list[Probe], str]:
    """The probes that the library does not score, or the file not like it; and what the library says."""
    scored: list[tuple[Probe, Floats]] = []
    refused, why = [], ""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for probe in probes:
            try:
                scored.append((probe, score(probe.frame)))
            except Exception as error:
                refused.append(probe)
                why = why or first_line(error)
        return refused + _wrong(scored, rows, far), why


def _wrong(scored: Sequence[tuple[Probe, Floats]], rows: Rows, far: Callable[[Case], Floats]) -> list[Probe]:
    """The probes that the file does not score as the library does, or not at all."""
    if not scored:
        return []
    frame = pd.concat([probe.frame for probe, _ in scored], ignore_index=True)
    case = Case(as_arrow(frame, rows.columns), [], np.vstack([scores for _, scores in scored]))
    try:
        distances = far(case).reshape(len(scored), -1).max(axis=1)
    except Exception:  # it takes no such values: the night says so, and the domain before it
        return [probe for probe, _ in scored]
    return [probe for (probe, _), distance in zip(scored, distances, strict=True) if distance > TOLERANCE]


def _parts(rows: Rows, known: Mapping[str, Sequence[Any]]) -> Iterator[Probe]:
    """What lies between the codes of a column of floats."""
    few = rows.frame.iloc[np.arange(CODES) % len(rows.frame)].reset_index(drop=True)
    for column in rows.of_kind("number"):
        codes, dtype = known.get(column.name, ()), few[column.name].dtype
        if codes and not column.categories and isinstance(dtype, np.dtype) and dtype.kind == "f":
            values = pd.Series(np.resize(np.array(spread(codes), float) + 0.5, CODES), dtype=dtype)
            yield Probe(PART, column.name, few.assign(**{column.name: values}), {"in": sorted(codes)})


def _probes(rows: Rows, what: str) -> Iterator[Probe]:
    few = rows.frame.iloc[[0, -1]].reset_index(drop=True)
    for column in rows.of_kind("number", "flag"):
        if not column.categories and (made := _values(column, few[column.name].dtype, what)):
            values, domain = made
            given = pd.Series(values, dtype="float64" if what == NULL else few[column.name].dtype)
            yield Probe(what, column.name, few.assign(**{column.name: given}), domain)


def _values(column: Column, dtype: Any, what: str) -> tuple[list[float], dict[str, Any]] | None:
    """Two such values of a column, and the domain without them; None where it can't have them, or had."""
    if what == NULL:
        return None if column.nullable else ([np.nan, np.nan], {"null": False})
    if not isinstance(dtype, np.dtype) or dtype.kind != "f" or (what == LARGE and dtype.itemsize < 8):
        return None
    most = float(np.finfo(np.float32 if what == LARGE else dtype).max)
    value = 1e39 if what == LARGE else np.inf
    return [-value, value], {"min": -most, "max": most}
