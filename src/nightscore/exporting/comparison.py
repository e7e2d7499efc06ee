"""A converted model beside its library: the .onnx file as a job runs it, on the same rows."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.common import value_text
from nightscore.exporting.conversion import CannotConvert, Trained
from nightscore.exporting.graph import score_output
from nightscore.scorers import ModelFile, Options, open_scorer

Floats = npt.NDArray[np.float64]
MOST_SHOWN = 12  # classes that are printed
MOST_COLUMNS = 32  # of scores that get a name each; of more the job has one list


@dataclass(frozen=True)
class Case:
    """Rows [n] as a job has them, what each is, and the scores [n, k] of the library."""

    rows: pa.RecordBatch
    about: Sequence[str]
    scores: Floats


@dataclass(frozen=True)
class Verdict:
    """How far each row is from the library [n], and what an .onnx file gave [n, k]."""

    data: bytes
    outputs: Mapping[str, str]
    distances: Floats
    given: Floats

    @property
    def furthest(self) -> float:
        """The largest distance: relative to a score's size, absolute below 1."""
        return float(self.distances.max(initial=0.0))


def compare(data: bytes, case: Case, trained: Trained, names: Sequence[str]) -> Verdict:
    """Score the rows by ONNX Runtime, as the kind `onnx` does.

    Raises:
        CannotConvert: the model gives no such scores.
        ModelError, ChunkError: it can't be opened, or can't score such rows.
    """
    outputs = _outputs(data, trained, names)
    model = ModelFile("the converted model", hashlib.sha256(data).hexdigest(), data)
    scorer = open_scorer("onnx", model, Options(outputs))
    if misfits := scorer.signature.misfits(case.rows.schema):
        raise CannotConvert("; ".join(misfits))
    batch = scorer.score(case.rows)
    columns = [np.asarray(column.to_numpy(zero_copy_only=False), np.float64) for column in batch.columns]
    given = np.column_stack(columns)
    return Verdict(data, outputs, distances(given, case.scores), given)


def distances(given: Floats, wanted: Floats) -> Floats:
    """How far scores [n, k] are from those of the library [n]; NaN beside a number is infinitely far."""
    with np.errstate(all="ignore"):
        far = np.abs(given - wanted) / np.maximum(1.0, np.abs(wanted))
    same = (given == wanted) | (np.isnan(given) & np.isnan(wanted))
    far = np.where(same, 0.0, np.where(np.isnan(far), np.inf, far))
    return np.asarray(far.max(axis=1, initial=0.0))


def score_names(trained: Trained, width: int) -> list[str]:
    """What the scores are called: `score`, or one name a class."""
    if width == 1 or (width == 2 and len(trained.classes) == 2):
        return ["score"]
    if width > MOST_COLUMNS:
        raise CannotConvert(f"it gives {width} scores a row; allowed: at most {MOST_COLUMNS}")
    names = [str(one) for one in trained.classes] or [str(place) for place in range(width)]
    tidy = [
        "score_" + "".join(c if c.isalnum() and c.isascii() else "_" for c in name.lower()) for name in names
    ]
    return tidy if len(set(tidy)) == len(tidy) else [f"score_{place}" for place in range(width)]


def _outputs(data: bytes, trained: Trained, names: Sequence[str]) -> dict[str, str]:
    source, width = score_output(data)
    if len(trained.classes) == 2 and len(names) == 1:
        return {"score": f"{source}[1]"}
    if len(names) == 1:
        return {"score": source if width in (1, None) else f"{source}[0]"}
    return {name: f"{source}[{place}]" for place, name in enumerate(names)}


def chances(trained: Trained, verdict: Verdict) -> list[str]:
    """Of which class a score is the chance."""
    outputs = list(verdict.outputs.values())
    classes = trained.classes[1:] if len(outputs) == 1 and len(trained.classes) == 2 else trained.classes
    if len(outputs) != len(classes) or len(classes) > MOST_SHOWN:
        return []
    plain = [one.item() if isinstance(one, np.generic) else one for one in classes]
    return [f"{output} is the chance of {one!r}" for output, one in zip(outputs, plain, strict=True)]


def worst_row(case: Case, verdict: Verdict, names: Sequence[str], library: str) -> str:
    """The row that shows how another model it is, for a message."""
    place = int(np.argmax(verdict.distances))
    which = int(np.argmax(distances_by_column(verdict.given[place], case.scores[place])))
    row = {
        name: column[place].as_py()
        for name, column in zip(case.rows.schema.names, case.rows.columns, strict=True)
    }
    shown = ", ".join(f"{name}={value_text(value)}" for name, value in list(row.items())[:20])
    more = f", and {len(row) - 20} columns more" if len(row) > 20 else ""
    return (
        f"{case.about[place]}: {shown}{more}: {names[which]} is "
        f"{case.scores[place, which]:.9g} by {library}, and {verdict.given[place, which]:.9g} by the .onnx"
    )


def distances_by_column(given: Floats, wanted: Floats) -> Floats:
    """The same of one row's scores [k]."""
    return distances(given[:, None], wanted[:, None])
