"""From a night to a website, as docs/deliver.md has it, on rows of the same columns: settings, look-up."""

import datetime as dt
import re
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from nightscore.common import Workspace
from nightscore.delivery.contract import Parcel
from nightscore.delivery.key_hash import hash_files
from nightscore.job import Delivery

SECTION = (Path(__file__).parents[2] / "docs/deliver.md").read_text()
DAYS = (dt.date(2017, 11, 1), dt.date(2017, 11, 2))
HOUSEHOLDS, RANKS = 2_000, 10


def block(language: str) -> str:
    """The section's first block of a language."""
    found = re.search(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    assert found, language
    return found[1]


def rows_of(day: dt.date) -> pa.Table:
    rng = np.random.default_rng(day.day)
    count = HOUSEHOLDS * RANKS
    return pa.table(
        {
            "household_id": pa.array(np.repeat(np.arange(HOUSEHOLDS), RANKS), pa.int32()),
            "rank": pa.array(np.tile(np.arange(1, RANKS + 1), HOUSEHOLDS), pa.int32()),
            "product_id": pa.array(rng.integers(0, 90_000, count), pa.int32()),
            "product_type": pa.array(rng.choice(["BANANAS", "BAGELS"], count)),
            "score": rng.random(count),
        }
    )


def test_the_look_up_finds_the_newest_day_by_the_index(
    crm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the website gets is what NumPy has made; EXPLAIN names the primary key."""
    import psycopg

    from nightscore.delivery.postgres import PostgresChannel

    monkeypatch.setenv("NIGHTSCORE_CONNECTION_SHOP", crm)
    [given] = yaml.safe_load(block("yaml"))["deliver"]
    delivery = Delivery.model_validate(given)
    assert delivery.postgres
    space = Workspace(tmp_path)
    (tmp_path / "data").mkdir()
    for number, day in enumerate(reversed(DAYS)):  # the older one comes last
        rows, file = rows_of(day), tmp_path / f"{day}.parquet"
        pq.write_table(rows, file, write_page_checksum=True)
        parcel = Parcel(
            "job", "recommendations", day, f"run{number}", number + 1, len(rows), rows.schema, (file,),
            partial(hash_files, space, [file], rows.schema),
        )  # fmt: skip
        PostgresChannel(delivery.postgres).deliver(parcel)
    asked = block("sql")
    with psycopg.connect(crm, autocommit=True) as session:
        found = session.execute(asked, [1609], prepare=True).fetchall()  # type: ignore[call-overload, unused-ignore]
        plan = str(session.execute(f"EXPLAIN {asked}", [1609]).fetchall())  # type: ignore[call-overload, unused-ignore]
    truth = rows_of(DAYS[-1]).slice(1609 * RANKS, RANKS).to_pylist()
    assert found == [(r["rank"], r["product_id"], r["product_type"], r["score"]) for r in truth]
    assert "recommendations_pkey" in plan, plan
