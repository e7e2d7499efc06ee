"""The processes that score a model of MLflow: one for each thread that scores at the same time.

A process is started with the first chunk that finds none idle, and lives until the scorer goes. The model
comes to it through its stdin, from the bytes that were hashed.
"""

import collections
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import pyarrow as pa

from nightscore.scorers.errors import ChunkError, ContractError, ModelError
from nightscore.scorers.running import stoppable

WORKER = Path(__file__).with_name("worker.py")
LINES = 5  # of what a process wrote to stderr last, in a message
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
GONE = 10.0  # seconds for a process that has closed its pipe to end


@dataclass(frozen=True)
class Sent:
    """What a process is started with: the interpreter, the model's files, and what is asked of them.

    `matrix` is the dtype of the one matrix that the model takes, empty of a frame; `packages` are those whose
    versions are asked for; `threads` how many one call may use; `seconds` how long loading may take.
    """

    name: str
    python: str
    files: Mapping[str, bytes] = field(repr=False)
    matrix: str = ""
    packages: Sequence[str] = ()
    threads: int = 1
    seconds: float | None = None


class Died(Exception):
    """A process has ended while it was asked; `code` is as `subprocess` has it."""

    def __init__(self, code: int | None, last: str) -> None:
        ended = f"by signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"with {code}"
        super().__init__(
            f"the process that scores it ended {ended}{f'; it wrote last: {last}' if last else ''}"
        )
        self.code = code


class Pipes(NamedTuple):
    """What a process is asked through, answers through, and writes besides."""

    asked: IO[bytes]
    answers: IO[bytes]
    said: IO[bytes]

    @classmethod
    def of(cls, process: "subprocess.Popen[bytes]") -> "Pipes":
        """Those of a process that was started with all three."""
        return cls(*(cast("IO[bytes]", pipe) for pipe in (process.stdin, process.stdout, process.stderr)))


class Worker:
    """One process with the model, asked by one thread at a time."""

    def __init__(self, sent: Sent) -> None:
        """Start it and load the model.

        Raises:
            ModelError: the interpreter can't be run, or the model not loaded by it, or not in time.
        """
        self._name, self._last = sent.name, collections.deque[str](maxlen=LINES)
        self._process = _started(sent)
        self._pipes = Pipes.of(self._process)
        folder = tempfile.mkdtemp(prefix="nightscore-mlflow-")
        cleared = threading.Thread(target=_clear_after, args=(self._process, folder), daemon=True)
        cleared.start()
        self._end = weakref.finalize(self, _end, self._process, self._pipes, cleared)
        self._reading = threading.Thread(target=_keep, args=(self._pipes.said, self._last), daemon=True)
        self._reading.start()
        asked = {
            "folder": folder, "files": list(sent.files), "matrix": sent.matrix,
            "packages": list(sent.packages),
        }  # fmt: skip
        try:
            with _in_time(self._process, sent.seconds) as over, stoppable(self._process.kill):
                self._send(json.dumps(asked).encode(), *sent.files.values())
                said = json.loads(self._read())
        except (OSError, EOFError) as error:
            died = self._died()
            late = f"was not loaded within {sent.seconds:g} s (limits.load of the job)"
            raise ModelError(
                f"{sent.name}: {late if over.is_set() else died}", "python" if sent.python else ""
            ) from error
        if "error" in said:
            self.end()
            raise ModelError(
                f"{sent.name}: {sent.python or sys.executable} can't load it: {said['error']['text']}",
                "python" if sent.python else "",
            )
        self.versions: Mapping[str, str] = said["versions"]

    def predict(self, chunk: pa.RecordBatch) -> pa.RecordBatch | Exception:
        """What the model gives for a chunk, its own columns; or its error, by its kind.

        Raises:
            Died: the process has ended.
        """
        try:
            with stoppable(self._process.kill):
                self._send(_stream(chunk))
                said = json.loads(self._read())
                given = b"" if "error" in said else self._read()
        except (OSError, EOFError) as error:
            raise self._died() from error
        if "error" in said:
            return _raised(self._name, said["error"])
        return pa.ipc.open_stream(given).read_next_batch()

    def end(self) -> None:
        """End the process."""
        self._end()

    def _send(self, *frames: bytes) -> None:
        stream = self._pipes.asked
        for frame in frames:
            stream.write(len(frame).to_bytes(8, "big"))
            stream.write(frame)
        stream.flush()

    def _read(self) -> bytes:
        return self._exactly(int.from_bytes(self._exactly(8), "big"))

    def _exactly(self, size: int) -> bytes:
        data = self._pipes.answers.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def _died(self) -> Died:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GONE)
        self._reading.join(GONE)
        died = Died(self._process.poll(), " / ".join(self._last))
        self.end()
        return died


class Workers:
    """The processes of one model, as many as threads ask at once."""

    def __init__(self, sent: Sent) -> None:
        """Start the first. Errors as `Worker`'s."""
        self._sent = sent
        first = Worker(sent)
        self.versions = first.versions
        self._idle = [first]  # the last one is the next: what is not needed sleeps

    def predict(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """What the model gives for a chunk. A process that has ended is not asked again.

        Raises:
            MemoryError: the system ended the process, as it does where memory is short.
            ContractError: the process ended in another way, or one more can't load the model.
            ChunkError, ContractError, MemoryError, OSError, ImportError: the model's own error, by its kind.
        """
        try:
            worker = self._taken()
        except ModelError as error:  # one process loads it, one more does not
            raise ContractError(str(error)) from error
        try:
            given = worker.predict(chunk)
        except Died as died:
            text = f"{self._sent.name}: {died}"
            raise (MemoryError if died.code == -signal.SIGKILL else ContractError)(text) from died
        self._idle.append(worker)  # not after any other error: an answer may be under way
        if isinstance(given, Exception):
            raise given
        return given

    def _taken(self) -> Worker:
        try:
            return self._idle.pop()
        except IndexError:
            return Worker(self._sent)


def _started(sent: Sent) -> "subprocess.Popen[bytes]":
    threads = dict.fromkeys(THREADS, str(sent.threads))
    try:
        return subprocess.Popen(  # noqa: S603 - the interpreter that the job names
            [sent.python or sys.executable, "-I", str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env={**os.environ, **threads}, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ModelError(f"{sent.python}: can't be run: {error.strerror}", "python") from error


@contextlib.contextmanager
def _in_time(process: "subprocess.Popen[bytes]", seconds: float | None) -> Iterator[threading.Event]:
    """A context of so many seconds; then a process is ended, and the event is set."""
    over = threading.Event()
    if seconds is None:
        yield over
        return

    def end() -> None:
        over.set()
        process.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield over
    finally:
        timer.cancel()


def _clear_after(process: "subprocess.Popen[bytes]", folder: str) -> None:
    """Wait for a process to end, in whatever way, and take away what it leaves.

    What it has forked is in its group, and may hold its pipes: nobody would see that it has ended.
    """
    process.wait()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _end(process: "subprocess.Popen[bytes]", pipes: Pipes, cleared: threading.Thread) -> None:
    """Let a process end by itself; then end it. What it leaves is taken away."""
    with contextlib.suppress(OSError):
        pipes.asked.close()
    try:
        process.wait(GONE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    cleared.join(GONE)
    pipes.answers.close()


def _keep(stream: IO[bytes], last: "collections.deque[str]") -> None:
    """Read what a process writes to stderr, so that it never waits for that; the last lines are kept."""
    with stream:
        for line in stream:
            if text := line.decode(errors="replace").strip():
                last.append(text[:300])


def _stream(chunk: pa.RecordBatch) -> bytes:
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, chunk.schema) as stream:
        stream.write_batch(chunk)
    return bytes(out.getvalue())


def _raised(name: str, error: Mapping[str, Any]) -> Exception:
    """The error of a process as a scorer raises it (functions/python.py)."""
    text = f"{name}: {error['text']}"
    if error["kind"] == "os" and error["errno"] is not None:
        return OSError(error["errno"], text)
    kinds = {"unlike": ContractError, "memory": MemoryError, "import": ImportError}
    return kinds.get(error["kind"], ChunkError)(text)
