"""Students look like their teacher from outside, learn from it, and refuse what they can't stand for."""

from collections.abc import Mapping
from typing import Any

import lightgbm as lgb
import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
from scipy.stats import spearmanr
from sklearn.neural_network import MLPRegressor

from nightscore.evaluation.recipes import distil
from nightscore.evaluation.recipes.distil import exact_in_float32, recipes, student_network, student_trees
from nightscore.evaluation.recipes.recipe import Material, NoCandidate
from nightscore.scorers.contract import Options
from nightscore.scorers.onnx.scorer import open_onnx
from nightscore.scorers.registry import open_scorer
from nightscore.scorers.testing import check_scorer
from tests.evaluation.recipes.material import material
from tests.scorers import forests
from tests.scorers.models import COLUMNS, file, floats, graph, mixed, pipeline

FLOAT, DOUBLE, INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64
CHANCE = {"p": "probabilities[1]"}


def rows(count: int = 4000, seed: int = 3) -> Any:
    """Five columns, some of whose values are missing."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, forests.WIDTH)).astype(np.float32)
    x[random.random(x.shape) < 0.05] = np.nan
    return x


def teacher(objective: str = "binary") -> tuple[lgb.Booster, onnx.ModelProto]:
    """Forty trees over those rows."""
    x = rows()
    y = np.nansum(x[:, :3], axis=1) + np.nan_to_num(x[:, 0] * x[:, 3])
    given = {"objective": objective, "num_leaves": 15, "verbose": -1, "num_threads": 1}
    found = lgb.train(given, lgb.Dataset(x, y > 0.5 if objective == "binary" else y), 40)
    shape = [("X", FloatTensorType([None, forests.WIDTH]))]
    zipped = {"zipmap": False} if objective == "binary" else {}
    return found, convert_lightgbm(found, None, shape, target_opset=15, **zipped)


MAKERS = {
    "trees": lambda given: student_trees(given, trees=20, leaves=15),
    "network": lambda given: student_network(given, hidden=16),
}


def opened(data: bytes, outputs: Mapping[str, str], kind: str = "onnx") -> Any:
    return open_scorer(kind, file(data), Options(outputs))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.sample(1)
def test_a_student_of_chances_takes_its_teacher_s_place(make: Any, index: int) -> None:
    """The output in use and no other, with its name, type and rank; metadata; and close on rows not seen."""
    outputs = {"p": f"probabilities[{index}]"}
    _, model = teacher()
    given = material(model, rows(), outputs=outputs)
    data = make(given)
    found, reference = onnx.load_model_from_string(data), onnx.load_model_from_string(given.model.data)
    assert list(found.graph.input) == list(reference.graph.input)
    assert list(found.graph.output) == [one for one in reference.graph.output if one.name == "probabilities"]
    assert found.metadata_props == reference.metadata_props
    unseen = forests.chunk(rows(2000, seed=4))
    ours, theirs = (opened(d, outputs).score(unseen)["p"].to_numpy() for d in (data, given.model.data))
    assert spearmanr(ours, theirs).statistic > 0.95
    whole = opened(data, {"all": "probabilities[*]"}).score(unseen)["all"].flatten().to_numpy()
    np.testing.assert_allclose(whole.reshape(-1, 2).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.sample(1)
def test_a_student_keeps_the_contract_of_scorers(make: Any) -> None:
    """Rows in, rows out, for any chunks; and a finite chance for missing and infinite numbers."""
    _, model = teacher()
    data = make(material(model, rows(), outputs=CHANCE))
    check_scorer(opened(data, CHANCE), forests.chunk(rows(200)), 1e-6)
    odd = np.random.default_rng(1).choice(np.array([np.nan, np.inf, -np.inf, 3e38, 0], np.float32), (500, 5))
    found = opened(data, CHANCE).score(forests.chunk(odd))["p"].to_numpy()
    assert np.isfinite(found).all()
    assert (found >= 0).all() and (found <= 1).all()


def test_the_kernel_runs_a_student_of_trees() -> None:
    """The kind trees opens it, and gives what ONNX Runtime gives, thresholds and infinities included."""
    _, model = teacher()
    found = onnx.load_model_from_string(MAKERS["trees"](material(model, rows(), outputs=CHANCE)))
    [node] = [one for one in found.graph.node if one.op_type.startswith("TreeEnsemble")]
    assert len(set(next(a.ints for a in node.attribute if a.name == "nodes_treeids"))) == 20
    forests.assert_same(found, forests.around(found))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_student_of_amounts_gives_amounts(make: Any) -> None:
    """A teacher of any numbers, and of rank 2: within a tenth of their spread, on average."""
    _, model = teacher("regression")
    outputs = {"y": model.graph.output[0].name}
    given = material(model, rows(), outputs=outputs)
    unseen = forests.chunk(rows(2000, seed=4))
    ours, theirs = (opened(d, outputs).score(unseen)["y"].to_numpy() for d in (make(given), given.model.data))
    assert np.abs(ours - theirs).mean() < 0.25 * theirs.std()


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_model_with_an_input_a_column_has_a_student(make: Any) -> None:
    """Of rank 1 and 2, of floats and integers; the output has rank 1 and is float64."""
    nodes = [
        helper.make_node("Cast", ["n"], ["whole"], to=DOUBLE),
        helper.make_node("Squeeze", ["whole", "axis"], ["flat"]),
        helper.make_node("Add", ["x", "flat"], ["y"]),
    ]
    inputs = {"x": (DOUBLE, ("rows",)), "n": (INT64, ("rows", 1))}
    model = graph(nodes, inputs, {"y": (DOUBLE, ("rows",))}, {"axis": np.array([1])})
    random = np.random.default_rng(1)
    x, n = random.normal(size=2000), random.integers(0, 9, 2000)
    table = pa.table({"x": x, "n": n})
    options = Options({"y": "y"})
    given = file(model)
    scores = pa.Table.from_batches([open_onnx(given, options).score(table.to_batches()[0])])
    data = make(Material(given, options, table, scores, ({"x": x, "n": n[:, None]},), lambda _: True))
    found = opened(data, {"y": "y"}).score(table.to_batches()[0])["y"]
    assert found.type == pa.float64()
    assert np.abs(found.to_numpy() - x - n).mean() < 0.5


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_same_material_makes_the_same_student(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte, twice over, where rows are drawn, too."""
    monkeypatch.setattr(distil, "ROWS", 1500)
    _, model = teacher()
    given = material(model, rows(), outputs=CHANCE)
    assert make(given) == make(given)


def test_a_network_in_onnx_is_the_one_that_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standardising, missing values and weights: what scikit-learn predicts from NumPy's columns."""
    fitted = []
    plain = MLPRegressor.fit
    monkeypatch.setattr(MLPRegressor, "fit", lambda self, x, y: fitted.append((plain(self, x, y), x, y)))
    _, model = teacher("regression")
    given = material(model, rows(), outputs={"y": model.graph.output[0].name})
    scores = given.scores["y"].to_numpy()
    data = student_network(given, hidden=8)
    [(network, x, y)] = fitted
    assert x.shape == (4000, 10)
    assert abs(x[:, :5].mean(axis=0)).max() < 1e-3
    np.testing.assert_array_equal(x[:, 5:], np.isnan(rows()))
    np.testing.assert_allclose(y, (scores - scores.mean()) / scores.std(), atol=1e-4)
    found = opened(data, given.options.outputs).score(forests.chunk(rows()))["y"].to_numpy()
    wanted = network.predict(x) * scores.std() + scores.mean()
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_thresholds_in_float32_change_no_prediction() -> None:
    """On rows at the thresholds and around them, LightGBM says the same before and after."""
    trained, model = teacher()
    x = forests.around(model)
    np.testing.assert_array_equal(exact_in_float32(trained).predict(x), trained.predict(x))


def test_the_ladders_go_down() -> None:
    """Half to a sixteenth of the trees, 64 to 16 neurons; each a ladder of its own."""
    _, model = teacher()
    found = recipes(file(model, forests.COLUMNS))
    assert [one.name for one in found if one.ladder == "student-trees"] == [
        f"student of {count} trees" for count in (20, 10, 5, 2)
    ]
    assert [one.name for one in found if one.ladder == "student-mlp"] == [
        f"student of {count} neurons" for count in (64, 32, 16)
    ]
    assert {one.technique for one in found} == {"distillation"}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"p": "probabilities[*]"}, "one number a row"),
        ({"p": "probabilities[1]", "q": "probabilities[0]"}, "one number a row"),
        ({"p": "label"}, "finite floats"),
    ],
)
def test_outputs_that_one_score_can_t_fill(make: Any, outputs: dict[str, str], said: str) -> None:
    """Lists, several columns and labels have no student, and the reason says why."""
    _, model = teacher()
    with pytest.raises(NoCandidate, match=said):
        make(material(model, rows(50), outputs=outputs))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_texts_have_no_student(make: Any) -> None:
    """A pipeline that takes cities; the reason names the input."""
    _, model = pipeline()
    given = file(model)
    options = Options({"p": "probabilities[1]"})
    table = pa.Table.from_batches([mixed(50)])
    scores = pa.Table.from_batches([open_onnx(given, options).score(mixed(50))])
    with pytest.raises(NoCandidate, match="'city'"):
        make(Material(given, options, table, scores, (), lambda _: True))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_without_the_extra_the_reason_names_it(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where neither LightGBM nor scikit-learn is installed."""
    for name in ("lightgbm", "sklearn.neural_network"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    _, model = pipeline()
    with pytest.raises(NoCandidate, match=r"nightscore\[optimize\]"):
        make(Material(file(model), Options({}), pa.table({}), pa.table({}), (), lambda _: True))


def test_without_rows_there_is_nothing_to_learn_from() -> None:
    """An empty past."""
    model = graph(
        [helper.make_node("ReduceSum", ["X", "axis"], ["y"])],
        {"X": (FLOAT, [None, 3])}, {"y": (FLOAT, [None, 1])}, {"axis": np.array([1])},
    )  # fmt: skip
    given = file(model, COLUMNS)
    options = Options({"y": "y"})
    scores = pa.Table.from_batches([open_onnx(given, options).score(floats(0))])
    empty = {"X": np.zeros((0, 3), np.float32)}
    with pytest.raises(NoCandidate, match="no rows"):
        student_trees(Material(given, options, pa.table({}), scores, (empty,), lambda _: True), 4, 4)
