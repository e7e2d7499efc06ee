"""A workspace whose decisions are delivered, and a real PostgreSQL."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.workspace import JOB, make_workspace

if TYPE_CHECKING:
    from tests.support.postgres import Server

DAY = "2020-01-02"
ROWS = 2_000
NUMBERS = itertools.count()
DELIVER = "deliver:\n  - {name: shop, postgres: {connection: crm, table: top, key: [id]}}\n"
Build = Callable[..., Path]


@pytest.fixture(scope="session")
def server() -> Iterator["Server"]:
    """A PostgreSQL of this process of tests."""
    pytest.importorskip("psycopg", reason="NOT TESTED: psycopg is not installed; the extra postgres has it")
    from tests.support.postgres import running

    with running() as one:
        yield one


@pytest.fixture
def crm(server: "Server", monkeypatch: pytest.MonkeyPatch) -> str:
    """A new database, which the connection `crm` is set to; its address."""
    address = server.create(f"crm{next(NUMBERS)}")
    monkeypatch.setenv("NIGHTSCORE_CONNECTION_CRM", address)
    return address


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Makes the workspace of the job `mini` with some text below its job.yaml."""

    def made(deliver: str = DELIVER, rows: int = ROWS, days: tuple[str, ...] = (DAY,), **more: Any) -> Path:
        return make_workspace(tmp_path / "ws", rows=rows, job=JOB + deliver, days=days, **more)

    return made


def rows_at(address: str, query: str) -> list[tuple[Any, ...]]:
    """What a reader of the database sees."""
    import psycopg

    with psycopg.connect(address) as connection:
        return list(connection.execute(query))  # type: ignore[arg-type, unused-ignore]
