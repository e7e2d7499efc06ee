"""Texts score as the tokenizer and ONNX Runtime score them, whatever the others are; misfits are told why."""

import json
import sys
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ChunkError, MissingValueError, ModelError
from nightscore.scorers.files.model_file import ModelFile, read_model
from nightscore.scorers.registry import open_scorer
from nightscore.scorers.testing import check_scorer
from nightscore.scorers.texts.scorer import BATCH_TOKENS, TextScorer
from tests.scorers.models import file as plain_file
from tests.scorers.models import floats, mlp
from tests.scorers.texts import (
    CONFIG,
    MAX_LENGTH,
    ROOT,
    descriptions,
    file,
    script,
    tiny,
    tokenizer_json,
    weights,
    with_head,
)

EMBEDDING = {"embedding": "embedding[*]"}
NOISE = 1e-6  # of an embedding of length 1
GOLDEN = ROOT / "tests/data/text"
MINILM = ROOT / "data/models/text/all_minilm_l6_v2.onnx"
TINY = file(tiny())
SCORER = TextScorer(TINY, Options(EMBEDDING))
ODD = ["", " ", "a", "ärger 日本語 \x00 \U0001f600", "milk " * 100, "[SEP] [PAD]"]


def batch(texts: list[str | None], name: str = "text") -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(texts, pa.string())], [name])


def vectors(found: pa.RecordBatch) -> Any:
    return np.array(found.column("embedding").to_pylist(), np.float32)


def padded(model: ModelFile, texts: list[str]) -> Any:
    """What the tokenizer's own padding and ONNX Runtime give, all texts in one batch: nothing of ours."""
    tokenizer = Tokenizer.from_str(tokenizer_json())
    tokenizer.enable_truncation(MAX_LENGTH)
    tokenizer.enable_padding()
    found = tokenizer.encode_batch(texts)
    feeds = {
        "input_ids": np.array([one.ids for one in found], np.int64),
        "attention_mask": np.array([one.attention_mask for one in found], np.int64),
    }
    return ort.InferenceSession(model.data, providers=["CPUExecutionProvider"]).run(["embedding"], feeds)[0]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.sample(1)
def test_texts_keep_the_contract(threads: int) -> None:
    """One row for each row, in order, the same for any chunking and from several threads."""
    scorer = open_scorer("text", TINY, Options(EMBEDDING, threads=threads))
    assert scorer.signature.inputs == pa.schema([("text", pa.string())])
    assert scorer.signature.outputs == pa.schema([("embedding", pa.list_(pa.float32()))])
    check_scorer(scorer, batch([*ODD, *descriptions()[:60]]), NOISE)


def test_embeddings_are_what_the_tokenizer_and_onnx_runtime_give() -> None:
    """Padded to the longest, with a mask: padding changes nothing either, in the graph that bert.py makes."""
    texts = [*ODD, *descriptions()]
    assert len(texts) > 100 and len({len(one) for one in SCORER._tokenizer.encode_batch_fast(texts)}) > 10
    np.testing.assert_allclose(vectors(SCORER.score(batch(texts))), padded(TINY, texts), atol=NOISE)


def test_the_graph_is_the_one_that_transformers_computes() -> None:
    """Tokens of every length through the same weights in Hugging Face's BertModel, averaged, normalised."""
    golden = pq.read_table(GOLDEN / "tiny_bert.parquet").to_pylist()
    session = ort.InferenceSession(TINY.data, providers=["CPUExecutionProvider"])
    assert {len(row["ids"]) for row in golden} == set(range(1, CONFIG["max_position_embeddings"] + 1))
    for row in golden:
        ids = np.array([row["ids"]], np.int64)
        [found] = session.run(["embedding"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        np.testing.assert_allclose(found[0], row["embedding"], atol=NOISE)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([*ODD, *descriptions()[:50]]) | st.text(max_size=60), min_size=1, max_size=40)
)
def test_a_text_scores_the_same_whatever_the_others_are(texts: list[str]) -> None:
    """Any texts, in any order, many of them twice: each row as if it were alone."""
    found = vectors(SCORER.score(batch(texts)))
    alone = {text: vectors(SCORER.score(batch([text])))[0] for text in set(texts)}
    np.testing.assert_allclose(found, [alone[text] for text in texts], atol=NOISE)
    assert all((found[i] == found[texts.index(text)]).all() for i, text in enumerate(texts))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=NOISE)


def test_a_batch_holds_no_padding_and_no_text_twice() -> None:
    """The feeds: every different text once, the shortest first, within the budget of tokens."""
    texts = [*descriptions(), *descriptions()[:20]]
    fed = list(SCORER.feeds(batch(texts)))
    lengths = [feeds["input_ids"].shape[1] for feeds in fed]
    assert lengths == sorted(lengths) and sum(len(feeds["input_ids"]) for feeds in fed) == len(set(texts))
    assert all(feeds["input_ids"].size <= BATCH_TOKENS for feeds in fed)
    assert all(set(feeds) == {"input_ids", "attention_mask"} for feeds in fed)
    assert all(feeds["attention_mask"].all() and feeds["input_ids"].all() for feeds in fed)  # 0 is [PAD]


def test_a_text_of_no_token_is_zeros() -> None:
    """By a tokenizer that puts nothing around a text: one of padding, which the mask leaves out."""
    scorer = TextScorer(file(tiny(), tokenizer=tokenizer_json(special=False)), Options(EMBEDDING))
    found = vectors(scorer.score(batch(["", "milk"])))
    assert not found[0].any() and abs(np.linalg.norm(found[1]) - 1) < NOISE


def test_what_is_too_long_is_cut() -> None:
    """At the most tokens that the model's metadata allow, special ones included."""
    [feeds] = SCORER.feeds(batch(["milk " * 1000]))
    assert feeds["input_ids"].shape == (1, MAX_LENGTH)
    shorter = TextScorer(file(tiny(), max_length="5"), Options(EMBEDDING))
    [feeds] = shorter.feeds(batch(["milk " * 1000]))
    assert feeds["input_ids"].shape == (1, 5)


def test_classes_are_columns_or_a_list() -> None:
    """One class by its index, all of them as a list; a model that wants token_type_ids gets zeros."""
    model = file(with_head(tiny()))
    outputs = {"p1": "probabilities[1]", "all": "probabilities[*]", **EMBEDDING}
    chunk = batch(descriptions()[:50])
    found = TextScorer(model, Options(outputs)).score(chunk)
    classes = np.array(found.column("all").to_pylist())
    assert found.column("p1").to_pylist() == classes[:, 1].astype(np.float32).tolist()
    np.testing.assert_allclose(classes.sum(axis=1), 1, atol=NOISE)
    np.testing.assert_allclose(vectors(found), vectors(SCORER.score(chunk)), atol=NOISE)


def test_a_job_may_name_the_column() -> None:
    """Where the metadata say nothing, or against them by its own word; else both names are shown."""
    for columns, override in (('["text"]', True), (None, False)):
        options = Options(EMBEDDING, columns=["about"], columns_override=override)
        scorer = TextScorer(file(tiny(), columns=columns), options)
        assert scorer.signature.inputs.names == ["about"]
        assert scorer.signature.misfits(pa.schema([("about", pa.large_string())])) == []
        assert scorer.score(batch(["milk"], "about")).num_rows == 1
    with pytest.raises(ModelError, match=r"model.columns are \[about\], and the model's own .* are \[text\]"):
        TextScorer(file(tiny()), Options(EMBEDDING, columns=["about"]))


def cut_by(**how: object) -> Tokenizer:
    """The tokenizer with truncation of its own."""
    made = Tokenizer.from_str(tokenizer_json())
    made.enable_truncation(**how)
    return made


@pytest.mark.parametrize(
    "how",
    [
        {"direction": "left"},
        {"direction": "right"},
        {"direction": "left", "stride": 2},
        {"strategy": "only_first"},
    ],
    ids=str,
)
def test_a_text_is_cut_as_its_tokenizer_cuts_it(how: dict[str, object]) -> None:
    """The truth is the package tokenizers alone: the last words count where it cuts on the left."""
    own = cut_by(max_length=MAX_LENGTH, **how)
    scorer = TextScorer(file(tiny(), tokenizer=own.to_str()), Options(EMBEDDING))
    texts = [" ".join(descriptions()[i : i + 20]) for i in range(0, 60, 20)]
    [feeds] = scorer.feeds(batch(texts))
    assert sorted(feeds["input_ids"].tolist()) == sorted(own.encode(text).ids for text in texts)
    assert own.encode(texts[0]).ids != Tokenizer.from_str(tokenizer_json()).encode(texts[0]).ids


def test_a_tokenizer_config_says_the_side_where_the_tokenizer_does_not() -> None:
    """And is refused where it says another."""
    text = " ".join(descriptions()[:20])
    metadata = {"tokenizer_config": json.dumps({"truncation_side": "left"})}
    [feeds] = TextScorer(file(tiny(), **metadata), Options(EMBEDDING)).feeds(batch([text]))
    assert feeds["input_ids"].tolist() == [cut_by(max_length=MAX_LENGTH, direction="left").encode(text).ids]
    right = cut_by(max_length=MAX_LENGTH).to_str()
    with pytest.raises(ModelError, match=r"cuts texts on the right, .*truncation_side 'left'"):
        TextScorer(file(tiny(), tokenizer=right, **metadata), Options(EMBEDDING))


def test_two_lengths_are_refused_unless_the_job_says_which() -> None:
    """With both; where the metadata's is meant, texts are cut there."""
    own = file(tiny(), tokenizer=cut_by(max_length=5, direction="left").to_str())
    with pytest.raises(
        ModelError, match=rf"max_length {MAX_LENGTH}, and its tokenizer cuts at 5; .*_override"
    ):
        TextScorer(own, Options(EMBEDDING))
    text = " ".join(descriptions()[:20])
    [feeds] = TextScorer(own, Options(EMBEDDING, max_length_override=True)).feeds(batch([text]))
    assert feeds["input_ids"].tolist() == [cut_by(max_length=MAX_LENGTH, direction="left").encode(text).ids]


def test_a_missing_text_is_refused() -> None:
    """A null is no empty text; the message says what to write."""
    with pytest.raises(MissingValueError, match=r"^column 'text' \(string\) has 1 null values; .*coalesce"):
        SCORER.score(batch(["milk", None]))


def test_a_tokenizer_of_another_model_scores_nothing() -> None:
    """Token ids beyond the model's vocabulary are a chunk that can't be scored, in ONNX Runtime's words."""
    few = {**CONFIG, "vocab_size": 20}
    scorer = TextScorer(file(script("bert").bert(weights(few), few)), Options(EMBEDDING))
    with pytest.raises(ChunkError, match=r"^m.onnx: .*indices element out of data bounds"):
        scorer.score(batch(descriptions()[:5]))


WRONG = {
    "no tokenizer": ({"tokenizer": None}, None, r"its metadata has no tokenizer under the key 'tokenizer'"),
    "a tokenizer that is none": ({"tokenizer": "{}"}, None, r"its metadata has no tokenizer"),
    "no length": (
        {"max_length": None},
        None,
        r"its metadata has max_length ''; kind text needs the most tokens",
    ),
    "a length of none": ({"max_length": "0"}, None, r"max_length '0'"),
    "a length of words": ({"max_length": "many"}, None, r"max_length 'many'"),
    "no column": ({"columns": None}, None, r"columns are \[\]; kind text takes one column of texts"),
    "columns that are no list": ({"columns": "text"}, None, r"columns are \[\]"),
    "two columns": ({"columns": None}, ["a", "b"], r"columns are \['a', 'b'\]; kind text takes one"),
}


@pytest.mark.parametrize(("metadata", "columns", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_model_that_does_not_fit_says_why(
    metadata: dict[str, str | None], columns: list[str] | None, said: str
) -> None:
    """Each message names the model, what it says, and what is needed."""
    with pytest.raises(ModelError, match=f"^m.onnx: .*{said}"):
        TextScorer(file(tiny(), **metadata), Options(EMBEDDING, columns=columns))


def test_a_model_of_numbers_is_none_of_texts() -> None:
    """Its inputs are named, and those that the kind needs."""
    model = plain_file(mlp(), floats(1).schema.names)
    with pytest.raises(ModelError, match=r"^m.onnx: its inputs are X tensor\(float\) .*needs input_ids and"):
        TextScorer(model, Options({"y": "y[0]"}))


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a traceback of an import."""
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(
        ModelError, match=r"needs the package tokenizers: run  pip install 'nightscore\[text\]'"
    ):
        TextScorer(TINY, Options(EMBEDDING))


@pytest.mark.slow
@pytest.mark.skipif(
    not MINILM.exists(), reason="make text writes the weights (91 MB), which are not committed"
)
def test_minilm_is_the_one_that_sentence_transformers_runs() -> None:
    """Real descriptions, an empty text, one that is cut: as sentence-transformers embeds them."""
    golden = pq.read_table(GOLDEN / "minilm.parquet")
    scorer = TextScorer(read_model(MINILM, MINILM.name), Options(EMBEDDING, max_length_override=True))
    found = vectors(scorer.score(batch(golden["text"].to_pylist(), "description")))
    wanted = np.array(golden["embedding"].to_pylist())
    np.testing.assert_allclose(found, wanted, atol=NOISE)
    assert golden.num_rows >= 20 and np.einsum("ij,ij->i", found, wanted).min() > 1 - NOISE
