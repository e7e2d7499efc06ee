"""What every storage of `data/` promises, tried on each: a folder, memory, and a real S3 server."""

import contextlib
import os
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from nightscore.common import Broken
from nightscore.store.storage import Folder, Seen, Storage, marks
from nightscore.store.storage.fetches import RANGE
from nightscore.store.storage.objects import WHOLE, open_objects
from tests.support.azurite import client_environment as azure_environment
from tests.support.azurite import environment_by_key as azure_environment_by_key
from tests.support.s3 import BUCKET, Server, client_environment, free_ports
from tests.support.s3_proxy import Proxy

KINDS = ("folder", "memory", "s3", "moto", "azurite")


@pytest.fixture(params=KINDS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """An empty storage of each kind."""
    if request.param == "folder":
        yield Folder(tmp_path / "workspace")
    elif request.param == "memory":
        yield open_objects("memory:", tmp_path / "scratch")
    else:
        yield request.getfixturevalue("bucket" if request.param == "s3" else request.param)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[int]:
    """The port of a second S3 server, which somebody else has written, with the bucket."""
    program = shutil.which("moto_server")
    if program is None:
        pytest.skip("NOT TESTED: no `moto_server` here: pip install 'moto[server]'")
    [port] = free_ports(1)
    with subprocess.Popen([program, "-p", str(port)], stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(300):
                with contextlib.suppress(OSError):
                    made = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
                    urllib.request.urlopen(made, timeout=5)  # noqa: S310
                    break
                time.sleep(0.1)
            yield port
        finally:
            process.kill()


@pytest.fixture
def moto(moto_server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A prefix of its own in a bucket of that server."""
    for name, value in client_environment(moto_server).items():
        monkeypatch.setenv(name, value)
    return open_objects(f"s3://{BUCKET}/{tmp_path.name}", tmp_path / "scratch/mirror")


@pytest.fixture
def azurite(azurite_server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A prefix of its own in a container of that server."""
    for name, value in azure_environment(azurite_server).items():
        monkeypatch.setenv(name, value)
    return open_objects(f"az://{BUCKET}/{tmp_path.name}", tmp_path / "scratch/mirror")


@pytest.fixture
def bucket(s3_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A prefix of its own in a bucket of the server."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return open_objects(f"s3://{BUCKET}/{tmp_path.name}", tmp_path / "scratch")


def put(storage: Storage, key: str, data: bytes) -> None:
    """Save data as a run does."""
    with storage.save(key) as file:
        file.write_bytes(data)


def test_of_many_who_create_a_record_one_wins_and_all_know_it(storage: Storage) -> None:
    """Whatever a storage answers to each."""
    with ThreadPoolExecutor(4) as pool:
        for round_ in range(3):
            key = f"data/runs/r{round_}/outcome.json"
            answers = list(pool.map(lambda n, key=key: storage.create(key, b"%d" % n), range(4)))
            assert len(set(answers)) == 1, "two winners"
            assert storage.read(key) == answers[0]
            assert storage.create(key, b"late") == answers[0], "a record was written twice"


def test_what_is_saved_is_there_whole_or_not_at_all(storage: Storage) -> None:
    """And is not written again, whoever tries."""
    key = "data/tables/t/day=2020-01-01/run-0.parquet"
    with pytest.raises(RuntimeError), storage.save(key) as file:
        file.write_bytes(b"half")
        raise RuntimeError
    assert storage.look(key) is None
    put(storage, key, b"whole")
    put(storage, key, b"other")
    assert storage.local(key).read_bytes() == b"whole"
    assert storage.local(key).parent.name == "day=2020-01-01", "DuckDB reads the day in the path"


@pytest.mark.parametrize("size", [0, 1, RANGE, RANGE + 1, WHOLE + 1])
def test_data_of_any_size_comes_back(storage: Storage, size: int) -> None:
    """By one request or by many."""
    data = os.urandom(min(size, 1 << 20)) * (size >> 20) + os.urandom(size % (1 << 20)) if size else b""
    put(storage, "data/tables/t/a.parquet", data)
    seen = storage.look("data/tables/t/a.parquet")
    assert seen and seen.bytes == len(data)
    read = storage.local("data/tables/t/a.parquet").read_bytes()
    assert (len(read), sha256(read).digest()) == (len(data), sha256(data).digest())
    assert storage.local("data/tables/t/a.parquet", seen).read_bytes() == data, "as a look has found it"
    for length in (1, 8, size + 1):
        assert storage.tail(seen, length) == data[-length:], "the end, or all there is"


@pytest.mark.parametrize("size", [1, RANGE + 1, WHOLE + 1])
def test_a_copy_has_the_time_of_its_file_wherever_it_is_fetched(
    storage: Storage, size: int, tmp_path: Path
) -> None:
    """To the nanosecond; one that is there already is not written again, and what replaces it has its own."""
    key, file = "data/lake/rows/part-0.parquet", tmp_path / "copied"
    file.write_bytes(b"\1" + os.urandom(size - 1))
    then = 1_577_934_245_123_456_789  # in 2020
    os.utime(file, ns=(then, then))
    storage.save_copy(key, file)
    found = storage.local(key)
    assert found.stat().st_mtime_ns == then
    assert found.read_bytes() == file.read_bytes()
    file.write_bytes(b"other")
    storage.save_copy(key, file)
    assert storage.local(key).stat().st_size == size
    storage.replace(key, bytes(size))
    assert storage.local(key).stat().st_mtime_ns > then, "another object with the time of the one before"


def test_nothing_is_not_found_and_not_empty(storage: Storage) -> None:
    """A record that is not there is another thing than an empty one."""
    with pytest.raises(FileNotFoundError):
        storage.read("data/runs/nothing.json")
    with pytest.raises(FileNotFoundError):
        storage.local("data/runs/nothing.json").read_bytes()
    assert storage.look("data/runs/nothing.json") is None
    assert storage.look("data") is None, "a folder is no object"
    assert not storage.is_folder("data/runs/nothing")
    assert list(storage.walk("data/runs/nothing")) == []
    storage.remove("data/runs/nothing")
    storage.create("data/runs/empty.json", b"")
    assert storage.read("data/runs/empty.json") == b""


def test_a_second_name_is_the_same_data_and_outlives_the_first(storage: Storage) -> None:
    """As a table's file outlives the run's folder."""
    for number in range(3):
        put(storage, f"data/runs/r/scores/{number}.parquet", b"%d" % number)
    names = {f"data/tables/t/day=1/r-{n}.parquet": f"data/runs/r/scores/{n}.parquet" for n in range(3)}
    storage.link(names)
    storage.link(names)
    storage.remove("data/runs/r")
    assert [storage.local(name).read_bytes() for name in names] == [b"0", b"1", b"2"]
    assert list(storage.walk("data/runs/r")) == []
    with pytest.raises(FileNotFoundError):
        storage.link({"data/tables/t/day=1/x.parquet": "data/runs/r/scores/0.parquet"})


def test_what_lies_in_folders_is_listed_by_patterns(storage: Storage) -> None:
    """One pattern a level; hidden names if they are asked for."""
    for key in ("a/2020-01-01/r1/plan.json", "a/2020-01-01/r2/plan.json", "a/2020-01-02/r3/x/deep.json",
                "b/2020-01-01/r4/plan.json", "a/.hidden/r5/plan.json", "loose.json"):  # fmt: skip
        storage.create(f"data/runs/{key}", b"1")
    glob = storage.glob
    assert glob("data/runs", ["*"]) == ["data/runs/a", "data/runs/b", "data/runs/loose.json"]
    assert glob("data/runs/a", ["*"]) == ["data/runs/a/2020-01-01", "data/runs/a/2020-01-02"]
    assert "data/runs/a/.hidden" in glob("data/runs/a", ["*"], hidden=True)
    assert glob("data/runs", ["*", "2020-01-01", "*"]) == [
        "data/runs/a/2020-01-01/r1", "data/runs/a/2020-01-01/r2", "data/runs/b/2020-01-01/r4",
    ]  # fmt: skip
    assert glob("data/runs", ["a", "*", "*", "plan.json"]) == [
        "data/runs/a/2020-01-01/r1/plan.json", "data/runs/a/2020-01-01/r2/plan.json",
    ]  # fmt: skip
    assert storage.glob_folders("data/runs", ["*"]) == ["data/runs/a", "data/runs/b"]
    assert storage.glob_folders("data/runs/a/2020-01-02/r3", ["*"]) == ["data/runs/a/2020-01-02/r3/x"]
    assert glob("data/nowhere", ["*", "*"]) == []


@pytest.mark.sample(2)
def test_more_than_a_page_of_keys_is_listed(storage: Storage) -> None:
    """A storage gives a thousand keys at once."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: storage.replace(f"data/tables/t/n{n:04}.json", b""), range(1_050)))
    assert len(storage.glob("data/tables/t", ["*"])) == 1_050
    assert len(storage.glob("data/tables", ["*", "*"])) == 1_050
    storage.remove("data/tables/t")
    assert storage.glob("data/tables/t", ["*"]) == []


def test_what_goes_while_it_is_removed_is_gone_and_so_is_the_rest(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure takes 256 a request, and says of a key that was removed that it is not there: that is no end."""
    keys = [f"data/runs/r/n{number:03}.json" for number in range(270)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: storage.replace(key, b""), keys))
    real = type(storage).walk

    def walked(self: Storage, key: str) -> Iterator[Seen]:
        found = list(real(self, key))
        if key == "data/runs/r":
            storage.remove(keys[3])  # another process
        return iter(found)

    monkeypatch.setattr(type(storage), "walk", walked)
    storage.remove("data/runs/r")
    assert storage.glob("data/runs/r", ["*"]) == []


LISTING = {
    "a cut body": {"cut": True}, "409": {"status": 409}, "500": {"status": 500, "times": 5},
    "reset": {"reset": True, "times": 5},
}  # fmt: skip


@pytest.fixture
def proxied(
    bucket: Storage, s3_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Storage, Proxy]]:
    """The same bucket behind a proxy, with more than a page of keys."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: bucket.replace(f"data/tables/t/n{n:04}.json", b""), range(1_010)))
    with Proxy(s3_server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        yield open_objects(f"s3://{BUCKET}/{tmp_path.name}", tmp_path / "other"), proxy


@pytest.mark.parametrize("fault", LISTING)
@pytest.mark.parametrize("page", [0, 1])
@pytest.mark.sample(2)
def test_a_listing_that_fails_is_made_again_and_is_not_a_shorter_one(
    proxied: tuple[Storage, Proxy], fault: str, page: int
) -> None:
    """As often as the client gives up: a table would be none, a run undecided, a file garbage."""
    storage, proxy = proxied
    proxy.set_rules({**LISTING[fault], "method": "GET", "skip": page})
    assert len(list(storage.walk("data/tables"))) == 1_010
    proxy.set_rules({**LISTING[fault], "method": "GET"})
    assert storage.is_folder("data/tables")
    proxy.set_rules({**LISTING[fault], "method": "GET"})
    assert storage.glob("data/tables", ["*"]) == ["data/tables/t"]


def test_a_listing_that_is_refused_is_not_tried_again_later(proxied: tuple[Storage, Proxy]) -> None:
    """A policy without ListBucket, or a clock that is hours off: nobody's waiting helps."""
    storage, proxy = proxied
    for call in (
        storage.is_folder,
        lambda key: list(storage.walk(key)),
        lambda key: storage.glob(key, ["*"]),
    ):
        proxy.set_rules({"status": 403, "method": "GET", "path": "list-type=2", "times": 1_000})
        with pytest.raises(Broken, match="does not let us read or write there"):
            call("data/tables")
        assert proxy.counts["LIST"] == 1


def test_what_is_replaced_is_another(storage: Storage) -> None:
    """By its tag; what was fetched before is not what is read after."""
    storage.replace("data/runs/held.json", b"first")
    before = storage.look("data/runs/held.json")
    assert storage.local("data/runs/held.json").read_bytes() == b"first"
    storage.replace("data/runs/held.json", b"other")
    after = storage.look("data/runs/held.json")
    assert before and after and before.tag != after.tag
    assert storage.read("data/runs/held.json") == b"other"
    assert storage.local("data/runs/held.json").read_bytes() == b"other"


def test_times_are_by_the_storage_s_clock(storage: Storage) -> None:
    """What is written now is not older than now was before, within the second that some storages count in."""
    before = storage.now()
    storage.create("data/runs/x.json", b"1")
    seen = storage.look("data/runs/x.json")
    assert seen and before - 1.0 <= seen.modified <= storage.now() + 1.0


def test_a_folder_that_is_held_shows_it_until_the_end(storage: Storage) -> None:
    """By one holder or by two."""
    assert not storage.is_held("data/runs/r")
    with storage.hold("data/runs/r"):
        assert storage.is_held("data/runs/r")
        with storage.hold("data/runs/r"):
            assert storage.is_held("data/runs/r")
        assert storage.is_held("data/runs/r"), "the first one is still at work"
    assert not storage.is_held("data/runs/r")


def test_who_would_be_alone_waits_for_those_who_share(storage: Storage) -> None:
    """And they for it; those who share don't wait for each other."""
    key = "data/tables/t/_owners"
    with (
        storage.lock(key, shared=True, seconds=0.2) as one,
        storage.lock(key, shared=True, seconds=0.2) as two,
    ):
        assert one and two
        with storage.lock(key, shared=False, seconds=0.2) as alone:
            assert not alone
    with storage.lock(key, shared=False, seconds=5) as alone:
        assert alone
        with storage.lock(key, shared=True, seconds=0.2) as shared:
            assert not shared
    with storage.lock(key, shared=True, seconds=5) as shared:
        assert shared


def test_nobody_is_inside_beside_who_is_alone(storage: Storage) -> None:
    """Eight threads, half of them alone."""
    inside, worst, guard = [0, 0], [], threading.Lock()

    def enter(number: int) -> None:
        shared = number % 2 == 0
        with storage.lock("data/tables/t/_owners", shared=shared, seconds=20) as locked:
            if locked:
                with guard:
                    inside[shared] += 1
                    worst.append(tuple(inside))
                time.sleep(0.01)
                with guard:
                    inside[shared] -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, range(8)))
    assert worst and all(alone == 0 or (alone, shared) == (1, 0) for alone, shared in worst)


def test_credentials_that_are_wrong_are_said_and_not_shown(
    bucket: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The secret is in no message."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    with pytest.raises(Broken, match="AWS_") as caught:
        open_objects(f"s3://{BUCKET}/x", tmp_path).create("data/a.json", b"")
    shown = f"{caught.value} {caught.value.__cause__}"
    assert "very-secret" not in shown and "AKIAWRONG" not in str(caught.value)


def test_what_azure_refuses_is_said_and_not_shown(
    azurite: Storage, azurite_server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that is not there is not "try again later"; a key that is wrong is in no message."""
    azurite.create("data/a.json", b"1")
    with pytest.raises(Broken, match="there is no such bucket"):
        open_objects("az://nowhere/x", tmp_path / "one").create("data/a.json", b"1")
    for name, value in azure_environment_by_key(azurite_server, key="c2VjcmV0").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Broken, match=r"AZURE_|policy") as caught:
        open_objects(f"az://{BUCKET}/{tmp_path.name}", tmp_path / "two").create("data/b.json", b"1")
    assert "c2VjcmV0" not in f"{caught.value} {caught.value.__cause__}"
    for name, value in azure_environment_by_key(azurite_server).items():
        monkeypatch.setenv(name, value)
    assert open_objects(f"az://{BUCKET}/{tmp_path.name}", tmp_path / "three").read("data/a.json") == b"1"


@pytest.mark.slow  # it waits for a lock to lapse
def test_a_lock_counts_while_its_process_is_there(bucket: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that is; of one that has gone it counts for a while."""
    monkeypatch.setattr(marks, "LEASE", 3.0)
    key = "data/tables/t/_owners"
    with bucket.lock(key, shared=True, seconds=0) as locked:
        assert locked
        time.sleep(5.0)
        with bucket.lock(key, shared=False, seconds=0) as alone:
            assert not alone, "a table changed hands while it was being published"
    bucket.replace(f"{key}/lock/alone-of-one-that-was-killed", b"")
    with bucket.lock(key, shared=True, seconds=0) as locked:
        assert not locked
    with bucket.lock(key, shared=True, seconds=20) as locked:
        assert locked
