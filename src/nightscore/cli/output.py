"""What every command says the same way, and the streams that it says it to.

What a command has done is not undone because it can't be told: a pipe that is closed, a disk that is full or
a letter that the terminal's encoding has not never end a command in its middle.
"""

import codecs
import contextlib
import io
import json
import os
import sys
from typing import Any, TextIO

from nightscore.common import visible, visible_json

LOSSLESS = "nightscore.escaped"  # of what an encoding has not: \uXXXX, which a reader of JSON understands


def say(text: str) -> None:
    """A line for a person on standard output, or some."""
    print(visible(text), flush=True)


def print_json(document: object) -> None:
    """One JSON document on standard output."""
    print_document(json.dumps(document, indent=2, default=str, ensure_ascii=False))


def print_document(text: str) -> None:
    """The same, of one that is a text already."""
    print(visible_json(text))


def print_error(status: str, error: Exception) -> None:
    """Say on stderr what is wrong."""
    print(f"nightscore: {status}: {visible(str(error))}", file=sys.stderr)


class PatientFile(io.FileIO):
    """An open file that takes whatever is written to it; `problem` is why something was not kept."""

    problem: OSError | None = None

    def write(self, data: Any, /) -> Any:
        """Write some bytes, or note why they can't be written."""
        if self.problem is None:
            try:
                return super().write(data)
            except OSError as error:
                self.problem = error
        return memoryview(data).nbytes


def patient_stream(descriptor: int, encoding: str) -> tuple[TextIO, PatientFile]:
    """A text stream to a descriptor that raises nothing, and the file below it."""
    codecs.register_error(LOSSLESS, _escaped)
    file = PatientFile(descriptor, "w", closefd=False)
    lines = descriptor == 2 or file.isatty()
    stream = io.TextIOWrapper(
        io.BufferedWriter(file), encoding=encoding, errors=LOSSLESS, line_buffering=lines, newline="\n"
    )
    return stream, file


def open_streams() -> PatientFile:
    """Make standard output and stderr streams that raise nothing; gives the file of standard output.

    A descriptor that is closed becomes /dev/null: else the next file that a library opens would be it, and
    whatever is printed would lie in that.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
    encodings = [getattr(stream, "encoding", None) or "utf-8" for stream in (sys.stdout, sys.stderr)]
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, AttributeError):
            stream.flush()
    sys.stderr, _ = patient_stream(2, encodings[1])
    sys.stdout, file = patient_stream(1, encodings[0])
    return file


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    units = [int.from_bytes(text[at : at + 2]) for at in range(0, len(text), 2)]
    return "".join(f"\\u{unit:04x}" for unit in units), error.end
