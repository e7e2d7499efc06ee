"""The workspace's scorecard scorer: what the graph gives to the bit, and the reasons, counted once more."""

import json
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest

from nightscore.evaluation.recipes.network import parse_model, serialize_like, trimmed
from nightscore.scorers import ModelError, ModelFile, Options, Scorer, check_scorer, open_scorer, read_model
from nightscore.scorers.workspace import read_scorer_file
from tests.workspace.finance.credit import MODELS, REPOSITORY, reasons

KIND = "scorers/scorecard_points.py"
FILE = read_scorer_file(REPOSITORY / KIND, KIND)
MODEL = read_model(MODELS / "credit_loss.onnx", "credit_loss.onnx")
OUTPUTS = {
    "score": "score",
    "why": "reasons[3]",
    "pd": "pd",
    "cost": "reason_points[3]",
    "lost": "points_lost[*]",
}


def opened(outputs: dict[str, str], model: ModelFile | None = MODEL) -> Scorer:
    return open_scorer(KIND, model, Options(outputs), FILE)


@pytest.fixture(scope="module")
def chunk() -> pa.RecordBatch:
    """500 loans, with missing values among the features of the card."""
    needed = open_scorer("onnx", MODEL, Options({"pd": "pd"})).signature.inputs
    g = np.random.default_rng(3)
    values = {name: g.uniform(0, 6, 500) for name in needed.names}
    values |= {
        "months": g.integers(1, 60, 500).astype(float),
        "monthly_rate": np.full(500, 0.01),
        "prepayment": np.zeros(500),
        "bad_in_default": np.ones(500),
    }
    values |= {
        "late_share": np.zeros(500),
        "late_months": np.full(500, 9.0),
        "weight_downturn": np.full(500, 0.25),
        "weight_upturn": np.full(500, 0.25),
    }
    values["employment_years"][::5] = np.nan
    return pa.RecordBatch.from_pydict({n: pa.array(values[n]) for n in needed.names})


def test_the_model_s_own_outputs_are_those_of_the_kind_onnx(chunk: pa.RecordBatch) -> None:
    """To the bit, in the job's order of outputs."""
    found = opened(OUTPUTS).score(chunk)
    plain = open_scorer("onnx", MODEL, Options({k: OUTPUTS[k] for k in ("score", "pd", "lost")})).score(chunk)
    assert found.schema.names == list(OUTPUTS)
    assert all(found[name].equals(plain[name]) for name in plain.schema.names)


def test_reasons_are_the_dearest_features(chunk: pa.RecordBatch) -> None:
    """Counted once more: rounded to a tenth, ties in the model's order, none that costs nothing."""
    texts = reasons()
    for row in opened(OUTPUTS).score(chunk).to_pylist():
        lost = [int(points * 10 + 0.5) / 10 for points in row["lost"]]
        order = sorted(range(6), key=lambda i: (-lost[i], i))[:3]
        assert row["why"] == [texts[i] for i in order if lost[i] > 0]
        assert row["cost"] == [lost[i] for i in order]


def test_it_keeps_the_contract(chunk: pa.RecordBatch) -> None:
    check_scorer(opened(OUTPUTS), chunk)


@pytest.mark.parametrize("source", ["reasons", "reasons[0]", "reasons[7]", "reasons[*]", "reason_points[x]"])
def test_how_many_reasons_has_to_be_said(source: str) -> None:
    """From one to as many as there are features."""
    with pytest.raises(ModelError, match=r"allowed: reason(s|_points)\[1\] to reason(s|_points)\[6\]"):
        opened({"why": source})


def test_what_is_no_scorecard_is_refused() -> None:
    """No file, no ONNX, a graph without reasons, one with too few, an output that the graph has not."""
    with pytest.raises(ModelError, match=r"model\.path"):
        opened(OUTPUTS, None)
    few: Any = onnx.load_model_from_string(MODEL.data)
    onnx.helper.set_model_props(few, {"features": '["a", "b"]', "reasons": '["c"]'})
    plain: Any = onnx.load_model_from_string(MODEL.data)
    del plain.metadata_props[:]
    for data in (b"no model", plain.SerializeToString(), few.SerializeToString()):
        with pytest.raises(ModelError, match=r"x\.onnx"):
            opened(OUTPUTS, ModelFile("x.onnx", "0", data))
    with pytest.raises(ModelError, match="does not have"):
        opened({"a": "nothing"})


def test_a_reason_belongs_to_its_feature() -> None:
    """In the model's metadata they stand in the order of its points, as its training script pairs them."""
    known = {one.key: one.value for one in onnx.load_model_from_string(MODEL.data).metadata_props}
    assert json.loads(known["features"])[1] == "inquiries_12m"
    assert json.loads(known["reasons"])[1] == "credit inquiries in the last 12 months"


def test_what_a_recipe_makes_of_the_graph_keeps_its_reasons(chunk: pa.RecordBatch) -> None:
    """A bake-off's candidate has the reference's metadata, and is opened by the same scorer."""
    graph = parse_model(MODEL)
    data = serialize_like(trimmed(graph, {"score", "pd", "points_lost"}), graph)
    assert len(data) < len(MODEL.data)
    found = opened(OUTPUTS, ModelFile("trimmed.onnx", "0", data)).score(chunk)
    assert found.equals(opened(OUTPUTS).score(chunk))
