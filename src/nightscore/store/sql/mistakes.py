"""DuckDB's errors as ours: what is broken, and what may be otherwise the next time."""

import re
from pathlib import Path

import duckdb

from nightscore.common import Broken, NotYet
from nightscore.store.tables.snapshots import erased_meanwhile, was_replaced

SAID = re.compile(  # what a macro or an order of ours says
    r"Conversion Error: Could not convert string '((two rows |the cost of |first_reason: |a label is "
    r"|a row with a label |[0-9]+ rows with a label |calibration_error: ).*?)' to BOOL.*",
    re.DOTALL,
)
GONE = re.compile(r'Cannot access file "([^"]*[.]parquet)/[*][*]/[*][.]parquet"')  # it takes it for a folder


class NoRoomError(duckdb.OutOfMemoryException):
    """There is not as much temporary disk as a statement needs: later there may be."""


class SqlMistakes:
    """A context in which DuckDB's errors become ours, with the place they come from in front."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, duckdb.Error):
            raise _translated(error, self._where) from error


def _translated(error: duckdb.Error, where: str) -> Exception:
    text = SAID.sub(r"\1", str(error).strip())
    if isinstance(error, NoRoomError) or is_of_the_disk(error):
        return NotYet(f"{where}: {text}")
    if (gone := GONE.search(text)) and was_replaced(Path(gone[1])):
        return NotYet(f"{where}: {erased_meanwhile(Path(gone[1]).name)}")
    if gone:
        return Broken(
            f"{where}: {gone[1]} is gone: another program has removed it, such as a VACUUM below the table's "
            "retention. `nightscore verify` names the days that lack files; `nightscore run JOB --day DAY "
            "--force` publishes one again"
        )
    if isinstance(error, duckdb.PermissionException):
        text += "\nA job's SQL sees its inputs by their names, cut at the day, and no other file"
    return Broken(f"{where}: {text}")


def is_of_the_disk(error: duckdb.Error) -> bool:
    """Whether a disk could not be read, which it may be the next time; and no file is to blame."""
    return isinstance(error, duckdb.IOException) and "Input/output error" in str(error)
