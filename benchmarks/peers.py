"""Whole jobs, from Parquet to Parquet with the same `.onnx`: nightscore beside what else people take for it.

Every contender runs in a process of its own, in turns; medians count, and of ratios the median of the
rounds' own, for a machine that is slower for a while is so for all contenders of a round. The time of each
starts when its packages are imported and its cluster or JVM is up, and includes opening the model; `process`
is all of it, from start to exit. Keys and scores of each are held to nightscore's. What can't be run stands
in the table with the reason.

    python benchmarks/peers.py                         both models
    python benchmarks/peers.py --model mlp --rows 4000000 --rounds 3
"""

import argparse
import ast
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lake import ABOUT, WORK, files, workspace

HERE = Path(__file__).parent
PEERS = ("pyarrow", "pandas", "polars", "daft", "ray", "pyspark")
PEER_PYTHON = HERE.parent / ".venv-bench/bin/python"
KINDS = {
    "mlp": "networks",
    "trees": "auto",
}  # of a light network as the docs say: days of seconds try nothing
ROWS = {"mlp": 4_000_000, "trees": 1_000_000}
TOLERANCE = 1e-4  # of scores around 1: sums of floats in another order
# The share of rows that may be further away: LightGBM's file has thresholds of 64 bits, the .onnx of 32,
# and a row between the two goes another way.
OTHERS = {"lightgbm": 1e-3}
LONGEST = 1800  # seconds of one contender


@dataclass
class Measured:
    """What came of a contender: seconds by round, and why one failed, if one did."""

    by_round: dict[int, float] = field(default_factory=dict)
    process: list[float] = field(default_factory=list)
    nights: list[float] = field(default_factory=list)
    details: dict[str, object] = field(default_factory=dict)
    failed: str = ""
    tries_left: int = 2

    @property
    def seconds(self) -> list[float]:
        """Of the rounds that it finished."""
        return list(self.by_round.values())

    def times(self, other: "Measured") -> list[float]:
        """How many times as long as another it took, in each round that both finished."""
        return [s / other.by_round[i] for i, s in self.by_round.items() if i in other.by_round]


def main() -> None:
    """Measure and print; fail where outputs differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=[*ROWS], nargs="+", default=[*ROWS])
    parser.add_argument(
        "--rows", type=int, help="default: 4 million for the network, 1 million for the trees"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", choices=[*PEERS, "lightgbm"], default=[*PEERS, "lightgbm"])
    options = parser.parse_args()
    for model in options.model:
        peers = [peer for peer in options.peers if model == "trees" or peer != "lightgbm"]
        compare(model, options.rows or ROWS[model], options.rounds, peers)
    print("\nHow each is set; of Polars several ways were tried, of the others only this one:\n")
    for name in ("nightscore", *options.peers):
        print("- " + " ".join((ast.get_docstring(ast.parse(_script(name).read_text())) or "").split()))


def compare(model: str, rows: int, rounds: int, peers: Sequence[str]) -> None:
    """One table."""
    root = workspace(model, rows, kind=KINDS[model])
    results = {name: Measured() for name in ("nightscore", "own limit", *peers)}
    for turn in range(rounds):
        for name, measured in results.items():
            if measured.tries_left:
                take_turn(name, model, root, measured, turn)
                outcome = _outcome(measured, turn)
                print(f"  {turn + 1}/{rounds} {model} {name}: {outcome}", file=sys.stderr, flush=True)
    _print(model, rows, rounds, results)


def take_turn(name: str, model: str, root: Path, measured: Measured, turn: int) -> None:
    """Run a contender once, as a round of its own, and hold its rows to ours."""
    out = WORK / "out"
    shutil.rmtree(out, ignore_errors=True)
    for folder in (
        "tables",
        "runs",
    ):  # but not data/choices: how to compute the model is known after one night
        shutil.rmtree(root / "data" / folder, ignore_errors=True)
    os.sync()  # what one has written is not to be paid for by the next
    started = time.perf_counter()
    try:
        last_line = _run(_command(name, model, root, out))
        measured.process.append(time.perf_counter() - started)
        if name != "own limit":
            _hold_to_ours(name, last_line, out)
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        measured.failed = str(error).strip().splitlines()[-1].replace(str(HERE.parent), ".")[:200]
        measured.tries_left -= 1
        return
    measured.by_round[turn] = float(last_line["seconds"])
    if "night" in last_line:
        measured.nights.append(float(last_line["night"]))
    measured.details = last_line


def _command(name: str, model: str, root: Path, out: Path) -> list[str]:
    if name == "nightscore":
        return [sys.executable, str(_script(name)), "--job", model, str(root)]
    if name == "own limit":
        return [sys.executable, str(HERE / "limit.py"), "--job", model, str(root)]
    path = root / f"data/models/{model}.onnx"
    return [
        *(str(PEER_PYTHON), str(_script(name)), "--model", str(path), "--out", str(out)),
        *map(str, files(root)),
    ]


def _script(name: str) -> Path:
    return HERE / "contenders" / f"with_{name}.py"


def _run(command: list[str]) -> dict[str, object]:
    """What a contender says in its last line. OSError with its last words if it fails."""
    paths = {"PYTHONPATH": f"{HERE / 'contenders'}", "PYTHONWARNINGS": "ignore"}
    completed = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=LONGEST, env={**os.environ, **paths}
    )
    if completed.returncode:
        raise OSError(
            next(iter(reversed(completed.stderr.strip().splitlines())), f"exit {completed.returncode}")
        )
    last: dict[str, object] = json.loads(completed.stdout.strip().splitlines()[-1])
    return last


def _hold_to_ours(name: str, last_line: dict[str, object], out: Path) -> None:
    """Keep nightscore's scores for the others of the round; ValueError where theirs differ."""
    kept = WORK / "ours.npz"
    paths = last_line["files"] if name == "nightscore" else sorted(map(str, out.rglob("*.parquet")))
    keys, scores = _sorted(
        [pq.read_table(path, columns=["id", "score"], partitioning=None) for path in paths]
    )
    if name == "nightscore":
        np.savez(kept, keys=keys, scores=scores)
        return
    ours = np.load(kept)
    if not np.array_equal(keys, ours["keys"]):
        raise ValueError(f"its keys are not ours: {len(keys):,} rows, ours {len(ours['keys']):,}")
    far = np.abs(scores - ours["scores"]) / np.maximum(1, np.abs(ours["scores"]))
    beyond = float((~(far <= TOLERANCE)).mean())
    if beyond > OTHERS.get(name, 0):
        raise ValueError(f"{beyond:.2%} of its scores are up to {far.max():.2g} away from ours")
    last_line["difference"] = f"{far.max():.1g}" + (
        f" ({beyond:.3%} of the rows beyond {TOLERANCE:g})" if beyond else ""
    )


def _sorted(tables: list[pa.Table]) -> tuple[np.ndarray, np.ndarray]:
    table = pa.concat_tables(tables)
    keys, scores = (np.asarray(table[name]) for name in ("id", "score"))
    order = np.argsort(keys, kind="stable")
    return keys[order], scores[order].astype(np.float64)


def _print(model: str, rows: int, rounds: int, results: dict[str, Measured]) -> None:
    ours = results["nightscore"]
    print(f"\n### {ABOUT[model].capitalize()}: {rows:,} rows of 40 float32, {rounds} rounds\n")
    print("| | rows/s | median s | each round, s | process s | nightscore is | difference | versions |")
    print("|---|---|---|---|---|---|---|---|")
    for name, measured in results.items():
        if measured.seconds:
            print(_line(name, rows, measured, ours))
        else:
            print(f"| {name} | not measured: {measured.failed} | | | | | | |")
        if measured.nights:
            night = statistics.median(measured.nights)
            print(f"| nightscore: the whole night | {rows / night:,.0f} | {night:.2f} | | | | | |")
    _print_more(results)


def _line(name: str, rows: int, measured: Measured, ours: Measured) -> str:
    median = statistics.median(measured.seconds)
    cells = [
        name + (": scan, score, stage, prove" if name == "nightscore" else ""),
        f"{rows / median:,.0f}",
        f"{median:.2f}",
        " ".join(f"{s:.1f}" for s in measured.seconds)
        + (f"; else {measured.failed}" if measured.failed else ""),
        f"{statistics.median(measured.process):.1f}",
        "" if measured is ours else f"{statistics.median(measured.times(ours)):.2f}x",
        str(measured.details.get("difference") or ""),
        ", ".join(f"{package} {v}" for package, v in dict(measured.details.get("versions", {})).items()),
    ]
    return f"| {' | '.join(cells)} |"


def _print_more(results: dict[str, Measured]) -> None:
    ours, limit = results["nightscore"], results["own limit"]
    print(
        f"\nChosen: {ours.details.get('variant')}. Stages of the last night, s: {ours.details.get('stages')}."
    )
    if limit.seconds:
        reached = statistics.median(limit.times(ours))
        print(f"Own limit, s a stage, both cores busy: {limit.details.get('stages')}; ", end="")
        print(f"nightscore reaches {reached:.2f} of it.")
    peers = {n: f.times(ours) for n, f in results.items() if f is not ours and f is not limit and f.seconds}
    if peers:
        best = min(peers, key=lambda name: statistics.median(peers[name]))
        print(
            f"The best peer is {best}: nightscore is {statistics.median(peers[best]):.2f} times as fast ",
            end="",
        )
        print(f"(round by round {', '.join(f'{times:.2f}' for times in peers[best])}).")


def _outcome(measured: Measured, turn: int) -> str:
    return f"{measured.by_round[turn]:.2f} s" if turn in measured.by_round else measured.failed


if __name__ == "__main__":
    main()
