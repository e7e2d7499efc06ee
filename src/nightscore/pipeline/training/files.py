"""The files of `model.expected`: read once, so that the bytes that are hashed are those that are compared."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from nightscore.common import Broken, byte_size, first_line
from nightscore.job import Job
from nightscore.pipeline.score.open_model import OpenModel
from nightscore.store import HeldToTraining, fetched, json_digest

MOST = 64_000_000  # bytes of one file: each plan reads them
Schema = Mapping[str, pa.DataType]


@dataclass(frozen=True)
class ExpectedFiles:
    """What each file is for (features, inputs.<view>, scores) -> its path, and its bytes."""

    job: Job
    paths: Mapping[str, str]
    contents: Mapping[str, bytes] = field(repr=False)

    @property
    def cause(self) -> HeldToTraining:
        """What of them is a cause of the day, and in plan and receipt: nothing is compared yet."""
        hashes = {use: hashlib.sha256(data).hexdigest() for use, data in self.contents.items()}
        day = self.job.spec.model.expected.day if self.job.spec.model.expected else None
        digest = json_digest(hashes, *([day.isoformat()] if day else []))
        files = {self.paths[use]: sha256 for use, sha256 in hashes.items()}
        return HeldToTraining(digest, files, sql=any(use.startswith("inputs.") for use in hashes))

    def shown(self, use: str) -> str:
        """The path of a file, as messages name it."""
        return self.paths.get(use, self.paths.get("features", ""))

    def table(self, use: str, types: Schema) -> pa.Table:
        """The rows of a file; of a CSV file columns of `types` are read as those, where they are there.

        Raises:
            Broken: it is no such file, or has no row.
        """
        data, path = self.contents[use], self.paths[use]
        try:
            if path.lower().endswith(".csv"):
                options = pa_csv.ConvertOptions(column_types=_of_csv(types), strings_can_be_null=True)
                table = pa_csv.read_csv(io.BytesIO(data), convert_options=options)
            else:
                table = pq.read_table(pa.BufferReader(data), partitioning=None)
        except (pa.ArrowException, OSError, ValueError) as error:
            self.refuse(use, f"can't be read: {first_line(error)}; allowed: Parquet, or CSV with a header")
        if not table.num_rows:
            self.refuse(use, "has no row; some hundred are enough")
        return table

    def refuse(self, use: str, message: str) -> NoReturn:
        """Raise `Broken`, which names a file and its line of job.yaml."""
        at = ("model", "expected", *(use if use in self.paths else "features").split(".", 1))
        self.job.raise_broken(at, f"{self.shown(use)}: {message}")


def read_expected_files(job: Job, opened: OpenModel) -> ExpectedFiles | None:
    """The files that go with an opened model; None where the job has none.

    Raises:
        Broken: one can't be read.
    """
    expected = job.spec.model.expected
    if expected is None:
        return None
    paths = expected.named_files(opened.uri or opened.name)
    return ExpectedFiles(job, paths, {use: _read(job, use, path) for use, path in paths.items()})


def _read(job: Job, use: str, path: str) -> bytes:
    at = ("model", "expected", *use.split(".", 1))
    try:
        file = fetched(job.workspace, job.workspace.resolve(path))
        if (size := file.stat().st_size) > MOST:
            job.raise_broken(
                at, f"{path}: has {byte_size(size)}, and each plan reads it; some hundred rows do"
            )
        return file.read_bytes()
    except Broken:
        raise
    except OSError as error:
        script = f": {job.spec.model.made_by}" if job.spec.model.made_by else ""
        job.raise_broken(
            at, f"{path}: can't be read: {error.strerror}; the training script writes it, beside the "
            f"model{script}"
        )  # fmt: skip


def _of_csv(types: Schema) -> dict[str, pa.DataType]:
    """Types in which nothing is lost: what a model computes with is seen later."""
    return {name: wide for name, kind in types.items() if (wide := _widest(kind)) is not None}


def _widest(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_integer(kind):
        return pa.int64()
    return kind if pa.types.is_boolean(kind) or pa.types.is_string(kind) else None
