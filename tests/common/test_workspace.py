"""A workspace is a folder; a path of a job.yaml that leaves it is refused, however it leaves."""

from pathlib import Path

import pytest

from nightscore.common.errors import Broken
from nightscore.common.workspace import WORKSPACE_VARIABLE, Workspace, open_workspace


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """A workspace beside a secret file and a folder whose name starts like its own."""
    root = tmp_path / "space"
    (root / "jobs").mkdir(parents=True)
    (root / "data" / "lake").mkdir(parents=True)
    (root / "data" / "lake" / "x.parquet").write_text("x")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "x").write_text("secret")
    (tmp_path / "space-evil").mkdir()
    return Workspace(root)


LEAVING = [
    "..",
    "../secret/x",
    "data/../../secret/x",
    "/etc/passwd",
    "/",
    "../space-evil",
    "data/lake/../../..",
]


@pytest.mark.parametrize("path", LEAVING)
def test_a_path_that_leaves_is_refused(space: Workspace, path: str) -> None:
    """By `..`, by an absolute path, into a folder of a similar name: refused by its path."""
    with pytest.raises(Broken, match=r"lies outside the workspace") as caught:
        space.resolve(path)
    assert str(caught.value).startswith(f"{path} ")


LINKS = {
    "a file": ("data/lake/y.parquet", "secret/x", "data/lake/y.parquet"),
    "a folder": ("data/lake/y", "secret", "data/lake/y/x"),
    "a folder, to what is not there": ("data/lake/y", "secret", "data/lake/y/absent"),
    "a file that is not there": ("data/lake/y", "absent", "data/lake/y"),
    "a folder below data, as a whole": ("data/all", ".", "data/all/secret/x"),
}


@pytest.mark.parametrize(("at", "to", "path"), LINKS.values(), ids=LINKS.keys())
def test_a_symbolic_link_that_leaves_is_refused(space: Workspace, at: str, to: str, path: str) -> None:
    """A link is followed before it is judged."""
    (space.root / at).symlink_to(space.root.parent / to)
    with pytest.raises(Broken, match=r"lies outside the workspace"):
        space.resolve(path)


NO_PATHS = {"NUL": "data/\0x", "a name too long": "data/" + "x" * 300, "a circle of links": "data/a/x"}


@pytest.mark.parametrize("path", NO_PATHS.values(), ids=NO_PATHS.keys())
def test_what_is_no_path_is_refused(space: Workspace, path: str) -> None:
    """What the system can't even look for is Broken, not an error of another kind."""
    (space.root / "data/a").symlink_to(space.root / "data/b")
    (space.root / "data/b").symlink_to(space.root / "data/a")
    with pytest.raises(Broken, match=r"is no path that can be read"):
        space.resolve(path)


INSIDE = [
    "data/lake/x.parquet",
    "data/lake/../lake/x.parquet",
    "data/absent",
    "jobs",
    ".",
    "data/lake/~",
    "..data",
]


@pytest.mark.parametrize("path", INSIDE)
def test_a_path_inside_is_resolved(space: Workspace, path: str) -> None:
    """Whatever ends inside the workspace is fine, whether it is there or not."""
    assert space.resolve(path) == (space.root / path).resolve()


def test_a_link_inside_the_workspace_is_fine(space: Workspace) -> None:
    """A link that stays inside is followed."""
    (space.root / "data/y").symlink_to("lake")
    assert space.resolve("data/y/x.parquet") == space.root / "data/lake/x.parquet"


def test_data_may_lie_on_another_disk(tmp_path: Path) -> None:
    """`data/` itself may be a link; its files are named as if it were none, and what leaves it is refused."""
    disk, root = tmp_path / "disk", tmp_path / "space"
    (disk / "lake").mkdir(parents=True)
    (disk / "lake" / "x.parquet").write_text("x")
    (tmp_path / "secret").write_text("x")
    (root / "jobs").mkdir(parents=True)
    (root / "data").symlink_to(disk)
    space = Workspace(root)
    assert space.resolve("data/lake/x.parquet") == disk / "lake/x.parquet"
    assert space.relative(disk / "lake/x.parquet") == "data/lake/x.parquet"
    (disk / "lake" / "y").symlink_to(tmp_path / "secret")
    for path in ("data/lake/y", "data/../secret", "data/lake/../../secret"):
        with pytest.raises(Broken, match=r"lies outside"):
            space.resolve(path)


def test_a_workspace_reached_through_a_link_is_one(space: Workspace, tmp_path: Path) -> None:
    """A link to the workspace is the workspace: paths inside are inside."""
    (tmp_path / "link").symlink_to(space.root)
    linked = Workspace(tmp_path / "link")
    assert linked.resolve("data/lake/x.parquet") == space.root / "data/lake/x.parquet"
    assert linked.relative(linked.resolve("data/lake/x.parquet")) == "data/lake/x.parquet"


def test_the_workspace_is_named_or_set_or_here(
    space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder that is given, else $NIGHTSCORE_WORKSPACE, else the current one."""
    monkeypatch.delenv(WORKSPACE_VARIABLE, raising=False)
    monkeypatch.chdir(space.root)
    assert open_workspace().root == space.root
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(WORKSPACE_VARIABLE, "space")
    assert open_workspace().root == space.root
    (tmp_path / "other" / "jobs").mkdir(parents=True)
    assert open_workspace("other").root == tmp_path / "other"


def test_a_folder_that_is_no_workspace_says_how_to_name_one(tmp_path: Path) -> None:
    """No folder jobs/, or no folder: the message names the folder, the option and the variable."""
    for folder, lacks in (
        (tmp_path, "it has no folder jobs/"),
        (tmp_path / "absent", "there is no such folder"),
    ):
        with pytest.raises(Broken, match=rf"^{folder} is no workspace: {lacks}. Name one with"):
            open_workspace(folder)


@pytest.mark.parametrize("character", ["=", "?", "#", "%"])
def test_a_path_that_other_readers_would_read_otherwise_is_refused(tmp_path: Path, character: str) -> None:
    """A hive key, a pattern, a part of an address: its character in a workspace's path is refused."""
    folder = tmp_path / f"a{character}b"
    (folder / "jobs").mkdir(parents=True)
    (tmp_path / "plain").symlink_to(folder)
    for path in (folder, tmp_path / "plain"):
        with pytest.raises(Broken, match=r"the path of a workspace must not contain"):
            open_workspace(path)


def test_job_files_are_found_at_any_depth(space: Workspace) -> None:
    """Every job.yaml below jobs/, by path, and nothing else."""
    for folder in ("b", "a/deep"):
        (space.root / "jobs" / folder).mkdir(parents=True)
        (space.root / "jobs" / folder / "job.yaml").write_text("x")
    (space.root / "jobs" / "b" / "other.yaml").write_text("x")
    found = [space.relative(file) for file in space.job_files()]
    assert found == ["jobs/a/deep/job.yaml", "jobs/b/job.yaml"]
