"""Tidied graphs give the reference's numbers, and a recipe that changes nothing says so."""

from collections.abc import Callable

import numpy as np
import onnx
import pyarrow as pa
import pytest

from nightscore.evaluation.recipes import graph
from nightscore.evaluation.recipes.network import operators
from nightscore.evaluation.recipes.recipe import Material, NoCandidate
from nightscore.scorers.contract import Options
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.onnx.scorer import OnnxScorer
from nightscore.scorers.testing import check_scorer
from tests.evaluation.recipes.networks import (
    bert,
    digits,
    digits_file,
    made,
    material,
    named,
    of_bert,
    of_digits,
    pixels,
    texts,
)
from tests.scorers.models import COLUMNS, file, floats, mixed, pipeline, trees

SCORED = Options({"p": "probabilities[1]"})
LABELLED = Options({"is": "label", "p": "probabilities[1]"})


def of_trees() -> Material:
    feeds = ({"X": np.stack([c.to_numpy() for c in floats(100).columns], axis=1)},)
    return material(file(trees()[1], COLUMNS), SCORED, feeds)


def of_pipeline(options: Options = SCORED) -> Material:
    return material(file(pipeline()[1]), options, ())


CASES: dict[str, tuple[Callable[[], Material], Callable[[], pa.RecordBatch]]] = {
    "a network": (of_digits, lambda: pixels(digits()[0][1500:])),
    "a transformer": (of_bert, lambda: texts(40)),
    "trees": (of_trees, lambda: floats(100)),
    "a pipeline of texts and numbers": (of_pipeline, lambda: mixed(100)),
}


def scores(data: bytes, options: Options, chunk: pa.RecordBatch) -> list[list[object]]:
    found = OnnxScorer(ModelFile("m", "0" * 64, data), options).score(chunk)
    return [column.to_pylist() for column in found.columns]


@pytest.mark.slow
@pytest.mark.parametrize(("given", "rows"), CASES.values(), ids=CASES.keys())
def test_every_candidate_scores_as_the_reference(
    given: Callable[[], Material], rows: Callable[[], pa.RecordBatch]
) -> None:
    """To the rounding of fused operators; labels exactly; inputs and metadata are the reference's."""
    reference, chunk = given(), rows()
    wanted = scores(reference.model.data, reference.options, chunk)
    before = onnx.load_model_from_string(reference.model.data)
    candidates = dict(made(graph.recipes(reference.model), reference))
    assert candidates
    for name, data in candidates.items():
        for column, other in zip(scores(data, reference.options, chunk), wanted, strict=True):
            assert column == pytest.approx(other, abs=1e-4), name
        after = onnx.load_model_from_string(data)
        assert after.metadata_props == before.metadata_props, name
        assert after.graph.input == before.graph.input, name
        used = {source.partition("[")[0] for source in reference.options.outputs.values()}
        assert [o for o in after.graph.output if o.name in used] == [
            o for o in before.graph.output if o.name in used
        ], name
        if chunk.num_columns < 64:
            check_scorer(
                OnnxScorer(ModelFile("m", "0" * 64, data), reference.options), chunk.slice(0, 9), 1e-4
            )


def test_a_label_that_no_column_uses_goes_with_its_nodes() -> None:
    """The same bits of the probabilities, without ArgMax and what turns it into a class."""
    reference = of_digits()
    data = named(graph.recipes(reference.model))["graph: trimmed"].make(reference)
    after = onnx.load_model_from_string(data)
    assert [one.name for one in after.graph.output] == ["probabilities"]
    assert operators(onnx.load_model_from_string(reference.model.data))["ArgMax"] == 1
    assert not operators(after)["ArgMax"]
    assert not operators(after)["ArrayFeatureExtractor"]
    chunk = pixels(digits()[0])
    assert scores(data, reference.options, chunk) == scores(reference.model.data, reference.options, chunk)


def test_nothing_is_trimmed_where_every_output_is_used() -> None:
    given = of_pipeline(LABELLED)
    with pytest.raises(NoCandidate, match="uses every output"):
        named(graph.recipes(given.model))["graph: trimmed"].make(given)


@pytest.mark.parametrize("name", [*graph.LEVELS, "graph: onnxslim", "graph: trimmed"])
def test_what_is_tidy_already_is_no_candidate(name: str) -> None:
    """A recipe made on its own result has nothing more to offer."""
    reference = of_digits()
    once = named(graph.recipes(reference.model))[name].make(reference)
    again = of_digits(ModelFile("m", "0" * 64, once))
    with pytest.raises(NoCandidate, match=r"changes nothing|uses every output"):
        named(graph.recipes(again.model))[name].make(again)


def test_a_transformer_is_fused_layer_by_layer() -> None:
    given = of_bert()
    data = named(graph.recipes(given.model))["graph: transformer fused"].make(given)
    counts = operators(onnx.load_model_from_string(data))
    assert counts["Attention"] == 2
    assert counts["BiasGelu"] == 2
    assert "graph: transformer fused" not in named(graph.recipes(of_trees().model))


def test_a_network_that_is_no_transformer_is_told_so() -> None:
    given = of_digits()
    with pytest.raises(NoCandidate, match="no part of a transformer"):
        named(graph.recipes(given.model))["graph: transformer fused"].make(given)


def test_nothing_is_printed_or_logged(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The tools talk much; a bake-off prints a table."""
    for given in (of_digits(digits_file("tanh")), of_bert(bert(gemm=True))):
        capfd.readouterr()
        caplog.clear()
        assert dict(made(graph.recipes(given.model), given))
        assert capfd.readouterr() == ("", "")
        assert not caplog.records
