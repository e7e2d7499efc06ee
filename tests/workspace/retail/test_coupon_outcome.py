"""What coupon chances were worth: the job's SQL, held to scikit-learn and pandas."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from sklearn import metrics

from tests.workspace.retail.world import REPOSITORY, SLICE, Sql

FOLDER = REPOSITORY / "jobs/retail/coupon_outcome"
SPEC: dict[str, Any] = yaml.safe_load((FOLDER / "job.yaml").read_text())
REDEEMED, QUALITY, RELIABILITY = (
    (FOLDER / f"{name}.sql").read_text() for name in ("redeemed", "quality", "reliability")
)
KEY = ["household_id", "campaign_id", "coupon_upc"]
NIGHT = pd.Timestamp("2017-11-06")
CAMPAIGNS = (  # over; its last day is the night; over, and nobody redeemed; not published on its first day
    (1, "2017-10-01", "2017-11-05"), (2, "2017-10-10", "2017-11-06"), (3, "2017-10-20", "2017-10-30"),
    (4, "2017-10-21", "2017-10-25"),
)  # fmt: skip


def offers() -> pd.DataFrame:
    """Two days of each campaign as `coupon_response` publishes them, with ties among the chances."""
    random = np.random.default_rng(5)
    days = []
    for campaign, start, end in CAMPAIGNS:
        for later in (0, 3) if campaign < 4 else (3,):
            keys = [(household, campaign, 10 * campaign + c) for household in range(60) for c in range(3)]
            day = pd.DataFrame(keys, columns=KEY)
            day["probability"] = random.integers(0, 40, len(day)) / 100
            day["start_date"], day["end_date"] = pd.Timestamp(start), pd.Timestamp(end)
            days.append(day.assign(day=day["start_date"] + pd.Timedelta(days=later)))
    return pd.concat(days, ignore_index=True)


def redemptions(offered: pd.DataFrame) -> pd.DataFrame:
    """Who redeemed: by the chances of campaigns 1 and 2; some twice, some after the night."""
    random = np.random.default_rng(6)
    first = offered[offered["campaign_id"].isin([1, 2]) & (offered["day"] == offered["start_date"])]
    taken = first[random.random(len(first)) < first["probability"]][KEY]
    days = [NIGHT + pd.Timedelta(days=int(d)) for d in random.integers(-20, 3, len(taken))]
    taken = taken.assign(redemption_date=days)
    return pd.concat([taken, taken[:5]], ignore_index=True)


@pytest.fixture(scope="module")
def offered() -> pd.DataFrame:
    return offers()


@pytest.fixture(scope="module")
def night(offered: pd.DataFrame) -> Sql:
    """The night's tables, made by the job's SQL."""
    sql = Sql.over(SLICE, f"{NIGHT:%Y-%m-%d}")
    sql.put("given_offers", pa.Table.from_pandas(offered))
    sql.put("given_redemptions", pa.Table.from_pandas(redemptions(offered)))
    dates = (
        "CAST(start_date AS DATE) AS start_date, CAST(end_date AS DATE) AS end_date, CAST(day AS DATE) AS day"
    )
    sql.connection.execute(f"CREATE TABLE offers AS SELECT * REPLACE ({dates}) FROM given_offers")
    day = "CAST(redemption_date AS DATE) AS redemption_date"
    sql.connection.execute(f"CREATE TABLE redemptions AS SELECT * REPLACE ({day}) FROM given_redemptions")
    sql.put("scores", sql.table(REDEEMED))
    sql.put("coupon_quality", sql.table(QUALITY))
    sql.put("coupon_reliability", sql.table(RELIABILITY))
    return sql


def labelled(offered: pd.DataFrame, campaign: int) -> tuple[pd.Series, pd.Series]:
    """Chances of a campaign's first day, and whether they came true by the night, by pandas."""
    own = offered[(offered["campaign_id"] == campaign) & (offered["day"] == offered["start_date"])]
    told = redemptions(offered)
    told = told[told["redemption_date"] <= NIGHT][KEY].drop_duplicates().assign(redeemed=1)
    merged = own.merge(told, on=KEY, how="left")
    return merged["probability"], merged["redeemed"].fillna(0).astype(int)


def test_the_figures_are_those_of_scikit_learn(night: Sql, offered: pd.DataFrame) -> None:
    """Of the campaign that is over; the others have no label yet, one label alone, or no first day."""
    rows = {row["scored_on"].isoformat(): row for row in night.table("FROM coupon_quality").to_pylist()}
    assert sorted(rows) == ["2017-10-01", "2017-10-10", "2017-10-20"]
    found, (chances, labels) = rows["2017-10-01"], labelled(offered, 1)
    assert (found["offers"], found["labelled"], found["redeemed"]) == (180, 180, labels.sum())
    assert 0 < labels.sum() < 180
    truth = {
        "base_rate": labels.mean(), "mean_chance": chances.mean(),
        "auc": metrics.roc_auc_score(labels, chances),
        "average_precision": metrics.average_precision_score(labels, chances),
        "brier_score": metrics.brier_score_loss(labels, chances),
    }  # fmt: skip
    assert {name: found[name] for name in truth} == pytest.approx(truth, rel=1e-9)
    assert (rows["2017-10-10"]["labelled"], rows["2017-10-10"]["unmeasured"]) == (0, "no label yet")
    assert (rows["2017-10-20"]["auc"], rows["2017-10-20"]["unmeasured"]) == (None, "every label is 0")


def test_tenths_add_up_and_say_the_calibration_error(night: Sql, offered: pd.DataFrame) -> None:
    """The tenths of a day are its labelled offers once each; the error is the mean gap of them."""
    tenths = night.table("FROM coupon_reliability WHERE scored_on = DATE '2017-10-01'").to_pandas()
    chances, labels = labelled(offered, 1)
    assert (tenths["offers"].sum(), tenths["redeemed"].sum()) == (len(chances), labels.sum())
    higher = (chances.to_numpy()[None, :] > chances.to_numpy()[:, None]).sum(axis=1)
    truth = chances.groupby(1 + 10 * higher // len(chances)).mean()
    assert dict(zip(tenths["tenth"], tenths["mean_chance"], strict=True)) == pytest.approx(
        dict(truth), rel=1e-12
    )
    gaps = (tenths["mean_chance"] - tenths["base_rate"]).abs() * tenths["offers"]
    (error,) = night.table(
        "SELECT calibration_error FROM coupon_quality WHERE scored_on = DATE '2017-10-01'"
    )["calibration_error"].to_pylist()
    assert error == pytest.approx(gaps.sum() / tenths["offers"].sum(), rel=1e-9)


@pytest.mark.parametrize(
    ("chance", "answers"),
    [
        ("probability", [True, True, True]),
        ("0.4 - probability", [True, False, True]),  # the opposite: on average as many, but the wrong ones
        ("probability / 10", [True, True, False]),
    ],
)
def test_audits_hear_a_model_that_has_gone_wrong(night: Sql, chance: str, answers: list[bool]) -> None:
    """Of the order alone the one that asks for an AUC; of the size alone the one that counts."""
    cursor = Sql(night.connection.cursor())
    other = night.table(f"SELECT * REPLACE ({chance} AS probability) FROM scores")
    quality = QUALITY.replace("FROM scores", "FROM other")
    cursor.put("other", other)
    asked = [audit["sql"].replace("coupon_quality", f"({quality})") for audit in SPEC["audit"]]
    assert [cursor.table(sql).column(0)[0].as_py() for sql in asked] == answers


def test_what_was_redeemed_before_it_was_offered_counts_apart(night: Sql) -> None:
    """It has no label, and is counted as early; all others have theirs."""
    early = "SELECT household_id, coupon_upc, campaign_id, DATE '2017-09-30' AS redemption_date FROM offers"
    early += " WHERE campaign_id = 1 AND household_id < 4 AND day = start_date"
    night.put("with_early", night.table(f"SELECT * FROM redemptions UNION ALL BY NAME ({early})"))
    night.put("of_early", night.table(REDEEMED.replace("FROM redemptions", "FROM with_early")))
    [audit] = [audit["sql"] for audit in SPEC["audit"] if "early" in audit["sql"]]
    for quality, counts in (
        (QUALITY, (180, 0)),
        (QUALITY.replace("FROM scores", "FROM of_early"), (168, 12)),
    ):
        [found] = night.table(f"FROM ({quality}) WHERE scored_on = DATE '2017-10-01'").to_pylist()
        assert (found["offers"], found["labelled"], found["early"]) == (180, *counts)
        [[heard]] = night.table(audit.replace("coupon_quality", f"({quality})")).to_pydict().values()
        assert heard == (counts[1] == 0)


def test_the_page_shows_the_job_as_it_is() -> None:
    """The SQL, audits and first highlight of docs/outcomes.md are those of the job."""
    page = (REPOSITORY / "docs/outcomes.md").read_text()
    assert QUALITY[QUALITY.index("WITH") :] in page
    shown = {
        key: value
        for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
        for key, value in yaml.safe_load(block).items()
    }
    assert shown.pop("highlights") == SPEC["highlights"][:1]
    for name, one in shown.pop("inputs").items():
        assert one == {key: value for key, value in SPEC["inputs"][name].items() if key != "columns"}
    assert shown == {key: SPEC[key] for key in shown}
