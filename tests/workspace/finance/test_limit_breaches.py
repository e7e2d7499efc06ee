"""Limits, their use, the age of breaches and their acknowledgement: held to pandas over made-up days."""

import datetime as dt
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.lakes import limits
from data.lakes.book import DESKS, POSITIONS
from nightscore import load, query, run
from nightscore.common.errors import Broken
from tests.workspace.finance.world import DAYS, add_jobs

pytestmark = pytest.mark.slow  # real nights of whole jobs

MEASURES = ("var_99", "es_975", "delta_per_percent", "gamma_per_percent", "vega_per_point")


def with_limits(root: Path, change: Any = None) -> None:
    """Write the lake's limits again, changed."""
    table = pq.read_table(root / "data/lake/finance/limits.parquet").to_pandas()
    table = table if change is None else change(table)
    pq.write_table(
        pa.Table.from_pandas(table, limits.LIMITS, preserve_index=False),
        root / "data/lake/finance/limits.parquet",
    )


@pytest.fixture(scope="module")
def limited(explained: Path) -> Path:
    """Both days of limits of which two are reached: the options' vega is red, the firm's VaR amber."""

    def tight(table: pd.DataFrame) -> pd.DataFrame:
        vega = (table["desk"] == "options") & (table["measure"] == "vega_per_point")
        var = (table["desk"] == "firm") & (table["measure"] == "var_99")
        table = table.assign(amber=Decimal(10**11), red=Decimal(10**12))
        table.loc[vega, ["amber", "red"]] = [Decimal(1), Decimal(2)]
        table.loc[var, ["amber", "red"]] = [Decimal(1), Decimal(10**12)]
        return table

    add_jobs(explained, "limit_breaches")
    with_limits(explained, tight)
    for day in DAYS:
        run(load("limit_breaches", workspace=explained), day)
    return explained


def test_limits_are_dated_complete_and_those_of_the_file() -> None:
    """Each desk and the firm has one of each measure since the book began; a smaller book smaller ones."""
    table = limits.make_limits(POSITIONS).to_pandas()
    first = table[table["since"] == dt.date(2015, 1, 2)]
    assert {(row.desk, row.measure) for row in first.itertuples()} == {
        (desk, measure) for desk in (*DESKS, "firm") for measure in MEASURES
    }
    assert len(first) == 25 and not table.duplicated(["since", "desk", "measure"]).any()
    small = limits.make_limits(POSITIONS // 10).to_pandas()
    assert (small["red"] * 10 == table["red"]).all() and (table["amber"] <= table["red"]).all()


def test_limits_that_are_edited_are_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, though the lake is complete; unchanged ones keep their file."""
    limits.write_limits(tmp_path, 100)
    file = tmp_path / "data/lake/finance/limits.parquet"
    before = file.stat().st_ino
    limits.write_limits(tmp_path, 100)
    assert file.stat().st_ino == before
    edited = tmp_path / "limits.csv"
    edited.write_text(limits.SOURCE.read_text() + "2022-12-01,firm,var_99,1000000,2000000\n")
    monkeypatch.setattr(limits, "SOURCE", edited)
    limits.write_limits(tmp_path, 100)
    assert pq.read_table(file).num_rows == limits.make_limits(100).num_rows == 27


def test_an_acknowledgement_is_written_beside_limits_and_leads_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into a folder without a lake it would count for nobody; a day that is none is told as one."""

    def said(first: str) -> list[str]:
        return [
            "--desk", "firm", "--measure", "var_99", "--from", first, "--until", "2023-01-31", "--by", "Ada",
            "--because", "hedges expire", "--workspace", str(tmp_path),
        ]  # fmt: skip

    for first, problem in (
        ("2022-12-28", "holds no limits; `python -m data.lakes finance` writes them"),
        ("28.12.2022", "argument --from: '28.12.2022' is no day; a day is YYYY-MM-DD"),
    ):
        with pytest.raises(SystemExit, match="2"):
            limits.main(said(first))
        assert problem in capsys.readouterr().err and list(tmp_path.iterdir()) == []
    limits.write_limits(tmp_path, 100)
    assert limits.main(said("2022-12-28")) == 0
    file, way_on = capsys.readouterr().out.splitlines()
    assert pq.read_table(tmp_path / file)["acknowledged_by"].to_pylist() == ["Ada"]
    assert way_on == "it counts from the next `nightscore run limit_breaches --day 2022-12-28` on"


def test_use_is_what_was_published_over_what_is_allowed(limited: Path) -> None:
    """By pandas, from the tables of the other jobs and the limits' file: the latest limit of each counts."""
    day = dt.date.fromisoformat(DAYS[1])
    risk = query(f"SELECT * FROM market_risk WHERE day = DATE '{day}'", limited).to_pandas().set_index("desk")
    greeks = query(f"SELECT * FROM greeks WHERE day = DATE '{day}' AND symbol = 'all'", limited).to_pandas()
    amounts = pd.concat([risk[["var_99", "es_975"]], greeks.set_index("desk")[list(MEASURES[2:])]], axis=1)
    table = pq.read_table(limited / "data/lake/finance/limits.parquet").to_pandas()
    in_force = table[table["since"] <= day].sort_values("since").groupby(["desk", "measure"]).last()
    found = query(f"SELECT * FROM limit_breaches_scores WHERE day = DATE '{day}'", limited).to_pandas()
    assert len(found) == 25
    for row in found.itertuples():
        amount, limit = float(amounts.loc[row.desk, row.measure]), in_force.loc[(row.desk, row.measure)]
        assert float(row.amount) == pytest.approx(amount, abs=0.0051)
        assert (row.amber, row.red) == (limit["amber"], limit["red"])
        assert row.used == pytest.approx(abs(amount) / float(limit["red"]), abs=1e-4)
        wanted = (
            "red" if abs(amount) >= limit["red"] else "amber" if abs(amount) >= limit["amber"] else "green"
        )
        assert row.status == wanted


def breach(root: Path, day: str, desk: str, measure: str) -> dict[str, Any]:
    where = f"day = DATE '{day}' AND desk = '{desk}' AND measure = '{measure}'"
    [row] = query(f"SELECT * FROM limit_breaches WHERE {where}", root).to_pylist()
    return dict(row)


def test_a_breach_ages_by_the_days_that_were_published(limited: Path) -> None:
    """Red and amber by themselves, since their first day."""
    first = dt.date.fromisoformat(DAYS[0])
    for day, age in zip(DAYS, (1, 2), strict=True):
        red, amber = breach(limited, day, "options", "vega_per_point"), breach(limited, day, "firm", "var_99")
        assert (red["status"], red["days_red"], red["days_amber"], red["first_day"]) == (
            "red",
            age,
            age,
            first,
        )
        assert (amber["status"], amber["days_red"], amber["days_amber"]) == ("amber", 0, age)


def test_a_person_acknowledges_a_breach_with_a_reason(limited: Path) -> None:
    """By the command, from a day of the breach until a day; the audit warns of a red one that nobody has."""
    receipt = run(load("limit_breaches", workspace=limited), DAYS[1])
    [audit] = [one for one in receipt.audits if one.name.startswith("no red limit is reached for longer")]
    assert not audit.passed
    said = [
        "--workspace",
        str(limited),
        "--desk",
        "options",
        "--measure",
        "vega_per_point",
        "--until",
        "2023-01-31",
    ]
    who = ["--by", "Ada Lovelace", "--because", "hedges expire on 20 January"]
    assert limits.main([*said, "--from", DAYS[1], *who]) == 0
    assert (
        limits.main([*said, "--from", "2022-12-01", "--by", "Eve", "--because", "of an earlier breach"]) == 0
    )
    receipt = run(load("limit_breaches", workspace=limited), DAYS[1])
    assert receipt.status == "published" and all(one.passed for one in receipt.audits)
    row = breach(limited, DAYS[1], "options", "vega_per_point")
    assert (row["acknowledged_by"], row["because"]) == ("Ada Lovelace", "hedges expire on 20 January")
    assert row["acknowledged_until"] == dt.date(2023, 1, 31) and row["days_red"] == 2
    assert breach(limited, DAYS[1], "firm", "var_99")["acknowledged_by"] is None
    with pytest.raises(SystemExit):
        limits.main([*said, "--from", DAYS[1], "--by", "Ada", "--because", " "])
    with pytest.raises(SystemExit):
        limits.main([*said, "--from", "2023-02-01", *who])


def acknowledge(root: Path, first: str, until: str, who: str) -> None:
    """Of the firm's VaR, by the command."""
    said = ["--workspace", str(root), "--desk", "firm", "--measure", "var_99", "--because", "as agreed"]
    assert limits.main([*said, "--from", first, "--until", until, "--by", who]) == 0


def test_who_acknowledged_amber_has_not_acknowledged_red(limited: Path, tmp_path: Path) -> None:
    """The firm's VaR is amber, and acknowledged; its limit is lowered: red, which nobody has seen."""
    root = tmp_path / "w"
    shutil.copytree(limited, root)
    acknowledge(root, DAYS[0], "2023-01-31", "Ada")
    run(load("limit_breaches", workspace=root), DAYS[1])
    assert breach(root, DAYS[1], "firm", "var_99")["acknowledged_by"] == "Ada"

    def lower(table: pd.DataFrame) -> pd.DataFrame:
        one = table[(table["desk"] == "firm") & (table["measure"] == "var_99")].tail(1)
        since = dt.date.fromisoformat(DAYS[1])
        return pd.concat([table, one.assign(since=since, amber=Decimal(1), red=Decimal(2))])

    with_limits(root, lower)
    run(load("limit_breaches", workspace=root), DAYS[1])
    row = breach(root, DAYS[1], "firm", "var_99")
    assert (row["status"], row["days_red"], row["days_amber"]) == ("red", 1, 2)
    assert (row["first_red_day"], row["acknowledged_by"]) == (dt.date.fromisoformat(DAYS[1]), None)
    acknowledge(root, DAYS[1], "2023-01-31", "Bob")
    run(load("limit_breaches", workspace=root), DAYS[1])
    assert breach(root, DAYS[1], "firm", "var_99")["acknowledged_by"] == "Bob"


def test_a_breach_that_is_acknowledged_twice_is_as_the_latest_says(limited: Path, tmp_path: Path) -> None:
    """Twice the same is once; a later one that ended yesterday takes an earlier, longer one back."""
    root = tmp_path / "w"
    shutil.copytree(limited, root)
    for _ in range(2):
        acknowledge(root, DAYS[0], "2023-01-31", "Ada")
    run(load("limit_breaches", workspace=root), DAYS[1])
    assert breach(root, DAYS[1], "firm", "var_99")["acknowledged_by"] == "Ada"
    acknowledge(root, DAYS[0], DAYS[0], "Bob")
    for day, who in zip(DAYS, ("Bob", None), strict=True):
        run(load("limit_breaches", workspace=root), day)
        assert breach(root, day, "firm", "var_99")["acknowledged_by"] == who


def test_a_desk_that_holds_nothing_uses_nothing_of_its_limits(limited: Path, tmp_path: Path) -> None:
    """It has its five limits and no position: a correct night, which is published."""
    root = tmp_path / "w"
    shutil.copytree(limited, root)

    def more(table: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([table, table[table["desk"] == "hedging"].assign(desk="treasury")])

    with_limits(root, more)
    assert run(load("limit_breaches", workspace=root), DAYS[1]).status == "published"
    where = f"day = DATE '{DAYS[1]}' AND desk = 'treasury'"
    rows = query(f"SELECT measure, amount, status FROM limit_breaches_scores WHERE {where}", root).to_pylist()
    assert sorted(row["measure"] for row in rows) == sorted(MEASURES)
    assert {(row["amount"], row["status"]) for row in rows} == {(Decimal(0), "green")}


@pytest.mark.parametrize("what", ["missing", "twice", "unknown"])
def test_a_limit_that_is_missing_or_there_twice_holds_the_night(limited: Path, what: str) -> None:
    """So does a single one of a desk that there is not: its name may be misspelt."""
    file = limited / "data/lake/finance/limits.parquet"
    before = file.read_bytes()

    def wrong(table: pd.DataFrame) -> pd.DataFrame:
        one = table[(table["desk"] == "hedging") & (table["measure"] == "es_975")]
        if what == "missing":
            return table.drop(one.index)
        return pd.concat([table, one if what == "twice" else one.assign(desk="treasury")])

    with_limits(limited, wrong)
    with pytest.raises(Broken, match="each desk has exactly one limit for each measure"):
        run(load("limit_breaches", workspace=limited), DAYS[1])
    file.write_bytes(before)
