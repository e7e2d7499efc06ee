"""Champion and challengers as a job.yaml says them: names, columns, and what a verdict asks for.

Light to import, as all of a job's spec.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from jobs.params import Misplaced, Strict
from jobs.questions import Column

SqlFile = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.sql$")]
CHALLENGERS = "challengers"  # the view that has their columns, too
MOST = 6  # challengers: as many models as a process keeps open (jobs/scoring.py), less the champion's two
SCHEME = "models:/"
URI = re.compile(rf"{SCHEME}([A-Za-z0-9_][A-Za-z0-9_. -]*)(?:/([1-9][0-9]*)|@([A-Za-z0-9_-]+))")
URI_FORMS = f"allowed: {SCHEME}NAME/VERSION or {SCHEME}NAME@ALIAS"


class Labels(Strict):
    """What came true of a day's rows, once it is known, and how scores are held to it."""

    sql: Annotated[
        SqlFile,
        Field(
            description="a .sql file: one SELECT of the key and `label`, from inputs up to after_days later"
        ),
    ]
    after_days: Annotated[
        int, Field(ge=0, le=3650, description="days after the scored one until its labels are complete")
    ]
    metric: Annotated[
        Literal["auc", "log_loss", "squared_error"],
        Field(description="auc and log_loss take labels of 0 and 1, squared_error takes numbers"),
    ] = "auc"
    max_drop: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False, description="by how much the metric may be worse, with confidence"),
    ] = 0.0
    output: Annotated[
        Column | None, Field(description="the output that is held to them; default: the first")
    ] = None
    cluster: Annotated[
        Column | None,
        Field(description="rows with one value of it are one observation; default: the first key column"),
    ] = None


class Judge(Strict):
    """When a challenger is promoted, held or rejected (`nightscore judge`)."""

    days: Annotated[
        int, Field(ge=1, le=1000, description="published days, with its scores, that a verdict needs")
    ] = 14
    segments: Annotated[
        list[Column], Field(description="kept or key columns: no value of one may get worse")
    ] = []
    ignore: Annotated[
        list[Column],
        Field(description="columns of decisions in which a difference is no flip; floats never are"),
    ] = []
    max_flips: Annotated[
        Annotated[str, StringConstraints(pattern=r"^(100|[0-9]{1,2}(\.[0-9]+)?) ?%$")] | None,
        Field(description="the largest share of decision rows that may differ, such as 5%"),
    ] = None
    min_rank_correlation: Annotated[
        float | None, Field(ge=-1, le=1, description="of Spearman, between both models' scores, on each day")
    ] = None
    labels: Annotated[
        Labels | None, Field(description="what came true; without it max_flips has to stand in")
    ] = None
    confidence: Annotated[float, Field(gt=0.5, lt=1, description="of intervals, two-sided")] = 0.95

    @property
    def flips(self) -> float | None:
        """The largest share of decision rows that may differ, 0 to 1."""
        return float(self.max_flips.strip(" %")) / 100 if self.max_flips else None


def check_model_names(place: str, names: Sequence[str | None]) -> None:
    """Know that what begins like a registry's URI is one.

    Raises:
        Misplaced: it names no version and no alias.
    """
    for i, name in enumerate(names):
        if name and name.startswith("models:") and not URI.fullmatch(name):
            at: tuple[str | int, ...] = (place, i) if place == "challengers" else (place,)
            raise Misplaced(at, f"{name!r} names no model of a registry; {URI_FORMS}")


def challenger_names(paths: Sequence[str]) -> dict[str, str]:
    """The path of each challenger by the name that its columns begin with.

    A file's name is its stem; of a registry's model `ranker@next` it is ranker_next. What is no letter, digit
    or underscore becomes an underscore.

    Raises:
        Misplaced: two have the same name, though SQL takes upper and lower case for the same.
    """
    found: dict[str, str] = {}
    for i, path in enumerate(paths):
        name = challenger_name(path)
        twin = next((p for n, p in found.items() if n.lower() == name.lower()), None)
        if twin is not None:
            raise Misplaced(
                (CHALLENGERS, i), f"{path!r} and {twin!r} would both have columns {name}__…; rename a file"
            )
        found[name] = path
    return found


def challenger_name(path: str) -> str:
    """The name that a challenger's columns begin with."""
    known = URI.fullmatch(path)
    text = f"{known[1]}_{known[2] or known[3]}" if known else PurePosixPath(path).stem
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return name if name[:1].isalpha() else f"m_{name}"


def challenger_columns(names: Sequence[str], outputs: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Column of the scores table -> challenger and output, in order."""
    return {f"{name}__{output}": (name, output) for name in names for output in outputs}
