"""P&L by day and by window, expected shortfall and its worst window: held to a recount in NumPy."""

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nightscore import load, query, run
from tests.workspace.finance.recount import SPAN, Recount
from tests.workspace.finance.world import DAYS, add_jobs, make_workspace

DAY = DAYS[1]
WINDOWS = "2021-11 2022-04:2022-06 2020-03"  # before the last one this lake has no price to move from
pytestmark = pytest.mark.slow  # real nights of whole jobs
Numbers = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(scope="module")
def stressed(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The day of the workspace with other windows."""
    root = shutil.copytree(workspace, tmp_path_factory.mktemp("stressed") / "w")
    add_jobs(root, "stress")
    run(load("stress", workspace=root), DAY, params={"windows": WINDOWS})
    return root


def first_day(recount: Recount) -> int:
    """The trading day from whose close on there are volatilities: 250 returns after the lake's first."""
    days = sorted(path.name[4:] for path in (recount.lake / "prices").iterdir())
    return recount.index(days[0]) + SPAN


def pnl_of(recount: Recount, pairs: list[tuple[int, int]]) -> pd.DataFrame:
    """What each desk and the firm makes by the moves between two trading days [moves, desks]."""
    at = recount.index(DAY)
    closes, volatility = recount.closes.to_numpy(), recount.volatility
    book = recount.book(recount.closes.index[at])
    earlier, later = np.array(pairs).T
    spots = closes[at] * closes[later] / closes[earlier]
    volatilities = volatility[at] * volatility[later] / volatility[earlier]
    base = recount.values(book, recount.closes.index[at], closes[at], volatility[at])
    moved = recount.values(book, recount.closes.index[at], spots, volatilities)
    pnl = pd.DataFrame(np.round(book["quantity"].to_numpy()[:, None] * (moved - base[:, None]), 2))
    by_desk = pnl.groupby(book["desk"].to_numpy()).sum().T
    return by_desk.assign(firm=by_desk.sum(axis=1))


def shortfall(pnl: Numbers) -> float:
    """The mean of the worst 2.5 % of 250, by its definition: six losses and a quarter of the seventh."""
    worst = np.sort(-pnl)[::-1]
    return float((worst[:6].sum() + worst[6] / 4) / 6.25)


def test_every_day_s_pnl_is_a_recount_s(stressed: Path, recount: Recount) -> None:
    """Each desk and the firm, under each move from close to close; a cent may round the other way."""
    first, at = first_day(recount), recount.index(DAY)
    wanted = pnl_of(recount, [(i - 1, i) for i in range(first + 1, at + 1)])
    found = query(
        "SELECT CAST(moved_on AS VARCHAR) AS day, desk, pnl::DOUBLE AS pnl FROM stress_pnl WHERE is_day",
        stressed,
    ).to_pandas()
    table = found.pivot_table(index="day", columns="desk", values="pnl")
    assert list(table.index) == [str(day) for day in recount.closes.index[first + 1 : at + 1]]
    assert len(found) == 5 * len(wanted) and len(wanted) > 500
    np.testing.assert_allclose(table, wanted[table.columns], rtol=0, atol=0.021)


def test_shortfalls_and_their_windows_are_a_recount_s(stressed: Path, recount: Recount) -> None:
    """The last 250 days, the worst 250 in a row, the firm's worst for each desk, and the worst day of all."""
    first, at = first_day(recount), recount.index(DAY)
    moves = range(first + 1, at + 1)
    pnl = pnl_of(recount, [(i - 1, i) for i in moves])
    days = recount.closes.index[first + 1 : at + 1]
    rolling = pd.DataFrame(
        {
            desk: [shortfall(pnl[desk].to_numpy()[i - 250 : i]) for i in range(250, len(moves) + 1)]
            for desk in pnl
        }
    )
    table = query("SELECT * FROM stress", stressed).to_pandas().set_index("desk")
    assert set(table.index) == set(pnl)
    for desk, row in table.iterrows():
        worst = int(rolling[desk].argmax())
        assert float(row["es_975"]) == pytest.approx(rolling[desk].iloc[-1], abs=0.021)
        assert float(row["stressed_es_975"]) == pytest.approx(rolling[desk].max(), abs=0.021)
        assert row["window_last"] == days[worst + 249] and row["window_first"] == days[worst]
        assert row["worst_day"] == days[int(pnl[desk].argmin())]
        assert float(row["worst_pnl"]) == pytest.approx(pnl[desk].min(), abs=0.021)
        assert float(row["es_975_in_firm_window"]) == pytest.approx(
            rolling[desk].iloc[int(rolling["firm"].argmax())], abs=0.021
        )
        assert row["ratio"] == pytest.approx(rolling[desk].max() / rolling[desk].iloc[-1], abs=1e-4)


def test_windows_are_a_recount_s(stressed: Path, recount: Recount) -> None:
    """From the close before the first month to the last of the last; without such a close, left out."""
    table = query("SELECT * FROM stress_windows", stressed).to_pandas()
    assert set(table["months"]) == {"2021-11", "2022-04:2022-06"}
    index = pd.DatetimeIndex(recount.closes.index)
    for months, first, last in (("2021-11", "2021-11", "2021-11"), ("2022-04:2022-06", "2022-04", "2022-06")):
        inside = np.flatnonzero((index >= first) & (index < pd.Timestamp(last) + pd.offsets.MonthBegin()))
        by_day = pnl_of(recount, [(i - 1, i) for i in inside])
        at_once = pnl_of(recount, [(inside[0] - 1, inside[-1])])
        for row in table[table["months"] == months].itertuples():
            assert row.days == len(inside)
            assert float(row.worst_pnl) == pytest.approx(by_day[row.desk].min(), abs=0.021)
            assert row.worst_day == recount.closes.index[inside[int(by_day[row.desk].argmin())]]
            assert float(row.sum_of_days) == pytest.approx(by_day[row.desk].sum(), abs=0.2)
            assert float(row.at_once) == pytest.approx(at_once[row.desk].iloc[0], abs=0.021)


@pytest.mark.rest
@pytest.mark.timeout(1200)
def test_the_worst_of_all_days_since_1991_is_a_recount_s(tmp_path: Path) -> None:
    """8,062 moves, and the worst 250 of them in a row are of the crisis of 2008."""
    root = make_workspace(tmp_path, positions=500, since=dt.date(1990, 1, 1))
    add_jobs(root, "stress")
    for job in ("volatility", "historical_simulation", "market_risk", "stress"):
        run(load(job, workspace=root), DAY)
    recount = Recount(root / "data/lake/finance")
    assert query("SELECT DISTINCT days FROM stress_scores", root).to_pylist() == [{"days": 8062}]
    [firm] = query("SELECT * FROM stress WHERE desk = 'firm'", root).to_pylist()
    first, at = first_day(recount), recount.index(DAY)
    pnl = pnl_of(recount, [(i - 1, i) for i in range(first + 1, at + 1)])["firm"].to_numpy()
    rolling = [shortfall(pnl[i - 250 : i]) for i in range(250, len(pnl) + 1)]
    assert firm["worst_day"] == recount.closes.index[first + 1 + int(pnl.argmin())]
    assert float(firm["worst_pnl"]) == pytest.approx(pnl.min(), abs=0.03)
    assert float(firm["stressed_es_975"]) == pytest.approx(max(rolling), abs=0.03)
    assert 2008 <= firm["window_last"].year <= 2009
