"""The finance jobs in a workspace, over real prices and a book of some positions."""

import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from data.lakes.finance import write_lake
from nightscore import Receipt, load, run

REPOSITORY = Path(__file__).parents[3]
MARKET = ("volatility", "historical_simulation", "market_risk")
LATER = ("pnl_explain", "market_risk_backtest")  # which read what those have published
JOBS = (*MARKET, *LATER)
DAYS = ("2022-12-27", "2022-12-28")  # the last two trading days that there are
SINCE = date(2019, 10, 1)  # the first day of the lake: 2022-12-27 looks back 1,150 days
POSITIONS = 120


def make_workspace(root: Path, positions: int = POSITIONS, since: date = SINCE) -> Path:
    """A workspace with the lake from a day on, the jobs and their models."""
    write_lake(root, positions=positions, since=since)
    add_jobs(root, *JOBS)
    models = root / "data/models/finance"
    models.mkdir(parents=True)
    for pattern in ("*.onnx", "*_expected.parquet"):
        for file in (REPOSITORY / "data/models/finance").glob(pattern):
            shutil.copy(file, models)
    copy_scorers(root)
    return root


def add_jobs(root: Path, *jobs: str) -> None:
    """The repository's own jobs of these names."""
    for job in jobs:
        shutil.copytree(REPOSITORY / "jobs/finance" / job, root / "jobs/finance" / job, dirs_exist_ok=True)


def copy_scorers(root: Path) -> None:
    """The repository's own scorers, as they are in git."""
    (root / "scorers").mkdir(exist_ok=True)
    for file in (REPOSITORY / "scorers").glob("*.py"):
        shutil.copy(file, root / "scorers")


def run_chain(workspace: Path, day: str, **params: str | float) -> list[Receipt]:
    """The jobs of a day, in the order of their schedules; `params` are those of market_risk."""
    return run_jobs(workspace, day, JOBS, **params)


def run_jobs(workspace: Path, day: str, jobs: Sequence[str], **params: str | float) -> list[Receipt]:
    """Some jobs of a day, in this order; `params` are those of market_risk."""
    return [
        run(load(job, workspace=workspace), day, params=params if job == "market_risk" else None)
        for job in jobs
    ]
