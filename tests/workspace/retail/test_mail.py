"""Tonight's mails on a small made-up world: each rule held to pandas, each audit to a rule that is taken out.

The tables that the jobs come after are published by small jobs with the columns of the real ones.
"""

import gzip
import hashlib
import html
import json
import re
import shutil
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from nightscore import NotYet, load, run
from nightscore.pipeline.publish.hold import Held
from tests.support.shared import made_once

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[3]
DAY = date(2017, 11, 1)
DAYS = [DAY + timedelta(days=offset) for offset in (0, 1, 7, 14)]
HOUSEHOLD, PRODUCT = np.arange(1, 1_201, dtype=np.int32), np.arange(1, 41, dtype=np.int32)
HOUSEHOLDS = len(HOUSEHOLD)
INPUT = "job: {name}\nabout: As published\nowner: tests\nfeatures: rows\nmodel: none\n"
UPSTREAM = {
    "retail_recommendations": "inputs: {rows: {path: data/lake/ranked, partition: day}}\n"
    "key: [household_id, product_id]\nkeep: [last_bought, score]\n"
    "decide: {retail_recommendations: all.sql}\n",
    "coupon_response": "inputs: {rows: {path: data/lake/offers, partition: day}}\n"
    "key: [household_id, campaign_id, coupon_upc]\n"
    "keep: [product_id, probability, mean_discount, expected_cost]\ndecide: {coupon_response: all.sql}\n",
}


def write(path: Path, **columns: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def money(values: np.ndarray, places: int = 2) -> pa.Array:
    return pa.array([Decimal(f"{value:.{places}f}") for value in values], pa.decimal128(12, places))


def make_world(root: Path) -> None:
    """A workspace with the three jobs of mails, their lake, and what they come after, for four days."""
    rng = np.random.default_rng(7)
    write_tables(root / "data/lake/retail")
    for back in range(60):
        write_day(root / "data/lake/retail", DAY + timedelta(days=15 - back), rng)
    for day in DAYS:
        write_upstream(root, day, rng)
    for name in ("mail_suppressions", "mail_plan", "mail_outcome"):
        shutil.copytree(REPOSITORY / "jobs/retail" / name, root / "jobs/retail" / name)
    for name, rest in UPSTREAM.items():
        (root / "jobs" / name).mkdir()
        (root / "jobs" / name / "job.yaml").write_text(INPUT.format(name=name) + rest)
        (root / "jobs" / name / "all.sql").write_text("SELECT * FROM scores")
    run_upstream(root)


def run_upstream(root: Path) -> None:
    """Publish what mail_plan comes after; of mail_suppressions each day waits for the one before."""
    for name in UPSTREAM:
        for day in DAYS:
            run(load(name, root), day.isoformat())
    for offset in range(15):
        run(load("mail_suppressions", root), (DAY + timedelta(days=offset)).isoformat())


def write_tables(lake: Path) -> None:
    """What does not change: products, two campaigns with all households, one rule, some redemptions."""
    write(
        lake / "products.parquet", product_id=PRODUCT, product_type=[f"TYPE <{p}> & CO" for p in PRODUCT],
        product_category=[f"CATEGORY {p % 9}" for p in PRODUCT], department=["GROCERY"] * len(PRODUCT),
        package_size=["1 GA"] * len(PRODUCT),
    )  # fmt: skip
    campaign = pa.array(1 + HOUSEHOLD % 2, pa.int32())
    write(lake / "campaigns.parquet", campaign_id=campaign, household_id=HOUSEHOLD)
    write(
        lake / "campaign_descriptions.parquet", campaign_id=pa.array([1, 2], pa.int32()),
        start_date=[date(2017, 10, 20), date(2017, 10, 1)], end_date=[date(2017, 12, 1), date(2017, 11, 30)],
    )  # fmt: skip
    write(
        lake / "eligibility.parquet", product_type=["TYPE <40> & CO"], until=pa.array([None], pa.date32()),
        reason=["gasoline"], **{"from": [date(2017, 1, 1)]},
    )  # fmt: skip
    write(
        lake / "coupon_redemptions.parquet", household_id=HOUSEHOLD, campaign_id=campaign,
        coupon_upc=pa.array(10 * HOUSEHOLD, pa.int64()), redemption_date=[date(2017, 11, 3)] * len(HOUSEHOLD),
    )  # fmt: skip


def write_day(lake: Path, day: date, rng: np.random.Generator) -> None:
    """600 lines of one basket each, and on some days two households that want no mail any more."""
    n = 600
    write(
        lake / f"transactions/day={day}/part.parquet", household_id=rng.choice(HOUSEHOLD, n),
        basket_id=pa.array(day.toordinal() * n + np.arange(n)), product_id=rng.choice(PRODUCT, n),
        quantity=pa.array([1] * n, pa.int32()), sales_value=money(rng.uniform(0.5, 9, n)),
    )  # fmt: skip
    gone = rng.choice(HOUSEHOLD, 2, replace=False) if day.day % 3 == 0 else HOUSEHOLD[:0]
    reason = pa.array(["unsubscribed"] * len(gone), pa.string())
    write(lake / f"unsubscribes/day={day}/part.parquet", household_id=gone, reason=reason)


def write_upstream(root: Path, day: date, rng: np.random.Generator) -> None:
    """What ranker and coupon model give: 14 products and three coupons a household."""
    pairs = [(h, p) for h in HOUSEHOLD for p in rng.choice(PRODUCT, 14, replace=False)]
    bought = [DAY if known else None for known in rng.random(len(pairs)) < 0.7]
    write(
        root / f"data/lake/ranked/day={day}/part.parquet",
        household_id=pa.array([h for h, _ in pairs], pa.int32()),
        product_id=pa.array([p for _, p in pairs], pa.int32()),
        last_bought=pa.array(bought, pa.date32()), score=rng.random(len(pairs), dtype=np.float32),
    )  # fmt: skip
    owners = np.repeat(HOUSEHOLD, 3)
    chance = money(rng.uniform(0.001, 0.05, len(owners)), 6)
    write(
        root / f"data/lake/offers/day={day}/part.parquet", household_id=owners,
        campaign_id=pa.array(1 + owners % 2, pa.int32()),
        coupon_upc=pa.array(10 * owners + np.tile(np.arange(3), len(HOUSEHOLD)), pa.int64()),
        product_id=rng.choice(PRODUCT[:39], len(owners)), probability=chance,
        mean_discount=money(np.ones(len(owners))), expected_cost=chance,
    )  # fmt: skip


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A copy of the world, to be written to."""
    made = made_once(tmp_path_factory, "mail", make_world)
    shutil.copytree(made, tmp_path / "w")
    return tmp_path / "w"


def table(root: Path, name: str, day: date = DAY) -> pd.DataFrame:
    """A published table of a day, as deltalake reads it."""
    frame = DeltaTable(root / "data/tables" / name).to_pandas()
    return frame[frame["day"].astype(str) == day.isoformat()].drop(columns=["run_id", "day"])


def lot(text: str) -> int:
    return int.from_bytes(hashlib.md5(text.encode()).digest(), "little")  # noqa: S324


def held_out(household: int) -> bool:
    return lot(f"hold out|2017H2|{household}") % 2**53 / 2**53 < 0.1


def its_turn(household: int, day: date) -> bool:
    return lot(f"rotation|{household}") % 7 == (day - date(1, 1, 1)).days % 7


def gone_by(root: Path, day: date) -> set[int]:
    """Who has unsubscribed until a day, from the files."""
    files = (root / "data/lake/retail/unsubscribes").glob("day=*/part.parquet")
    until = (file for file in files if file.parent.name <= f"day={day}")
    return {
        int(one)
        for file in until
        for one in pq.read_table(file, partitioning=None)["household_id"].to_pylist()
    }


def test_each_of_the_audience_is_written_to_or_has_its_reason(world: Path) -> None:
    receipt = run(load("mail_plan", world), DAY.isoformat())
    gone, expected = gone_by(world, DAY), {}
    for household in range(1, HOUSEHOLDS + 1):
        if household in gone:
            expected[household] = "suppressed"
        elif held_out(household):
            expected[household] = "held out"
        elif not its_turn(household, DAY):
            expected[household] = "not its turn"
    mails, funnel = table(world, "mail_list"), table(world, "mail_funnel")
    found = dict(zip(funnel["household_id"], funnel["reason"], strict=True))
    few = {household for household, reason in found.items() if reason == "fewer than four blocks"}
    assert {h: r for h, r in found.items() if h not in few} == expected
    assert set(mails["household_id"]) | set(found) == set(range(1, HOUSEHOLDS + 1))
    assert receipt.accounts and receipt.accounts.rows == HOUSEHOLDS
    assert receipt.accounts.tables == {
        "mail_list": mails["household_id"].nunique(),
        "mail_funnel": len(funnel),
    }


def test_the_blocks_keep_the_rules(world: Path) -> None:
    run(load("mail_plan", world), DAY.isoformat(), params={"budget": 1.5})
    mails, budget = table(world, "mail_list"), table(world, "mail_budget")
    assert len(mails) > 100 and mails.groupby("household_id")["slot"].count().between(4, 6).all()
    assert (
        mails.groupby("household_id")["slot"].apply(lambda s: sorted(s) == list(range(1, len(s) + 1))).all()
    )
    assert not mails.duplicated(["household_id", "product_id"]).any()
    assert not mails.duplicated(["household_id", "text"]).any()
    assert mails.groupby(["household_id", "category"]).size().max() <= 2
    assert (mails["product_id"] != 40).all(), "gasoline"
    kinds = mails.groupby(["household_id", "kind"]).size().unstack(fill_value=0)
    assert kinds["new"].max() == 1 and kinds["coupon"].max() <= 2
    ordered = budget.sort_values("running_cost")
    assert (ordered["expected_cost"].cumsum() == ordered["running_cost"]).all()
    assert (ordered["worth"].astype(float).diff().dropna() <= 0).all()
    paid = ordered[ordered["is_paid"]]
    assert 0 < len(paid) < len(ordered) and paid["expected_cost"].sum() <= Decimal("1.5")
    assert (ordered["is_paid"] == (ordered["running_cost"] <= Decimal("1.5"))).all()
    assert mails["expected_cost"].sum() <= Decimal("1.5")
    ranked = pq.read_table(world / f"data/lake/ranked/day={DAY}/part.parquet", partitioning=None).to_pandas()
    new = mails[mails["kind"] == "new"].merge(ranked, on=["household_id", "product_id"])
    assert len(new) == (mails["kind"] == "new").sum() and new["last_bought"].isna().all()


def test_nobody_is_written_to_too_often_nor_twice_of_a_product(world: Path) -> None:
    """With everybody's turn every day: one mail a week, and other products each time."""
    every = {"rotation": 1, "hold_out": 0.0, "budget": 1000.0}
    for offset in (0, 1, 7):
        run(load("mail_plan", world), (DAY + timedelta(days=offset)).isoformat(), params=every)
    first, second, third = (table(world, "mail_list", DAY + timedelta(days=n)) for n in (0, 1, 7))
    assert set(first["household_id"]).isdisjoint(second["household_id"])
    reasons = table(world, "mail_funnel", DAY + timedelta(days=1)).set_index("household_id")["reason"]
    told = gone_by(world, DAY + timedelta(days=1))
    assert set(reasons[reasons == "mailed this week"].index) == set(first["household_id"]) - told
    both = first.merge(third, on=["household_id", "product_id"])
    assert len(third) and both.empty
    again = run(load("mail_plan", world), (DAY + timedelta(days=7)).isoformat(), params=every, force=True)
    assert again.status == "published"
    pd.testing.assert_frame_equal(table(world, "mail_list", DAY + timedelta(days=7)), third)


def test_who_has_unsubscribed_is_never_forgotten(world: Path) -> None:
    """The files of before are gone, and its list still has everybody."""
    gone = gone_by(world, DAY)
    for file in (world / "data/lake/retail/unsubscribes").glob("day=*"):
        if file.name < f"day={DAY + timedelta(days=1)}":
            shutil.rmtree(file)
    run(load("mail_suppressions", world), (DAY + timedelta(days=1)).isoformat(), force=True)
    kept = table(world, "mail_suppressions_scores", DAY + timedelta(days=1))
    assert gone <= set(kept["household_id"])


def test_who_has_unsubscribed_while_a_file_was_late_is_waited_for(tmp_path: Path) -> None:
    """The file of the second day is late: the third waits, so that nobody who is in it is written to."""
    shutil.copytree(REPOSITORY / "jobs/retail/mail_suppressions", tmp_path / "jobs/mail_suppressions")
    files = [
        tmp_path / f"data/lake/retail/unsubscribes/day={DAY + timedelta(days=n)}/a.parquet" for n in range(3)
    ]

    def tell(number: int) -> None:
        household = pa.array([number + 7], pa.int32())
        write(files[number], household_id=household, reason=pa.array(["unsubscribed"]))

    tell(0)
    run(load("mail_suppressions", tmp_path), DAY.isoformat())
    tell(2)
    for offset in (1, 2):
        with pytest.raises(NotYet):
            run(load("mail_suppressions", tmp_path), (DAY + timedelta(days=offset)).isoformat())
    tell(1)
    for offset in (1, 2):
        run(load("mail_suppressions", tmp_path), (DAY + timedelta(days=offset)).isoformat())
    assert set(table(tmp_path, "mail_suppressions_scores", DAY + timedelta(days=2))["household_id"]) == {
        7,
        8,
        9,
    }


VIOLATIONS: dict[str, tuple[str, str, str, dict[str, float]]] = {  # audit -> file, rule, instead of it
    "nobody who is suppressed": ("audience.sql", r"suppressed.household_id IS NOT NULL", "false", {}),
    "held out": ("audience.sql", r"'held out': .*\n", "'held out': false,\n", {}),
    "more often than allowed": ("audience.sql", r"coalesce\(week, 0\) >= .*'per_week'\)", "false", {}),
    "every coupon is of a campaign": ("coupons.sql", r"campaign_id, coupon_upc, product_id,",
                                      "3 - campaign_id AS campaign_id, coupon_upc, product_id,", {}),
    "two of one category": ("list.sql", r"score, product_id\) <= 2", "score, product_id) <= 5", {}),
    "no product is one": ("list.sql", r"    ANTI JOIN \(FROM eligibility.*\n", "", {}),
    "no more than the budget": ("coupons.sql", r"within_budget\(.*\) AS", "true AS", {"budget": 0.5}),
    "one message for each household": ("messages.sql", "GROUP BY", "WHERE household_id > 9\nGROUP BY", {}),
}  # fmt: skip


@pytest.mark.parametrize("audit", VIOLATIONS)
def test_each_audit_breaks_with_its_rule(world: Path, audit: str) -> None:
    """One rule is taken out of the SQL: the day is held, by the audit of that rule."""
    everybody = {"rotation": 1, "budget": 1000.0}
    run(load("mail_plan", world), DAY.isoformat(), params=everybody)
    name, rule, instead, params = VIOLATIONS[audit]
    file = world / "jobs/retail/mail_plan" / name
    changed = re.sub(rule, instead, file.read_text(), count=1)
    assert changed != file.read_text()
    file.write_text(changed)
    with pytest.raises(Held, match=f"audit '[^']*{audit}"):
        run(
            load("mail_plan", world),
            (DAY + timedelta(days=1)).isoformat(),
            params={**everybody, "per_week": 1, **params},
        )


def deliver(world: Path, until: str | None = None) -> None:
    """Take the `deliver` of job.yaml out of its comment, and say where its root is."""
    outbox = world / "outbox"
    outbox.mkdir()
    (world / "workspace.yaml").write_text(f"roots: {{outbox: {{at: {outbox}, write: true}}}}\n")
    file = world / "jobs/retail/mail_plan/job.yaml"
    said = file.read_text()
    lines = said[said.index("# deliver:") : said.index(until) if until else None].splitlines()
    file.write_text(said + "\n".join(line.removeprefix("# ") for line in lines) + "\n")


def test_the_mail_system_gets_a_line_a_mail(world: Path) -> None:
    """As job.yaml says it in its comment, once the operator has said where: whole, escaped, by slots."""
    outbox = world / "outbox"
    deliver(world, until="#   - name: crm")
    run(load("mail_plan", world), DAY.isoformat())
    with gzip.open(outbox / f"mails-{DAY}.json.gz", "rt") as read:
        sent = [json.loads(line) for line in read]
    mails = table(world, "mail_list").sort_values(["household_id", "slot"])
    assert [one["household_id"] for one in sent] == sorted(mails["household_id"].unique())
    for one in sent:
        own = mails[mails["household_id"] == one["household_id"]]
        assert one["products"] == own["product_id"].tolist() and one["texts"] == own["text"].tolist()
        assert [html.escape(text) for text in one["texts"]] == re.findall(
            r"(?:Your coupon|Time for|New for you).*?(?=<)", one["html"]
        )
        assert "<40>" not in one["html"]
        number = {4: "Four", 5: "Five", 6: "Six"}[len(own)]
        assert one["subject"].startswith(f"{number} for you")
        assert one["html"].count(f"{number} for you") == 2


def test_a_database_gets_a_row_a_block(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole `deliver` of job.yaml to a real PostgreSQL: what another reader finds there is the list."""
    psycopg = pytest.importorskip(
        "psycopg", reason="NOT TESTED: psycopg is not installed; the extra postgres has it"
    )
    from tests.support.postgres import running

    deliver(world)
    with running() as server:
        address = server.create("crm")
        monkeypatch.setenv("NIGHTSCORE_CONNECTION_CRM", address)
        for day in DAYS[:2]:
            run(load("mail_plan", world), day.isoformat())
        with psycopg.connect(address) as connection:
            names = "day, household_id, slot, kind, product_id, coupon_upc, expected_cost, text"
            there = connection.execute(
                f"SELECT {names} FROM mail_list ORDER BY day, household_id, slot"
            ).fetchall()
    wanted = [
        tuple(None if pd.isna(value) else value for value in row)
        for day in DAYS[:2]
        for row in table(world, "mail_list", day)
        .sort_values(["household_id", "slot"])
        .assign(day=day)[names.split(", ")]
        .itertuples(index=False)
    ]
    assert len(there) > 100 and [tuple(row) for row in there] == wanted


def test_what_became_of_the_mails(world: Path) -> None:
    """Two weeks later: hits, redemptions, and the difference with Welch's interval, by NumPy."""
    later = DAY + timedelta(days=14)
    for day in (DAY, later):
        run(load("mail_plan", world), day.isoformat(), params={"budget": 1000.0})
    run(load("mail_outcome", world), later.isoformat())
    outcome = table(world, "mail_outcome", later).set_index("grp")
    sales = pd.concat(
        pq.read_table(file, partitioning=None).to_pandas()
        for file in (world / "data/lake/retail/transactions").glob("day=*/part.parquet")
        if f"day={DAY}" < file.parent.name <= f"day={later}"
    )
    mails, funnel = table(world, "mail_list"), table(world, "mail_funnel")
    bought = set(zip(sales["household_id"], sales["product_id"], strict=True))
    hits = sum(pair in bought for pair in zip(mails["household_id"], mails["product_id"], strict=True))
    groups = {
        "mailed": mails["household_id"].unique(),
        "held out": funnel[funnel["reason"] == "held out"]["household_id"].to_numpy(),
    }
    spend = sales.groupby("household_id")["sales_value"].sum().astype(float)
    paid = {name: spend.reindex(group).fillna(0).to_numpy() for name, group in groups.items()}
    for name, values in paid.items():
        assert outcome.loc[name, "households"] == len(values)
        assert float(outcome.loc[name, "mean_spend"]) == pytest.approx(values.mean(), abs=0.006)
    assert float(outcome.loc["mailed", "hits_a_mail"]) == pytest.approx(hits / len(paid["mailed"]), abs=1e-4)
    mean = paid["mailed"].mean() - paid["held out"].mean()
    half = 1.959964 * np.sqrt(sum(values.var(ddof=1) / len(values) for values in paid.values()))
    low, high = (float(outcome.loc["difference", name]) for name in ("low", "high"))
    assert (low, high) == (pytest.approx(mean - half, abs=0.006), pytest.approx(mean + half, abs=0.006))
    verdict = "more" if mean - half > 0 else "less" if mean + half < 0 else "too few"
    assert outcome.loc["difference", "verdict"] == verdict


def test_without_a_campaign_the_day_is_empty(world: Path) -> None:
    """Nobody is written to, and the night is green."""
    file = world / "data/lake/retail/campaign_descriptions.parquet"
    ended = [date(2017, 10, 31)] * 2
    write(file, campaign_id=pa.array([1, 2], pa.int32()), start_date=[date(2017, 10, 1)] * 2, end_date=ended)
    receipt = run(load("mail_plan", world), DAY.isoformat())
    assert (receipt.status, receipt.rows.published) == ("published", 0)
    assert receipt.accounts and receipt.accounts.rows == 0
    assert table(world, "mail_list").empty and table(world, "mail_messages").empty
