"""Rows in other company: models that look at more than the row are found, and rounding blames nobody."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto as T
from onnx import helper

from nightscore.pipeline.score.neighbours import find_sway, sound_rows
from nightscore.scorers.contract import Options, Scorer, Signature
from nightscore.scorers.onnx.scorer import open_onnx
from tests.scorers import models

node = helper.make_node
COLUMNS = ("a", "b", "c")
ONE = {"axis": np.array([1], np.int64)}


def matrix_model(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, object] | None = None,
    columns: Sequence[str] = COLUMNS,
) -> Scorer:
    """A matrix X in, y [rows, 1] out; `own` is the sum of each row's columns."""
    named = {name: np.asarray(value) for name, value in {**ONE, **(weights or {})}.items()}
    graph = models.graph(
        [node("ReduceSum", ["X", "axis"], ["own"], keepdims=1), *nodes],
        {"X": (T.FLOAT, [None, len(columns)])}, {"y": (T.FLOAT, [None, 1])}, named,
    )  # fmt: skip
    return open_onnx(models.file(graph, columns), Options({"score": "y"}))


def dynamic_int8() -> Scorer:
    """Activations in int8, by the range of all rows of the batch."""
    weights = {
        "w": np.array([[90], [-127], [31]], np.int8), "wz": np.int8(0), "ws": np.float32(0.01)
    }  # fmt: skip
    nodes = [
        node("DynamicQuantizeLinear", ["X"], ["q", "s", "z"]),
        node("MatMulInteger", ["q", "w", "z", "wz"], ["sums"]),
        node("Cast", ["sums"], ["floats"], to=T.FLOAT),
        node("Mul", ["s", "ws"], ["scale"]),
        node("Mul", ["floats", "scale"], ["y"]),
    ]
    return matrix_model(nodes, weights)


LOOKING: dict[str, Callable[[], Scorer]] = {
    "dynamic quantization": dynamic_int8,
    "a running sum": lambda: matrix_model([node("CumSum", ["own", "zero"], ["y"])], {"zero": np.int64(0)}),
    "less the mean": lambda: matrix_model(
        [node("ReduceMean", ["own"], ["m"], axes=[0], keepdims=1), node("Sub", ["own", "m"], ["y"])]
    ),
    "softmax over rows": lambda: matrix_model([node("Softmax", ["own"], ["y"], axis=0)]),
    "ranks": lambda: matrix_model(
        [
            node("TopK", ["own", "k"], ["top", "at"], axis=0, largest=0),
            node("Mul", ["own", "tiny"], ["x"]),
            node("Add", ["x", "top"], ["y"]),
        ],
        {"k": np.array([1], np.int64), "tiny": np.float32(1)},
    ),
    "rows reversed": lambda: matrix_model(
        [node("Slice", ["own", "s", "e", "rows", "step"], ["y"])],
        {
            "s": np.array([-1]), "e": np.array([-(2**62)]), "rows": np.array([0]), "step": np.array([-1])
        },
    ),
    "a little of the largest": lambda: matrix_model(
        [
            node("ReduceMax", ["own"], ["most"], axes=[0], keepdims=1),
            node("Mul", ["most", "share"], ["sway"]),
            node("Add", ["own", "sway"], ["y"]),
        ],
        {"share": np.float32(1e-4)},
    ),
    "how many rows there are": lambda: matrix_model(
        [
            node("Shape", ["own"], ["shape"], start=0, end=1),
            node("Cast", ["shape"], ["n"], to=T.FLOAT),
            node("Add", ["own", "n"], ["y"]),
        ]
    ),
}  # fmt: skip


class Mine:
    """A scorer by hand: the sum of a row's columns, and what a subclass does with it."""

    signature = Signature(
        pa.schema([(c, pa.float64()) for c in COLUMNS]), pa.schema([("score", pa.float64())])
    )

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        own = sum(np.asarray(chunk.column(c).to_numpy(), np.float64) for c in COLUMNS)
        return pa.RecordBatch.from_arrays([pa.array(self.changed(own))], schema=self.signature.outputs)

    def changed(self, own: np.ndarray) -> np.ndarray:
        return own


class Counts(Mine):
    """Each call is a little more."""

    calls = 0

    def changed(self, own: np.ndarray) -> np.ndarray:
        self.calls += 1
        return own + 1e-3 * self.calls


class CachesBySize(Mine):
    """What it gave for as many rows, whatever they are."""

    def __init__(self) -> None:
        self.known: dict[int, np.ndarray] = {}

    def changed(self, own: np.ndarray) -> np.ndarray:
        return self.known.setdefault(len(own), own)


class FitsOnce(Mine):
    """Less the mean of the first rows that it sees."""

    mean: float | None = None

    def changed(self, own: np.ndarray) -> np.ndarray:
        if self.mean is None:
            self.mean = float(own.mean())
        return own - self.mean


class CarriesOn(Mine):
    """A running sum that goes on from chunk to chunk."""

    total = 0.0

    def changed(self, own: np.ndarray) -> np.ndarray:
        sums = self.total + np.cumsum(own)
        self.total = float(sums[-1])
        return sums


class LosesOne(Mine):
    """A chunk of one row has no rows any more."""

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        scored = super().score(chunk)
        return scored if chunk.num_rows > 1 else scored[:0]


class Labels(Mine):
    """A text, by the mean of the chunk."""

    signature = Signature(Mine.signature.inputs, pa.schema([("score", pa.string())]))

    def changed(self, own: np.ndarray) -> np.ndarray:
        return np.where(own > own.mean(), "high", "low").astype(object)


class Lists(Mine):
    """Lists of two numbers: its own, and one of its neighbours."""

    signature = Signature(Mine.signature.inputs, pa.schema([("score", pa.list_(pa.float64()))]))

    def changed(self, own: np.ndarray) -> list[list[float]]:  # type: ignore[override]
        return [[float(x), float(own.max())] for x in own]


class Product(Mine):
    """The sigmoid of a product of matrices in float32, as NumPy's BLAS computes it."""

    def __init__(self, columns: Sequence[str], weights: np.ndarray) -> None:
        self.columns, self.weights = columns, weights
        inputs = pa.schema([(c, pa.float32()) for c in columns])
        self.signature = Signature(inputs, pa.schema([("score", pa.float32())]))

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        x = np.stack([chunk.column(c).to_numpy() for c in self.columns], axis=1)
        y = 1 / (1 + np.exp(-(x @ self.weights)[:, 0]))
        return pa.RecordBatch.from_arrays([pa.array(y)], schema=self.signature.outputs)


@pytest.mark.parametrize("name", LOOKING)
def test_a_model_that_looks_at_the_rows_beside_is_found(name: str) -> None:
    """On plain rows, on rows that are all alike, and on two."""
    rows = models.floats(128)
    alike = pa.concat_batches([rows[:1]] * 40)
    for some in (rows, rows[:2]) if name == "ranks" else (rows, alike, rows[:2]):
        assert find_sway(LOOKING[name](), some, 1e-5) is not None


@pytest.mark.parametrize("kind", [Counts, CachesBySize, CarriesOn, LosesOne, Labels, Lists])
def test_a_scorer_that_remembers_or_mixes_is_found(kind: type[Mine]) -> None:
    """Other people's code, with a column of numbers, texts or lists."""
    sway = find_sway(kind(), models.floats(128), 1e-5)
    assert sway is not None
    assert sway.of > 0


def test_what_was_fitted_on_the_first_rows_is_found_by_opening_it_anew() -> None:
    """Nothing else shows it: whoever asks second is told what follows from the first."""
    rows = models.floats(128)
    assert find_sway(FitsOnce(), rows, 1e-5) is None
    sway = find_sway(FitsOnce(), rows, 1e-5, FitsOnce)
    assert sway is not None
    assert sway.way.startswith("opened anew")


def test_the_evidence_is_a_row_and_both_of_its_scores() -> None:
    """As NumPy computes them."""
    rows = models.floats(10)
    sway = find_sway(LOOKING["less the mean"](), rows, 1e-5)
    assert sway is not None
    own = sum(rows.column(c).to_numpy() for c in COLUMNS)
    assert sway.way == "in halves"
    half = own[:5] if sway.row < 5 else own[5:]
    assert sway.whole == pytest.approx(own[sway.row] - own.mean(), abs=1e-5)
    assert sway.other == pytest.approx(own[sway.row] - half.mean(), abs=1e-5)
    assert sway.rows == sway.of == 10


def honest() -> dict[str, tuple[Scorer, pa.RecordBatch]]:
    """Exporters' models, and sums that cancel out: float32 knows such a score to two digits."""
    rng = np.random.default_rng(7)
    wide = [f"f{i}" for i in range(300)]
    large = pa.RecordBatch.from_pydict({c: (rng.normal(size=128) * 1e6).astype(np.float32) for c in wide})
    weights = {"w": rng.normal(size=(300, 1)).astype(np.float32)}
    apart = {c: large.column(i // 2 * 2).to_numpy() / 1000 for i, c in enumerate(wide)}
    cancelling = pa.RecordBatch.from_pydict({**apart, "f0": apart["f1"] + rng.normal(size=128).astype("f4")})
    signs = np.repeat(rng.normal(size=(150, 16)), 2, axis=0) * np.tile([[1], [-1]], (150, 1))
    product = [node("MatMul", ["X", "w"], ["y"])]
    squashed = [node("MatMul", ["X", "w"], ["z"]), node("Sigmoid", ["z"], ["y"])]
    missing = models.floats(128).set_column(0, "a", pa.array([None, *rng.random(127)], pa.float32()))
    outputs = Options({"label": "label", "p": "probabilities[1]", "all": "probabilities[*]"})
    return {
        "large sums that cancel out": (matrix_model(product, weights, wide), large),
        "squashed": (matrix_model(squashed, weights, wide), large),
        "sums that cancel out, by BLAS": (Product(wide, signs.astype(np.float32)), cancelling),
        "trees": (open_onnx(models.file(models.trees()[1], COLUMNS), outputs), models.floats(128)),
        "trees with nulls": (open_onnx(models.file(models.trees()[1], COLUMNS), outputs), missing),
        "a pipeline": (
            open_onnx(
                models.file(models.pipeline()[1]), Options({"label": "label", "p": "probabilities[1]"})
            ),
            models.mixed(128),
        ),
        "a network": (
            open_onnx(models.file(models.mlp(), COLUMNS), Options({"all": "y[*]"})), models.floats(128)
        ),
        "by hand": (Mine(), models.floats(128)),
        "one row": (Mine(), models.floats(1)),
    }  # fmt: skip


@pytest.mark.parametrize("tolerance", [0.0, 1e-5])
@pytest.mark.sample(1)
@pytest.mark.slow
def test_an_honest_model_passes_for_all_that_it_rounds(tolerance: float) -> None:
    """Whatever a product of another shape does to last bits, even where the job's tolerance is nothing."""
    for name, (scorer, rows) in honest().items():
        assert find_sway(scorer, rows, tolerance) is None, name


def test_rounding_does_go_further_than_the_tolerance() -> None:
    """Else the test above shows nothing: alone, a sum that cancels out is another, by BLAS itself."""
    scorer, rows = honest()["sums that cancel out, by BLAS"]
    whole = scorer.score(rows).column(0).to_numpy()
    alone = np.concatenate([scorer.score(rows[i : i + 1]).column(0).to_numpy() for i in range(128)])
    assert np.abs(whole - alone).max() > 3e-5


def test_rows_that_can_not_be_scored_are_left_out() -> None:
    """They are the night's rejects; the others are asked about."""

    class Picky(Mine):
        def changed(self, own: np.ndarray) -> np.ndarray:
            if (own > 2).any():
                raise ValueError("too large")
            return own

    rows = models.floats(128)
    large = sum(rows.column(c).to_numpy().astype(np.float64) for c in COLUMNS) > 2
    assert 0 < large.sum() < 128
    assert sound_rows(Picky(), rows).num_rows == 128 - large.sum()
