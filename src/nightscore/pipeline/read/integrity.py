"""Input files held to what their producer wrote, where a job asks for it, before and after they are read."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import Broken, NotYet, file_sha256, first_line
from nightscore.job import Job, PathInput, SnapshotInput, TableInput
from nightscore.pipeline.read.inputs import Files, folder_columns, is_parquet
from nightscore.pipeline.read.known.as_published import published_sha256
from nightscore.pipeline.read.known.as_reported import table_state
from nightscore.pipeline.read.manifest import written_down
from nightscore.pipeline.read.text.bad_lines import BadLine
from nightscore.pipeline.read.text.inputs import verify_text
from nightscore.store import FileColumn, FolderColumns, InputFile, Plan, catalog, storage

I32_NEXT = 0x15  # in Thrift's compact protocol: the next field, an i32
ROWS = 65_536


def verify_inputs(job: Job, files: Files) -> dict[str, str]:
    """Hold the files of a day to the job's contracts, page checksums or sha256; returns sha256 by path.

    Raises:
        Broken: a null where the contract has none, a damaged page, pages without checksums, or a file that
            is not the one whose sha256 its producer wrote down.
    """
    _refuse_broken_contracts(job, files)
    paths = {
        file.path: storage.locate(job.workspace, file.path)
        for input_files in files.values()
        for file in input_files
    }
    if job.spec.verify_inputs == "checksum":
        for shown, path in paths.items():
            _refuse_damaged(path, shown)
    return _hashes(job, files, paths) if job.spec.verify_inputs == "sha256" else {}


def read_text(job: Job, files: Files) -> list[BadLine]:
    """Read a day's text files whole; gives the lines that the job leaves out. Errors as `verify_text`'s."""
    return verify_text(
        job, files, {n: folder_columns(job.workspace, source) for n, source in job.spec.inputs.items()}
    )


def refuse_changed_inputs(job: Job, plan: Plan) -> None:
    """Raise `NotYet` unless the files whose sha256 were taken are still the same, every byte of them.

    Raises:
        NotYet: one has changed; what was read may be a mixture.
    """
    for shown, before in plan.sha256.items():
        now = file_sha256(storage.locate(job.workspace, shown))
        if now != before:
            raise NotYet(f"{shown}: changed while it was being read (sha256 {before} -> {now})")


def _refuse_broken_contracts(job: Job, files: Files) -> None:
    for name, source in job.spec.inputs.items():
        if not is_parquet(source) or isinstance(source, TableInput):
            continue
        folders = folder_columns(job.workspace, source)
        for column in source.never_null:
            for file in files[name]:
                path = storage.locate(job.workspace, file.path)
                if nulls := _nulls_in(path, file, column, folders):
                    raise Broken(f"input {name}: {file.path}: {source.said_of_nulls(column, nulls)}")


def _hashes(job: Job, files: Files, paths: Mapping[str, Path]) -> dict[str, str]:
    hashes = {shown: file_sha256(path) for shown, path in paths.items()}
    for name, shown, allowed in _written_down(job, files):
        if hashes[shown] not in allowed:
            recorded = ", ".join(allowed) or "none"
            raise Broken(
                f"input {name}: {shown} has sha256 {hashes[shown]}; its producer wrote down {recorded}"
            )
    return hashes


def _nulls_in(path: Path, file: InputFile, column: str, folders: FolderColumns) -> int:
    found = next((c for c in file.columns if c.name == column), FileColumn(column, "", column))
    given = folders.values(file.path)
    if found.inside in pq.read_schema(path).names:
        return _nulls(path, found.inside)
    if found.value is not None or given.get(column) is not None:
        return 0
    return file.rows  # a folder or a table gives the null, or the file has no such column


def _nulls(path: Path, column: str) -> int:
    with pq.ParquetFile(path) as file:
        nulls = _counted_nulls(file, column)
        if nulls is None:  # the writer left no statistics
            nulls = sum(batch.column(0).null_count for batch in file.iter_batches(ROWS, columns=[column]))
    return nulls


def _counted_nulls(file: pq.ParquetFile, column: str) -> int | None:
    """The nulls of a column as the footer counts them; None where it does not."""
    at = file.schema_arrow.get_field_index(column)
    if pa.types.is_nested(file.schema_arrow.field(at).type):
        return None
    place = [c.path for c in (file.schema.column(i) for i in range(len(file.schema)))].index(column)
    chunks = [file.metadata.row_group(i).column(place) for i in range(file.num_row_groups)]
    if not all(c.is_stats_set and c.statistics.has_null_count for c in chunks):
        return None
    return sum(int(c.statistics.null_count) for c in chunks)


def _refuse_damaged(path: Path, shown: str) -> None:
    try:
        with (
            pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file,
            path.open("rb") as raw,
        ):
            for at in _first_pages(file.metadata):
                if not _has_checksum(raw, at):
                    raise Broken(
                        f"{shown}: its pages have no checksums; its writer can add them (pyarrow: "
                        "write_page_checksum=True), or the job's verify_inputs be footer or sha256"
                    )
            for _ in file.iter_batches(ROWS, use_threads=False):
                pass
    except (OSError, pa.ArrowException) as error:
        raise Broken(f"{shown}: damaged: {first_line(error)}") from error


def _first_pages(footer: pq.FileMetaData) -> Iterator[int]:
    """Where the first page of each column chunk begins."""
    for group in range(footer.num_row_groups):
        for i in range(footer.num_columns):
            column = footer.row_group(group).column(i)
            places = [column.data_page_offset, column.dictionary_page_offset or 0]
            yield min(place for place in places if place > 0)


def _has_checksum(raw: BinaryIO, at: int) -> bool:
    """Whether the page header at an offset has its field 4, `crc` (parquet.thrift, PageHeader).

    Before it come the page's type and two sizes, which are never left out.
    """
    raw.seek(at)
    head = raw.read(32)
    i = 0
    for _ in range(3):
        i += 1
        while head[i] & 0x80:  # a varint goes on
            i += 1
        i += 1
    return head[i] == I32_NEXT


def _written_down(job: Job, files: Files) -> Iterator[tuple[str, str, Collection[str]]]:
    """Input, path, and what its sha256 may be: as its producer wrote it down, or a receipt holds it."""
    state = catalog.read_catalog(job.workspace)
    read: dict[Path, dict[str, str]] = {}
    for name, source in job.spec.inputs.items():
        for file in files[name]:
            if isinstance(source, SnapshotInput):
                job.raise_broken(
                    ("verify_inputs",), f"input {name} is a table of another engine, which writes no sha256 "
                    "of its files down; allowed: footer, checksum"
                )  # fmt: skip
            if isinstance(source, PathInput):
                yield name, file.path, [written_down(job, source, file.path, read)]
            else:
                yield name, file.path, published_sha256(table_state(state, source), source.table, file.day)
