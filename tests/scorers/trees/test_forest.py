"""What is read of an ONNX graph of trees, and what is refused because it can't be kept to the letter."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import helper, numpy_helper

from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ModelError
from nightscore.scorers.trees import TreesScorer, open_trees
from nightscore.scorers.trees.forest import NotTrees
from tests.scorers import forests
from tests.scorers.forests import (
    COLUMNS,
    DOUBLE,
    FLOAT,
    WIDTH,
    chunk,
    classifier,
    grown,
    made,
    newer,
    regressor,
)
from tests.scorers.models import file, mlp
from tests.scorers.models import trees as lightgbm_trees

SCORE = Options({"score": "y"}, COLUMNS)


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def changed(**attributes: Any) -> onnx.ModelProto:
    """A regressor of two trees with other attributes."""
    return regressor({**grown(rng(), 4, trees=2), **attributes})


def opened(model: onnx.ModelProto, options: Options = SCORE) -> TreesScorer:
    return open_trees(file(model), options)


def _two_ensembles() -> onnx.ModelProto:
    model = regressor(grown(rng(), 4))
    second = onnx.NodeProto()
    second.CopyFrom(model.graph.node[0])
    second.output[0] = "z"
    model.graph.node.append(second)
    return model


def _cycle() -> onnx.ModelProto:
    at = grown(rng(), 4, trees=1)
    at["nodes_falsenodeids"] = [0] * len(at["nodes_modes"])
    return regressor(at)


def _members(values: list[float]) -> onnx.ModelProto:
    def tensor(given: list[Any], dtype: Any = np.float32) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(given, dtype))

    return made(
        "TreeEnsemble", FLOAT, 5, [("y", FLOAT)], n_targets=1, nodes_featureids=[0], nodes_truenodeids=[0],
        nodes_trueleafs=[1], nodes_falsenodeids=[1], nodes_falseleafs=[1], leaf_targetids=[0, 0],
        tree_roots=[0], nodes_modes=tensor([6], np.uint8), nodes_splits=tensor([0]),
        leaf_weights=tensor([1, -1]), membership_values=tensor([*values, np.nan]),
    )  # fmt: skip


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "no trees": (mlp, "0 ensembles of trees"),
    "two ensembles": (_two_ensembles, "2 ensembles of trees"),
    "a node below itself": (_cycle, "its own descendant"),
    "an unknown mode": (lambda: changed(nodes_modes=["BRANCH_ON"] * 14), "branch mode 'BRANCH_ON'"),
    "a child that is not there": (lambda: changed(nodes_truenodeids=[99] * 14), "no node 99 in tree 0"),
    "trees that interleave": (
        lambda: changed(nodes_treeids=[0, 1] * 7, nodes_nodeids=[i // 2 for i in range(14)]),
        "do not stand together",
    ),
    "two nodes of one name": (lambda: changed(nodes_treeids=[0] * 14), "distinct names"),
    "a leaf without a weight": (
        lambda: regressor({**grown(rng(), 4), **{f: [0] for f in ("treeids", "nodeids", "ids", "weights")}}),
        "a leaf without a weight|",
    ),
    "names of another number": (lambda: changed(nodes_nodeids=[0, 1, 2]), "14 nodes with 14 trees' and 3"),
    "weights of another number": (lambda: changed(treeids=[0]), "target_treeids has 1 entries; 8 are needed"),
    "a weight of no node": (lambda: changed(nodeids=[99] * 8), "name a node that is not there"),
    "targets that some leaves leave out": (
        lambda: regressor(grown(rng(), 4, targets=2, every=False, trees=1) | {"ids": [0, 1, 0, 1]}, 2,
                          aggregate_function="MIN"),
        "some of the classes or targets alone",
    ),
    "a set that ONNX Runtime rounds": (lambda: _members([2, 40]), "integers 0 to 30"),
    "an empty set": (lambda: _members([]), "not a set for each"),
    "one class": (lambda: classifier(grown(rng(), 4), [1]), "a classifier of 1 classes"),
    "PROBIT of one score": (
        lambda: classifier(grown(rng(), 4), [0, 1], post_transform="PROBIT"), "PROBIT of one score"
    ),
    "labels that are given as others": (
        lambda: classifier(grown(rng(), 4, targets=2), [5, 6]), "labels other than 0 and 1"
    ),
    "base values of another number": (
        lambda: regressor(grown(rng(), 4, targets=3), 3, base_values=[1.0, 2.0]), "2 base values for 3"
    ),
    "MIN of NaN": (
        lambda: regressor({**grown(rng(), 4, trees=1), "weights": [np.nan] * 4}, aggregate_function="MIN"),
        "NaN under MIN",
    ),
    "a tensor of another type": (
        lambda: regressor(grown(rng(), 4), kind=DOUBLE,
                          base_values_as_tensor=numpy_helper.from_array(np.zeros(1, np.float32))),
        "base_values_as_tensor is float32",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cant_be_kept_is_refused(make: Callable[[], onnx.ModelProto], says: str) -> None:
    """A refusal is NotTrees, names the model and the reason, and says which kind serves instead."""
    with pytest.raises(NotTrees, match=says) as caught:
        opened(make())
    assert "m.onnx" in str(caught.value)
    assert "the kind onnx runs it" in str(caught.value)


def test_what_is_no_onnx_is_refused() -> None:
    """Bytes that are no model are said to be none."""
    with pytest.raises(NotTrees, match="not an ONNX model"):
        open_trees(file(b"nothing of the kind"), SCORE)


def test_a_map_is_refused_where_it_is_asked_for() -> None:
    """Where a ZipMap is left in a graph its output is refused, and the labels are given all the same."""
    _, model = lightgbm_trees(zipmap=True)
    names = ("a", "b", "c")
    with pytest.raises(NotTrees, match="a list of maps"):
        opened(model, Options({"p": "probabilities[1]"}, names))
    labels = opened(model, Options({"label": "label"}, names))
    assert labels.signature.outputs.field("label").type == pa.int64()


WRONG_OUTPUTS = {
    "unknown": ("nothing", "no output 'nothing'; its outputs: label, prob"),
    "no index": ("prob", r"2 scores a row; say which, such as prob\[1\]"),
    "too high": ("prob[2]", "index 2 is not among 0 to 1"),
    "index of a label": ("label[0]", "takes no index"),
    "malformed": ("prob[x]", "is no output's name"),
}


@pytest.mark.parametrize(("source", "says"), WRONG_OUTPUTS.values(), ids=WRONG_OUTPUTS.keys())
def test_outputs_are_checked(source: str, says: str) -> None:
    """What is asked for must be there, with an index where there are several scores."""
    model = classifier(grown(rng(), 4), ["no", "yes"])
    with pytest.raises(ModelError, match=says):
        opened(model, Options({"out": source}, COLUMNS))


def test_columns_are_checked() -> None:
    """Columns must be named, each once, as many as the matrix is wide."""
    model = regressor(grown(rng(), 4))
    for columns, says in ((None, "name them"), (["a"] * WIDTH, "stands twice"), (["a", "b"], "2 are named")):
        with pytest.raises(ModelError, match=says):
            opened(model, Options({"score": "y"}, columns))
    with pytest.raises(ModelError, match="on the CPU"):
        opened(model, Options({"score": "y"}, COLUMNS, device="cuda"))


def test_columns_come_from_the_metadata() -> None:
    """The model's own list of columns is used where the job names none."""
    scorer = open_trees(file(regressor(grown(rng(), 4)), COLUMNS), Options({"score": "y"}))
    assert scorer.signature.inputs == pa.schema([(name, pa.float32()) for name in COLUMNS])


@pytest.mark.slow
def test_an_input_for_each_column() -> None:
    """Columns of several types, cast and put side by side, are what ONNX Runtime makes of them."""
    model = regressor(grown(rng(), 12, thresholds=[-1, 0, 1, 2.5]))
    kinds = [FLOAT, onnx.TensorProto.INT64, DOUBLE, onnx.TensorProto.BOOL, FLOAT]
    del model.graph.input[:]
    model.graph.input.extend(
        helper.make_tensor_value_info(n, k, [None, 1]) for n, k in zip(COLUMNS, kinds, strict=True)
    )
    casts = [helper.make_node("Cast", [name], [f"{name}_"], to=FLOAT) for name in COLUMNS]
    concat = helper.make_node("Concat", [f"{name}_" for name in COLUMNS], ["X"], axis=1)
    ensemble = model.graph.node.pop()
    model.graph.node.extend([*casts, concat, ensemble])
    x = np.random.default_rng(1)
    rows = pa.RecordBatch.from_pydict({
        "e": pa.array(x.normal(size=700), pa.float32()), "d": x.random(700) < 0.5, "c": x.normal(size=700),
        "b": x.integers(-3, 4, 700), "a": pa.array(x.normal(size=700), pa.float32()),
    })  # fmt: skip
    ours, theirs = (kind(file(model), Options({"score": "y[*]"})) for kind in (open_trees, forests.open_onnx))
    assert ours.signature.inputs.equals(theirs.signature.inputs)
    assert ours.score(rows).equals(theirs.score(rows))


@pytest.mark.slow
def test_arithmetic_after_the_trees() -> None:
    """Numbers added, subtracted, multiplied and divided by, on either side, and casts."""
    model = regressor(grown(rng(), 12, targets=2), 2)
    model.graph.node[0].output[0] = "s0"
    operations = [("Add", False), ("Sub", True), ("Mul", False), ("Div", False), ("Sub", False)]
    for i, (op, turned) in enumerate(operations):
        constant = np.array([1.25, -3] if i % 2 else [0.7], np.float32)
        model.graph.initializer.append(numpy_helper.from_array(constant, f"c{i}"))
        names = [f"c{i}", f"s{i}"] if turned else [f"s{i}", f"c{i}"]
        model.graph.node.append(helper.make_node(op, names, [f"s{i + 1}"]))
    model.graph.node.append(helper.make_node("Cast", ["s5"], ["y"], to=DOUBLE))
    model.graph.output[0].type.tensor_type.elem_type = DOUBLE
    forests.assert_same(model, np.random.default_rng(2).normal(size=(600, WIDTH)).astype(np.float32))


def test_integers_and_doubles_are_rounded_as_in_the_matrix() -> None:
    """An int64, a double, a decimal column of a float model is rounded to float32 before it is compared."""
    model = regressor(grown(rng(), 30, thresholds=[0.1, 2**24 + 2, 2**24]))
    values = np.random.default_rng(3).choice(
        [0.1, np.float32(0.1), 2**24 + 1, 2**24 + 3, 2**24], (800, WIDTH)
    )
    rows = chunk(values)
    rows = rows.set_column(1, "b", rows.column("b").cast(pa.int64(), safe=False))
    rows = rows.set_column(2, "c", rows.column("c").cast(pa.decimal128(20, 3), safe=False))
    ours, theirs = forests.both(model, rows)
    assert ours.equals(theirs)


def test_the_newer_operator_names_its_transforms_as_onnx_runtime_does() -> None:
    """Number 2 is a softmax in ONNX Runtime, and so it is here: the two classes' scores add up to one."""
    model = newer(rng(), FLOAT, n_targets=2, post_transform=2)
    ours, _ = forests.both(model, chunk(forests.around(model)))
    flat = ours.column(0).flatten().to_numpy().reshape(-1, 2)
    np.testing.assert_allclose(flat.sum(axis=1), 1, rtol=1e-6)


def test_nothing_heavy_is_imported_before_a_model_is_opened() -> None:
    """Who imports the module pays for neither Numba nor onnx nor a compilation."""
    code = (
        "import sys, json, nightscore.scorers.trees; "
        "print(json.dumps([m for m in ('numba', 'onnx', 'llvmlite', 'onnxruntime') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
