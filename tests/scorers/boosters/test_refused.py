"""What the kinds lightgbm and xgboost, and our kernel, refuse, and what they say to do."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from nightscore.scorers import ChunkError, ModelError, ModelFile, NotTrees, Options, open_scorer
from nightscore.scorers.boosters import booster
from nightscore.scorers.trees import growing
from tests.scorers.boosters.training import (
    NUMBERS,
    chunk,
    edges,
    file,
    frame,
    of_lightgbm,
    of_xgboost,
    target,
)

Y = {"y": "score"}


def text(**options: Any) -> ModelFile:
    return file(of_lightgbm("regression", **options).booster_.model_to_string(), "m.txt")


def ubj(model: Any) -> ModelFile:
    return file(
        bytes((model.get_booster() if hasattr(model, "get_booster") else model).save_raw("ubj")), "m.ubj"
    )


def ordered() -> ModelFile:
    """A model of LightGBM that has an ordered category beside the others."""
    import lightgbm as lgb

    features = frame()
    features["level"] = pd.Categorical(np.where(features["age"] > 40, "hi", "lo"), ["lo", "hi"], ordered=True)
    model = lgb.LGBMRegressor(n_estimators=2, verbose=-1).fit(features, target(frame()))
    return file(model.booster_.model_to_string(), "m.txt")


def coded() -> ModelFile:
    """A model of XGBoost whose category was given as codes."""
    x = np.random.default_rng(0).integers(0, 4, (200, 2)).astype(np.float32)
    data = xgb.DMatrix(
        x, x[:, 1], feature_types=["q", "c"], feature_names=["a", "b"], enable_categorical=True
    )
    return ubj(xgb.train({}, data, 2))


def stopped_early() -> ModelFile:
    """What `xgboost.train` writes with early_stopping_rounds: all rounds, and which was the best."""
    data = xgb.DMatrix(frame()[NUMBERS].to_numpy(), target(frame()), feature_names=NUMBERS)
    model = xgb.train({}, data, 5)
    model.set_attr(best_iteration="1")
    return ubj(model)


def linear() -> ModelFile:
    return ubj(xgb.train({"booster": "gblinear"}, xgb.DMatrix(np.eye(3), np.arange(3)), 1))


REFUSED: dict[str, tuple[str, Any, Options, str]] = {
    "swapped": (
        "lightgbm",
        lambda: text(numbers=True),
        Options(Y, ["age", "balance"]),
        r"are \[age, balance\], and the model's own \(in its file\) are \[balance, age\]; they differ first "
        "in number 1",
    ),
    "swapped columns of the kernel": (
        "trees",
        lambda: text(numbers=True),
        Options(Y, ["age", "balance"]),
        "differ first in number 1",
    ),
    "swapped columns of XGBoost": (
        "xgboost",
        lambda: ubj(of_xgboost("reg:squarederror", True)),
        Options(Y, ["age", "balance"]),
        "differ first in number 1",
    ),
    "an output": (
        "lightgbm",
        lambda: text(numbers=True),
        Options({"y": "probabilities[1]"}),
        r"no output 'probabilities'; its outputs: score \(one number a row\), margin",
    ),
    "an index": (
        "xgboost",
        lambda: ubj(of_xgboost("multi:softprob", True)),
        Options({"y": "probabilities[3]"}),
        "index 3 is not among 0 to 2",
    ),
    "a device": (
        "xgboost",
        lambda: ubj(of_xgboost("multi:softprob", True)),
        Options(Y, device="cuda"),
        "runs on the CPU, not on 'cuda'",
    ),
    "ordered categories": (
        "lightgbm",
        ordered,
        Options(Y),
        r"categories of 3 columns, and names 2 as categorical.*as_unordered\(\)",
    ),
    "codes": (
        "xgboost",
        coded,
        Options(Y),
        "column 'b' is a category, and the file does not hold its values.*3.1 or later",
    ),
    "stopped early": (
        "xgboost",
        stopped_early,
        Options(Y),
        r"was stopped early, after \d+ rounds of which number \d+ was the best; "
        r".*booster\[: booster.best_iteration \+ 1\]",
    ),
    "linear": ("xgboost", linear, Options(Y, ["a", "b", "c"]), r"this is linear \(gblinear\)"),
    "no names": ("xgboost", linear, Options(Y), "linear|nothing says which columns"),
    "another file": (
        "lightgbm",
        lambda: ubj(of_xgboost("multi:softprob", True)),
        Options(Y),
        "no model of lightgbm: .*save_model",
    ),
    "another file of XGBoost": (
        "xgboost",
        lambda: text(numbers=True),
        Options(Y),
        "no model of xgboost: it looks like a model in LightGBM's own format",
    ),
    "a pickle": (
        "xgboost",
        lambda: file(b"\x80\x04\x95xgboost.sklearn", "m.pkl"),
        Options(Y),
        "no model of xgboost: it looks like a Python pickle of an XGBoost model",
    ),
    "cut short": ("lightgbm", lambda: file(text(numbers=True).data[:200], "m.txt"), Options(Y), "m.txt: "),
    "cut short of XGBoost": ("xgboost", lambda: file(coded().data[:200], "m.ubj"), Options(Y), "m.ubj: "),
    "kind auto": (
        "onnx",
        lambda: text(numbers=True),
        Options(Y),
        "LightGBM's own format; kind: lightgbm scores it as it is",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_says_what_to_do(case: str) -> None:
    kind, make, options, says = REFUSED[case]
    with pytest.raises(ModelError, match=says) as refused:
        open_scorer(kind, make(), options)
    assert "Stack trace" not in str(refused.value)


def test_very_many_conditions_on_categories_are_the_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says so when it is opened, before it has taken seconds."""
    monkeypatch.setattr(growing, "MOST_ADDED", 3)
    for data in (text(), ubj(of_xgboost("reg:squarederror"))):
        with pytest.raises(NotTrees, match="conditions on categories that take more than 3 nodes; the kind"):
            open_scorer("trees", data, Options(Y))


NOT_TREES = {
    "zeros are missing": {"zero_as_missing": True},
    "linear leaves": {"linear_tree": True},
}


@pytest.mark.parametrize("case", NOT_TREES)
def test_what_the_kernel_does_not_run_the_library_does(case: str) -> None:
    data = text(numbers=True, **NOT_TREES[case])
    with pytest.raises(NotTrees, match="the kind lightgbm runs it"):
        open_scorer("trees", data, Options(Y))
    rows = edges(frame(100))[NUMBERS]
    model = of_lightgbm("regression", numbers=True, **NOT_TREES[case])
    ours = open_scorer("lightgbm", data, Options(Y)).score(chunk(rows)).column("y").to_numpy()
    np.testing.assert_array_equal(ours, model.predict(rows))


@pytest.mark.parametrize("kind", ["xgboost", "trees"])
def test_xgboost_refuses_a_category_that_was_not_seen(kind: str) -> None:
    """It does so itself, but not always: 3.2 scores `gold`, which no row had, as if it were `plus`."""
    model = of_xgboost("reg:squarederror")
    rows = frame(20)
    rows["plan"] = pd.Categorical(["zzz", *["pro"] * 19])
    with pytest.raises(Exception, match="Found a category not in the training set"):
        model.predict(rows)
    scorer = open_scorer(kind, ubj(model), Options(Y))
    for value in ("zzz", "gold", ""):
        rows["plan"] = pd.Categorical([value, *["pro"] * 19])
        says = f"column 'plan' holds '{value}' in row 0 of the chunk, which is none of .*basic, plus, pro"
        with pytest.raises(ChunkError, match=says):
            scorer.score(chunk(rows))


def test_columns_of_a_matrix_without_names_have_to_be_named() -> None:
    import lightgbm as lgb

    x = frame()[NUMBERS].to_numpy()
    made = lgb.LGBMRegressor(n_estimators=2, verbose=-1).fit(x, target(frame())).booster_.model_to_string()
    for kind, data in (
        ("lightgbm", file(made)),
        ("trees", file(made)),
        ("xgboost", ubj(xgb.XGBRegressor(n_estimators=2).fit(x, target(frame())))),
    ):
        with pytest.raises(
            ModelError, match=r"name them in the job's model.columns, in the order of the training"
        ):
            open_scorer(kind, data, Options(Y))
        assert open_scorer(kind, data, Options(Y, NUMBERS)).signature.inputs.names == NUMBERS


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of no library stands for one that is not installed."""
    with pytest.raises(ModelError, match=re.escape("run  pip install 'nightscore[lightgbm_of_mars]'")):
        booster.find_library("lightgbm_of_mars")
