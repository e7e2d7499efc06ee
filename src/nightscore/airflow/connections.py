"""Connections of Airflow as addresses, for deliveries."""

from urllib.parse import quote, urlencode


def address_of(name: str) -> str | None:
    """What a connection of Airflow says, as an address; None where there is none of the name."""
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = Connection.get(name)
    except AirflowNotFoundException:
        return None
    if not str(found.conn_type).startswith("postgres"):  # a plug-in's own
        return str(found.get_uri())
    user = quote(found.login or "", safe="")
    account = f"{user}{':' + quote(found.password, safe='') if found.password else ''}@" if user else ""
    port = f":{found.port}" if found.port else ""
    options = {name: value for name, value in (found.extra_dejson or {}).items() if isinstance(value, str)}
    asked = f"?{urlencode(options)}" if options else ""
    return f"postgresql://{account}{found.host or ''}{port}/{quote(found.schema or '', safe='')}{asked}"
