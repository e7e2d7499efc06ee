"""A credit scorecard with its reasons: an ONNX model, and why a loan has no better score.

A scorer around another: ONNX Runtime computes all that the model gives, to the bit as the kind `onnx` does,
and this file adds two outputs that a graph has no words for, both lists a row:

    reasons[k]          texts, at most k: the features that cost the loan most points, the dearest first;
                        one that costs nothing is no reason
    reason_points[k]    float64, k of them: the points that the dearest k features cost, to a tenth of a point

The model is a file as data/models/finance/credit_graph.py makes it: with an output `points_lost`, float64
[rows, features], how many points each feature's bin has less than the best one, >= 0; and with two lists
(JSON) in its metadata, `features` and `reasons`, a name and a text for each column of `points_lost`, in its
order. So reasons can't be told in another order than that of the points, and change when the model does.

Points that a bin lacks to the best are one of the usual ways to find reasons (Siddiqi, Intelligent Credit
Scoring, 2017, chapter 10). Features that cost as much after rounding are told in the model's order; a half
of a tenth is rounded up, as SQL does.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.scorers import ModelError, ModelFile, Options, Scorer, Signature
from nightscore.scorers import open_scorer as open_kind

POINTS = "points_lost[*]"  # the model's output, and its column here: a name that no output of a job can have
TYPES = {"reasons": pa.list_(pa.string()), "reason_points": pa.list_(pa.float64())}

Numbers = npt.NDArray[np.float64]


class ScorecardPoints:
    """A model's outputs, and its reasons. Keeps nothing of a chunk; several threads may call."""

    def __init__(self, inner: Scorer, texts: list[str], asked: Mapping[str, tuple[str, int] | None]) -> None:
        """`inner` gives the points and the model's own outputs, which are None in `asked` (see `_asked`)."""
        self._inner, self._texts = inner, pa.array(texts)
        self._ours = {column: ours for column, ours in asked.items() if ours is not None}
        theirs = inner.signature.outputs
        fields = [
            theirs.field(column) if ours is None else pa.field(column, TYPES[ours[0]])
            for column, ours in asked.items()
        ]
        self._signature = Signature(inner.signature.inputs, pa.schema(fields))

    @property
    def signature(self) -> Signature:
        """The columns needed and given."""
        return self._signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """The model's outputs and the reasons, of each row. Errors as the kind `onnx`'s."""
        batch = self._inner.score(chunk)
        lost = _matrix(batch.column(POINTS), len(self._texts))
        lost = np.floor(lost * 10 + 0.5) / 10
        order = np.argsort(-lost, axis=1, kind="stable")
        ranked = np.take_along_axis(lost, order, axis=1)
        columns = {name: batch.column(name) for name in batch.schema.names}
        for column, (source, k) in self._ours.items():
            first = ranked[:, :k]
            columns[column] = self._reasons(order[:, :k], first) if source == "reasons" else _lists(first)
        return pa.RecordBatch.from_arrays(
            [columns[name] for name in self._signature.outputs.names], schema=self._signature.outputs
        )

    def _reasons(self, order: npt.NDArray[np.int64], lost: Numbers) -> pa.ListArray:
        """The texts of the features that cost a row anything, in order."""
        costs = lost > 0
        ends = np.cumsum(costs.sum(axis=1), dtype=np.int32)
        starts = pa.array(np.concatenate([np.zeros(1, np.int32), ends]))
        return pa.ListArray.from_arrays(starts, self._texts.take(pa.array(order[costs])))


def open_scorer(model: ModelFile | None, options: Options) -> Scorer:
    """A scorer for a scorecard.

    Raises:
        ModelError: no file is named, it is no scorecard, or it does not give what is asked for.
    """
    if model is None:
        raise ModelError("needs a scorecard; name its .onnx file in model.path")
    texts = _texts(model)
    asked = {
        column: _asked(model.name, column, source, len(texts)) for column, source in options.outputs.items()
    }
    theirs = {column: source for column, source in options.outputs.items() if asked[column] is None}
    inner = open_kind("onnx", model, replace(options, outputs={**theirs, POINTS: POINTS}))
    return ScorecardPoints(inner, texts, asked)


def _asked(model: str, column: str, source: str, features: int) -> tuple[str, int] | None:
    """Which of our outputs a source is, and its k; None for one of the model's."""
    name, _, rest = source.partition("[")
    if name not in TYPES:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,3})\]", rest)
    if match is None or int(match[1]) > features:
        raise ModelError(
            f"{model}: output {column!r}: {source!r}; allowed: {name}[1] to {name}[{features}], the "
            "most that a row gets"
        )
    return name, int(match[1])


def _texts(model: ModelFile) -> list[str]:
    """The reasons in the model's metadata, one for each feature."""
    import onnx  # a quarter of a second: not before a scorecard is opened

    try:
        properties = {
            entry.key: entry.value for entry in onnx.load_model_from_string(model.data).metadata_props
        }
        features, texts = json.loads(properties["features"]), json.loads(properties["reasons"])
    except Exception as error:  # protobuf's errors share no base class
        raise ModelError(
            f"{model.name}: is no scorecard, which has the JSON lists 'features' and 'reasons' in its "
            f"metadata: {type(error).__name__}: {error}"
        ) from error
    if len(features) != len(texts) or not all(isinstance(text, str) and text for text in texts):
        raise ModelError(f"{model.name}: its metadata has {len(features)} features and the reasons {texts}")
    return list(texts)


def _matrix(lists: pa.ListArray, width: int) -> Numbers:
    """Lists of `width` numbers as an array [rows, width]."""
    flat: Numbers = lists.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(lists), width)


def _lists(values: Numbers) -> pa.ListArray:
    """An array [rows, k] as lists of k numbers."""
    rows, k = values.shape
    starts = pa.array(np.arange(0, rows * k + 1, k, dtype=np.int32))
    return pa.ListArray.from_arrays(starts, pa.array(np.ascontiguousarray(values).reshape(-1)))
