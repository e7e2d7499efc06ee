"""Trees whose levels each ask one question, as CatBoost grows them: the bits of ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nightscore.scorers.contract import Options
from nightscore.scorers.files.model_file import read_model
from nightscore.scorers.onnx.scorer import open_onnx
from nightscore.scorers.testing import check_scorer
from nightscore.scorers.trees import open_trees
from nightscore.scorers.trees.graph import read_tree_graph
from nightscore.scorers.trees.tables import tables
from nightscore.scorers.trees.tables.part import BLOCK, DECIDED, DEEP, OBLIVIOUS, WALKED
from tests.scorers.forests import (
    COLUMNS,
    DOUBLE,
    FLOAT,
    MODES,
    WIDTH,
    around,
    assert_same,
    chunk,
    classifier,
    grown,
    oblivious,
    regressor,
    together,
)
from tests.scorers.models import file

EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, float(np.finfo(np.float32).tiny), 3.4e38]


def rng(seed: int = 5) -> np.random.Generator:
    return np.random.default_rng(seed)


def ways(model: onnx.ModelProto) -> list[int]:
    """How rows find their leaf in each tree."""
    found: list[int] = tables(read_tree_graph(file(model, COLUMNS)).forest).trees[:, 0].tolist()
    return found


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 2 * BLOCK + 3),
    kinds=st.lists(st.integers(0, 9) | st.sampled_from(["small", "large"]), min_size=1, max_size=7),
    modes=st.lists(st.sampled_from(MODES), min_size=1, max_size=6), kind=st.sampled_from([FLOAT, DOUBLE]),
    thresholds=st.none() | st.lists(st.floats(width=32) | st.sampled_from(EDGES), min_size=1, max_size=9),
    missing=st.booleans(), targets=st.sampled_from([1, 3]),
    aggregate=st.sampled_from(["SUM", "AVERAGE", "MIN", "MAX"]),
)  # fmt: skip
def test_any_mix_of_trees(  # noqa: PLR0917
    seed: int,
    rows: int,
    kinds: list[int | str],
    modes: list[str],
    kind: int,
    thresholds: list[float] | None,
    missing: bool,
    targets: int,
    aggregate: str,
) -> None:
    """Oblivious trees of any depth, between others small and large: each is added in its turn."""
    draw = rng(seed)
    leaves = {"small": 20, "large": 300}
    trees = [
        grown(draw, leaves[of], modes, targets, trees=1, missing=missing, thresholds=thresholds)
        if isinstance(of, str)
        else oblivious(draw, [of], modes, targets, missing, thresholds)
        for of in kinds
    ]
    model = regressor(together(*trees), targets, kind, aggregate_function=aggregate)
    assert_same(model, around(model, seed, rows))


def test_each_tree_is_known_for_what_it_is() -> None:
    """A lone leaf and depths 1 to 8 are a byte of bits, 9 to 16 two; others are decided or walked."""
    draw = rng()
    deep = oblivious(draw, [9, 11, 16], ["BRANCH_GT"])
    trees = (
        oblivious(draw, range(9), ["BRANCH_GT"]),
        grown(draw, 40, trees=1),
        deep,
        grown(draw, 300, trees=1),
    )
    model = regressor(together(*trees))
    assert ways(model) == [*[OBLIVIOUS] * 9, DECIDED, *[DEEP] * 3, WALKED]
    assert_same(model, around(model))


@pytest.mark.parametrize("name", ["nodes_values", "nodes_featureids", "nodes_missing_value_tracks_true"])
def test_one_node_that_asks_another_question(name: str) -> None:
    """Whichever of a level's nodes it is, and in whichever way it differs: the tree is not oblivious."""
    draw = rng()
    for place in (1, 2, 7, 14):
        at = oblivious(draw, [4], ["BRANCH_LEQ"], missing=False)
        at[name][place] = {"nodes_values": 9.5}.get(name, (at[name][place] + 1) % WIDTH)
        model = regressor(at)
        assert ways(model) == [DECIDED]
        assert_same(model, around(model))


def test_a_level_that_is_no_question() -> None:
    """Nothing is below minus infinity, not even NaN: the level falls away, and the others stay."""
    at = oblivious(rng(), [4], ["BRANCH_LT"], missing=False)
    level = slice(3, 7)
    at["nodes_values"][level] = [-np.inf] * 4
    model = regressor(at)
    assert ways(model) == [OBLIVIOUS]
    assert_same(model, around(model))


@pytest.mark.parametrize("depth", [6, 10])
@pytest.mark.sample(1)
def test_the_contract_of_scorers(depth: int) -> None:
    """Any chunking, any order, several threads: not a bit differs."""
    model = regressor(together(oblivious(rng(), [depth] * 6), grown(rng(), 30), oblivious(rng(), [3])))
    x = rng().normal(size=(3 * BLOCK + 7, WIDTH)).astype(np.float32)
    x[::9, 2] = np.nan
    check_scorer(open_trees(file(model, COLUMNS), Options({"score": "y"})), chunk(x))


def test_classes_of_oblivious_trees() -> None:
    """Several classes at each leaf, as CatBoost exports them: probabilities and labels."""
    for transform in ("SOFTMAX", "LOGISTIC", "NONE"):
        model = classifier(oblivious(rng(), [6] * 9, targets=3), ["a", "b", "c"], post_transform=transform)
        assert_same(model, around(model))


def trained(loss: str, depth: int, folder: Path, **more: Any) -> tuple[Any, onnx.ModelProto]:
    """A model of CatBoost, and its own export."""
    cb = pytest.importorskip(
        "catboost", reason="catboost is not installed: pip install 'nightscore[catboost]'"
    )
    draw = rng()
    x = draw.normal(size=(800, WIDTH)).astype(np.float32)
    x[::7, 1] = np.nan
    y = np.nan_to_num(x) @ np.arange(WIDTH) + np.sin(5 * x[:, 0])
    classes = {"Logloss": 2, "MultiClass": 3}.get(loss, 0)
    kind = cb.CatBoostClassifier if classes else cb.CatBoostRegressor
    model = kind(
        iterations=30, depth=depth, loss_function=loss, verbose=0, random_seed=0, thread_count=1,
        allow_writing_files=False, **more,
    ).fit(x, np.digitize(y, np.quantile(y, np.arange(1, classes) / classes)) if classes else y)  # fmt: skip
    model.save_model(str(folder / "m.onnx"), format="onnx")
    return model, onnx.load(folder / "m.onnx")


@pytest.mark.parametrize("depth", [1, 6, 9])
@pytest.mark.parametrize("loss", ["RMSE", "Logloss", "MultiClass"])
def test_catboosts_own_export(loss: str, depth: int, tmp_path: Path) -> None:
    """The bits of ONNX Runtime, and what CatBoost itself predicts: it adds up in float64."""
    trained_model, model = trained(loss, depth, tmp_path)
    assert set(ways(model)) == {DEEP if depth > 8 else OBLIVIOUS}
    x = around(model, rows=3000)
    regression = loss == "RMSE"
    options = Options({"score": "predictions" if regression else "probabilities[*]"}, COLUMNS)
    read = read_model(tmp_path / "m.onnx", "m.onnx")
    ours, runtime = (opened(read, options).score(chunk(x)) for opened in (open_trees, open_onnx))
    assert ours.equals(runtime)
    theirs = trained_model.predict(x) if regression else trained_model.predict_proba(x)
    np.testing.assert_allclose(np.array(ours["score"].to_pylist()), theirs, rtol=2e-5, atol=2e-6)


def test_nodes_that_all_ways_lead_to() -> None:
    """Forty nodes, both sides of each lead to the next: a trillion ways, and the last alone counts."""
    last = 39
    at = {
        "nodes_treeids": [0] * 42, "nodes_nodeids": [*range(42)], "nodes_featureids": [1] * 42,
        "nodes_values": [*map(float, range(40)), 0, 0], "nodes_modes": ["BRANCH_LEQ"] * 40 + ["LEAF"] * 2,
        "nodes_truenodeids": [*range(1, 41), 0, 0], "nodes_falsenodeids": [*range(1, 40), 41, 0, 0],
        "nodes_missing_value_tracks_true": [0] * 42,
        "treeids": [0, 0], "nodeids": [40, 41], "ids": [0, 0], "weights": [1.0, 2.0],
    }  # fmt: skip
    model = regressor(at)
    assert ways(model) == [WALKED]
    x = around(model)
    scores = open_trees(file(model, COLUMNS), Options({"score": "y"})).score(chunk(x))["score"]
    np.testing.assert_array_equal(scores.to_numpy(), np.where(x[:, 1] <= last, 1, 2))
