"""A connection of Airflow as an address: libpq's parser finds in it what was typed into Airflow's form."""

import json

import pytest

pytest.importorskip("airflow")
pytest.importorskip("psycopg")

from psycopg.conninfo import conninfo_to_dict

from nightscore.airflow.connections import address_of
from nightscore.common import Broken

HARD = "p@ss:w/rd?&#%20 +ü"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"host": "db.internal", "port": 5433, "schema": "shop", "login": "writer", "password": HARD},
         {"host": "db.internal", "port": "5433", "dbname": "shop", "user": "writer", "password": HARD}),
        ({"host": "db", "schema": "a b", "login": "a@b", "extra": json.dumps(
            {"sslmode": "verify-full", "sslrootcert": "/etc/ssl/my ca.pem", "connect_timeout": 5,
             "cursor": "dictcursor", "enable_log_db_messages": True})},
         {"host": "db", "dbname": "a b", "user": "a@b", "sslmode": "verify-full",
          "sslrootcert": "/etc/ssl/my ca.pem", "connect_timeout": "5"}),
        ({"schema": "shop", "extra": json.dumps({"service": "shop"})}, {"dbname": "shop", "service": "shop"}),
    ],
)  # fmt: skip
def test_what_was_typed_is_what_libpq_reads(
    given: dict[str, object], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signs that mean something in an address, options of TLS; those of Airflow's own hook are left out."""
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps({"conn_type": "postgres", **given}))
    address = address_of("crm", "postgres")
    assert address and conninfo_to_dict(address) == expected


def test_one_that_is_not_there_is_none() -> None:
    """Then the message of the delivery says what is to be set."""
    assert address_of("nobody_has_set_this", "postgres") is None


def test_one_of_another_type_is_refused_and_a_plug_in_has_it_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where Airflow has no provider for PostgreSQL, its type is `generic`, which is taken."""
    told = {"host": "db", "login": "ada", "password": "secret17", "schema": "shop"}
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps({"conn_type": "generic", **told}))
    assert address_of("crm", "postgres") == "postgresql://ada:secret17@db/shop"
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps({"conn_type": "mysql", **told}))
    assert address_of("crm", "") == "mysql://ada:secret17@db/shop"
    with pytest.raises(
        Broken, match="connection crm is of type mysql in Airflow; allowed: postgres"
    ) as error:
        address_of("crm", "postgres")
    assert "secret17" not in str(error.value)
