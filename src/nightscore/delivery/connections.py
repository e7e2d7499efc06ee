"""Connections by name: what they are set to stands in the environment, or in Airflow, and nowhere else."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from nightscore.common import Broken
from nightscore.job import Delivery

VARIABLE = "NIGHTSCORE_CONNECTION_"
AIRFLOW = "AIRFLOW_CONN_"  # of messages, as Airflow itself reads it: a URI, or JSON
POSTGRES = "postgres"
MESSAGES = ("webhook", "slack", "email")
EXAMPLES = {
    "webhook": "https://hooks.example.com/…",
    "slack": "https://hooks.slack.com/services/…",
    "email": "smtp://USER:PASSWORD@mail.example.com:465?from_email=…",
}
LookUp = Callable[[str, str], str | None]  # name and kind of a connection -> its address
_beside: ContextVar[LookUp | None] = ContextVar("beside", default=None)


def variable_of(name: str) -> str:
    """The environment variable that sets a connection."""
    return VARIABLE + name.upper().replace("-", "_")


def unset(name: str) -> str:
    """That a connection is not set here, for people; "" where it is."""
    return "" if _find(name, POSTGRES) else f"connection {name} is not set here ({variable_of(name)})"


def unset_connection(delivery: Delivery) -> str:
    """The same of the connection of a delivery, where it has one."""
    return unset(delivery.postgres.connection) if delivery.postgres else ""


def address_of(name: str, kind: str = "") -> str:
    """What a connection is set to. It is a secret: it stands in no message, record or page.

    `kind` is `postgres` where it has to be one; a plug-in gets whatever is there.

    Raises:
        Broken: nothing is.
    """
    found = _find(name, kind)
    if found is None and kind in MESSAGES:
        raise Broken(
            f"connection {name} is not set: set {variable_of(name)}={EXAMPLES[kind]}, or "
            f"{AIRFLOW}{variable_of(name).removeprefix(VARIABLE)}, or in Airflow the connection {name!r}; "
            "never in job.yaml"
        )
    if found is None:
        raise Broken(
            f"connection {name} is not set: set {variable_of(name)}=postgresql://…, or in Airflow the "
            f"connection {name!r}; never in job.yaml"
        )
    return found


@contextmanager
def connections_from(look_up: LookUp) -> Iterator[None]:
    """A context in which connections that the environment has not are looked up elsewhere, too."""
    token = _beside.set(look_up)
    try:
        yield
    finally:
        _beside.reset(token)


def _find(name: str, kind: str) -> str | None:
    set_to = os.environ.get(variable_of(name))
    if set_to:
        return set_to
    if kind in MESSAGES and (told := os.environ.get(AIRFLOW + variable_of(name).removeprefix(VARIABLE))):
        return told
    look_up = _beside.get()
    return look_up(name, kind) if look_up else None
