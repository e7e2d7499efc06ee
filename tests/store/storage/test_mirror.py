"""What is fetched from a bucket: the object that was found, whole, whoever else fetches or writes there."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nightscore.common import Broken, NotYet
from nightscore.store.storage.mirror import Mirror
from nightscore.store.storage.objects import Objects, open_objects
from tests.support.s3 import BUCKET, Server

KEY = "lake/rows/part-0.parquet"


@pytest.fixture
def bucket(s3_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """A prefix of its own in a bucket of the server, and a mirror that is the processes' own."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return another(tmp_path)


def another(tmp_path: Path) -> Objects:
    """As another process of this machine has it."""
    return open_objects(f"s3://{BUCKET}/{tmp_path.name}", tmp_path / "scratch/roots/mirror")


def test_an_older_object_does_not_take_the_place_of_a_newer_one(
    bucket: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process fetches the newer one, of the same size, while this one has all of the older one."""
    bucket.replace(KEY, b"old")
    real, other = Mirror.take, another(tmp_path)

    def late(self: Mirror, *rest: object) -> bool:
        monkeypatch.setattr(Mirror, "take", real)
        bucket.replace(KEY, b"new")
        assert other.local(KEY).read_bytes() == b"new"
        return real(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Mirror, "take", late)
    with pytest.raises(NotYet, match=r"part-0.parquet: changed or removed while it was being read"):
        bucket.local(KEY)
    path = tmp_path / "scratch/roots/mirror" / KEY
    assert path.read_bytes() == b"new"
    assert other.local(KEY).read_bytes() == bucket.local(KEY).read_bytes() == b"new"


def test_many_fetch_one_object_at_once(bucket: Objects, tmp_path: Path) -> None:
    """All have it, and nothing half or temporary is left."""
    data = os.urandom(3 << 20)
    bucket.replace(KEY, data)
    others = [another(tmp_path) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            found = list(pool.map(lambda one: one.local(KEY).read_bytes() == data, others))
            assert all(found)
            (tmp_path / "scratch/roots/mirror" / KEY).unlink(missing_ok=True)
    assert {path.name for path in (tmp_path / "scratch").rglob("*.tmp")} == set()


@pytest.mark.parametrize("how", ["other bytes", "cut", "gone", "appended"])
def test_a_fetched_file_that_is_not_the_object_any_more_is_fetched_again(bucket: Objects, how: str) -> None:
    """Also one whose size and time are those of before."""
    bucket.replace(KEY, b"right bytes")
    path = bucket.local(KEY)
    before = path.stat()
    if how == "gone":
        path.unlink()
    else:
        with path.open("r+b") as file:
            file.truncate(3) if how == "cut" else file.write(b"wrong bytes" + b"!" * (how == "appended"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert bucket.local(KEY).read_bytes() == b"right bytes"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB for what is fetched."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=262144,mode=700", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT TESTED: nothing can be mounted here ({done.stderr.strip()})")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)  # noqa: S607


def test_a_full_disk_is_not_yet(bucket: Objects, small_disk: Path) -> None:
    """And says where; fetched or written."""
    bucket.replace(KEY, os.urandom(1 << 20))
    there = open_objects(bucket.address, small_disk / "roots/mirror")
    with pytest.raises(NotYet, match=r"the disk is full: .*/disk/roots/mirror/lake/rows has"):
        there.local(KEY)
    with (
        pytest.raises(NotYet, match=r"the disk is full: .*/disk/roots/mirror/runs has"),
        there.save("runs/a") as file,
    ):
        file.write_bytes(os.urandom(1 << 20))
    assert bucket.look("runs/a") is None
    assert not [path for path in small_disk.rglob("*") if path.is_file() and not path.name.endswith(".lock")]


def test_what_is_fetched_is_this_user_s_alone(bucket: Objects, tmp_path: Path) -> None:
    """It is what is scored."""
    bucket.replace(KEY, b"1")
    bucket.local(KEY)
    assert (tmp_path / "scratch/roots").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("how", ["another user's", "a link", "open to all", "in another user's"])
def test_a_folder_that_others_may_write_is_refused(bucket: Objects, tmp_path: Path, how: str) -> None:
    """As one that somebody has made in /tmp before us."""
    bucket.replace(KEY, b"1")
    home = tmp_path / "scratch/roots"
    if how == "a link":
        (tmp_path / "elsewhere").mkdir()
        home.parent.mkdir()
        home.symlink_to(tmp_path / "elsewhere")
    else:
        home.mkdir(parents=True)
    if how == "open to all":
        home.chmod(0o777)
    if how.endswith("another user's"):
        if os.geteuid():
            pytest.skip("NOT TESTED: only root gives folders away")
        os.chown(home.parent if how.startswith("in") else home, 4711, -1)
    with pytest.raises(Broken, match=r"others may put there what is scored.*NIGHTSCORE_SCRATCH"):
        bucket.local(KEY)
    with pytest.raises(Broken, match="others may"), bucket.save("runs/a") as file:
        file.write_bytes(b"1")
