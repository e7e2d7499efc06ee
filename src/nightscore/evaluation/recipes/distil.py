"""Students: small models that learn from the reference's scores what it does (Hinton et al., 2015).

Two ladders, each from large to small: boosted trees, fewer than the reference's and as large; and
networks of one hidden layer. They are trained on rows of past days alone. Chances are learnt by their
cross-entropy, or as log-odds.
"""

import warnings
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from threadpoolctl import ThreadpoolController

from nightscore.evaluation.recipes.ensemble import Ensemble
from nightscore.evaluation.recipes.recipe import Material, NoCandidate, Recipe
from nightscore.evaluation.recipes.student_model import (
    FEATURES,
    SCORE,
    Frame,
    Matrix,
    Numbers,
    frame_of,
    framed,
    from_score,
    rows_of,
    scores_of,
)
from nightscore.scorers import LEAF_MODE, ModelFile

MISSING = "needs the extra optimize: pip install 'nightscore[optimize]'"
ROWS = 400_000  # that a student learns from at most
SEED = 7
SHARES = (2, 4, 8, 16)  # a student has one in 2, 4, … of the reference's trees
USUAL = (200, 31)  # trees and leaves of a student's teacher that has none
HIDDEN = (64, 32, 16)
TREES: dict[str, Any] = {
    "seed": SEED,
    "deterministic": True,  # for any number of threads, with
    "force_row_wise": True,  # or LightGBM times both layouts and picks one, which may differ
    "verbose": -1,
}
STEPS, BATCH, EPOCHS = 10_000, 256, 100  # of a network's training: the number of the last at most
OUTER = 0.001  # quantiles, from both ends, beyond which a number counts as at them
LEAST_CHANCE = 1e-6


def recipes(model: ModelFile) -> list[Recipe]:
    """Students of an ONNX model, whatever it is."""
    trees, leaves = _size(model)
    counts = dict.fromkeys(max(1, trees // share) for share in SHARES)
    leaves = max(4, leaves)
    return [
        Recipe(
            f"student of {count} trees", "distillation", f"{count} of {leaves} leaves learn its scores.",
            partial(student_trees, trees=count, leaves=leaves), "student-trees",
        ) for count in counts
    ] + [
        Recipe(
            f"student of {width} neurons", "distillation", f"A hidden layer of {width} learns its scores.",
            partial(student_network, hidden=width), "student-mlp",
        ) for width in HIDDEN
    ]  # fmt: skip


def _size(model: ModelFile) -> tuple[int, int]:
    """Trees, and leaves of one, of a model that is an ensemble of them."""
    try:
        forest = Ensemble(model).forest
    except NoCandidate:
        return USUAL
    return len(forest.roots), int((forest.modes == LEAF_MODE).sum()) // len(forest.roots)


def student_trees(material: Material, trees: int, leaves: int) -> bytes:
    """Boosted trees that learn the reference's scores. Raises NoCandidate, see `frame_of`."""
    lgb = _imported("lightgbm")
    frame = frame_of(material)
    rows, scores = _sample(frame, material, ROWS)
    settings = {
        **TREES,
        "objective": "cross_entropy" if frame.is_chance else "regression",
        "num_leaves": leaves,
        "learning_rate": min(0.4, 1.6 / np.sqrt(trees)),  # fewer trees have farther to go
    }
    if frame.is_chance and frame.output.index == 0:
        scores = 1 - scores  # the trees give the second class
    data = lgb.Dataset(rows, scores, params={"verbose": -1})
    booster = exact_in_float32(lgb.train(settings, data, trees))
    if frame.is_chance and frame.width == 2:
        node = _as_onnx(booster, "binary", rows.shape[1])
        node.output[:] = ["student_label", "student_pair"]
        return framed(frame, [node], {}, "student_pair")
    node = _as_onnx(booster, "regression", rows.shape[1])
    node.output[:] = [SCORE]
    return from_score(frame, [node], {})


def _as_onnx(booster: Any, objective: str, columns: int) -> onnx.NodeProto:
    """The trees as one ONNX node, without what the converter puts around it.

    The objective says what is made of the sums; the converter doesn't know cross-entropy, which is that of
    two classes.
    """
    lgb, tools = _imported("lightgbm"), _imported("onnxmltools")
    types = _imported("onnxmltools.convert.common.data_types")
    named = "binary sigmoid:1" if objective == "binary" else objective
    text = booster.model_to_string().replace("objective=cross_entropy", f"objective={named}")
    text = text.replace("[objective: cross_entropy]", f"[objective: {objective}]")
    shape = [("features", types.FloatTensorType([None, columns]))]
    zipped = {"zipmap": False} if objective == "binary" else {}
    model = tools.convert_lightgbm(lgb.Booster(model_str=text), None, shape, **zipped)
    ensemble: onnx.NodeProto
    [ensemble] = [node for node in model.graph.node if node.op_type.startswith("TreeEnsemble")]
    ensemble.input[:] = [FEATURES]
    return ensemble


def exact_in_float32(booster: Any) -> Any:
    """A LightGBM booster that is the same on float32 rows, with thresholds that float32 can hold.

    LightGBM compares in float64, ONNX in float32. `x <= t` has one answer for every float32 `x` if `t` is
    replaced by the largest float32 that is not above it; rounding to nearest would flip some.
    """
    lines = []
    for line in booster.model_to_string().splitlines():
        name, _, values = line.partition("=")
        if name == "threshold":
            line = f"threshold={' '.join(_float32_below(float(v)) for v in values.split())}"  # noqa: PLW2901
        if name != "tree_sizes":  # offsets into the text, which has changed; optional
            lines.append(line)
    return _imported("lightgbm").Booster(model_str="\n".join(lines) + "\n")


def _float32_below(value: float) -> str:
    nearest = np.float32(value)
    below = np.nextafter(nearest, np.float32(-np.inf)) if float(nearest) > value else nearest
    return repr(float(below))


def student_network(material: Material, hidden: int) -> bytes:
    """A network of one hidden layer that learns the reference's scores, or their log-odds.

    Numbers are standardised, those beyond the outermost quantiles cut to them, infinity with them; a missing
    one is the mean, and says so in a column of its own. Raises NoCandidate, see `frame_of`.
    """
    networks = _imported("sklearn.neural_network")
    frame = frame_of(material)
    rows, scores = _sample(frame, material, ROWS)
    target = scores
    if frame.is_chance:
        target = np.clip(scores, LEAST_CHANCE, 1 - LEAST_CHANCE)
        target = np.log(target / (1 - target))
    scale, mean = float(target.std()) or 1.0, float(target.mean())
    standards = _standards(rows)
    network = networks.MLPRegressor(
        hidden_layer_sizes=(hidden,),
        batch_size=min(BATCH, len(rows)),
        max_iter=min(EPOCHS, -(-STEPS * BATCH // len(rows))),
        tol=0,
        random_state=SEED,
    )
    # One thread, so that sums are the same each time.
    with warnings.catch_warnings(), ThreadpoolController().limit(limits=1):
        warnings.simplefilter("ignore")  # that it has not converged: it is stopped on purpose
        network.fit(_standardised(rows, standards), ((target - mean) / scale).astype(np.float32))
    first, last = network.coefs_
    constants = {
        **standards,
        "first": first,
        "first_bias": network.intercepts_[0],
        "last": last * scale,
        "last_bias": network.intercepts_[1] * scale + mean,
    }
    return from_score(frame, _layers(), {f"student_{k}": v.astype(np.float32) for k, v in constants.items()})


def _standards(rows: Matrix) -> dict[str, Matrix]:
    """What a column is cut to, its mean and one over its deviation, [columns] each."""
    finite = np.where(np.isfinite(rows), rows, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # columns with nothing but missing values
        low, high = np.nanquantile(finite, [OUTER, 1 - OUTER], axis=0)
    low, high = np.nan_to_num(low), np.nan_to_num(high)
    cut = np.clip(rows.astype(np.float64), low, high)
    is_known = ~np.isnan(cut)
    count = np.maximum(is_known.sum(axis=0), 1)
    mean = np.where(is_known, cut, 0).sum(axis=0) / count
    deviation = np.sqrt((np.where(is_known, cut - mean, 0) ** 2).sum(axis=0) / count)
    standards = {
        "low": low,
        "high": high,
        "mean": mean,
        "steep": 1 / np.where(deviation > 0, deviation, np.inf),
    }
    return {name: values.astype(np.float32) for name, values in standards.items()}


def _standardised(rows: Matrix, standards: dict[str, Matrix]) -> Matrix:
    """As `_layers` begins, [rows, 2 * columns]: the numbers, and whether each is missing."""
    is_missing = np.isnan(rows)
    numbers = np.clip(np.where(is_missing, standards["mean"], rows), standards["low"], standards["high"])
    columns: Matrix = np.concatenate(
        [(numbers - standards["mean"]) * standards["steep"], is_missing.astype(np.float32)],
        axis=1,
        dtype=np.float32,
    )
    return columns


def _layers() -> list[onnx.NodeProto]:
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("IsNaN", [FEATURES], "missing", {}),
        ("Where", ["student_missing", "student_mean", FEATURES], "known", {}),
        ("Max", ["student_known", "student_low"], "above", {}),
        ("Min", ["student_above", "student_high"], "within", {}),
        ("Sub", ["student_within", "student_mean"], "centred", {}),
        ("Mul", ["student_centred", "student_steep"], "standard", {}),
        ("Cast", ["student_missing"], "said", {"to": TensorProto.FLOAT}),
        ("Concat", ["student_standard", "student_said"], "given", {"axis": 1}),
        ("Gemm", ["student_given", "student_first", "student_first_bias"], "sums", {}),
        ("Relu", ["student_sums"], "active", {}),
        ("Gemm", ["student_active", "student_last", "student_last_bias"], "score", {}),
    ]
    return [helper.make_node(op, inputs, [f"student_{name}"], **more) for op, inputs, name, more in steps]


def _sample(frame: Frame, material: Material, most: int) -> tuple[Matrix, Numbers]:
    """Rows and scores to learn from, `most` at most, drawn with a seed.

    Of chances high ones are drawn more often, by the chance and the mean of all: the many rows that nothing
    will become of teach little, and decisions are made at the top.
    """
    scores = scores_of(frame, material)
    if not len(scores):
        raise NoCandidate("there are no rows of past days to learn from")
    rows = rows_of(frame, material)
    if len(rows) <= most:
        return rows, scores
    odds = scores + scores.mean() if frame.is_chance and scores.any() else np.ones(len(scores))
    random = np.random.default_rng(SEED)
    drawn = np.sort(random.choice(len(rows), most, replace=False, p=odds / odds.sum()))
    return rows[drawn], scores[drawn]


def _imported(name: str) -> Any:
    """A library of the extra `optimize`. Raises NoCandidate where it is not installed."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NoCandidate(MISSING) from error
