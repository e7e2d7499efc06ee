"""Whether nights have become slower, in five minutes: ratios to peers that are measured in the same run.

    python benchmarks/quick.py            prints each ratio beside the last kept one
    python benchmarks/quick.py --keep     and keeps what it measured: benchmarks/recorded/quick.json

A ratio is how many times as long the peer takes. One that is more than a fifth below the kept one is measured
again, three times in all, and the best of them counts; if it is still below, the exit code is 1. Ratios
are of a processor: on one that none are kept of nothing is compared, and it says so.
"""

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import peers
import pyarrow as pa
from finance import BASE, CHUNK, priced_by, scored, with_numpy
from lake import DAY, workspace
from startup import NIGHTSCORE, timed
from turns import in_turns

from nightscore.pipeline.publish.reconcile import key_hash_select
from nightscore.scorers.hardware import read_hardware
from nightscore.store import sum_key_hashes

KEPT = Path(__file__).parent / "recorded" / "quick.json"
FELL, TRIES = 0.8, 3
PEER = "polars"
IMPORTS = (
    "import duckdb, numpy, onnxruntime, pandas, pyarrow.parquet"  # what a script of one's own begins with
)

Ratios = Mapping[str, float]


def main() -> int:
    """Measure, compare and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    processor = read_hardware().processor
    all_kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    kept: Ratios = all_kept.get(processor, {})
    print(f"{processor}\n\n| times as long as ours | now | kept |\n|---|---|---|")
    found = dict[str, float]()
    for measure in MEASURES:
        found |= best(measure, {} if options.keep else kept)
    if options.keep:
        KEPT.write_text(json.dumps(all_kept | {processor: found}, indent=1, sort_keys=True) + "\n")
    elif not kept:
        print("\nNo ratios are kept of this processor (benchmarks/recorded/quick.json): nothing is compared.")
    fell = [name for name, ratio in found.items() if ratio < FELL * kept.get(name, 0) and not options.keep]
    for name in fell:
        print(f"\n{name}: fell by more than a fifth, in {TRIES} tries")
    return int(bool(fell))


def best(measure: Callable[[], Ratios], kept: Ratios) -> Ratios:
    """The ratios of a measure: again where one fell, and the best of each."""
    found = dict[str, float]()
    for _ in range(TRIES):
        found = {name: max(ratio, found.get(name, 0)) for name, ratio in measure().items()}
        if all(ratio >= FELL * kept.get(name, 0) for name, ratio in found.items()):
            break
    for name, ratio in found.items():
        before = f"{kept[name]:.2f}" if name in kept else ""
        print(f"| {name} | {ratio:.2f} | {before} |", flush=True)
    return {name: round(ratio, 2) for name, ratio in found.items()}


def whole_jobs(model: str, rows: int, rounds: int) -> Ratios:
    """A job from Parquet to Parquet, beside Polars: scan, score, stage, prove; processes, with the proof."""
    root = workspace(model, rows, kind=peers.KINDS[model])
    ours, theirs = peers.Measured(), peers.Measured()
    for turn in range(-1, rounds):  # the first of ours chooses and compiles
        for name, measured in (("nightscore", ours), (PEER, theirs)):
            if turn >= 0 or measured is ours:
                peers.take_turn(name, model, root, measured, turn)
                if measured.failed:
                    raise SystemExit(f"{name}: {measured.failed}")
    ours.by_round.pop(-1), ours.process.pop(0)
    whole = [b / a for a, b in zip(ours.process, theirs.process, strict=True)]
    title = f"{model}, {rows / 1e6:g} M rows x 40"
    return {
        f"{title}, scan, score, stage, prove: {PEER}": statistics.median(theirs.times(ours)),
        f"{title}, whole process: {PEER}": statistics.median(whole),
    }


def prices() -> Ratios:
    """Black and Scholes on one thread, as a night calls it, beside NumPy and SciPy."""
    drawn = np.random.default_rng(1)
    low_high = {
        "spot": (10, 400), "strike": (10, 400), "rate": (0, 0.05), "years": (0.02, 2),
        "volatility": (0.1, 0.9),
    }  # fmt: skip
    columns = {name: drawn.uniform(*ends, CHUNK) for name, ends in low_high.items()}
    columns["right"] = drawn.choice([-1.0, 1.0], CHUNK)
    ways = {
        BASE: partial(with_numpy, columns),
        "ours": partial(scored, priced_by("price"), pa.RecordBatch.from_pydict(columns)),
    }
    costs = in_turns(ways)
    return {f"prices of {CHUNK:,} options: {BASE}": costs[BASE].cpu / costs["ours"].cpu}


def key_hashes() -> Ratios:
    """The key hash of 200,000 rows on one thread, beside the SQL that says what it is."""
    numbers = np.arange(200_000)
    keys = pa.RecordBatch.from_pydict({"household": numbers // 100, "product": numbers})
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    connection.register("keys", pa.Table.from_batches([keys]))
    select = key_hash_select("keys", keys.schema.names)
    ways = {"sql": lambda: connection.sql(select).fetchall(), "ours": lambda: sum_key_hashes(keys)}
    costs = in_turns(ways)
    return {"key hash of 200,000 keys: DuckDB's md5_number": costs["sql"].cpu / costs["ours"].cpu}


def start_up() -> Ratios:
    """`nightscore run` of 1,000 rows, beside a process that imports DuckDB, pandas and ONNX Runtime."""
    root = workspace("mlp", 1000)
    for folder in ("tables", "runs"):
        shutil.rmtree(root / "data" / folder, ignore_errors=True)
    run = [NIGHTSCORE, "run", "mlp", "--day", DAY, "--force", "--workspace", str(root)]
    bare = [sys.executable, "-c", IMPORTS]
    rounds = [(timed(run), timed(bare)) for _ in range(8)][1:]
    return {"nightscore run, 1,000 rows: the imports alone": statistics.median(b / a for a, b in rounds)}


MEASURES: tuple[Callable[[], Ratios], ...] = (
    partial(whole_jobs, "trees", 1_000_000, 2),
    partial(whole_jobs, "mlp", 4_000_000, 5),
    prices,
    key_hashes,
    start_up,
)

if __name__ == "__main__":
    sys.exit(main())
