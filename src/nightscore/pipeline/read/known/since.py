"""Parameters with dates: a table in which each row says since which day it holds, such as rates and limits.

A run of a day sees the rows up to that day, and goes by their values alone: the row of a later day that comes
into the file, another order or another writer is no cause of it. A row of that day or before, which comes,
goes or is another one, is.
"""

import dataclasses
import datetime as dt
import hashlib
import json

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nightscore.common import Broken, first_line
from nightscore.job import Job, PathInput, SnapshotInput
from nightscore.pipeline.read.known.as_of import column_type
from nightscore.store import InputFile, UpTo, storage


def held_by(source: PathInput | SnapshotInput, day: dt.date) -> UpTo | None:
    """Which rows of an input a run of a day sees; None where all of them."""
    return UpTo(source.since, day) if isinstance(source, PathInput) and source.since else None


def by_rows(
    job: Job, name: str, source: PathInput, files: tuple[InputFile, ...], day: dt.date
) -> tuple[InputFile, ...]:
    """The file of such an input, with the sha256 of the rows that the day sees as its fingerprint.

    Raises:
        Broken: there are several files, the column is not there or no DATE, or the file is damaged.
    """
    if source.since is None:
        return files
    if len(files) > 1:
        job.raise_broken(
            ("inputs", name, "since"), f"{source.address} has {len(files)} files; allowed: one, with all rows"
        )
    kind = column_type(job, name, "since", source.since, files[0])
    if kind != "DATE":
        job.raise_broken(
            ("inputs", name, "since"),
            f"column {source.since!r} is {kind} in {files[0].path}; allowed: DATE",
        )
    return (dataclasses.replace(files[0], fingerprint=_rows_sha256(job, files[0], source.since, day)),)


def _rows_sha256(job: Job, file: InputFile, column: str, day: dt.date) -> str:
    """Of the columns, and of the rows up to a day in an order of their own."""
    try:
        with pq.ParquetFile(storage.locate(job.workspace, file.path)) as parquet:
            columns = [(field.name, str(field.type)) for field in parquet.schema_arrow]
            rows = [
                hashlib.sha256(json.dumps(list(row.values()), default=str).encode()).digest()
                for batch in parquet.iter_batches()
                for row in batch.filter(pc.less_equal(batch[column], pa.scalar(day))).to_pylist()
            ]
    except (OSError, pa.ArrowException) as error:
        raise Broken(f"{file.path}: damaged: {first_line(error)}") from error
    return hashlib.sha256(json.dumps(columns).encode() + b"".join(sorted(rows))).hexdigest()
