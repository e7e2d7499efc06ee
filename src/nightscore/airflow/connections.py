"""Connections of Airflow as addresses, for deliveries and messages."""

import contextlib
import json
from collections.abc import Iterator
from urllib.parse import quote, urlencode

from nightscore.common import Broken
from nightscore.delivery import MESSAGES

TYPES = ("postgres", "postgresql", "generic")  # what it is where the provider is not installed
OPTIONS = (  # of what stands in extra, those that PostgreSQL's library knows; others are of Airflow's hook
    "sslmode", "sslnegotiation", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl", "sslcrldir",
    "sslsni", "ssl_min_protocol_version", "ssl_max_protocol_version", "channel_binding", "require_auth",
    "requirepeer", "gssencmode", "krbsrvname", "gsslib", "gssdelegation", "hostaddr", "service", "passfile",
    "options",
    "target_session_attrs", "load_balance_hosts", "connect_timeout", "tcp_user_timeout", "keepalives",
    "keepalives_idle", "keepalives_interval", "keepalives_count",
)  # fmt: skip


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """A context in which deliveries find Airflow's connections by their ids."""
    from nightscore.delivery import connections_from

    with connections_from(address_of):
        yield


def address_of(name: str, kind: str) -> str | None:
    """What a connection of Airflow says, as an address; None where there is none of the name.

    Raises:
        Broken: it is to be a PostgreSQL, and is of another type.
    """
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = Connection.get(name)
    except AirflowNotFoundException:
        return None
    if kind in MESSAGES:
        names = ("conn_type", "host", "port", "login", "password", "schema")
        return json.dumps({**{n: getattr(found, n) for n in names}, "extra": found.extra_dejson or {}})
    if kind != "postgres":  # a plug-in's own
        return str(found.get_uri())
    if found.conn_type not in TYPES:
        raise Broken(
            f"connection {name} is of type {found.conn_type} in Airflow; allowed: {', '.join(TYPES)}"
        )
    user = quote(found.login or "", safe="")
    account = f"{user}{':' + quote(found.password, safe='') if found.password else ''}@" if user else ""
    port = f":{found.port}" if found.port else ""
    extra = found.extra_dejson or {}
    options = {option: str(extra[option]) for option in OPTIONS if option in extra}
    asked = f"?{urlencode(options, quote_via=quote)}" if options else ""
    return f"postgresql://{account}{found.host or ''}{port}/{quote(found.schema or '', safe='')}{asked}"
