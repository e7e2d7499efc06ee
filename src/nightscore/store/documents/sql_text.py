"""Names and texts as SQL text has them."""


def quote_identifier(identifier: str) -> str:
    """An identifier for SQL text."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(value: object) -> str:
    """A string literal for SQL text; for settings and views, which take no parameters."""
    return "'" + str(value).replace("'", "''") + "'"
