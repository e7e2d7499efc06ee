"""Roots are an allow list that the operator sets: named paths both ways, and nothing beside them is read."""

from pathlib import Path

import pytest

from nightscore.common.errors import Broken
from nightscore.common.workspace import Workspace


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace, and beside it a lake, and a folder that is no root."""
    for name in ("NIGHTSCORE_ROOT_LAKE", "NIGHTSCORE_ROOT_DATA"):
        monkeypatch.delenv(name, raising=False)
    for folder in ("w/jobs", "w/data/lake", "lake/sales", "lake2", "secret"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("w/data/lake/x", "lake/sales/x", "secret/x"):
        (tmp_path / file).write_text(file)
    return tmp_path / "w"


def write(root: Path, text: str) -> Workspace:
    """The workspace with a workspace.yaml."""
    (root / "workspace.yaml").write_text(text)
    return Workspace(root)


def test_a_path_of_a_root_is_named_by_it_both_ways(root: Path) -> None:
    """As plans and receipts write it, wherever the root lies."""
    space = write(root, f"roots: {{lake: {root.parent}/lake}}\n")
    assert space.resolve("lake:sales/x") == root.parent / "lake/sales/x"
    assert space.relative(space.resolve("lake:sales/x")) == "lake:sales/x"
    assert space.locate("lake:sales/x").read_text() == "lake/sales/x"
    assert (space.relative(space.resolve("lake:.")), space.locate("lake:")) == ("lake:", root.parent / "lake")


def test_without_roots_all_is_as_it_was(root: Path) -> None:
    """Paths of the workspace keep their names, with roots and without."""
    for space in (Workspace(root), write(root, f"roots: {{lake: {root.parent}/lake, w: {root.parent}}}\n")):
        assert space.relative(space.resolve("data/lake/x")) == "data/lake/x"
        assert space.locate("data/lake/x") == root / "data/lake/x"
        assert (space.tables, space.runs) == (root / "data/tables", root / "data/runs")


def test_a_root_may_be_a_link_and_be_relative_to_the_workspace(root: Path) -> None:
    """A link in the place of a root is the operator's; it is followed."""
    (root.parent / "link").symlink_to(root.parent / "lake")
    space = write(root, "roots: {lake: ../link}\n")
    assert space.relative(space.resolve("lake:sales/x")) == "lake:sales/x"


def test_a_variable_stands_above_the_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that dev and prod differ in it alone; what it does not say of the root stays."""
    monkeypatch.setenv("NIGHTSCORE_ROOT_MY_LAKE", str(root.parent / "lake2"))
    space = write(root, f"roots: {{my-lake: {{at: {root.parent}/lake, write: true}}}}\n")
    assert space.locate("my-lake:x") == root.parent / "lake2/x"
    assert (space.roots["my-lake"].setting, space.roots["my-lake"].write) == ("NIGHTSCORE_ROOT_MY_LAKE", True)
    (root / "workspace.yaml").unlink()
    assert Workspace(root).locate("my_lake:x") == root.parent / "lake2/x", "without the file it is one, too"


def test_data_may_lie_elsewhere_and_keeps_its_names(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables, runs, models and the default lake move together; plans and receipts do not see it."""
    other = root / "elsewhere"  # inside the workspace, too
    (other / "lake").mkdir(parents=True)
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", str(other))
    space = Workspace(root)
    assert (space.tables, space.runs, space.models) == (other / "tables", other / "runs", other / "models")
    assert space.resolve("data/lake/y") == space.locate("data/lake/y") == other / "lake/y"
    assert space.relative(other / "lake/y") == "data/lake/y"
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", str(root / "absent"))
    with pytest.raises(
        Broken, match=r"root data is .*absent \(by NIGHTSCORE_ROOT_DATA\), which is no folder"
    ):
        _ = Workspace(root).tables


def test_the_root_data_may_be_named_where_it_is_not_set(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that names it reads the same in each environment; plans write it as without a root."""
    space = Workspace(root)
    assert space.resolve("data:lake/x") == space.locate("data:lake/x") == root / "data/lake/x"
    assert space.relative(space.resolve("data:lake/x")) == "data/lake/x"
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", str(root.parent))
    assert Workspace(root).relative(Workspace(root).resolve("data:lake/sales/x")) == "data/lake/sales/x"
    with pytest.raises(Broken, match="lies outside"):
        space.resolve("data:../../secret/x")


OUTSIDE = [
    "lake:../secret/x",
    "lake:sales/../../secret/x",
    "../lake/sales/x",
    "lake:out/x",
    "lake:y",
    "data/out",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_what_leaves_all_roots_is_refused_with_the_way_on(root: Path, path: str) -> None:
    """By `..` also where it ends in another root, and by a link."""
    (root.parent / "lake/out").symlink_to(root.parent / "secret")
    (root.parent / "lake/y").symlink_to(root.parent / "secret/x")
    (root / "data/out").symlink_to(root.parent / "secret")
    space = write(root, f"roots: {{lake: {root.parent}/lake}}\n")
    with pytest.raises(Broken, match=r"lies outside the workspace .* and its roots \(lake\)") as caught:
        space.resolve(path)
    way = "write root: lake, path: sales/x" if path.startswith("..") else "make its folder a root"
    assert way in str(caught.value)


def test_a_link_into_another_root_is_followed(root: Path) -> None:
    """Both are allowed; the file is named where it lies."""
    (root / "data/crm").symlink_to(root.parent / "lake2")
    (root.parent / "lake2/z").write_text("z")
    space = write(root, f"roots: {{crm: {root.parent}/lake2}}\n")
    assert space.relative(space.resolve("data/crm/z")) == "crm:z"


def test_a_root_that_is_not_set_is_named(root: Path) -> None:
    """With those that are, and both ways to set one."""
    with pytest.raises(Broken, match=r"lake:x: root lake is not set; set are none.*NIGHTSCORE_ROOT_LAKE"):
        Workspace(root).resolve("lake:x")


def test_an_address_is_a_root_and_no_path_of_a_job(root: Path) -> None:
    """A bucket is a root; a job names the root, and no address."""
    space = write(root, f"roots: {{b: 's3://bank/lake', lake: {root.parent}/lake}}\n")
    assert space.locate("lake:sales/x").exists()
    with pytest.raises(Broken, match=r"s3://bank/lake is an address, .* set it as a root"):
        space.resolve("s3://bank/lake")


WRONG = {
    "[]": "a workspace.yaml has the keys name, airflow, roots",
    "roots: {}\nroot: x": "root: unknown key; a workspace.yaml has name, airflow, roots",
    "name: Risk": "name: 'Risk' is no name of a workspace; allowed: up to 31 small letters",
    "name: 3": "name: 3 is no name of a workspace",
    "roots: 3": "roots: 3 are no roots",
    "roots: {Lake: /x}": "'Lake' is no name of a root",
    "roots: {s3: /x}": "'s3' is no name of a root",
    "roots: {lake: 1}": "1 is no place",
    "roots: {lake: ''}": "is empty",
    "roots: {lake: {at: /x, writable: true}}": "roots.lake.writable: unknown key; allowed: roots: {",
    "roots: {lake: {write: true}}": "is no place; allowed",
    "roots: {lake: 's3://'}": "has no bucket, or a part that is empty; write s3://BUCKET or s3://BUCKET/PREFIX",
    "roots: {lake: 'gs:///x'}": "has no bucket, or a part that is empty; write gs://BUCKET",
    "roots: {lake: 's3://b//x'}": "has no bucket, or a part that is empty",
    "roots: {lake: {at: /x, write: 1}}": "is no place; allowed",
    "roots: {lake: 'https://x/y'}": "https:// is no storage; allowed: a folder, or s3://",
    "roots: {lake: /mnt/a=b}": "must not contain any of",
    "roots: {a-b: /x, a_b: /y}": "have one variable; rename one",
}


@pytest.mark.parametrize(("text", "said"), WRONG.items())
def test_a_mistake_in_workspace_yaml_is_named(root: Path, text: str, said: str) -> None:
    """File, line, the offending value and what is allowed."""
    with pytest.raises(Broken, match=r"^workspace\.yaml:\d+: ") as caught:
        _ = write(root, text).roots
    assert said in str(caught.value)


@pytest.mark.parametrize("value", ["../x", "ftp://x", "/a?b"])
def test_a_variable_that_is_no_place_is_named(
    root: Path, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path of a variable would depend on where a process starts."""
    monkeypatch.setenv("NIGHTSCORE_ROOT_LAKE", value)
    with pytest.raises(Broken, match=r"^NIGHTSCORE_ROOT_LAKE="):
        _ = Workspace(root).roots


@pytest.mark.parametrize(
    "place",
    [
        "{at: 's3://bob:s3cr3t@b', write: perhaps}",
        "['s3://bob:s3cr3t@b']",
        "{at: 's3://b?sig=s3cr3t', write: 1}",
    ],
)
def test_a_mistake_beside_a_password_does_not_repeat_it(tmp_path: Path, place: str) -> None:
    """The value is shown up to its scheme."""
    (tmp_path / "workspace.yaml").write_text(f"roots:\n  lake: {place}\n")
    with pytest.raises(Broken, match=r"roots\.lake: .* is no place") as caught:
        _ = Workspace(tmp_path).roots
    assert "s3cr3t" not in str(caught.value)


def test_an_empty_variable_is_not_the_root_of_the_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that came out empty would read the lake of another environment without a word."""
    (root / "workspace.yaml").write_text("roots: {lake: ../lake}\n")
    monkeypatch.setenv("NIGHTSCORE_ROOT_LAKE", "")
    with pytest.raises(Broken, match=r"^NIGHTSCORE_ROOT_LAKE is set, and empty"):
        _ = Workspace(root).roots
