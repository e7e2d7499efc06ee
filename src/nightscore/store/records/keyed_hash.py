"""Keys that were erased, as hashes that only who has the secret can make: HMAC-SHA256 (RFC 2104).

What is hashed is a text of the key: its values as DuckDB writes them (2734, 1.50, 2026-11-27, true), each
with its length in bytes of UTF-8 and a colon before it, with commas between, in the order of the columns'
names. So Python and DuckDB give the same, and a table in which the column is BIGINT the same as one of texts.
"""

import hashlib
import hmac
import os
from collections.abc import Sequence

from nightscore.common import Broken
from nightscore.store.documents.sql_text import quote_identifier

SECRET = "NIGHTSCORE_ERASURE_SECRET"  # noqa: S105 - the name of a variable
SHORTEST, BLOCK, ID_DIGITS = 16, 64, 8  # characters of a secret; bytes of a block of SHA-256; digits of an id
MAKE = "python -c 'import secrets; print(secrets.token_hex(32))'"


def read_secret() -> bytes:
    """The operator's secret, from the environment.

    Raises:
        Broken: there is none, or it is too short.
    """
    text = os.environ.get(SECRET, "")
    if len(text) >= SHORTEST:
        return text.encode()
    lacks = f"has {len(text)} characters" if text else "is not set"
    raise Broken(
        f"{SECRET} {lacks}: a secret of at least {SHORTEST} characters, by which erased keys are written "
        f"down as hashes that nobody else can make. Make one once (`{MAKE}`), keep it with your secrets, and "
        "set it for `nightscore forget` and for runs, which say by it whether an erased key has come back"
    )


def secret_if_set() -> bytes | None:
    """The secret, None where there is none to be used: for runs, which go on without."""
    try:
        return read_secret()
    except Broken:
        return None


def secret_id(secret: bytes) -> str:
    """A short name of a secret, by which another one is noticed."""
    return hmac.new(secret, b"nightscore: the id of this secret", hashlib.sha256).hexdigest()[:ID_DIGITS]


def hash_key(secret: bytes, texts: Sequence[str]) -> str:
    """The keyed hash of one key, in hex."""
    message = ",".join(f"{len(text.encode())}:{text}" for text in texts)
    return hmac.new(secret, message.encode(), hashlib.sha256).hexdigest()


def hash_sql(columns: Sequence[str]) -> str:
    """The same as SQL for DuckDB, null where a value is; $1 and $2 are `pads` of the secret."""
    names = [f"{quote_identifier(column)}::VARCHAR" for column in columns]
    text = " || ',' || ".join(f"strlen({name}) || ':' || {name}" for name in names)
    return f"sha256($2::BLOB || unhex(sha256($1::BLOB || encode({text}))))"


def pads(secret: bytes) -> list[bytes]:
    """What HMAC puts before the text, and before the hash of that: values of the SQL above."""
    block = (secret if len(secret) <= BLOCK else hashlib.sha256(secret).digest()).ljust(BLOCK, b"\0")
    return [bytes(byte ^ with_ for byte in block) for with_ in (0x36, 0x5C)]
