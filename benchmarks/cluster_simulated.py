"""A simulation of larger clusters and days, from what cluster.py and many_pieces.py have recorded here.

    python benchmarks/cluster_simulated.py

No cluster of these sizes was run. A piece takes the processor seconds of one recorded on one node, what it
fetches, and what its requests take with the recorded delay; a node that has not chosen the variant begins as
late as the second one did. The driver takes finished pieces one at a time, each for the CPU time that was
measured with as many tasks under way. Planning and publishing take what was measured a file and a piece.
Beside it stands what was measured for real, of 1 and 2 nodes, and what the simulation gives for them with the
seconds of pieces by the clock, so that one sees how far it is off.
"""

import argparse
import heapq
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RECORDED = Path(__file__).parent / "recorded"
NODES = (1, 4, 16, 64, 250, 1_000)
ROWS = (20_000_000, 1_000_000_000, 10_000_000_000)
PIECE_ROWS = 250_000  # of a recorded piece
TOGETHER = {"network": 1, "forest": 4}  # recorded pieces in one: of a quick model, so that it takes seconds
AHEAD = 2  # pieces under way for each slot, as the executor has it
SLOT_BANDWIDTH = 125e6  # bytes a second that a slot fetches: 1 Gbit/s, an assumption
BANDWIDTH = 1.25e9  # bytes a second that the driver's machine fetches: 10 Gbit/s, an assumption
PRICE = 0.05  # US dollars for a core hour, an assumption


@dataclass(frozen=True)
class Costs:
    """What was measured: seconds, but for `sizes`, which are bytes a piece."""

    pieces: Sequence[float]
    worked_pieces: Sequence[float]
    together: int
    worked: float
    cold: float
    requests: float
    reading: float
    plan: tuple[float, float]
    publish: tuple[float, float]
    driver: Mapping[int, float]
    sizes: Mapping[str, float]
    row_bytes: float
    staged_bytes: float

    def handling(self, under_way: int) -> float:
        """Seconds of the driver for a task, with so many under way: between what was measured."""
        known = sorted(self.driver)
        return float(np.interp(under_way, known, [self.driver[n] for n in known]))


def main() -> None:
    """Print what was measured and simulated, by model, nodes and rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--delay", default="0.03", help="that of many_pieces.py whose figures are taken")
    options = parser.parse_args()
    cluster, pieces = (json.loads((RECORDED / f"{n}.json").read_text()) for n in ("cluster", "many_pieces"))
    for model in (name for name in ("network", "forest") if name in cluster):
        costs = read_costs(cluster[model], cluster["driver"], pieces, options.delay, TOGETHER[model])
        print(f"\n### {model}\n")
        beside_measured(cluster[model], costs)
        by_size(costs)
    print_sizes(costs)


def read_costs(
    model: Mapping[str, Any], driver: Mapping[str, Any], pieces: Mapping[str, Any], delay: str,
    together: int,
) -> Costs:  # fmt: skip
    """The costs of a model, of what was recorded."""
    alone = model["found"]["nightscore, 1 nodes"]
    files = [file for result in alone for file in result["pieces"]]
    slow, quick = pieces[delay]["days"], pieces["0"]["days"]
    rows = model["rows"]
    most = max(slow, key=int)
    more = (slow[most]["score"]["seconds"] - quick[most]["score"]["seconds"]) / int(most)
    return Costs(
        pieces=[file["ended"] - file["started"] for file in files],
        worked_pieces=[file["cpu_seconds"] for file in files],
        together=together,
        worked=sum(file["cpu_seconds"] for file in files) / len(alone) / rows,
        cold=statistics.median(second_start(result) for result in model["found"]["nightscore, 2 nodes"]),
        requests=max(0.0, more),
        reading=slow[most]["plan as text"]["seconds to have"] / int(most),
        plan=line(slow, "plan"),
        publish=line(slow, "publish"),
        driver={int(n): spent["cpu"] for n, spent in driver["tasks"].items()},
        sizes={name: slow[most][name]["bytes"] / int(most) for name in ("plan as text", "commit", "receipt")},
        row_bytes=4 * 40 + 8,
        staged_bytes=sum(file["bytes"] for file in files) / len(alone) / rows,
    )


def second_start(result: Mapping[str, Any]) -> float:
    """Seconds until the second of two nodes has begun a piece: the first, which has chosen, is warm."""
    return float(sorted(file["started"] for file in result["pieces"])[1] - result["began"])


def line(days: Mapping[str, Any], stage: str) -> tuple[float, float]:
    """Seconds of a stage: those that it takes at all, and a piece."""
    counts = [int(n) for n in days]
    slope, least = np.polyfit(counts, [days[str(n)][stage]["seconds"] for n in counts], 1)
    return max(0.0, float(least)), float(slope)


def scoring(costs: Costs, nodes: int, pieces: int, *, measured_here: bool = False) -> float:
    """Seconds until the last piece is taken back."""
    chance = np.random.default_rng(nodes)
    if measured_here:
        times = chance.choice(costs.pieces, pieces)
    else:
        each_fetch = PIECE_ROWS * costs.row_bytes / SLOT_BANDWIDTH
        drawn = chance.choice(costs.worked_pieces, (pieces, costs.together)) + each_fetch
        times = drawn.sum(axis=1) + costs.requests + costs.reading * pieces
    each = costs.handling(AHEAD * nodes)
    free, ends, driver = [0.0] + [costs.cold] * (nodes - 1), list[float](), 0.0
    for given, taken in enumerate(times):
        if given >= AHEAD * nodes:  # a piece is taken back before another is given out
            driver = max(driver, heapq.heappop(ends))
        driver += each
        ended = max(heapq.heappop(free), driver) + float(taken)
        heapq.heappush(free, ended)
        heapq.heappush(ends, ended)
    while ends:
        driver = max(driver, heapq.heappop(ends))
    return driver


def beside_measured(model: Mapping[str, Any], costs: Costs) -> None:
    """How far the simulation is from what was measured."""
    print("| nodes | measured, s | simulated, s |\n|---|---|---|")
    for name, results in model["found"].items():
        if name.startswith("nightscore") and results[0]["nodes"] == results[0]["cores"]:
            nodes, pieces = results[0]["nodes"], len(results[0]["pieces"])
            measured = statistics.median(result["seconds"] for result in results)
            print(f"| {nodes} | {measured:.1f} | {scoring(costs, nodes, pieces, measured_here=True):.1f} |")


def by_size(costs: Costs) -> None:
    """Seconds by stage, for days and clusters of several sizes."""
    heads = ("rows", "pieces", "nodes", "score, s", "efficiency", "dollars for a billion rows", "plan, s",
             "of it to fetch, s", "publish, s",
             "the night, s", "more where SQL reads the scores, s")  # fmt: skip
    print("\n|", " | ".join(heads), "|\n|" + "---|" * len(heads))
    for rows in ROWS:
        pieces = rows // PIECE_ROWS // costs.together
        for nodes in (n for n in NODES if n <= pieces):
            seconds = scoring(costs, nodes, pieces)
            fetch = rows * costs.row_bytes / BANDWIDTH
            plan = costs.plan[0] + costs.plan[1] * pieces + fetch
            publish = costs.publish[0] + costs.publish[1] * pieces
            scores = rows * costs.staged_bytes / BANDWIDTH
            dollars = seconds * nodes / 3600 * PRICE / (rows / 1e9)
            cells = (
                f"{rows:,}", f"{pieces:,}", f"{nodes:,}", f"{seconds:,.0f}",
                f"{costs.worked * rows / (seconds * nodes):.2f}", f"{dollars:.2f}", f"{plan:,.0f}",
                f"{fetch:,.0f}", f"{publish:,.0f}", f"{plan + seconds + publish:,.0f}",
                f"{scores:,.0f}",
            )  # fmt: skip
            print("|", " | ".join(cells), "|")


def print_sizes(costs: Costs) -> None:
    """Bytes of what is written once a night."""
    print("\n| pieces | " + " | ".join(f"{name}, MB" for name in costs.sizes) + " |")
    print("|" + "---|" * (1 + len(costs.sizes)))
    for pieces in (rows // PIECE_ROWS for rows in ROWS):
        print(
            f"| {pieces:,} |", " | ".join(f"{size * pieces / 1e6:.1f}" for size in costs.sizes.values()), "|"
        )


if __name__ == "__main__":
    main()
