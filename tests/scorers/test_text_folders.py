"""Texts by a Hugging Face folder: pooled, normalized and cut as its files say, or as the job says."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pyarrow as pa
import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import read_model
from nightscore.scorers.registry import open_scorer
from nightscore.scorers.testing import check_scorer
from tests.scorers.texts import CONFIG, MAX_LENGTH, descriptions, file, tiny, tokenizer_json

NOISE = 1e-6
HIDDEN = "last_hidden_state"
EMBEDDING = {"embedding": f"{HIDDEN}[*]"}
TEXTS = ["", "Milk", "milk", *descriptions()[:40], "milk " * 100]
SENTENCE = {
    "config.json": {"model_type": "bert", "max_position_embeddings": MAX_LENGTH},
    "tokenizer_config.json": {"model_max_length": 512, "do_lower_case": True},
    "sentence_bert_config.json": {"max_seq_length": 16, "do_lower_case": False},
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ],
    "1_Pooling/config.json": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
}
Build = Callable[..., Path]


def hidden() -> onnx.ModelProto:
    """The tiny BERT as the world exports it: a row a token."""
    model = tiny()
    last = [node for node in model.graph.node if node.op_type == "LayerNormalization"][-1]
    model.graph.node.append(helper.make_node("Identity", [last.output[0]], [HIDDEN]))
    shape = ["batch", "sequence", CONFIG["hidden_size"]]
    model.graph.output.append(helper.make_tensor_value_info(HIDDEN, TensorProto.FLOAT, shape))
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Build:
    """Build a folder; `other` files take the place of those of SENTENCE, None leaves one out."""

    def build(graph: str = "onnx/model.onnx", **other: Any) -> Path:
        root = tmp_path / "mini"
        shutil.rmtree(root, ignore_errors=True)
        files = {**SENTENCE, **{name.replace("__", "/"): value for name, value in other.items()}}
        for name, value in files.items():
            if value is not None:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(json.dumps(value))
        (root / "tokenizer.json").write_text(tokenizer_json())
        (root / graph).parent.mkdir(parents=True, exist_ok=True)
        onnx.save(hidden(), root / graph)
        return root

    return build


def scores(path: Path, columns: str = "text", override: bool = False, **said: Any) -> Any:
    """What kind text gives for TEXTS."""
    options = Options(EMBEDDING, [columns], max_length_override=override, settings=said)
    scorer = open_scorer("text", read_model(path, path.name), options)
    found = scorer.score(pa.RecordBatch.from_pydict({columns: TEXTS}))
    return np.array(found.column("embedding").to_pylist(), np.float32)


def truth(pooling: str, unit: bool, length: int, side: str = "right") -> Any:
    """By tokenizers, ONNX Runtime and NumPy: each text alone, nothing of ours."""
    tokenizer = Tokenizer.from_str(tokenizer_json())
    tokenizer.enable_truncation(length, direction=side)
    session = ort.InferenceSession(hidden().SerializeToString(), providers=["CPUExecutionProvider"])
    rows = []
    for text in TEXTS:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        [states] = session.run([HIDDEN], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        row = states[0].mean(axis=0) if pooling == "mean" else states[0][0]
        rows.append(row / np.linalg.norm(row) if unit else row)
    return np.array(rows)


def test_a_folder_scores_as_its_files_say(folder: Build) -> None:
    """Pooled, of length 1, cut at 16 by the file of sentence-transformers; the graph may be named itself."""
    root, wanted = folder(), truth("mean", unit=True, length=16)
    np.testing.assert_allclose(scores(root), wanted, atol=NOISE)
    np.testing.assert_allclose(scores(root / "onnx/model.onnx"), wanted, atol=NOISE)
    np.testing.assert_allclose(scores(folder("model.onnx")), wanted, atol=NOISE)
    assert np.abs(wanted - truth("mean", unit=True, length=24)).max() > 0.01


def test_a_folder_keeps_the_contract(folder: Build) -> None:
    """As any scorer: any chunks, any order, several threads."""
    scorer = open_scorer("text", read_model(folder(), "mini"), Options(EMBEDDING, ["text"], threads=2))
    check_scorer(scorer, pa.RecordBatch.from_pydict({"text": TEXTS}), NOISE)


NO_MODULES = {"modules.json": None, "1_Pooling__config.json": None, "sentence_bert_config.json": None}
SAID = {
    "cls by its file": ({"1_Pooling__config.json": {"pooling_mode_cls_token": True}}, {}, ("cls", True, 16)),
    "no Normalize": ({"modules.json": SENTENCE["modules.json"][:2]}, {}, ("mean", False, 16)),
    "of transformers, mean": (NO_MODULES, {"pooling": "mean"}, ("mean", False, 24)),
    "of transformers, cls": (NO_MODULES, {"pooling": "cls", "normalize": True}, ("cls", True, 24)),
    "the same": ({}, {"pooling": "mean", "normalize": True, "max_length": 16}, ("mean", True, 16)),
    "cut on the left": (
        {"tokenizer_config.json": {"truncation_side": "left"}}, {}, ("mean", True, 16, "left"),
    ),
    "another length, meant": ({}, {"override": True, "max_length": 8}, ("mean", True, 8)),
}  # fmt: skip


@pytest.mark.parametrize(("files", "said", "wanted"), SAID.values(), ids=SAID.keys())
@pytest.mark.sample(7)
def test_files_and_job_say_how(folder: Build, files: Any, said: Any, wanted: Any) -> None:
    """Each of them gives NumPy's embedding, and no two of the truths are alike."""
    np.testing.assert_allclose(scores(folder(**files), **said), truth(*wanted), atol=NOISE)


def test_an_embedding_of_tokens_with_a_prompt(folder: Build) -> None:
    """The default prompt stands before each text, as sentence-transformers puts it."""
    prompted = {"config_sentence_transformers.json": {"prompts": {"q": "milk "}, "default_prompt_name": "q"}}
    found, plain = scores(folder(**prompted)), scores(folder())
    np.testing.assert_allclose(found[TEXTS.index("")], plain[TEXTS.index("milk")], atol=NOISE)


def test_a_prompt_becomes_small_letters_with_its_text(folder: Build) -> None:
    """As sentence-transformers lowers what it gives its tokenizer; this one knows no large letters."""
    tokenizer = json.loads(tokenizer_json())
    tokenizer["normalizer"]["lowercase"] = False
    about = {"sentence_bert_config.json": {"max_seq_length": 16, "do_lower_case": True}}
    prompt = {"config_sentence_transformers.json": {"prompts": {"q": "MILK "}, "default_prompt_name": "q"}}
    root = folder(**about, **prompt, **{"tokenizer_config.json": {}})
    (root / "tokenizer.json").write_text(json.dumps(tokenizer))
    found, plain = scores(root), scores(folder())
    np.testing.assert_allclose(found[TEXTS.index("")], plain[TEXTS.index("milk")], atol=NOISE)


def test_kinds_of_tokens_that_are_not_computed_are_refused(folder: Build) -> None:
    """XLNet's and Funnel's tokenizers give a text's tokens, or its [CLS], a kind of 2."""
    tokenizer = Tokenizer.from_str(tokenizer_json())
    special = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS]:2 $A:0 [SEP]:0", special_tokens=special)
    root = folder()
    (root / "tokenizer.json").write_text(tokenizer.to_str())
    with pytest.raises(ModelError, match="other token_type_ids than 0"):
        scores(root)


WRONG: dict[str, tuple[Any, Any, str]] = {
    "another pooling": ({}, {"pooling": "cls"}, "model.text.pooling is cls, and .* own files say mean"),
    "not normalized": ({}, {"normalize": False}, "model.text.normalize is false, .* say true; leave it out"),
    "another length": ({}, {"max_length": 8}, "max_length is 8, and .* say 16; .*max_length_override"),
    "nothing said": (NO_MODULES, {}, "has a row a token, and nothing is said of .* say model.text.pooling"),
    "no length": (
        {"sentence_bert_config.json": None, "config.json": None, "tokenizer_config.json": None}, {},
        "its folder has max_length '';.* say model.text.max_length",
    ),
    "none": (NO_MODULES, {"pooling": "none"}, "has a row a token, and none is said"),
    "another module": (
        {"modules.json": [*SENTENCE["modules.json"], {"type": "sentence_transformers.models.Dense"}]}, {},
        "modules.json has Dense; computed here are Transformer, Pooling, Normalize",
    ),
    "the largest": ({"1_Pooling__config.json": {"pooling_mode_max_tokens": True}}, {}, "allowed: mean, cls"),
    "two ways": (
        {"1_Pooling__config.json": {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True}}, {},
        "says pooling_mode_max_tokens, pooling_mode_mean_tokens; allowed: mean, cls",
    ),
    "another case": (
        {"tokenizer_config.json": {"do_lower_case": False}}, {}, "lowercase true, .* do_lower_case false",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "said", "message"), WRONG.values(), ids=WRONG.keys())
@pytest.mark.sample(10)
def test_what_differs_is_refused_with_both(folder: Build, files: Any, said: Any, message: str) -> None:
    """Never another embedding quietly."""
    with pytest.raises(ModelError, match=message):
        scores(folder(**files), **said)


def test_all_that_is_read_is_the_model(folder: Build) -> None:
    """The hash is coreutils' over the graph and each file beside it; a change in any is another model."""
    root = folder()
    names = sorted(["tokenizer.json", *SENTENCE])
    line = f"(sha256sum < onnx/model.onnx; sha256sum {' '.join(names)}) | sha256sum"
    said = subprocess.run(["/bin/sh", "-c", line], cwd=root, capture_output=True, check=True, text=True)
    before = read_model(root, "mini").sha256
    assert before == said.stdout.split()[0] == read_model(root / "onnx/model.onnx", "m").sha256
    for name in names:
        text = (root / name).read_text()
        (root / name).write_text(text + " ")
        assert read_model(root, "mini").sha256 != before
        (root / name).write_text(text)


def test_a_model_with_a_tokenizer_of_its_own_reads_no_other(folder: Build) -> None:
    """An .onnx file that nightscore.export wrote stays what it was, whatever lies beside it."""
    root = folder()
    own = file(tiny())
    (root / "own.onnx").write_bytes(own.data)
    assert read_model(root / "own.onnx", "own").sha256 == hashlib.sha256(own.data).hexdigest()


def test_a_folder_without_a_graph_or_with_two_is_told(folder: Build) -> None:
    """And what to name instead."""
    root = folder()
    shutil.copy(root / "onnx/model.onnx", root / "model.onnx")
    with pytest.raises(ModelError, match=r"has model.onnx and onnx/model.onnx; name the one that is meant"):
        read_model(root, "mini")
    for graph in root.rglob("*.onnx"):
        graph.unlink()
    with pytest.raises(
        ModelError, match=r"is a folder without model.onnx or onnx/model.onnx; name the .onnx"
    ):
        read_model(root, "mini")
