"""Ensembles of trees: random ones made by hand, and those that three libraries train and export."""

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
import xgboost as xgb
from onnx import TensorProto, helper, numpy_helper
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as ToolsFloat
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn import ensemble as forests
from sklearn import tree as trees

from nightscore.scorers.contract import Options
from nightscore.scorers.onnx.scorer import open_onnx
from nightscore.scorers.trees import open_trees
from tests.scorers.models import file

WIDTH = 5
COLUMNS = tuple("abcde")
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE
Matrix = npt.NDArray[np.floating[Any]]


def chunk(x: Matrix) -> pa.RecordBatch:
    """A matrix as columns a, b, c, d, e."""
    return pa.RecordBatch.from_arrays([pa.array(column) for column in x.T], COLUMNS[: x.shape[1]])


def outputs_of(model: onnx.ModelProto) -> dict[str, str]:
    """All that a model gives, scores as lists."""
    return {
        one.name: one.name if "label" in one.name else f"{one.name}[*]"
        for one in model.graph.output
        if one.type.WhichOneof("value") == "tensor_type"
    }


def both(model: onnx.ModelProto, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """What our kernel, and what ONNX Runtime on one thread makes of the rows."""
    options = Options(outputs_of(model))
    given = file(model, rows.schema.names)
    return open_trees(given, options).score(rows), open_onnx(given, options).score(rows)


def assert_same(model: onnx.ModelProto, x: Matrix) -> None:
    """Hold the kernel to ONNX Runtime on one thread, to the last bit; NaN is NaN."""
    ours, theirs = both(model, chunk(x))
    assert ours.schema.equals(theirs.schema), (ours.schema, theirs.schema)
    for name in ours.schema.names:
        left, right = (_flat(found.column(name)) for found in (ours, theirs))
        np.testing.assert_array_equal(left, right, err_msg=name)


def _flat(column: pa.Array) -> npt.NDArray[Any]:
    flat = column.flatten() if pa.types.is_list(column.type) else column
    return np.asarray(flat.to_numpy(zero_copy_only=False))


def around(model: onnx.ModelProto, seed: int = 0, rows: int = 1500) -> Matrix:
    """Rows of what trees could mistake: thresholds, their neighbours, zeros, NaN, infinities, denormals."""
    rng = np.random.default_rng(seed)
    [node] = [n for n in model.graph.node if n.op_type.startswith("TreeEnsemble")]
    at = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    double = model.graph.input[0].type.tensor_type.elem_type == DOUBLE
    dtype = np.dtype(np.float64 if double else np.float32)
    found = [at.get("nodes_values", ()), *(_tensor(at.get(n)) for n in TENSORS)]
    values = np.unique(np.concatenate([np.asarray(v, dtype).reshape(-1) for v in found]))
    tiny = np.nextafter(dtype.type(0), dtype.type(1))
    special = np.array([0.0, -0.0, tiny, -tiny, np.nan, np.inf, -np.inf, np.finfo(dtype).max, 1, 2, 3], dtype)
    with np.errstate(all="ignore"):
        near = [np.nextafter(values, dtype.type(side)) for side in (-np.inf, np.inf)]
    pool = np.concatenate([values, *near, special, special, rng.normal(size=50).astype(dtype)])
    return rng.choice(pool, (rows, WIDTH))


TENSORS = ("nodes_values_as_tensor", "nodes_splits", "membership_values")


def _tensor(value: Any) -> npt.NDArray[Any]:
    return np.zeros(0) if value is None else numpy_helper.to_array(value)


def made(
    op: str, kind: int, version: int, outputs: Sequence[tuple[str, int]], **attributes: Any
) -> onnx.ModelProto:
    """A model of one node."""
    node = helper.make_node(op, ["X"], [name for name, _ in outputs], domain="ai.onnx.ml", **attributes)
    given = helper.make_tensor_value_info("X", kind, [None, WIDTH])
    shapes = {"label": [None]}
    found = [helper.make_tensor_value_info(n, k, shapes.get(n, [None, None])) for n, k in outputs]
    graph = helper.make_graph([node], "g", [given], found)
    opsets = [helper.make_opsetid("ai.onnx.ml", version), helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    return model


def grown(  # noqa: PLR0917
    rng: np.random.Generator,
    leaves: int,
    modes: Sequence[str] = MODES,
    targets: int = 1,
    trees: int = 5,
    missing: bool = True,
    every: bool = True,
    thresholds: Sequence[float] | None = None,
) -> dict[str, list[Any]]:
    """Nodes and weights of random trees, as the older operators name them; `every` leaf has all targets."""
    at: dict[str, list[Any]] = {name: [] for name in NODES + WEIGHTS}
    for tree in range(trees):
        children, open_leaves, count = {}, [0], 1
        while len(open_leaves) < leaves:
            node = open_leaves.pop(rng.integers(len(open_leaves)))
            children[node] = (count, count + 1)
            open_leaves += [count, count + 1]
            count += 2
        for node in range(count):
            true, false = children.get(node, (0, 0))
            value = float(rng.choice(thresholds)) if thresholds else float(np.float32(rng.normal()))
            row = (tree, node, int(rng.integers(WIDTH)), value if node in children else 0.0,
                   str(rng.choice(list(modes))) if node in children else "LEAF", true, false,
                   int(missing and rng.random() < 0.5))  # fmt: skip
            _put(at, NODES, row)
        for leaf in open_leaves:
            for target in range(targets) if every else [tree % targets]:
                _put(at, WEIGHTS, (tree, leaf, target, float(np.float32(rng.normal()))))
    return at


def oblivious(  # noqa: PLR0917
    rng: np.random.Generator,
    depths: Sequence[int],
    modes: Sequence[str] = MODES,
    targets: int = 1,
    missing: bool = True,
    thresholds: Sequence[float] | None = None,
) -> dict[str, list[Any]]:
    """Nodes and weights of trees of some depths, whose levels each ask one question, drawn at random."""
    at: dict[str, list[Any]] = {name: [] for name in NODES + WEIGHTS}
    for tree, depth in enumerate(depths):
        count = 2 ** (depth + 1) - 1
        name = [0, *(1 + rng.permutation(count - 1)).tolist()]  # no order is promised but that of the root
        for level in range(depth + 1):
            value = float(rng.choice(thresholds)) if thresholds else float(np.float32(rng.normal()))
            question = (int(rng.integers(WIDTH)), value, str(rng.choice(list(modes))))
            tracks = int(missing and rng.random() < 0.5)
            for node in range(2**level - 1, 2 ** (level + 1) - 1):
                if level < depth:
                    sides = (name[2 * node + 1], name[2 * node + 2])
                    _put(at, NODES, (tree, name[node], *question, *sides, tracks))
                    continue
                _put(at, NODES, (tree, name[node], 0, 0.0, "LEAF", 0, 0, 0))
                for target in range(targets):
                    _put(at, WEIGHTS, (tree, name[node], target, float(np.float32(rng.normal()))))
    return at


def together(*ensembles: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The trees of several ensembles as one, in their order."""
    at: dict[str, list[Any]] = {name: [] for name in NODES + WEIGHTS}
    for ensemble in ensembles:
        first = 1 + max(at["nodes_treeids"], default=-1)
        for name, values in ensemble.items():
            at[name] += [value + first for value in values] if name.endswith("treeids") else values
    return at


NODES = (
    "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_modes", "nodes_truenodeids",
    "nodes_falsenodeids", "nodes_missing_value_tracks_true",
)  # fmt: skip
WEIGHTS = ("treeids", "nodeids", "ids", "weights")


def _put(at: dict[str, list[Any]], names: Sequence[str], row: Sequence[Any]) -> None:
    for name, value in zip(names, row, strict=True):
        at[name].append(value)


def regressor(at: dict[str, list[Any]], targets: int = 1, kind: int = FLOAT, **more: Any) -> onnx.ModelProto:
    """A TreeEnsembleRegressor of `grown` trees."""
    named = {f"target_{n}" if n in WEIGHTS else n: v for n, v in at.items()}
    return made("TreeEnsembleRegressor", kind, 3, [("y", FLOAT)], n_targets=targets, **named, **more)


def classifier(
    at: dict[str, list[Any]], labels: Sequence[int] | Sequence[str], kind: int = FLOAT, **more: Any
) -> onnx.ModelProto:
    """A TreeEnsembleClassifier of `grown` trees."""
    named = {f"class_{n}" if n in WEIGHTS else n: v for n, v in at.items()}
    texts = isinstance(labels[0], str)
    named["classlabels_strings" if texts else "classlabels_int64s"] = list(labels)
    outputs = [("label", TensorProto.STRING if texts else TensorProto.INT64), ("prob", FLOAT)]
    return made("TreeEnsembleClassifier", kind, 3, outputs, **named, **more)


def newer(  # noqa: C901
    rng: np.random.Generator, kind: int, leaves: int = 12, trees: int = 4, **more: Any
) -> onnx.ModelProto:
    """A TreeEnsemble of ai.onnx.ml 5, with BRANCH_MEMBER among its modes."""
    dtype = np.dtype(np.float32 if kind == FLOAT else np.float64)
    columns: dict[str, list[Any]] = {n: [] for n in ("f", "mode", "split", "t", "tl", "f_", "fl", "miss")}
    members, targets, roots, filled = [], [], [], 0
    n_targets = int(more.get("n_targets", 1))
    for _ in range(trees):
        tree = grown(rng, leaves, MODES, trees=1)
        inner = [i for i, mode in enumerate(tree["nodes_modes"]) if mode != "LEAF"]
        first, place = len(columns["f"]), {}
        place.update({node: len(columns["f"]) + i for i, node in enumerate(inner)})
        for node in range(len(tree["nodes_modes"])):
            if node not in place:
                place[node] = filled
                filled += 1
                targets.append(int(rng.integers(n_targets)) if n_targets > 1 else 0)
        for node in inner:
            mode = int(rng.integers(7))
            if mode == 6:
                members += [*rng.choice(np.arange(0, 9), rng.integers(1, 5), replace=False), np.nan]
            true, false = tree["nodes_truenodeids"][node], tree["nodes_falsenodeids"][node]
            _put(columns, tuple(columns), (
                tree["nodes_featureids"][node], mode, tree["nodes_values"][node], place[true],
                int(true not in inner), place[false], int(false not in inner), int(rng.random() < 0.5),
            ))  # fmt: skip
        if columns["t"][first] == columns["f_"][first]:  # ONNX Runtime would take the root for a leaf
            columns["f_"][first] = (columns["f_"][first] + 1) % max(1, filled)
        roots.append(first)
    tensors = {
        "nodes_modes": np.array(columns["mode"], np.uint8), "nodes_splits": np.array(columns["split"], dtype),
        "leaf_weights": rng.normal(size=filled).astype(dtype), "membership_values": np.array(members, dtype),
    }  # fmt: skip
    if not members:
        del tensors["membership_values"]
    return made(
        "TreeEnsemble", kind, 5, [("y", kind)], nodes_featureids=columns["f"], nodes_truenodeids=columns["t"],
        nodes_trueleafs=columns["tl"], nodes_falsenodeids=columns["f_"], nodes_falseleafs=columns["fl"],
        nodes_missing_value_tracks_true=columns["miss"], leaf_targetids=targets, tree_roots=roots,
        **{name: numpy_helper.from_array(value) for name, value in tensors.items()}, **more,
    )  # fmt: skip


@cache
def _rows() -> tuple[Matrix, dict[str, npt.NDArray[Any]]]:
    rng = np.random.default_rng(11)
    x = rng.normal(size=(500, WIDTH)).astype(np.float32)
    x[:, 4] = rng.integers(0, 12, 500)
    y = x @ np.arange(WIDTH) + x[:, 0] * x[:, 1] + 5 * np.sin(7 * x[:, 4])
    groups = np.digitize(y, [15, 25])
    return x, {
        "y": y, "count": np.abs(y), "two": np.stack([y, -x[:, 0]], 1), "binary": (y > 20).astype(int),
        "classes": groups, "texts": np.array(["low", "mid", "high"])[groups],
    }  # fmt: skip


def _light(kind: Any, target: str, holes: bool = True, fit: Any = None, **more: Any) -> Callable[[], Any]:
    def train() -> onnx.ModelProto:
        x, y = _rows()
        x = x.copy()
        if holes:
            x[::7, :4] = np.nan
        model = kind(n_estimators=12, num_leaves=9, verbose=-1, n_jobs=1, **more).fit(
            x, y[target], **(fit or {})
        )
        zipped = {"zipmap": False} if issubclass(kind, lgb.LGBMClassifier) else {}
        return convert_lightgbm(
            model, initial_types=[("X", ToolsFloat([None, WIDTH]))], target_opset=15, **zipped
        )

    return train


def _extreme(kind: Any, target: str, **more: Any) -> Callable[[], Any]:
    def train() -> onnx.ModelProto:
        x, y = _rows()
        model = kind(n_estimators=10, max_depth=4, n_jobs=1, **more).fit(x, y[target])
        return convert_xgboost(model, initial_types=[("X", ToolsFloat([None, WIDTH]))], target_opset=15)

    return train


def _scikit(kind: Any, target: str, **more: Any) -> Callable[[], Any]:
    def train() -> onnx.ModelProto:
        x, y = _rows()
        model = kind(max_depth=5, random_state=1, **more).fit(x, y[target])
        options = {id(model): {"zipmap": False}} if hasattr(model, "classes_") else None
        shape = [("X", FloatTensorType([None, WIDTH]))]
        return convert_sklearn(model, initial_types=shape, target_opset=15, options=options)

    return train


EXPORTS: dict[str, Callable[[], Any]] = {
    "lightgbm regression": _light(lgb.LGBMRegressor, "y"),
    "lightgbm no missing values": _light(lgb.LGBMRegressor, "y", holes=False),
    "lightgbm categories": _light(lgb.LGBMRegressor, "y", fit={"categorical_feature": [4]}),
    "lightgbm categories of a classifier": _light(
        lgb.LGBMClassifier, "binary", fit={"categorical_feature": [4]}
    ),
    "lightgbm random forest": _light(
        lgb.LGBMRegressor, "y", boosting_type="rf", bagging_freq=1, bagging_fraction=0.6
    ),
    "lightgbm dart": _light(lgb.LGBMRegressor, "y", boosting_type="dart"),
    "lightgbm quantile": _light(lgb.LGBMRegressor, "y", objective="quantile"),
    "lightgbm binary": _light(lgb.LGBMClassifier, "binary"),
    "lightgbm classes": _light(lgb.LGBMClassifier, "classes"),
    "lightgbm ranker": _light(lgb.LGBMRanker, "binary", fit={"group": [250, 250]}),
    "xgboost regression": _extreme(xgb.XGBRegressor, "y"),
    "xgboost binary": _extreme(xgb.XGBClassifier, "binary"),
    "xgboost classes": _extreme(xgb.XGBClassifier, "classes"),
    "xgboost random forest": _extreme(xgb.XGBRFRegressor, "y"),
    "xgboost logistic": _extreme(xgb.XGBRegressor, "binary", objective="reg:logistic"),
    "scikit tree": _scikit(trees.DecisionTreeRegressor, "y"),
    "scikit tree of classes": _scikit(trees.DecisionTreeClassifier, "classes"),
    "scikit forest": _scikit(forests.RandomForestRegressor, "y", n_estimators=10),
    "scikit forest of two targets": _scikit(forests.RandomForestRegressor, "two", n_estimators=10),
    "scikit forest of two classes": _scikit(forests.RandomForestClassifier, "binary", n_estimators=10),
    "scikit forest of texts": _scikit(forests.RandomForestClassifier, "texts", n_estimators=10),
    "scikit extra trees": _scikit(forests.ExtraTreesRegressor, "y", n_estimators=10),
    "scikit boosting": _scikit(forests.GradientBoostingRegressor, "y", n_estimators=10),
    "scikit boosting, two classes": _scikit(forests.GradientBoostingClassifier, "binary", n_estimators=10),
    "scikit boosting, classes": _scikit(forests.GradientBoostingClassifier, "classes", n_estimators=10),
}
WITH_EXP = {
    "lightgbm poisson": _light(lgb.LGBMRegressor, "count", objective="poisson"),
    "xgboost poisson": _extreme(xgb.XGBRegressor, "count", objective="count:poisson"),
}


@cache
def exported(name: str) -> onnx.ModelProto:
    """A trained and exported ensemble."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {**EXPORTS, **WITH_EXP}[name]()
