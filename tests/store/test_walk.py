"""What can't be listed or isn't understood is an error with its name; nothing is left out without a word."""

# ruff: noqa: E501 - a row of a table of cases is one line

import os
import shutil
import socket
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nightscore.common import as_day
from nightscore.common.errors import Broken, NotYet
from nightscore.common.workspace import Workspace
from nightscore.job.sources.layout import parse_layout
from nightscore.store.lake.walk import Walk
from tests.support.users import another_user


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """A workspace with a lake of one day, `h=1`, which has one file."""
    day = tmp_path / "data/lake/day=2020-01-03/h=1"
    day.mkdir(parents=True)
    (day / "a.parquet").touch()
    return Workspace(tmp_path)


def lake(space: Workspace) -> Path:
    return space.root / "data/lake"


def found(space: Workspace, *ignore: str) -> list[str]:
    root = lake(space)
    return [p.relative_to(root).as_posix() for p in Walk(space, root, ignore).files().files]


def message(space: Workspace, kind: type[Exception] = Broken) -> str:
    with pytest.raises(kind) as caught:
        Walk(space, lake(space)).files()
    return str(caught.value)


@pytest.fixture
def open_space() -> Iterator[Workspace]:
    """A workspace that every user may read, with two folders of files."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    for name in ("h=1", "h=2"):
        (root / "data/lake/day=2020-01-03" / name).mkdir(parents=True)
        (root / "data/lake/day=2020-01-03" / name / "a.parquet").touch()
    yield Workspace(root)
    for folder in (root, *(p for p in root.rglob("*") if p.is_dir())):
        folder.chmod(0o755)
    shutil.rmtree(root)


@pytest.mark.parametrize("closed", ["data/lake", "data/lake/day=2020-01-03", "data/lake/day=2020-01-03/h=2"])
@pytest.mark.parametrize("mode", [0o000, 0o111, 0o444])
def test_a_folder_that_cannot_be_listed_or_entered_is_named(
    open_space: Workspace, closed: str, mode: int
) -> None:
    """Whether its names, or what stands behind them, are kept from this user: `glob` says that it is empty."""
    (open_space.root / closed).chmod(mode)
    with another_user(), pytest.raises(Broken, match="Permission denied") as caught:
        paths = Walk(open_space, lake(open_space)).files().files
        [path.open("rb").close() for path in paths]
        raise AssertionError(paths)
    assert closed in str(caught.value)


@pytest.mark.parametrize(
    "name", ["b.PARQUET", "b.Parquet", "b.parq", "b.PARQ", "b.pq", "b.Pq", "b.zstd.parquet"]
)
def test_every_spelling_of_parquet_is_data(space: Workspace, name: str) -> None:
    """Windows and older writers spell it otherwise."""
    (lake(space) / "day=2020-01-03/h=1" / name).touch()
    assert found(space) == ["day=2020-01-03/h=1/a.parquet", f"day=2020-01-03/h=1/{name}"]


HIDDEN = (".x.parquet", "_x.parquet", "_SUCCESS", "_metadata", "_common_metadata", "a.parquet.crc", ".a.crc")


def test_what_is_hidden_or_known_beside_data_is_left_out(space: Workspace) -> None:
    """Names with . or _ in front, of files and folders, and sums; a partition that begins with _ is data."""
    for name in (*HIDDEN, "_temporary/y.parquet", ".spark/y.parquet", "SHA256SUMS", "_region=eu/c.parquet"):
        path = lake(space) / "day=2020-01-03/h=1" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert found(space) == ["day=2020-01-03/h=1/_region=eu/c.parquet", "day=2020-01-03/h=1/a.parquet"]


OTHERS = [
    "x.csv",
    "x.orc",
    "x",
    "000000_0",
    "x.parquet.gz",
    "x.parquet~",
    "README.md",
    "sha256sums",
    "x.parquet.bak",
]


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_that_is_neither_data_nor_known_is_refused_by_name(space: Workspace, name: str) -> None:
    """And `ignore` leaves it out, and says so."""
    (lake(space) / "day=2020-01-03/h=1" / name).touch()
    said = message(space)
    assert (
        f"data/lake/day=2020-01-03/h=1/{name}: neither data nor known beside data; allowed are *.parquet"
        in said
    )
    assert "ignore" in said
    assert found(space, name) == ["day=2020-01-03/h=1/a.parquet"]
    assert Walk(space, lake(space), [name]).files().ignored == (f"day=2020-01-03/h=1/{name}",)


@pytest.mark.parametrize(
    "name", ["x.parquet.tmp", "x.parquet._COPYING_", "x.parquet.part", "x.parquet.inprogress"]
)
def test_a_file_that_is_being_written_is_not_yet(space: Workspace, name: str) -> None:
    """Its day is not complete."""
    (lake(space) / "day=2020-01-03/h=1" / name).touch()
    assert f"{name}: by its name it is still being written" in message(space, NotYet)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path is short
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link to nowhere": (lambda p: p.symlink_to("/nowhere/y.parquet"), "a link to /nowhere/y.parquet, which"),
    "a link to itself": (lambda p: p.symlink_to(p.name), "a link to x.parquet, which can't be read: Too many"),
    "a link outside": (lambda p: p.symlink_to("/etc/hostname"), "lies outside the workspace"),
    "a link to a folder outside": (lambda p: p.symlink_to("/etc"), "lies outside the workspace"),
    "a link to a folder above": (lambda p: p.symlink_to(p.parents[2]), "a link to data/lake, a folder that it lies in"),
    "a link to its own folder": (lambda p: p.symlink_to("."), "a folder that it lies in"),
    "a fifo": (os.mkfifo, "a fifo, and no file"),
    "a socket": (make_socket, "a socket, and no file"),
    "the same file again": (lambda p: p.symlink_to("a.parquet"), "the same file as data/lake/day=2020-01-03/h=1/a.parquet"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "says"), NO_FILES.values(), ids=NO_FILES.keys())
def test_what_is_no_file_is_refused_by_name(
    space: Workspace, make: Callable[[Path], object], says: str
) -> None:
    """Nothing waits for a fifo, and no row is read twice."""
    make(lake(space) / "day=2020-01-03/h=1/x.parquet")
    said = message(space)
    assert "day=2020-01-03/h=1/x.parquet" in said
    assert says in said


def test_links_inside_the_workspace_are_followed(space: Workspace) -> None:
    """To a file, and to a folder; a folder may be called x.parquet, as Spark calls it."""
    other = space.root / "data/other/deep"
    other.mkdir(parents=True)
    (other / "b.parquet").touch()
    (lake(space) / "day=2020-01-03/h=2").symlink_to(other.parent)
    (lake(space) / "x.parquet").mkdir()
    (lake(space) / "x.parquet/c.parquet").symlink_to(other / "b.parquet")
    (lake(space) / "day=2020-01-03/h=2").unlink()
    assert found(space) == ["day=2020-01-03/h=1/a.parquet", "x.parquet/c.parquet"]
    (lake(space) / "x.parquet/c.parquet").unlink()
    (lake(space) / "day=2020-01-03/h=2").symlink_to(other.parent)
    assert found(space) == ["day=2020-01-03/h=1/a.parquet", "day=2020-01-03/h=2/deep/b.parquet"]


def test_two_links_to_one_folder_are_refused_with_both_names(space: Workspace) -> None:
    """Its rows would count twice."""
    (space.root / "data/other").mkdir()
    (space.root / "data/other/b.parquet").touch()
    for name in ("h=2", "h=3"):
        (lake(space) / "day=2020-01-03" / name).symlink_to(space.root / "data/other")
    said = message(space)
    assert "h=3/b.parquet: the same file as data/lake/day=2020-01-03/h=2/b.parquet" in said


def test_names_that_look_the_same_are_refused(space: Workspace) -> None:
    """One file, copied by way of a system that spells é otherwise."""
    for form in ("NFC", "NFD"):
        (lake(space) / "day=2020-01-03" / unicodedata.normalize(form, "store=Café")).mkdir()
    assert "one name in two spellings of Unicode" in message(space)


def test_a_name_that_is_no_utf8_is_refused(space: Workspace) -> None:
    """No message, plan or receipt could hold it."""
    Path(os.fsdecode(os.fsencode(lake(space)) + b"/\xff.parquet")).touch()
    assert "holds a name that is no UTF-8" in message(space)


BESIDE = ["Day=2020-01-04", "day =2020-01-04", "DAY=2020-01-04", "archive", "2020-01-04", "dt=2020-01-04",
          "_day=2020-01-04", "latest", "region=eu"]  # fmt: skip


@pytest.mark.parametrize("name", BESIDE)
def test_what_lies_beside_partitions_is_refused_by_name(space: Workspace, name: str) -> None:
    """A key that is spelled otherwise, a folder that is none, a file; `ignore` lets it be, and says so."""
    (lake(space) / name).mkdir()
    with pytest.raises(
        Broken, match=f"data/lake/{name}: lies beside the partitions day=YYYY-MM-DD and is none"
    ):
        Walk(space, lake(space)).partitions(parse_layout("day"))
    partitions = Walk(space, lake(space), [name]).partitions(parse_layout("day"))
    assert [p.day for p in partitions.found] == [as_day("2020-01-03")]
    assert partitions.beside.ignored == (name,)


def test_a_partition_that_the_job_calls_otherwise_is_no_folder_to_move(space: Workspace) -> None:
    """`partition: date` over folders day=…: the way on is the key, not the data."""
    meant = "is none; where it is a day of this input, write partition: day; move it"
    with pytest.raises(
        Broken, match=f"^data/lake/day=2020-01-03: lies beside .* date=YYYY-MM-DD and {meant}"
    ):
        Walk(space, lake(space)).partitions(parse_layout("date"))


def test_a_file_beside_partitions_is_refused(space: Workspace) -> None:
    """Its rows would be of no day; a file by the name of a day is no partition."""
    for name in ("x.parquet", "day=2020-01-04"):
        (lake(space) / name).touch()
        with pytest.raises(Broken, match=f"data/lake/{name}: lies beside the partitions"):
            Walk(space, lake(space)).partitions(parse_layout("day"))
        (lake(space) / name).unlink()


def test_a_partition_whose_key_begins_with_an_underscore_is_found(space: Workspace) -> None:
    """What is hidden elsewhere is the key itself here."""
    (space.root / "data/other/_load=2020-01-03").mkdir(parents=True)
    found = Walk(space, space.root / "data/other").partitions(parse_layout("_load"))
    assert [p.day for p in found.found] == [as_day("2020-01-03")]


TABLES: dict[str, tuple[str, str]] = {
    "_delta_log/00000000000000000000.json": "a Delta Lake table",
    ".hoodie/hoodie.properties": "a Hudi table",
    "metadata/v1.metadata.json": "an Iceberg table",
    "metadata/00001-0c.gz.metadata.json": "an Iceberg table",
    "metadata/version-hint.text": "an Iceberg table",
    "_spark_metadata/0": "the output of a Spark stream",
}  # fmt: skip


@pytest.mark.parametrize("where", ["data/lake/day=2020-01-03", "data/lake", "data", "."])
@pytest.mark.parametrize(("mark", "kind"), TABLES.items())
def test_a_table_of_another_engine_is_refused_at_above_and_below_the_path(
    space: Workspace, where: str, mark: str, kind: str
) -> None:
    """Its deleted rows lie among its files; the message says what it is and what to do."""
    path = space.root / where / mark
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with pytest.raises(Broken, match=f"is {kind}.*: (write the input as|let its engine write the rows as) "):
        walk = Walk(space, lake(space), ["*"])
        walk.partitions(parse_layout("day"))
        walk.files(lake(space) / "day=2020-01-03")


def test_a_link_into_a_table_is_refused(space: Workspace) -> None:
    """The link itself lies in no table."""
    (space.root / "data/t/_delta_log").mkdir(parents=True)
    (space.root / "data/t/day=1").mkdir()
    (lake(space) / "day=2020-01-03/h=2").symlink_to(space.root / "data/t/day=1")
    assert "data/t is a Delta Lake table" in message(space)


@pytest.mark.parametrize(
    "path", ["mini_scores", "mini_scores/day=2020-01-03", "mini_scores/day=2020-01-03/x.parquet"]
)
def test_an_own_table_is_read_by_its_name(space: Workspace, path: str) -> None:
    """The message says how."""
    with pytest.raises(Broken, match=r"is of the output table mini_scores.*as \{table: mini_scores\}"):
        Walk(space, space.tables.resolve() / path)
    with pytest.raises(Broken, match="none of which is published"):
        Walk(space, space.runs.resolve() / path)


def test_metadata_of_ones_own_is_no_iceberg(space: Workspace) -> None:
    """A folder called metadata beside the lake, without an Iceberg file, is nobody's table."""
    (space.root / "data/metadata").mkdir()
    assert found(space) == ["day=2020-01-03/h=1/a.parquet"]


def test_whether_there_is_something_to_read(space: Workspace) -> None:
    """What would be refused counts: whoever waits for it has to be told."""
    walk = Walk(space, lake(space))
    assert walk.holds_data(lake(space) / "day=2020-01-03")
    assert not walk.holds_data(lake(space) / "day=2020-01-04")
    (lake(space) / "day=2020-01-04").mkdir()
    assert not walk.holds_data(lake(space) / "day=2020-01-04")
    (lake(space) / "day=2020-01-04/x.csv").touch()
    assert walk.holds_data(lake(space) / "day=2020-01-04")
