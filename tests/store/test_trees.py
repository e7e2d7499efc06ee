"""A bucket's keys as folders: those that the same files make on a disk, one by one or many at once."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightscore.common import Root, open_workspace
from nightscore.store.lake import trees
from nightscore.store.lake.trees import BucketTree, DiskTree, Tree, one_look, tree_of
from nightscore.store.storage.objects import Objects, open_objects
from tests.support.s3 import BUCKET, Server, become_client

Shown = dict[str, list[tuple[str, bool, int]]]


@pytest.fixture(params=["memory", "SeaweedFS"])
def bucket(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Objects]:
    """A storage, which is that of every root."""
    address = "memory:"
    if request.param == "SeaweedFS":
        server: Server = request.getfixturevalue("s3_server")
        become_client(monkeypatch, server.port, tmp_path / "scratch")
        address = f"s3://{BUCKET}/{tmp_path.name}"
    monkeypatch.setenv("NIGHTSCORE_SCRATCH", str(tmp_path / "scratch"))
    store = open_objects(address, tmp_path / "writer")
    monkeypatch.setattr(trees, "open_bucket", lambda _root: store)
    yield store


def fill(bucket: Objects, disk: Path, keys: dict[str, bytes]) -> None:
    """The same files in both."""
    bucket.each(lambda key: bucket.replace(key, keys[key]), list(keys))
    for key, data in keys.items():
        (disk / key).parent.mkdir(parents=True, exist_ok=True)
        (disk / key).write_bytes(data)


def shown(tree: Tree, top: Path, folder: Path) -> Shown:
    """What a tree has below a folder, all levels."""
    found: Shown = {}
    entries = sorted(tree.entries(folder), key=lambda entry: entry.name)
    found[folder.relative_to(top).as_posix()] = [
        (e.name, e.is_dir(), 0 if e.is_dir() else e.stat().st_size) for e in entries
    ]
    for entry in entries:
        if entry.is_dir():
            found |= shown(tree, top, Path(entry.path))
    return found


def a_lake(seed: int) -> dict[str, bytes]:
    """Days of some files each; with what confuses who lists by name alone."""
    draw = random.Random(seed)  # noqa: S311
    keys = {f"t/{name}": b"x" for name in ("SHA256SUMS", "a", "zz.parquet")}
    days = [f"day=2020-{month:02}-{day:02}" for month in range(1, 5) for day in range(1, 29)]
    for day in draw.sample(days, 80):
        for number in range(draw.choice([1, 1, 2, 5])):
            inside = draw.choice(["", "", "h=1/", "h=10/", "h=1/q=a b/", "_temporary/0/"])
            keys[f"t/{day}/{inside}part-{number}.parquet"] = b"x" * draw.randrange(0, 4)
        if draw.random() < 0.3:
            keys[f"t/{day}/_SUCCESS"] = b""
    some = draw.choice(days)
    for odd in (f"{some}-old", f"{some}.bak", f"{some} ", some[:-1], "day=Größe", f"{some}~"):
        keys[f"t/{odd}/x.parquet"] = b"odd"
    return keys


@pytest.mark.parametrize("seed", range(4))
def test_listed_together_they_are_what_a_disk_has(bucket: Objects, tmp_path: Path, seed: int) -> None:
    """Some days, all days, or those of a span."""
    fill(bucket, tmp_path / "disk", keys := a_lake(seed))
    root = Root("lake", "s3://lake/x", "a test")
    days = sorted({key.split("/")[1] for key in keys if key.count("/") > 1})
    draw = random.Random(seed)  # noqa: S311
    for wanted in (days, days[5:40], draw.sample(days, 20), days[-1:]):
        tree, top = BucketTree(root), root.folder
        tree.entries(top / "t")
        tree.preload([top / "t" / day for day in wanted], deep=True)
        disk = tmp_path / "disk"
        assert shown(tree, top, top / "t") == shown(DiskTree(), disk, disk / "t")


def test_more_than_a_page_of_files_is_listed_together(bucket: Objects, tmp_path: Path) -> None:
    """A storage gives a thousand keys at once."""
    keys = {f"t/day=2020-01-{d:02}/{n:03}.parquet": b"x" for d in range(1, 8) for n in range(220)}
    fill(bucket, tmp_path / "disk", keys)
    root = Root("lake", "s3://lake/x", "a test")
    tree, top = BucketTree(root), root.folder
    tree.entries(top / "t")
    tree.preload([top / f"t/day=2020-01-{d:02}" for d in range(2, 8)], deep=True)
    assert shown(tree, top, top / "t") == shown(DiskTree(), tmp_path / "disk", tmp_path / "disk/t")


def test_marks_of_folders_are_no_files(bucket: Objects, tmp_path: Path) -> None:
    """Some writers put an object for a folder."""
    fill(bucket, tmp_path / "disk", {f"t/day={n}/h=1/a.parquet": b"x" for n in range(4)})
    for key in ("t/day=1/", "t/day=2/h=1/", "t/day=3/empty/"):
        bucket.replace(key, b"")
    root = Root("lake", "s3://lake/x", "a test")
    alone, together, top = BucketTree(root), BucketTree(root), root.folder
    together.entries(top / "t")
    together.preload([top / f"t/day={n}" for n in range(4)], deep=True)
    for n in range(4):
        names = [(e.name, e.is_dir()) for e in together.entries(top / f"t/day={n}")]
        assert names == [(e.name, e.is_dir()) for e in alone.entries(top / f"t/day={n}")]


def test_a_storage_that_lists_in_another_order_is_listed_folder_by_folder(
    bucket: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a part of a folder would be taken for all of it."""
    import obstore

    real = obstore.list

    def shuffled(*args: object, **named: object) -> Iterator[list[object]]:
        named.pop("offset", None)
        found = [one for page in real(*args, **named) for one in page]  # type: ignore[call-overload]
        random.Random(3).shuffle(found)  # noqa: S311
        return iter([found])

    fill(bucket, tmp_path / "disk", {f"t/day={n}/{k}.parquet": b"x" for n in range(9) for k in range(9)})
    monkeypatch.setattr(obstore, "list", shuffled)
    root = Root("lake", "s3://lake/x", "a test")
    tree, top = BucketTree(root), root.folder
    tree.entries(top / "t")
    tree.preload([top / f"t/day={n}" for n in range(1, 8)], deep=True)
    assert shown(tree, top, top / "t") == shown(DiskTree(), tmp_path / "disk", tmp_path / "disk/t")


def test_a_look_lists_once_and_another_anew(
    bucket: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came meanwhile is seen by a look of its own, also within the first."""
    monkeypatch.setenv("NIGHTSCORE_ROOT_LAKE", "s3://bucket/somewhere")
    (tmp_path / "jobs").mkdir()
    space = open_workspace(tmp_path)
    top = space.roots["lake"].folder

    def names() -> list[str]:
        return [entry.name for entry in tree_of(space, top / "t").entries(top / "t")]

    bucket.replace("t/a.parquet", b"x")
    with one_look():
        assert names() == ["a.parquet"]
        bucket.replace("t/b.parquet", b"x")
        assert names() == ["a.parquet"]
        with one_look():
            assert names() == ["a.parquet", "b.parquet"]
        assert names() == ["a.parquet"]
    assert names() == ["a.parquet", "b.parquet"]
