"""Market risk: revaluations a second beside QuantLib and NumPy, a night, and a backfill with its backtest.

python benchmarks/finance.py                              one night of 10,000 positions: some minutes
python benchmarks/finance.py --backfill 500 --positions 1000    also 500 trading days: hours

The workspace's own scorers are measured as a night calls them, Arrow in and Arrow out. QuantLib is called in
a loop, one price a call, as its Python has no other way; NumPy is the vectorised formula with SciPy's normal
distribution. All price the same 16,384 rows of those that the night scored, on one thread, in turns. The
scorecard's scorer is measured beside the graph that it wraps, on the loans of its job.
"""

import argparse
import itertools
import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import QuantLib
from scipy.special import ndtr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the root, for data.lakes

from turns import in_turns

from data.lakes.finance import LAKE, write_lake
from data.lakes.loans import write_lake as write_loans
from nightscore import Restate, features, load, query, run
from nightscore.scorers import Options, Scorer, open_scorer, read_model
from nightscore.scorers.workspace import read_scorer_file

ROOT = Path(__file__).parents[1]
WORK = Path(__file__).parent / "work" / "finance"
JOBS = ("volatility", "historical_simulation", "market_risk", "pnl_explain", "market_risk_backtest")
LAST = "2022-12-28"
LOANS = "2018-06-30"
CHUNK, LOOP = 16_384, 2_048  # rows; QuantLib's are fewer, a call each
BASE = "NumPy and SciPy"

Columns = dict[str, np.ndarray[Any, Any]]


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--positions", type=int, default=10_000)
    parser.add_argument("--backfill", type=int, default=0, metavar="DAYS")
    options = parser.parse_args()
    days = prepare(options.positions, max(options.backfill, 1))
    nights(days)
    if not options.backfill:
        again = Restate("measured", by="a benchmark")
        receipt = run(load("market_risk", workspace=WORK), LAST, force=True, restate=again)
        seconds = sum(receipt.seconds.values())
        stages = "  ".join(f"{name} {value:.1f}" for name, value in receipt.seconds.items())
        print(f"a night: {receipt.rows.scored:,} revaluations in {seconds:.1f} s: {stages}\n")
        prices(rows())
        reasons()
    else:
        verdict()
    return 0


def prepare(positions: int, days: int) -> list[str]:
    """A workspace over `positions` positions; the last trading days, one more than asked for."""
    shutil.rmtree(WORK, ignore_errors=True)
    first = date.fromisoformat(LAST) - timedelta(days=1200 + days * 3 // 2)
    write_lake(WORK, positions=positions, since=first)
    for folder in ("jobs/finance", "data/models/finance", "scorers"):
        shutil.copytree(ROOT / folder, WORK / folder)
    trading_days = sorted(path.name.removeprefix("day=") for path in (WORK / LAKE / "prices").iterdir())
    return trading_days[-days - 1 :]


def nights(days: list[str]) -> None:
    """Run every job on every day, oldest first, and say how long they took."""
    started, revaluations = time.perf_counter(), 0
    for done, (day, job) in enumerate(itertools.product(days, JOBS), 1):
        receipt = run(load(job, workspace=WORK), day)
        revaluations += receipt.rows.scored if job == "market_risk" else 0
        shutil.rmtree(WORK / "data/runs" / job / day)  # the staged features: 40 MB a night
        if done % (25 * len(JOBS)) == 0:
            print(f"{day}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - started
    print(
        f"{len(days)} days of {', '.join(JOBS)}: {seconds:.0f} s, {revaluations:,} revaluations, "
        f"{revaluations / seconds:,.0f} a second with everything around them\n"
    )


def rows() -> Columns:
    """What the last night of market_risk scored: its feature snapshot."""
    [file] = (WORK / "data/runs/market_risk" / LAST).glob("*/features.parquet")
    table = pq.read_table(file, columns=["spot", "strike", "rate", "years", "volatility", "right"])
    return {name: table[name].to_numpy() for name in table.column_names}


def prices(columns: Columns) -> None:
    """Prices a second of each way in turns, on one thread, and how far they are from QuantLib's."""
    chunk = {name: np.ascontiguousarray(column[:CHUNK]) for name, column in columns.items()}
    few = {name: column[:LOOP] for name, column in chunk.items()}
    batch = pa.RecordBatch.from_pydict(chunk)
    graph = session()
    price, greeks = priced_by("price"), priced_by("price", "delta", "gamma", "vega", "theta", "rho")
    ways: dict[str, Callable[[], Any]] = {
        BASE: partial(with_numpy, chunk),
        "scorers/black_scholes.py": partial(scored, price, batch),
        "the same with five greeks": partial(scored, greeks, batch),
        "ONNX Runtime": lambda: graph.run(["price"], chunk)[0],
        f"QuantLib, {LOOP:,} rows": partial(with_quantlib, few),
    }
    expected, costs = with_quantlib(few), in_turns(ways)
    counts = {name: len(way()) for name, way in ways.items()}
    print(
        f"Load: {os.getloadavg()[0]:.1f}.\n\n| one thread | prices a second | times NumPy's, by the clock | ",
        end="",
    )
    print("by processor time | from QuantLib, US dollars |\n|---|---|---|---|---|")
    base = costs[BASE]
    for name, way in ways.items():
        share, far = counts[name] / counts[BASE], np.abs(way()[:LOOP] - expected).max()
        wall, cpu = share * base.wall / costs[name].wall, share * base.cpu / costs[name].cpu
        print(f"| {name} | {counts[name] / costs[name].wall:,.0f} | {wall:.2f} | {cpu:.2f} | {far:.1g} |")


def scored(scorer: Scorer, chunk: pa.RecordBatch) -> np.ndarray[Any, Any]:
    """The prices of a chunk, by a scorer."""
    return np.asarray(scorer.score(chunk)["price"])


def session() -> onnxruntime.InferenceSession:
    """The graph, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(WORK / "data/models/finance/black_scholes.onnx", options)


def priced_by(*outputs: str) -> Scorer:
    """The workspace's own scorer of prices and greeks."""
    kind = "scorers/black_scholes.py"
    options = Options({name: name for name in outputs})
    return open_scorer(kind, None, options, read_scorer_file(WORK / kind, kind))


def reasons() -> None:
    """Loans a second by the scorecard's graph alone, and by the scorer that adds three reasons to it."""
    write_loans(WORK)
    job = load("credit_loss", workspace=WORK)
    outputs, kind = job.spec.model.outputs, job.spec.model.kind
    file = read_model(WORK / str(job.spec.model.path), "credit_loss.onnx")
    table = features(job, LOANS).slice(0, CHUNK).combine_chunks()
    own = {name: source for name, source in outputs.items() if not source.startswith("reason")}
    graph = open_scorer("onnx", file, Options(own))
    scorer = open_scorer(kind, file, Options(outputs), read_scorer_file(WORK / kind, kind))
    needed = table.select(graph.signature.inputs.names).to_batches()[0]
    costs = in_turns({"onnx": partial(graph.score, needed), kind: partial(scorer.score, needed)})
    print("\n| one thread | loans a second | processor seconds a million |\n|---|---|---|")
    for name, cost in costs.items():
        count = needed.num_rows
        print(f"| {name} | {count / cost.wall:,.0f} | {cost.cpu / count * 1e6:.2f} |")


def with_numpy(chunk: Columns) -> np.ndarray[Any, Any]:
    """The formula over arrays."""
    spot, strike, rate, years, volatility, right = chunk.values()
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = volatility * np.sqrt(years)
        d1 = (np.log(spot / strike) + (rate + volatility**2 / 2) * years) / deviation
        owed = strike * np.exp(-rate * years)
        price = right * (spot * ndtr(right * d1) - owed * ndtr(right * (d1 - deviation)))
    return np.where(strike == 0, spot, price)


def with_quantlib(chunk: Columns) -> np.ndarray[Any, Any]:
    """A call of QuantLib's Black formula for each row; shares are what they are."""
    records = zip(*(column.tolist() for column in chunk.values()), strict=True)
    return np.array([_black(*row) if row[1] else row[0] for row in records])


def _black(*row: float) -> float:
    spot, strike, rate, years, volatility, right = row
    discount = math.exp(-rate * years)
    kind = QuantLib.Option.Call if right > 0 else QuantLib.Option.Put
    return float(
        QuantLib.blackFormula(kind, strike, spot / discount, volatility * math.sqrt(years), discount)
    )


def verdict() -> None:
    """What the backtest says on the last day, and over all days."""
    last = query(
        "SELECT desk, all_days AS days, all_exceptions AS exceptions, round(all_kupiec_p, 4) AS kupiec_p, "
        "round(all_kupiec_power, 4) AS kupiec_power, round(all_independence_p, 4) AS independence_p, "
        "round(all_coverage_p, 4) AS coverage_p, round(all_z2, 3) AS z2, worst_exceptions, "
        "worst_exceptions_975, keeps_model, zone, multiplier "
        f"FROM market_risk_backtest WHERE day = DATE '{LAST}' ORDER BY desk",
        WORK,
    )
    every = query(
        "SELECT desk, count(*) AS days, count(*) FILTER (is_exception) AS exceptions, "
        "list(day::VARCHAR ORDER BY day) FILTER (is_exception) AS on_days "
        "FROM market_risk_outcomes GROUP BY desk ORDER BY desk",
        WORK,
    )
    for table in (last, every):
        print(f"| {' | '.join(table.column_names)} |\n|{'---|' * table.num_columns}")
        for row in table.to_pylist():
            print(f"| {' | '.join(map(str, row.values()))} |")
        print()


if __name__ == "__main__":
    sys.exit(main())
