"""Trees dropped and leaves merged: exact where nothing is lost, bounded where something is."""

from collections.abc import Callable
from typing import Any

import lightgbm as lgb
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestRegressor

from nightscore.evaluation.recipes.ensemble import Ensemble, in_use, leaves, weights_of
from nightscore.evaluation.recipes.forests import (
    PROBES,
    bisect,
    fewer_trees,
    first_trees,
    means_of,
    merge,
    merged_leaves,
    recipes,
    spans,
)
from nightscore.evaluation.recipes.recipe import NoCandidate
from nightscore.scorers.contract import Options
from nightscore.scorers.onnx.scorer import open_onnx
from nightscore.scorers.registry import open_scorer
from nightscore.scorers.testing import check_scorer
from nightscore.scorers.trees.forest import LEAF_MODE, Forest
from tests.evaluation.recipes.material import material
from tests.scorers import forests
from tests.scorers.models import file, mlp

TRAINED = [name for name in forests.EXPORTS if "classifier" not in name]
rng = np.random.default_rng(5)


def by_hand() -> dict[str, onnx.ModelProto]:
    """Ensembles that no library writes: every mode, several targets, float64, sets of values."""
    double = {"kind": forests.DOUBLE}
    return {
        "every mode": forests.regressor(forests.grown(rng, 20)),
        "three targets": forests.regressor(forests.grown(rng, 9, targets=3), targets=3),
        "a float64 input": forests.regressor(forests.grown(rng, 9), **double),
        "averages": forests.regressor(forests.grown(rng, 9), aggregate_function="AVERAGE"),
        "opset 5": without_sets(forests.FLOAT, n_targets=1),
        "opset 5, float64": without_sets(forests.DOUBLE, trees=7, n_targets=1),
    }


def without_sets(kind: int, **more: Any) -> onnx.ModelProto:
    """A TreeEnsemble of ai.onnx.ml 5 whose conditions compare with one number each."""
    model = forests.newer(rng, kind, **more)
    at = {one.name: one for one in model.graph.node[0].attribute}
    modes = numpy_helper.to_array(at["nodes_modes"].t) % 6
    at["nodes_modes"].t.CopyFrom(numpy_helper.from_array(modes))
    model.graph.node[0].attribute.remove(at["membership_values"])
    return model


BY_HAND = by_hand()


def ensemble(model: onnx.ModelProto) -> Ensemble:
    return Ensemble(file(model, forests.COLUMNS))


def changed(model: onnx.ModelProto, forest: Forest) -> onnx.ModelProto:
    """The model with other trees."""
    return onnx.load_model_from_string(ensemble(model).with_forest(forest))


def scores(model: onnx.ModelProto, x: Any) -> list[Any]:
    """All that ONNX Runtime gives on one thread."""
    scorer = open_onnx(file(model, forests.COLUMNS), Options(forests.outputs_of(model)))
    return scorer.score(forests.chunk(x)).columns


@pytest.mark.parametrize("name", [*BY_HAND, *TRAINED])
@pytest.mark.sample(8)
def test_a_forest_that_was_not_changed_scores_the_same(name: str) -> None:
    """Read, written and read again: the same bits in ONNX Runtime, on thresholds, NaN and infinities."""
    model = BY_HAND.get(name) or forests.exported(name)
    x = forests.around(model)
    for ours, theirs in zip(scores(changed(model, ensemble(model).forest), x), scores(model, x), strict=True):
        assert ours.equals(
            theirs,
        )


@pytest.mark.parametrize("name", [*BY_HAND, *TRAINED])
@pytest.mark.sample(8)
def test_candidates_open_in_both_kinds(name: str) -> None:
    """Half of the trees, and half of the subtrees merged: the kernel and ONNX Runtime agree to the bit."""
    model = BY_HAND.get(name) or forests.exported(name)
    forest = ensemble(model).forest
    x = forests.around(model)
    forests.assert_same(changed(model, first_trees(forest, max(1, len(forest.roots) // 2 // 3 * 3))), x)
    span = spans(forest)
    if np.isfinite(span).any():
        bound = np.median(span[np.isfinite(span)])
        small = merge(forest, span <= bound, means_of(forest, x.astype(forest.dtype)))
        assert in_use(small).sum() < in_use(forest).sum()
        forests.assert_same(changed(model, small), x)


@pytest.mark.parametrize("name", [*BY_HAND, "lightgbm binary", "xgboost classes", "scikit forest"])
def test_rows_end_in_the_leaves_of_onnx_runtime(name: str) -> None:
    """The sums of the leaves that our walk finds are the sums that ONNX Runtime transforms."""
    model = BY_HAND.get(name) or forests.exported(name)
    forest = ensemble(model).forest
    x = forests.around(model, rows=300)
    raw = onnx.ModelProto()
    raw.CopyFrom(model)
    [node] = [one for one in raw.graph.node if one.op_type.startswith("TreeEnsemble")]
    if node.op_type != "TreeEnsembleRegressor" or forest.aggregate == "AVERAGE":
        pytest.skip("ONNX Runtime gives no sums of it")
    weights, _ = weights_of(forest)
    summed = weights[leaves(forest, x.astype(forest.dtype))].sum(axis=1)
    found = scores(model, x)[0].flatten().to_numpy().reshape(len(x), -1)
    base = forest.base_values if len(forest.base_values) else 0
    np.testing.assert_allclose(found, summed + base, rtol=1e-4, atol=1e-5)


def booster(**more: Any) -> tuple[lgb.Booster, onnx.ModelProto, Any]:
    """A LightGBM booster of 40 rounds, its ONNX, and rows with missing values."""
    x = np.random.default_rng(2).normal(size=(3000, forests.WIDTH)).astype(np.float32)
    x[::9] = np.nan
    y = np.nansum(x, axis=1)
    given = {"objective": "binary", "num_leaves": 15, "verbose": -1, "num_threads": 1, **more}
    label = np.digitize(y, [-1, 1]) if "num_class" in given else y > 0
    found = lgb.train(given, lgb.Dataset(x, label), 40)
    shape = [("X", FloatTensorType([None, forests.WIDTH]))]
    return found, convert_lightgbm(found, None, shape, zipmap=False, target_opset=15), x


@pytest.mark.parametrize("more", [{}, {"objective": "multiclass", "num_class": 3}])
def test_the_first_trees_are_what_lightgbm_stops_at(more: dict[str, Any]) -> None:
    """A prefix of the rounds is `predict(num_iteration=k)`, for two classes and for three."""
    trained, model, x = booster(**more)
    forest = ensemble(model).forest
    a_round = more.get("num_class", 1)
    for count in (1, 7, 40):
        small = changed(model, first_trees(forest, count * a_round))
        found = scores(small, x)[1].flatten().to_numpy().reshape(len(x), -1)
        wanted = trained.predict(x, num_iteration=count)
        np.testing.assert_allclose(found if a_round > 1 else found[:, 1], wanted, atol=2e-6)


def test_rounds_of_classes_stay_whole() -> None:
    """Of three classes no tree is dropped without the two others of its round."""
    _, model, x = booster(objective="multiclass", num_class=3)
    seen: list[int] = []

    def keeps(data: bytes) -> bool:
        seen.append(len(ensemble(onnx.load_model_from_string(data)).forest.roots))
        return seen[-1] > 50

    found = fewer_trees(material(model, x[:200], keeps))
    assert len(Ensemble(file(found)).forest.roots) == 51
    assert all(count % 3 == 0 for count in seen)


@pytest.mark.parametrize("name", ["boosted", "averaged"])
def test_trees_that_are_averaged_are_scaled_up(name: str) -> None:
    """Half of a random forest is the mean of its estimators; half of a boosted model is a prefix."""
    if name == "boosted":
        trained, model, x = booster()
        wanted = trained.predict(x, num_iteration=20, raw_score=True)
    else:
        x = np.random.default_rng(2).normal(size=(400, forests.WIDTH)).astype(np.float32)
        forest = RandomForestRegressor(20, max_depth=5, random_state=1).fit(x, x[:, 0] + x[:, 1] ** 2)
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import FloatTensorType as Floats

        model = convert_sklearn(forest, initial_types=[("X", Floats([None, forests.WIDTH]))], target_opset=15)
        wanted = np.mean([one.predict(x) for one in forest.estimators_[:10]], axis=0)
    half = len(ensemble(model).forest.roots) // 2
    keeps = lambda data: len(ensemble(onnx.load_model_from_string(data)).forest.roots) >= half  # noqa: E731
    found = Ensemble(file(fewer_trees(material(model, x, keeps)))).forest
    assert len(found.roots) == half
    weights, _ = weights_of(found)
    np.testing.assert_allclose(weights[leaves(found, x)].sum(axis=1)[:, 0], wanted, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 25), st.integers(1, 3), st.floats(0, 3))
def test_no_sum_moves_by_more_than_the_bound_times_the_trees(
    seed: int, size: int, targets: int, bound: float
) -> None:
    """Any trees, any rows: a merged leaf is within the span of those that it was made of."""
    random = np.random.default_rng(seed)
    model = forests.regressor(forests.grown(random, size, targets=targets, trees=4), targets=targets)
    forest = ensemble(model).forest
    x = forests.around(model, seed, rows=60)
    small = merge(forest, spans(forest) <= bound, means_of(forest, x[:20]))
    before, after = ((weights_of(one)[0][leaves(one, x)]) for one in (forest, small))
    assert np.abs(after - before).max() <= bound * (1 + 1e-6) + 1e-6
    moved = np.abs(after.sum(axis=1) - before.sum(axis=1))
    assert moved.max() <= 4 * bound * (1 + 1e-6) + 1e-5


def test_a_merged_leaf_is_the_mean_over_the_rows_that_reach_it() -> None:
    """Counted once more, row by row, for the rows that the means were made of."""
    _, model, x = booster()
    forest = ensemble(model).forest
    span = spans(forest)
    small = merge(forest, span <= np.median(span[np.isfinite(span)]), means_of(forest, x))
    before, after = weights_of(forest)[0][:, 0], weights_of(small)[0][:, 0]
    old, new = leaves(forest, x), leaves(small, x)
    merged = [node for node in np.unique(new) if forest.modes[node] != LEAF_MODE]
    assert len(merged) > 10
    for node in merged:
        np.testing.assert_allclose(after[node], before[old[new == node]].mean(), rtol=1e-5, atol=1e-7)


def within(model: onnx.ModelProto, x: Any, most: float, probes: list[bytes]) -> Callable[[bytes], bool]:
    """A budget: the largest change of a chance, over the rows."""
    wanted = scores(model, x)[1].flatten().to_numpy()

    def keeps(data: bytes) -> bool:
        probes.append(data)
        found = scores(onnx.load_model_from_string(data), x)[1].flatten().to_numpy()
        return bool(np.abs(found - wanted).max() <= most)

    return keeps


@pytest.mark.parametrize("make", [fewer_trees, merged_leaves])
@pytest.mark.sample(1)
def test_a_candidate_keeps_the_budget_and_the_contract(make: Callable[..., bytes]) -> None:
    """Smaller than the model, within the budget, found in eight probes, and the same to open."""
    _, model, x = booster()
    probes: list[bytes] = []
    given = material(model, x, within(model, x, 0.05, probes))
    data = make(given)
    assert 0 < len(probes) <= PROBES
    assert len(data) < 0.95 * len(given.model.data)
    assert given.keeps(data)
    ours, theirs = onnx.load_model_from_string(data), onnx.load_model_from_string(given.model.data)
    assert (ours.graph.input, ours.graph.output) == (theirs.graph.input, theirs.graph.output)
    assert ours.metadata_props == theirs.metadata_props
    for kind in ("onnx", "trees"):
        rows = forests.chunk(x[:500])
        check_scorer(open_scorer(kind, file(data), Options({"p": "probabilities[1]"})), rows, 1e-6)


@pytest.mark.parametrize("make", [fewer_trees, merged_leaves])
def test_where_nothing_can_go_there_is_no_candidate(make: Callable[..., bytes]) -> None:
    """A budget that nothing keeps: said in a sentence."""
    _, model, x = booster()
    with pytest.raises(NoCandidate, match="within the budget"):
        make(material(model, x, lambda _: False))


def test_labels_are_decided_as_before() -> None:
    """ONNX Runtime cuts at 0.5 where no weight is negative: no candidate may turn that round."""
    at = forests.grown(np.random.default_rng(1), 4, trees=6)
    at["weights"] = [abs(one) if tree < 5 else -abs(one)
                     for one, tree in zip(at["weights"], at["treeids"], strict=True)]  # fmt: skip
    at["ids"] = [1] * len(at["ids"])
    model = forests.classifier(at, [0, 1], post_transform="LOGISTIC")
    with pytest.raises(NoCandidate, match="none of the 6 trees"):
        fewer_trees(material(model, forests.around(model), lambda _: True))


def test_what_is_no_forest_has_no_recipes() -> None:
    """A network, and bytes that are no model; an ensemble behind a scaler has a reason."""
    assert recipes(file(mlp())) == []
    assert recipes(file(b"not a model")) == []
    model = forests.regressor(forests.grown(rng, 5))
    model.graph.node.insert(0, onnx.helper.make_node("Abs", ["X"], ["positive"]))
    model.graph.node[1].input[0] = "positive"
    [first, *_] = recipes(file(model, forests.COLUMNS))
    with pytest.raises(NoCandidate, match="Abs before the trees"):
        first.make(material(model, np.zeros((4, 5), np.float32)))


def test_sets_of_values_stay_as_they_are() -> None:
    """BRANCH_MEMBER is no single comparison: the reason says so."""
    model = forests.newer(rng, forests.FLOAT, n_targets=1)
    with pytest.raises(NoCandidate, match="BRANCH_MEMBER"):
        fewer_trees(material(model, np.zeros((4, 5), np.float32)))


def test_stumps_have_no_leaves_to_merge() -> None:
    """Roots stay: of trees with two leaves there is nothing to merge."""
    model = forests.regressor(forests.grown(rng, 2))
    with pytest.raises(NoCandidate, match="no leaves can be merged"):
        merged_leaves(material(model, forests.around(model)))


@given(st.integers(0, 200), st.integers(0, 250))
def test_bisection_finds_the_least_that_keeps(least: int, count: int) -> None:
    """Of up to 250 in eight probes: the least, or the count where none keeps it."""
    assert bisect(count, lambda place: place >= least) == min(least, count)
