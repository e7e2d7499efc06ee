"""Rows 3, 28: file systems that are full or read-only, by real mounts; root ignores the bits of a mode."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nightscore.cli.main import call
from tests.behaviour.conftest import ROWS
from tests.behaviour.world import DAY, READERS, TABLES, Truth, no_half_files, ours, receipts

pytestmark = pytest.mark.disk_only(reason="it mounts disks")

NEW = Truth(ROWS, (4.0, 1.0))
RUN = ["run", "mini", "--day", DAY]
MOUNT_BYTES = 8 << 20


@pytest.fixture
def mounted(template: Path, tmp_path: Path) -> Iterator[Path]:
    """A published workspace on a small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={MOUNT_BYTES}", "tmpfs", place],  # noqa: S607 - where it lies differs
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"NOT TESTED: nothing can be mounted here ({done.stderr.strip()})")
    try:
        shutil.copytree(template, place / "w")
        yield place / "w"
    finally:
        subprocess.run(["umount", "-l", place], check=True)  # noqa: S607


def remounted(root: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how},size={MOUNT_BYTES}", root.parent], check=True)  # noqa: S607


def fill(root: Path, left: int) -> Path:
    """Leave so many bytes free."""
    ballast = root.parent / "ballast"
    free = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free - left, 1))
    return ballast


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`nightscore …`: its exit code and what it said on stderr."""

    def run(root: Path, *arguments: str) -> tuple[int, str]:
        capfd.readouterr()
        code = call(["--workspace", str(root), *arguments])
        return code, capfd.readouterr().err

    return run


def all_see(root: Path, truth: Truth) -> None:
    for name in TABLES:
        assert all(reader(root, name).is_(truth, name) for reader in READERS), name


LEFT = [
    pytest.param(0, marks=pytest.mark.slow),
    1 << 14,
    pytest.param(1 << 16, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("left", LEFT)
def test_a_disk_that_is_full_is_not_yet_and_leaves_the_day(
    mounted: Path, left: int, command: Callable[..., tuple[int, str]]
) -> None:
    """Row 3 (P9): ENOSPC of a real disk: exit 75, one message that says so; with room it is published."""
    NEW.write_model(mounted)
    ballast = fill(mounted, left)
    code, said = command(mounted, *RUN)
    told = ("No space left on device", "the disk is full", "of disk in")  # the last by the preflight
    assert code == 75 and any(text in said for text in told), said
    assert "Traceback" not in said and "unexpected" not in said and "panicked" not in said
    ballast.unlink()
    no_half_files(mounted)
    seen = [next(t for t in (Truth(ROWS), NEW) if ours(mounted, name).is_(t, name)) for name in TABLES]
    assert seen[0] == seen[1]
    assert not list((mounted / "data").rglob("*.tmp"))
    assert command(mounted, *RUN)[0] == 0
    all_see(mounted, NEW)
    assert len(receipts(mounted)) == 2


def test_a_read_only_disk_is_one_message(mounted: Path, command: Callable[..., tuple[int, str]]) -> None:
    """Row 28 (P9): EROFS: one message, nothing half; writable again, it is published."""
    NEW.write_model(mounted)
    remounted(mounted, "ro")
    code, said = command(mounted, *RUN)
    remounted(mounted, "rw")
    assert code in (1, 75) and "Read-only file system" in said, said
    assert "Traceback" not in said and "unexpected" not in said
    all_see(mounted, Truth(ROWS))
    assert command(mounted, *RUN)[0] == 0
    all_see(mounted, NEW)


def test_readers_need_no_disk_that_they_can_write_to(
    mounted: Path, command: Callable[..., tuple[int, str]]
) -> None:
    """P1: what is published can be read from a replica that is mounted read-only."""
    remounted(mounted, "ro")
    try:
        for arguments in (
            ["query", "SELECT count(*) FROM mini_scores"],
            ["tables"],
            ["verify"],
            ["receipts"],
        ):
            code, said = command(mounted, *arguments)
            assert code == 0, (arguments, said)
    finally:
        remounted(mounted, "rw")
