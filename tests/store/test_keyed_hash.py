"""Keyed hashes of keys: those of Python's hmac, by Python and by DuckDB."""

import hashlib
import hmac

import duckdb
import pytest

from nightscore.common import Broken
from nightscore.store import keyed_hash

SECRETS = [b"s" * 16, b"a secret of \xc3\xa9", b"k" * 64, b"longer than a block " * 9]
KEYS = [("2734",), ("c001", "7"), ("\u00e9t\u00e9, 1:2", "")]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("key", KEYS)
def test_both_are_hmac_sha256(secret: bytes, key: tuple[str, ...]) -> None:
    """Of the values, each with its length in bytes before it."""
    message = ",".join(f"{len(text.encode())}:{text}" for text in key).encode()
    truth = hmac.new(secret, message, hashlib.sha256).hexdigest()
    assert keyed_hash.hash_key(secret, key) == truth
    names = [f"c{i}" for i in range(len(key))]
    row = ", ".join(f"?::VARCHAR AS {name}" for name in names)
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE rows AS SELECT " + row, list(key))
        sql = f"SELECT {keyed_hash.hash_sql(names)} FROM rows"
        assert connection.execute(sql, keyed_hash.pads(secret)).fetchall() == [(truth,)]


def test_a_null_has_no_hash() -> None:
    """It is nobody's."""
    with duckdb.connect() as connection:
        sql = f"SELECT {keyed_hash.hash_sql(['c'])} FROM (SELECT NULL::BIGINT AS c)"
        assert connection.execute(sql, keyed_hash.pads(SECRETS[0])).fetchall() == [(None,)]


@pytest.mark.parametrize("text", ["", "fifteen letters"])
def test_a_secret_that_is_none_or_short_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how one is made."""
    monkeypatch.setenv("NIGHTSCORE_ERASURE_SECRET", text)
    with pytest.raises(Broken, match=r"at least 16 characters.*secrets\.token_hex"):
        keyed_hash.read_secret()
    assert keyed_hash.secret_if_set() is None
