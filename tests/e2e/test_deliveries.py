"""Deliveries in real tasks: by Airflow's connection, through a server that was down, and of a backfill."""

from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from tests.behaviour.world import Truth
from tests.e2e.airflow import Airflow
from tests.e2e.servers import HOST, until
from tests.e2e.world import ROWS, add_mini, receipts
from tests.support.workspace import write_day

pytest.importorskip("psycopg")

from tests.support.postgres import Server, running

DAG, SECRET = "shop", "hidden-word-17"
DAYS = [date(2020, 4, 1) + timedelta(days=i) for i in range(4)]
DELIVER = "deliver:\n  - {name: site, postgres: {connection: crm, table: top, key: [id]}}\n"


@pytest.fixture(scope="module")
def crm() -> Iterator[Server]:
    """A server of its own, with the database `crm`."""
    with running() as server:
        server.create("crm")
        yield server


@pytest.fixture(scope="module")
def shop(airflow: Airflow, crm: Server) -> Airflow:
    """An Airflow with a job that delivers, and the connection that it names."""
    add_mini(airflow.root, DAG, DELIVER, "rows")
    for day in DAYS:
        write_day(airflow.root, str(day), ROWS)
    airflow.command(
        "connections", "add", "crm", "--conn-type", "postgres", "--conn-host", HOST, "--conn-port",
        str(crm.port), "--conn-login", "airflow", "--conn-password", SECRET, "--conn-schema", "crm",
    )  # fmt: skip
    until(lambda: airflow.ask("GET", f"/dags/{DAG}").is_success, 240, "the DAG is known", pause=2)
    airflow.unpause(DAG)
    return airflow


def there(crm: Server, day: date) -> list[int]:
    """The ids that a reader finds."""
    import psycopg

    with psycopg.connect(crm.address("crm")) as session:
        found = session.execute("SELECT id FROM top WHERE day = %s ORDER BY id", [day])
        return [row[0] for row in found]


def best(day: date) -> list[int]:
    """By NumPy: `add_mini` scores every row of the day's features."""
    return sorted(Truth(ROWS, day=str(day)).table("mini_top")["id"].to_pylist())


def test_a_server_that_was_down_is_waited_for_and_nothing_is_scored_again(shop: Airflow, crm: Server) -> None:
    """The publish task is tried again until it answers; the day has one run, and no log has the password."""
    crm.stop()
    run, day = shop.trigger(DAG, partition_key=str(DAYS[0])), DAYS[0]

    def waits() -> bool:
        found = shop.tasks(DAG, run, "publish")
        state = found[0]["state"] if found else ""
        assert state not in ("success", "failed"), shop.log(DAG, run, "publish")
        return state == "up_for_retry"

    until(waits, 180, "the publish task is to be tried again", pause=0.2)
    assert receipts(shop.root, DAG) == {str(day): 1}
    crm.start()
    assert shop.ended(DAG, run) == "success"
    [publish] = shop.tasks(DAG, run, "publish")
    assert publish["try_number"] >= 2
    assert {task["try_number"] for task in shop.tasks(DAG, run, "score")} == {1}
    assert there(crm, day) == best(day)
    assert receipts(shop.root, DAG) == {str(day): 1}
    logs = [shop.log(DAG, run, "publish", number) for number in range(1, publish["try_number"] + 1)]
    assert f"{DAG} {day} is published, and not delivered everywhere" in logs[0]
    assert "onward site: delivered  10 rows" in logs[-1]
    for text in (
        *logs,
        *(path.read_text(errors="ignore") for path in shop.root.rglob("*") if path.is_file()),
    ):
        assert SECRET not in text


def test_a_backfill_delivers_its_days(shop: Airflow, crm: Server) -> None:
    """Two days by `airflow backfill create`."""
    days = DAYS[1:3]
    shop.command(
        "backfill", "create", "--dag-id", DAG, "--from-date", str(days[0]), "--to-date", str(days[1])
    )

    def ended() -> bool:
        found = [one for one in shop.runs(DAG) if one["run_type"] == "backfill"]
        return len(found) == len(days) and all(one["state"] in ("success", "failed") for one in found)

    until(ended, 300, "both days have ended", pause=1)
    assert {day: there(crm, day) for day in days} == {day: best(day) for day in days}


def test_a_connection_that_nobody_has_set_fails_at_once_and_is_named(shop: Airflow, crm: Server) -> None:
    """It is not tried again; the day is published, and a run after it is set delivers."""
    shop.command("connections", "delete", "crm")
    run, day = shop.trigger(DAG, partition_key=str(DAYS[3])), DAYS[3]
    assert shop.ended(DAG, run) == "failed"
    [publish] = shop.tasks(DAG, run, "publish")
    assert publish["try_number"] == 1
    assert "connection crm is not set" in shop.log(DAG, run, "publish")
    assert receipts(shop.root, DAG)[str(day)] == 1 and there(crm, day) == []
    shop.command(
        "connections", "add", "crm", "--conn-uri", crm.address("crm").replace("postgresql", "postgres")
    )
    shop.clear(DAG, run, "publish")
    assert shop.ended(DAG, run) == "success"
    assert there(crm, day) == best(day) and receipts(shop.root, DAG)[str(day)] == 1
