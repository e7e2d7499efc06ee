"""Flipped bits, files cut short: where they are, and what a night in a process of its own makes of them."""

import contextlib
import io
import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.behaviour.processes import spawn

SEED = int(os.environ.get("FAULTS_SEED", "303627"))  # `make faults` takes another each time
PATIENCE = 60.0  # seconds for one case
TIMES = int(os.environ.get("FAULTS_TIMES", "1"))  # as many flips as this times what CI has time for


@dataclass(frozen=True)
class Flip:
    """One bit of a file."""

    place: int
    bit: int

    def __call__(self, path: Path) -> None:
        """Flip it, in a file of its own: not in other names of the same file."""
        data = bytearray(path.read_bytes())
        data[self.place] ^= 1 << self.bit
        replace(path, bytes(data))


def replace(path: Path, data: bytes) -> None:
    """Other bytes under a name, with the time of change that it had."""
    stat = path.stat()
    path.unlink()
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def pages(path: Path) -> list[range]:
    """Where a Parquet file's column chunks lie: dictionary and data pages, with their headers."""
    footer, found = pq.read_metadata(path), []
    for group in range(footer.num_row_groups):
        for column in range(footer.num_columns):
            chunk = footer.row_group(group).column(column)
            starts = (chunk.dictionary_page_offset, chunk.data_page_offset)
            start = min(offset for offset in starts if offset is not None)
            found.append(range(start, start + chunk.total_compressed_size))
    return found


def footer(path: Path) -> range:
    """Where a Parquet file's footer lies: all behind its last page."""
    return range(max(part.stop for part in pages(path)), path.stat().st_size)


def flips(places: Sequence[range], count: int) -> list[Flip]:
    """A seeded sample of bits of some parts of a file."""
    print(f"FAULTS_SEED={SEED}")  # noqa: T201 - pytest shows it where the test fails
    found = [place for part in places for place in part]
    chance = random.Random(SEED)  # noqa: S311
    sample = chance.sample(found, min(count * TIMES, len(found)))
    return [Flip(place, chance.randrange(8)) for place in sorted(sample)]


def each_apart(act: Callable[..., str], cases: Sequence[Any], *values: Any) -> Iterator[tuple[Any, str]]:
    """`act(case, *values)` for each case, in a process of its own that goes on until it dies: (case, answer).

    The answer of a case that kills the process is "killed by signal N": a native parser may crash.
    """
    left = list(cases)
    while left:
        night = spawn(_some, act, tuple(left), values)
        try:
            while left:
                answer = night.answers.recv() if night.answers.poll(PATIENCE) else "hangs"
                yield left.pop(0), answer
                if answer == "hangs":
                    break
            night.process.kill()
        except EOFError:
            night.process.join()
            yield left.pop(0), f"killed by signal {-(night.process.exitcode or 0)}"


def _some(
    answers: Connection, act: Callable[..., str], cases: Sequence[Any], values: tuple[Any, ...]
) -> None:
    for case in cases:
        answers.send(act(case, *values))
    signal.pause()  # until it is killed


def outcome(act: Callable[[], str]) -> str:
    """What `act` says, or how it failed: "Broken: …", "NotYet: …", and "unexpected …" for all else."""
    from nightscore.common.errors import Broken, NotYet

    try:
        return act()
    except (Broken, NotYet) as error:
        return f"{type(error).__name__}: {error}"
    except OSError as error:
        return f"NotYet: {error}"  # as the command says it
    except Exception as error:
        return f"unexpected {type(error).__name__}: {error}"


def said(answers: Sequence[tuple[Any, str]], *allowed: str) -> list[tuple[Any, str]]:
    """The answers that begin with none of the allowed words."""
    return [(case, answer) for case, answer in answers if not answer.startswith(allowed)]


def told(root: Path, *arguments: str) -> str:
    """`nightscore ARGUMENTS…` in this process: exit code and message, as "1: nightscore: broken: …"."""
    from nightscore.cli.main import call

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = call(["--workspace", str(root), *arguments])
    text = err.getvalue().strip()
    stray = "broken: unexpected " in text or "Traceback" in text or (code and not text + out.getvalue())
    return f"{'STRAY ' if stray else ''}{code}: {text}"
