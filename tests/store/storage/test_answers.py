"""What a storage answers that can't do what it is asked is said, and nothing that it quotes of a request."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from nightscore.common import Broken, NotYet
from nightscore.store import Place, delta_commit
from nightscore.store.storage import requests
from nightscore.store.storage.objects import Objects, open_objects
from nightscore.store.tables.delta import read_snapshot
from tests.support.s3 import BUCKET, KEY, SECRET, client_environment
from tests.support.s3_proxy import Proxy

ANSWERS = {
    500: "answers 500 Internal Server Error, not what was asked",
    503: "answers 503 Service Unavailable, not what was asked",
    507: "answers 507 Insufficient Storage, not what was asked",
    429: "answers 429 Too Many Requests, not what was asked",
    599: "answers 599, not what was asked",
}


@pytest.fixture
def bucket(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """A prefix of its own behind the proxy, whose client loses patience soon."""
    for name, value in client_environment(proxy.port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(requests, "TRIES", 1)
    objects = open_objects(f"s3://{BUCKET}/{tmp_path.name}", tmp_path / "scratch/mirror")
    objects.create("data/runs/x.json", b"1")
    return objects


def said(of: pytest.ExceptionInfo[Exception]) -> str:
    """The message, which has no key, no secret and no address of a request."""
    text = str(of.value)
    assert not any(secret in text for secret in (KEY, SECRET, "http://", "SlowDown", "\x1b", "\n"))
    return text


@pytest.mark.parametrize("status", ANSWERS)
@pytest.mark.sample(1)
def test_what_the_storage_answers_is_said(bucket: Objects, proxy: Proxy, status: int) -> None:
    """Whatever is asked: a full disk of a server is no silence."""
    for call in (
        lambda: bucket.read("data/runs/x.json"),
        lambda: bucket.replace("data/runs/y.json", b"2"),
        lambda: bucket.first_names("data/runs"),
    ):
        proxy.set_rules({"status": status, "times": 1_000})
        with pytest.raises(NotYet) as caught:
            call()
        assert said(caught).endswith(f": the storage {ANSWERS[status]}; try again later")
    proxy.set_rules({"status": status, "times": 1_000, "method": "PUT"})
    with pytest.raises(NotYet) as caught:
        bucket.create("data/runs/z.json", b"2")
    assert said(caught).endswith(f"takes no record: it {ANSWERS[status]}; nothing is decided")


def test_silence_and_another_region_are_said_too(bucket: Objects, proxy: Proxy) -> None:
    """A connection that is dropped is no answer; a redirect without a place is what S3 says of a region."""
    proxy.set_rules({"reset": True, "times": 1_000})
    with pytest.raises(NotYet) as caught:
        bucket.read("data/runs/x.json")
    assert said(caught).endswith(": the storage does not answer; try again later")
    proxy.set_rules({"status": 301, "times": 1_000})
    with pytest.raises(Broken) as broken:
        bucket.read("data/runs/x.json")
    assert said(broken).endswith("the bucket is of another region; set AWS_REGION to it")


@pytest.mark.slow
def test_what_the_storage_answers_of_a_table_is_said(bucket: Objects, proxy: Proxy) -> None:
    """By deltalake's client, whose errors are other texts."""
    write_deltalake(bucket.table_address("data/tables/t"), pa.table({"day": ["2020-01-01"], "a": [1]}),
                    partition_by=["day"])  # fmt: skip
    for rule, answer in (({"status": 507}, ANSWERS[507]), ({"reset": True}, "does not answer")):
        proxy.set_rules({**rule, "times": 1_000, "path": r"\.json$"})
        with pytest.raises(NotYet) as caught:
            read_snapshot(Place(bucket, "data/tables/t"))
        assert said(caught) == f"table t: its storage {answer}; try again later"


@pytest.mark.slow
def test_what_the_storage_answers_to_a_commit_is_said(
    bucket: Objects, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose disk is full is no crowd of others who write."""
    monkeypatch.setattr(delta_commit, "ATTEMPTS", 2)
    table = Place(bucket, "data/tables/t")
    for number in (1, 2):
        file = table / f"day=2020-01-01/run{number}-0.parquet"
        with bucket.save(file.key) as path:
            pq.write_table(pa.table({"a": [number], "run_id": [f"run{number}"]}), path)
        change = delta_commit.TableCommit("job", "2020-01-01", f"run{number}", number, (file,))
        if number == 1:
            delta_commit.commit_files(table, change)
            proxy.set_rules({"status": 507, "times": 1_000, "method": "PUT", "path": "_delta_log"})
    with pytest.raises(NotYet) as caught:
        delta_commit.commit_files(table, change)
    assert said(caught) == f"table t: 2 commits of day 2020-01-01 failed; its storage {ANSWERS[507]}"
