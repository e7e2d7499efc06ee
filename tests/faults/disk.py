"""The real command in forks of a process whose calls to the C library can be made to fail (failing.c).

The process imports what a night needs once, with the library loaded before all else, and forks for every
command: a command takes as long as it works. Nothing of ours is replaced by a double; what fails is the
k-th call that changes (or reads) a file below a folder, whoever makes it: Python, Arrow, DuckDB, deltalake.
"""

import ctypes
import errno
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self

from tests.behaviour.processes import IMPORTED

SOURCE = Path(__file__).with_name("failing.c")
HOME = Path(__file__).parents[2]
NEVER = 1 << 40  # a call that no command comes to


@dataclass(frozen=True)
class Failing:
    """The call below the folder that fails: the `at`-th from 1. `error` 0 kills the process there (-9).

    `lasting`: all that take room fail from there on, as on a full disk; the first write is cut in two.
    """

    at: int = NEVER
    error: int = 0
    lasting: bool = False
    reads: bool = False

    def __str__(self) -> str:
        name = errno.errorcode.get(self.error, "kill -9")
        return f"{name} at {'read' if self.reads else 'change'} {self.at}{' and ever after' * self.lasting}"


@dataclass(frozen=True)
class Said:
    """How a command ended: its exit code (-9: killed), what it printed, and how many calls it came to."""

    code: int
    out: str
    err: str
    calls: int

    def is_one_message(self) -> bool:
        """Whether a failure is told as it must be: one message for a person, and no traceback."""
        stray = "Traceback" in self.err or "broken: unexpected " in self.err or "panicked" in self.err
        return not stray and (self.code == 0 or "nightscore: " in self.err)


class Forks:
    """A process that has imported all, and forks for each command."""

    def __init__(self, scratch: Path) -> None:
        library = scratch / "failing.so"
        compiler = shutil.which("cc") or "cc"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
        self._scratch = scratch
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.disk", str(scratch)],
            env=os.environ | {"LD_PRELOAD": str(library)}, cwd=HOME,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def call(self, root: Path, *arguments: str, failing: Failing | None = None) -> Said:
        """`nightscore --workspace ROOT ARGUMENTS…`, and what came of it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = {"root": str(root), "arguments": arguments, "failing": asdict(failing or Failing())}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        out, err = ((self._scratch / name).read_text(errors="replace") for name in ("out", "err"))
        return Said(answer["code"], out, err, answer["calls"])


def serve(scratch: Path, asked: IO[str], answers: IO[str]) -> None:
    """Fork for each line that asks for a command; answer how it ended."""
    for name in IMPORTED:
        importlib.import_module(name)
    library = ctypes.CDLL(None)
    for line in asked:
        child = os.fork()
        if not child:
            _work(library, scratch, json.loads(line))
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps({"code": code, "calls": library.faults_reached()}), file=answers, flush=True)


def _work(library: Any, scratch: Path, asked: dict[str, Any]) -> None:
    from nightscore.cli.main import call

    for descriptor, name in ((1, "out"), (2, "err")):
        file = os.open(scratch / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
    failing = Failing(**asked["failing"])
    signal.alarm(120)  # a command that hangs is a failure, and not the end of the suite
    library.faults_arm(
        (asked["root"] + "/data/").encode(), ctypes.c_long(failing.at), failing.error,
        int(failing.lasting), int(failing.reads),
    )  # fmt: skip
    code = call(["--workspace", asked["root"], *asked["arguments"]])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.stdin, os.fdopen(os.dup(1), "w"))
