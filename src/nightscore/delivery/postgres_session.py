"""A session with a PostgreSQL: opened by a connection's name, its errors as ours, without its address."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors

from nightscore.common import Broken, NotYet

Session = psycopg.Connection[tuple[Any, ...]]
OPTIONS: dict[str, Any] = {
    "connect_timeout": 10, "application_name": "nightscore", "client_encoding": "UTF8", "keepalives_idle": 30,
    "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 120_000,
}  # fmt: skip
SETTINGS = "SET datestyle = 'ISO'; SET timezone = 'UTC'; SET lock_timeout = '60s'; SET extra_float_digits = 1"
HOPELESS = ("authentication failed", "does not exist", "pg_hba", "not permitted", "SSL", "invalid")
LATER = ("08", "40", "53", "55", "57", "58")  # classes of SQLSTATE that pass: connection, conflict, resources


@contextmanager
def open_session(name: str, address: str) -> Iterator[Session]:
    """A session of a connection, whose statements are each a transaction unless one is begun.

    Raises:
        NotYet: the server does not answer, or went away; nothing that was not committed is there.
        Broken: it refuses us, or a statement is wrong.
    """
    with _as_ours(name):
        with _connect(name, address) as session:
            yield session


@contextmanager
def _connect(name: str, address: str) -> Iterator[Session]:
    try:
        session = psycopg.connect(address, autocommit=True, **_missing(address))
    except psycopg.ProgrammingError:
        raise Broken(f"connection {name}: what it is set to is no address; write postgresql://…") from None
    except psycopg.OperationalError as error:
        text = _first_fatal(str(error))
        if any(word in text for word in HOPELESS):
            raise Broken(f"connection {name}: the server refuses it: {text}") from None
        raise NotYet(f"connection {name}: {text or 'no server answers there'}; try again later") from None
    try:
        [encoding] = session.execute("SHOW server_encoding").fetchone() or ("",)
        if encoding != "UTF8":
            raise Broken(f"connection {name}: the database's encoding is {encoding}; allowed: UTF8")
        session.execute(SETTINGS)
        yield session
    finally:
        session.close()


def _missing(address: str) -> dict[str, Any]:
    """Our options, but for those that the address has."""
    given = psycopg.conninfo.conninfo_to_dict(address)
    return {option: value for option, value in OPTIONS.items() if option not in given}


@contextmanager
def _as_ours(name: str) -> Iterator[None]:
    try:
        yield
    except (errors.UniqueViolation, errors.CardinalityViolation) as error:
        detail = error.diag.message_detail or "a key is sent twice"
        raise Broken(f"connection {name}: the delivery's key is not unique: {detail}") from None
    except psycopg.Error as error:
        state = error.sqlstate or ""
        said = error.diag.message_primary or "the connection was lost"
        if not state or state.startswith(LATER):
            raise NotYet(f"connection {name}: {said}; try again later") from None
        rights = isinstance(error, errors.InsufficientPrivilege)
        way_on = "; docs/deploy.md, Connections of deliveries, has the rights that its role needs"
        raise Broken(f"connection {name}: the server says: {said}{way_on if rights else ''}") from None


def _first_fatal(text: str) -> str:
    """What the server itself said, without the names that stand in it."""
    found = re.search(r"(?:FATAL|ERROR):\s*(.+)", text)
    if not found:
        return "SSL can't be agreed on" if "SSL" in text else ""
    return re.sub(r'"[^"]*"', "…", found[1]).strip()
