"""Train the model of the job languages: `python data/models/train_languages.py`.

It needs `pip install "nightscore[train,text]"`.

A text is cut into pieces of up to four letters, each piece has a number for each language, and the mean of
those of a text's pieces becomes chances: a logistic regression on how often each piece comes, on the messages
of which the language is known. scikit-learn gives what some messages score, to which `check` and each night
hold the job.
"""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

HERE = Path(__file__).parent
LAKE = HERE.parents[1] / "data/lake"
DAY = "2025-10-01"  # of which the languages are known
HELD_OUT = 200  # messages at its end that the model is measured by
EXPECTED = 100  # of them that are kept with their scores
PIECES, LONGEST = 360, 4  # pieces in all, letters of one
UNKNOWN = "[UNK]"  # stands for a word with a letter that no piece has
MAX_LENGTH = 128  # pieces of a text; what is longer is cut

messages = pq.read_table(LAKE / f"messages/day={DAY}/messages.parquet", partitioning=None)
messages = messages.sort_by("message_id")
known = pq.read_table(LAKE / "languages.parquet").sort_by("message_id")
assert messages["message_id"].equals(known["message_id"])
texts, languages = messages["text"].to_pylist(), known["language"].to_numpy()


def pieces_of(words: Counter[str]) -> list[str]:
    """Each letter, and the pieces that come most often; ## marks one that begins within a word."""
    count: Counter[str] = Counter()
    for word, times in words.items():
        for start in range(len(word)):
            for end in range(start + 2, min(len(word), start + LONGEST) + 1):
                count["##"[: 2 * (start > 0)] + word[start:end]] += times
    letters = sorted(set("".join(words)))
    often = sorted(count, key=lambda piece: (-count[piece], piece))
    return [UNKNOWN, *letters, *(f"##{letter}" for letter in letters), *often][:PIECES]


words = Counter(re.findall(r"\w+", " ".join(texts[:-HELD_OUT]).lower()))
numbers = {piece: number for number, piece in enumerate(pieces_of(words))}
tokenizer = Tokenizer(models.WordPiece(numbers, unk_token=UNKNOWN))
tokenizer.normalizer = normalizers.Lowercase()
tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
tokenizer.enable_truncation(MAX_LENGTH)

shares = np.zeros((len(texts), PIECES))  # of a text's pieces that are each
for row, one in enumerate(tokenizer.encode_batch(texts)):
    np.add.at(shares[row], one.ids, 1 / len(one.ids))
regression = LogisticRegression(C=300, max_iter=5_000)
regression.fit(shares[:-HELD_OUT], languages[:-HELD_OUT])
right = regression.score(shares[-HELD_OUT:], languages[-HELD_OUT:])
print(f"of {right:.1%} of {HELD_OUT} other messages the language is found")

constants = {
    "table": regression.coef_.T.astype(np.float32),  # [piece, language]
    "bias": regression.intercept_.astype(np.float32),
    "names": regression.classes_.astype(object),
    "last": np.array([-1]), "tokens": np.array([1]), "least": np.array(1, np.float32),
}  # fmt: skip
graph = helper.make_graph(
    [
        helper.make_node("Gather", ["table", "input_ids"], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["spread"]),
        helper.make_node("Mul", ["each", "spread"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "tokens"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "tokens"], ["count"], keepdims=1),
        helper.make_node("Max", ["count", "least"], ["pieces"]),  # 1 of a text that has none
        helper.make_node("Div", ["total", "pieces"], ["mean"]),
        helper.make_node("Add", ["mean", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
        helper.make_node("ReduceMax", ["probabilities"], ["confidence"], axes=[1], keepdims=0),
        helper.make_node("ArgMax", ["probabilities"], ["place"], axis=1, keepdims=0),
        helper.make_node("Gather", ["names", "place"], ["language"]),
    ],
    "languages",
    [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
        for name in ("input_ids", "attention_mask")
    ],
    [
        helper.make_tensor_value_info("language", TensorProto.STRING, ["rows"]),
        helper.make_tensor_value_info("confidence", TensorProto.FLOAT, ["rows"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", len(regression.classes_)]),
    ],
    [numpy_helper.from_array(value, name) for name, value in constants.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnx.checker.check_model(model, full_check=True)
(HERE / "languages").mkdir(exist_ok=True)
onnx.save(model, HERE / "languages/model.onnx")
tokenizer.save(str(HERE / "languages/tokenizer.json"), pretty=False)
said = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": MAX_LENGTH}
(HERE / "languages/tokenizer_config.json").write_text(json.dumps(said) + "\n")

given = regression.predict_proba(shares[-EXPECTED:])
pq.write_table(
    pa.table(
        {
            "text": texts[-EXPECTED:],
            "language": regression.classes_[given.argmax(axis=1)].tolist(),
            "confidence": given.max(axis=1),
        }
    ),
    HERE / "languages_expected.parquet",
    compression="zstd",
)
