"""What DuckDB says of a line of CSV or JSON, in a line of ours: the file, the line, what is wrong in it.

Its own numbers of JSON's lines leave out empty ones, and are one too high where a line is no JSON (2.0); of
lines that end in two ways it names none. Its advice is of options that no job has.
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from nightscore.common import Broken, NotYet, first_line, value_text
from nightscore.store import TextColumns, filled_lines, text_lines

MEND = "no line is left out: mend the file, or allow some by the input's bad_lines"
LINE = re.compile(r"CSV Error on Line: (\d+)\s+(?:Original Line: (.*?)\n\s*)?(.*?)(?:\n|$)", re.DOTALL)
MALFORMED = re.compile(r"Malformed JSON in file \"[^\"]*\",? at byte (\d+) in line (\d+): (.*)")
UNLIKE = re.compile(r"JSON transform error in file \"[^\"]*\",? in line (\d+): (.*)")
ADVICE = "Try auto-detecting the JSON format"
NO_FORM = "state machine reached an invalid state"


def explained(error: Exception, path: Path, shown: str, text: TextColumns) -> Exception:
    """What is raised instead of an error of the reader; `path` is the file, which messages call `shown`."""
    said = str(error)
    if isinstance(error, NotYet):
        return error
    if found := LINE.search(said):
        line = f": {value_text(found[2])}" if found[2] else ""
        return Broken(f"{shown}: line {found[1]}: {found[3].strip()}{line}; {MEND}")
    if found := MALFORMED.search(said):
        at = f"line {line_of(path, int(found[2]) - 1)}, byte {found[1]}"
        return Broken(f"{shown}: {at}: {_without_advice(found[3])}; {MEND}")
    if found := UNLIKE.search(said):
        line = f"line {line_of(path, int(found[1]))}"
        return Broken(f"{shown}: {line}: {_without_advice(found[2])}; {MEND}")
    if NO_FORM in said and (mixed := _mixed_endings(path, text)):
        return Broken(f"{shown}: {mixed}")
    return Broken(f"{shown}: can't be read: {first_line(error).replace(str(path), shown)}")


def _without_advice(reason: str) -> str:
    return value_text(reason.replace(ADVICE, "").strip().rstrip("."))


def line_of(path: Path, number: int) -> int:
    """The line, from 1, that is the nth which is not empty."""
    return max((line for line, _ in islice(filled_lines(path), max(number, 1))), default=0)


def _mixed_endings(path: Path, text: TextColumns) -> str:
    """What is said of lines that end in two ways; empty where none do."""
    first = ""
    for number, ending in _endings(path, text):
        first = first or ending
        if ending != first:
            return (
                f"line {number} ends with {ending!r}, and line 1 with {first!r}; allowed is one of them in a "
                "file (a value with a line break stands in quotes): let its producer write one"
            )
    return ""


def _endings(path: Path, text: TextColumns) -> Iterator[tuple[int, str]]:
    """How the lines end that don't go on in an open quote."""
    is_open = False
    for number, line in enumerate(text_lines(path, text, newline=""), 1):
        is_open ^= line.count(text.quote) % 2 == 1
        ending = line[len(line.rstrip("\r\n")) :]
        if ending and not is_open:
            yield number, ending
