"""What a role at the target needs and what it must not have; and what a server that refuses is told by us."""

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from nightscore import Broken, load, run
from nightscore.cli.main import call
from tests.behaviour.world import Truth
from tests.delivery.conftest import DAY, DELIVER, ROWS, Build, rows_at
from tests.faults.marks import mostly_slow

if TYPE_CHECKING:
    from tests.support.postgres import Server

NEW = (2.0, 0.5)
IDS = "SELECT id FROM top ORDER BY id"
GRANTS = """
REVOKE ALL ON DATABASE {database} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {role};
GRANT USAGE ON SCHEMA public TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON top, nightscore_receipts TO {role};
"""


def best(weights: tuple[float, float]) -> list[tuple[int]]:
    return [(one,) for one in Truth(ROWS, weights).table("mini_top")["id"].to_pylist()]


def do(address: str, text: str) -> None:
    with psycopg.connect(address, autocommit=True) as session:
        for one in filter(str.strip, text.split(";")):
            session.execute(one)  # type: ignore[call-overload, unused-ignore]


@pytest.mark.parametrize("mode", mostly_slow(["replace_day", "upsert"], ["upsert"]))
def test_the_grants_that_the_docs_name_are_enough(
    build: Build, crm: str, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Where the tables are there, a role that may make none delivers; docs/deploy.md has these grants."""
    database = crm.rpartition("/")[2]
    role = f"writer_{database}"
    root = build(DELIVER.replace("key: [id]", f"key: [id], mode: {mode}"))
    run(load("mini", root), DAY)
    do(crm, f"CREATE ROLE {role} LOGIN;" + GRANTS.format(database=database, role=role))
    monkeypatch.setenv("NIGHTSCORE_CONNECTION_CRM", crm.replace("airflow@", f"{role}@"))
    Truth(ROWS, NEW).write_model(root)
    run(load("mini", root), DAY)
    assert rows_at(crm, IDS) == best(NEW) != best((1.0, 2.0))
    page = (Path(__file__).parents[2] / "docs/deploy.md").read_text()
    for needed in ("CONNECT, TEMPORARY ON DATABASE", "USAGE ON SCHEMA", "SELECT, INSERT, UPDATE, DELETE ON"):
        assert needed in page and needed in GRANTS


def test_a_right_that_is_missing_is_named_and_the_day_stays_as_it_was(
    build: Build, crm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the server's own words."""
    root = build()
    run(load("mini", root), DAY)
    do(crm, f"CREATE ROLE reader_{crm.rpartition('/')[2]} LOGIN")
    do(crm, f"GRANT SELECT ON top, nightscore_receipts TO reader_{crm.rpartition('/')[2]}")
    monkeypatch.setenv(
        "NIGHTSCORE_CONNECTION_CRM", crm.replace("airflow@", f"reader_{crm.rpartition('/')[2]}@")
    )
    Truth(ROWS, NEW).write_model(root)
    with pytest.raises(Broken, match="connection crm: the server says: permission denied for table top"):
        run(load("mini", root), DAY)
    assert rows_at(crm, IDS) == best((1.0, 2.0))


def test_a_password_that_is_refused_stands_nowhere(
    build: Build,
    server: "Server",
    crm: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not in a message, nor in any file of the workspace; nor does the role's name or the host."""
    rules = server.folder / "data/pg_hba.conf"
    rules.write_text("host all locked_17 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    do(crm, "CREATE ROLE locked_17 LOGIN PASSWORD 'the-right-word'; SELECT pg_reload_conf()")
    root, word = build(), "a-wrong-word-17"
    monkeypatch.setenv("NIGHTSCORE_CONNECTION_CRM", crm.replace("airflow@", f"locked_17:{word}@"))
    said = ""
    for command in (["run"], ["redeliver"], ["receipts"], ["verify"], ["deliveries"]):
        call([*command, "mini", "--day", DAY, "--workspace", str(root)])
        told = capsys.readouterr()
        said += told.out + told.err
    assert "connection crm: the server refuses it: password authentication failed for user …" in said
    files = [path for path in root.rglob("*") if path.is_file()]
    for secret in (word, "locked_17", "127.0.0.1"):
        assert secret not in said
        assert [path for path in files if secret.encode() in path.read_bytes()] == []


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(
    build: Build, crm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sslmode=require` in the address: nothing is sent in clear, and trying again won't help."""
    monkeypatch.setenv("NIGHTSCORE_CONNECTION_CRM", f"{crm}?sslmode=require")
    root = build()
    with pytest.raises(Broken, match="connection crm: the server refuses it: SSL can't be agreed on"):
        run(load("mini", root), DAY)
