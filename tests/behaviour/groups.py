"""Control groups that limit memory, made for one test: v1 or v2, whichever this machine lets us make."""

import contextlib
import os
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup")
V1 = ROOT / "memory"


@dataclass(frozen=True)
class Ended:
    """How a process in a group ended; `peak` is the group's, page cache included, `kills` are for memory."""

    code: int
    out: str
    err: str
    peak: int
    kills: int


@dataclass(frozen=True)
class Group:
    """One control group with a limit of memory, in bytes, and no swap beyond it."""

    path: Path
    v2: bool

    def run(self, command: Sequence[str], environment: Mapping[str, str], patience: float) -> Ended:
        """Run a command in the group, from its first instruction on."""
        procs = self.path / "cgroup.procs"
        script = f'echo $$ > "{procs}" && exec "$@"'
        done = subprocess.run(
            ["/bin/sh", "-c", script, "sh", *command],
            capture_output=True, text=True, timeout=patience, env={**os.environ, **environment}, check=False,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr, self._peak(), self._kills())

    def _peak(self) -> int:
        return int((self.path / ("memory.peak" if self.v2 else "memory.max_usage_in_bytes")).read_text())

    def _kills(self) -> int:
        text = (self.path / ("memory.events" if self.v2 else "memory.oom_control")).read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[Group]:
    """A new group that may have `limit` bytes. Where none can be made the test is skipped, and says why."""
    try:
        group = _made(limit)
    except OSError as error:
        pytest.skip(f"no memory control group can be made here: {error}")
    try:
        yield group
    finally:
        for _ in range(50):  # the kernel is still taking leave of the last process
            with contextlib.suppress(OSError):
                group.path.rmdir()
                break
            time.sleep(0.1)


def _made(limit: int) -> Group:
    v2 = not V1.is_dir()
    home = _own_v2() if v2 else V1
    path = home / f"nightscore-test-{uuid.uuid4().hex[:8]}"
    path.mkdir()
    try:
        (path / ("memory.max" if v2 else "memory.limit_in_bytes")).write_text(str(limit))
        swap = path / ("memory.swap.max" if v2 else "memory.memsw.limit_in_bytes")
        with contextlib.suppress(OSError):  # not every kernel accounts for swap
            swap.write_text("0" if v2 else str(limit))
    except OSError:
        path.rmdir()
        raise
    return Group(path, v2)


def _own_v2() -> Path:
    """The group below which others can be made: our own, if it hands on the memory controller."""
    own = Path("/proc/self/cgroup").read_text().partition("0::")[2].strip()
    found = [ROOT / own.lstrip("/"), *(ROOT / own.lstrip("/")).parents]
    for group in (one for one in found if one.is_relative_to(ROOT)):
        control = group / "cgroup.subtree_control"
        with contextlib.suppress(OSError):
            if "memory" not in control.read_text():
                control.write_text("+memory")
            return group
    raise OSError("no control group of ours hands on the memory controller")
