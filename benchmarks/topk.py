"""The best 50 of 50,000 items for 100,000 users with 64 factors: nightscore, implicit, faiss, a bare product.

Each contender runs in a process of its own with all cores, alternating; the table has medians, of seconds and
of the ratios within a round. All get the same seeded float32 factors in memory and give the items' numbers;
how many of them agree is shown. The bare product multiplies and throws the scores away, in the better of two
ways: blocks in parallel threads of one BLAS thread each, or large blocks by a BLAS with all threads.

    python benchmarks/topk.py
    python benchmarks/topk.py --faiss OTHER/bin/python       a Python that has faiss-cpu
    python benchmarks/topk.py --spread 0.7                   items' lengths as wide as those of real factors
"""

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

WORK = Path(__file__).parent / "work" / "topk"
CORES = len(os.sched_getaffinity(0))
CHUNK = 4_096
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def main() -> None:
    """Make the factors, run the contenders round by round, print the table."""
    options = _parser().parse_args()
    if options.contender:
        child(options.contender, options.k)
        return
    make(options)
    pythons = {"bare product": sys.executable, "nightscore": sys.executable, "implicit": sys.executable}
    pythons["faiss"] = options.faiss
    times: dict[str, list[float]] = {name: [] for name in pythons}
    for _ in range(options.rounds):
        for name, python in pythons.items():
            if (seconds := run(name, python, options.k)) is not None:
                times[name].append(seconds)
    report({name: seconds for name, seconds in times.items() if seconds}, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--spread", type=float, default=0.0, help="of the logarithms of items' lengths")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--faiss", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    return parser


def make(options: argparse.Namespace) -> None:
    """Seeded normal factors; the lengths of the items' spread as asked."""
    WORK.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    users = rng.standard_normal((options.users, options.factors), dtype=np.float32)
    items = rng.standard_normal((options.items, options.factors), dtype=np.float32)
    items *= np.exp(options.spread * rng.standard_normal((options.items, 1))).astype(np.float32)
    np.save(WORK / "users.npy", users)
    np.save(WORK / "items.npy", items)


def run(name: str, python: str, k: int) -> float | None:
    """Seconds of one contender; None where its package isn't installed."""
    command = [python, __file__, "--contender", name, "--k", str(k)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    if completed.returncode:
        print(f"{name}: {completed.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    result = json.loads(completed.stdout)
    print(f"  {name} {result['version']}: {result['seconds']:.2f} s", flush=True)
    return float(result["seconds"])


def report(times: dict[str, list[float]], options: argparse.Namespace) -> None:
    """The table: medians, the share of the bare product's rate, how many times our time, agreement."""
    work = 2e-9 * options.users * options.items * options.factors
    middle = {name: statistics.median(seconds) for name, seconds in times.items()}
    print(f"\n{platform.processor() or platform.machine()}, {CORES} cores, numpy {np.__version__}")
    print(
        f"{options.users:,} x {options.items:,} x {options.factors}, k = {options.k}, spread {options.spread}"
    )
    print(f"{'':14} {'median s':>9} {'GFLOP/s':>9} {'of bare':>8} {'times ours':>11} {'same items':>11}")
    for name, seconds in middle.items():
        ours = np.median(np.array(times[name]) / np.array(times["nightscore"]))
        bare = np.median(np.array(times["bare product"]) / np.array(times[name]))
        same = "" if name == "bare product" else f"{agreement(name):.5%}"
        print(f"{name:14} {seconds:9.2f} {work / seconds:9.0f} {bare:8.2f} {ours:11.2f} {same:>11}")


def agreement(name: str) -> float:
    """The share of the places that hold the item that ours holds."""
    return float((np.load(WORK / f"{name}.npy") == np.load(WORK / "nightscore.npy")).mean())


def child(name: str, k: int) -> None:
    """One contender, once: seconds and version as JSON, the items beside the factors."""
    users, items = np.load(WORK / "users.npy"), np.load(WORK / "items.npy")
    print(json.dumps(CONTENDERS[name](users, items, k)))


def timed(work: Callable[[Floats], Ints | None], users: Floats, name: str) -> float:
    """Seconds of `work` on all users, after it has run on a few."""
    work(users[:256])
    started = time.perf_counter()
    best = work(users)
    seconds = time.perf_counter() - started
    if best is not None:
        np.save(WORK / f"{name}.npy", best)
    return seconds


def nightscore(users: Floats, items: Floats, k: int) -> dict[str, object]:
    """The scorer on chunks, as many at once as there are cores."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from nightscore.scorers.contract import Options
    from nightscore.scorers.files.model_file import ModelFile
    from nightscore.scorers.topk import open_topk

    file = io.BytesIO()
    factors = pa.FixedSizeListArray.from_arrays(items.ravel(), items.shape[1])
    pq.write_table(pa.table({"item": np.arange(len(items)), "factors": factors}), file)
    scorer = open_topk(ModelFile("items", "", file.getvalue()), Options({"items": f"items[{k}]"}))

    def score(rows: Floats) -> Ints:
        parts = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
        lists = [pa.FixedSizeListArray.from_arrays(part.ravel(), part.shape[1]) for part in parts]
        chunks = [pa.RecordBatch.from_arrays([factors], ["factors"]) for factors in lists]
        with ThreadPoolExecutor(CORES) as pool:
            best = list(pool.map(scorer.score, chunks))
        return np.concatenate([batch["items"].flatten().to_numpy() for batch in best]).reshape(-1, k)

    return {"seconds": timed(score, users, "nightscore"), "version": version("nightscore")}


def bare_product(users: Floats, items: Floats, _k: int) -> dict[str, object]:
    """The matrix product alone."""
    from threadpoolctl import threadpool_limits

    small = [np.ascontiguousarray(items[i : i + 1024].T) for i in range(0, len(items), 1024)]
    large = [items[i : i + 4096].T for i in range(0, len(items), 4096)]

    def in_threads(rows: Floats) -> None:
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(multiply, np.array_split(rows, CORES), [small] * CORES, [256] * CORES))

    with threadpool_limits(1):
        seconds = timed(in_threads, users, "")
    with threadpool_limits(CORES):
        seconds = min(seconds, timed(lambda rows: multiply(rows, large, 2048), users, ""))
    return {"seconds": seconds, "version": np.__version__}


def multiply(users: Floats, blocks: list[Floats], rows: int) -> None:
    """All users with all blocks of items, `rows` users at once, into the same memory."""
    out = np.empty((rows, max(block.shape[1] for block in blocks)), np.float32)
    for start in range(0, len(users), rows):
        part = users[start : start + rows]
        for block in blocks:
            np.matmul(part, block, out=out[: len(part), : block.shape[1]])


def implicit(users: Floats, items: Floats, k: int) -> dict[str, object]:
    """Its `recommend` for all users, with all cores and one BLAS thread, as it advises."""
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    model = AlternatingLeastSquares(factors=users.shape[1])
    model.item_factors = items

    def recommend(rows: Floats) -> Ints:
        model.user_factors = rows
        return np.asarray(
            model.recommend(np.arange(len(rows)), None, k, filter_already_liked_items=False)[0], np.int64
        )

    with threadpool_limits(1, "blas"):
        return {"seconds": timed(recommend, users, "implicit"), "version": version("implicit")}


def faiss(users: Floats, items: Floats, k: int) -> dict[str, object]:
    """An exact index by inner product."""
    import faiss as library

    library.omp_set_num_threads(CORES)
    index = library.IndexFlatIP(items.shape[1])
    index.add(items)
    seconds = timed(lambda rows: index.search(rows, k)[1], users, "faiss")
    return {"seconds": seconds, "version": library.__version__}


CONTENDERS = {"nightscore": nightscore, "bare product": bare_product, "implicit": implicit, "faiss": faiss}

if __name__ == "__main__":
    main()
