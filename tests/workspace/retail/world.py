"""The retail job, on the real lake or on the slice of it that is small enough to check by hand."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import yaml

from nightscore.job.macros import read_macros
from tests.support.own_jobs import copy_model

REPOSITORY = Path(__file__).parents[3]
SLICE = REPOSITORY / "tests/data/retail_slice"
FOLDER = Path("jobs/retail/recommendations")
MODEL = REPOSITORY / "data/models/retail"
JOB = "retail_recommendations"
DAY = "2017-11-01"  # the scored day of most tests; the slice has one more after it
SPEC: dict[str, Any] = yaml.safe_load((REPOSITORY / FOLDER / "job.yaml").read_text())


def sql_of(name: str) -> str:
    """The text of one of the job's SQL files."""
    return (REPOSITORY / FOLDER / name).read_text()


def add_job(workspace: Path) -> Path:
    """Put the job and its model into a workspace."""
    shutil.copytree(REPOSITORY / FOLDER, workspace / FOLDER)
    copy_model(workspace, SPEC)
    return workspace


def make_slice(workspace: Path) -> Path:
    """A workspace with the job, its model and the slice."""
    shutil.copytree(SLICE, workspace / "data/lake/retail")
    return add_job(workspace)


@dataclass
class Sql:
    """The job's inputs as plain DuckDB views, cut at a day: its SQL without the framework."""

    connection: duckdb.DuckDBPyConnection

    @staticmethod
    def over(lake: Path, day: str = DAY, threads: int = 2, **params: float) -> "Sql":
        """The inputs in `lake`, up to and including `day`; parameters are the job's but for `params`."""
        sql = duckdb.connect()
        sql.execute(f"SET threads = {threads}")
        for macro in read_macros().values():
            sql.execute(macro)
        sql.execute(f"SET VARIABLE day = DATE '{day}'")
        for name, param in SPEC["params"].items():
            sql.execute(f"SET VARIABLE {name} = {params.get(name, param['default'])}")
        sql.execute(
            f"CREATE TABLE transactions AS FROM read_parquet('{lake}/transactions/*/*.parquet', "
            f"hive_partitioning = true, hive_types = {{'day': DATE}}) WHERE day <= DATE '{day}'"
        )
        for name in ("products", "demographics", "eligibility"):
            sql.execute(f"CREATE TABLE {name} AS FROM '{lake}/{name}.parquet'")
        return Sql(sql)

    def table(self, select: str) -> pa.Table:
        """The result of a SELECT."""
        return self.connection.sql(select).to_arrow_table()

    def put(self, name: str, table: pa.Table) -> None:
        """Make an Arrow table a table of that name."""
        self.connection.register("given", table)
        self.connection.execute(f"CREATE OR REPLACE TABLE {name} AS FROM given")
        self.connection.unregister("given")
