"""Where the features' SQL of the retail job spends its time: DuckDB's own profile, operator by operator.

    python benchmarks/features.py                  jobs/retail/recommendations/candidates.sql
    python benchmarks/features.py --beside old.sql in turns with another text, which has to give the same rows

Times are of all threads together. Both run in one DuckDB over the same files, as the job's inputs say them.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the root, for data.lakes

from turns import in_turns

from data.lakes.retail import LAKE, write_lake

ROOT = Path(__file__).parents[1]
WORK = Path(__file__).parent / "work" / "retail"
SQL = ROOT / "jobs/retail/recommendations/candidates.sql"
KEY = "household_id, product_id"
DAY, LOOKBACK = "2017-11-02", 400
MOST = 12  # operators that are shown


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--beside", type=Path)
    options = parser.parse_args()
    connection = opened()
    texts = {SQL.name: SQL.read_text()}
    if options.beside:
        texts[str(options.beside)] = options.beside.read_text()
        if rows_of(connection, texts[SQL.name]) != rows_of(connection, texts[str(options.beside)]):
            print(f"{options.beside} gives other rows")
            return 1
        ways = {name: partial(rows_of, connection, text) for name, text in texts.items()}
        for name, cost in in_turns(ways).items():
            print(f"{name}: {cost.wall:.2f} s, {cost.cpu:.2f} s of processor time")
    for name, text in texts.items():
        print(f"\n{name}, seconds of all threads by operator:\n\n```")
        operators = sorted(profiled(connection, text), reverse=True)
        for seconds, rows, kind, what in operators[:MOST]:
            print(f"{seconds:6.2f}  {rows:>9,}  {kind:<14} {what}"[:118])
        print(f"{sum(seconds for seconds, *_ in operators):6.2f}  in all {len(operators)}\n```")
    return 0


def opened() -> duckdb.DuckDBPyConnection:
    """DuckDB with the job's inputs as views, on the cores that there are."""
    if not (WORK / LAKE / "_complete").exists():
        write_lake(WORK)
    connection = duckdb.connect()
    connection.execute(f"SET enable_progress_bar = false; SET VARIABLE day = DATE '{DAY}'")
    lake = WORK / LAKE
    connection.execute(
        f"CREATE VIEW transactions AS FROM read_parquet('{lake}/transactions/*/*.parquet', "
        f"hive_partitioning = true) WHERE day <= DATE '{DAY}' AND day > DATE '{DAY}' - {LOOKBACK}"
    )
    connection.execute(f"CREATE VIEW products AS FROM '{lake}/products.parquet'")
    return connection


def rows_of(connection: duckdb.DuckDBPyConnection, text: str) -> Any:
    """The rows in the order of their key, as a night stages them."""
    return connection.sql(f"FROM ({text}) ORDER BY {KEY}").to_arrow_table()


def profiled(connection: duckdb.DuckDBPyConnection, text: str) -> Iterator[tuple[float, int, str, str]]:
    """Seconds, rows, name and what it does, of each operator."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/profile.json"
        connection.execute(f"PRAGMA enable_profiling = 'json'; PRAGMA profiling_output = '{out}'")
        rows_of(connection, text)
        connection.execute("PRAGMA disable_profiling")
        yield from _operators(json.loads(Path(out).read_text())["operator"])


def _operators(nodes: list[dict[str, Any]]) -> Iterator[tuple[float, int, str, str]]:
    for node in nodes:
        info = node.get("extra_info", {})
        parts = [
            info[word]
            for word in ("CTE Name", "Groups", "Conditions", "Aggregates", "Projections")
            if word in info
        ]
        what = "; ".join(part if isinstance(part, str) else ", ".join(part) for part in parts)
        yield node["timing"], node["intermediate_rows"], node["name"], what
        yield from _operators(node.get("children", []))


if __name__ == "__main__":
    sys.exit(main())
