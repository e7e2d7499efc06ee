"""One published day as it is looked at again: its receipt, its job as it is now, the files that it read."""

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel

from nightscore.common import NightscoreError, Workspace, as_day, file_sha256
from nightscore.job import Input, Job, SqlAudit, TableInput
from nightscore.pipeline import inputs
from nightscore.store import (
    CatalogEntry,
    InputFile,
    InputResult,
    Pinned,
    Receipt,
    RunFolder,
    fetched,
    renames,
    storage,
)


class Finding(BaseModel):
    """A cause that may have made a day wrong: its kind (a few words), and the evidence, a sentence."""

    kind: str
    evidence: str


@dataclass(frozen=True)
class Sql:
    """A SELECT of a job, and where it stands.

    `staged` is whether it sees the day's own tables, too; `audit` whether it gives no table itself.
    """

    place: str
    text: str
    staged: bool
    audit: bool = False


@dataclass(frozen=True)
class Inspected:
    """Input files as they are now, each looked at once however many days have read it."""

    workspace: Workspace
    _kept: dict[str, InputFile | None] = field(default_factory=dict)

    def get(self, then: InputResult) -> InputFile | None:
        """A file of a receipt, where it is what it was; None where it is another one now, or gone."""
        if then.path not in self._kept:
            self._kept[then.path] = self._inspect(then.path)
        now = self._kept[then.path]
        if now is None or now.fingerprint == then.fingerprint:
            return now
        same = then.sha256 and then.bytes == now.bytes
        return now if same and file_sha256(storage.locate(self.workspace, then.path)) == then.sha256 else None

    def _inspect(self, path: str) -> InputFile | None:
        try:
            # As the bucket has it now: no listing of a night has fetched it for this command.
            file = fetched(self.workspace, storage.locate(self.workspace, path))
            return inputs.inspect_parquet(self.workspace, file)
        except (NightscoreError, OSError):
            return None


@dataclass(frozen=True)
class PublishedDay:
    """A day, and what is known of it."""

    job: Job
    state: Pinned
    entry: CatalogEntry
    receipt: Receipt
    inspected: Inspected

    @property
    def day(self) -> dt.date:
        """The business day."""
        return as_day(self.entry.day)

    @property
    def workspace(self) -> Workspace:
        """The workspace, whose paths receipts name."""
        return self.job.workspace

    def locate(self, path: str) -> Path:
        """Where a file lies that the receipt names."""
        return self.fetch(storage.locate(self.workspace, path))

    def fetch(self, path: Path) -> Path:
        """A file of the workspace, on this machine now if it is there at all."""
        return fetched(self.workspace, path)

    def home(self, source: Input) -> str:
        """The folder or file of an input, as receipts begin its files' paths."""
        if isinstance(source, TableInput):
            return self.state.home(source.table).key
        return self.job.workspace.relative(self.job.workspace.resolve(source.address))

    @cached_property
    def files(self) -> Mapping[str, tuple[InputFile, ...]]:
        """The files of each input that the day read, as far as they are what they were, with their days."""
        found: dict[str, tuple[InputFile, ...]] = {}
        for name, source in self.job.spec.inputs.items():
            home = self.home(source)
            own = [f for f in self.receipt.inputs if f.path == home or f.path.startswith(f"{home}/")]
            there = [(f, self.inspected.get(f)) for f in own]
            found[name] = tuple(
                dataclasses.replace(now, day=_day(then.path, home, source))
                for then, now in there
                if now is not None
            )
        return found

    @cached_property
    def changed(self) -> list[str]:
        """The paths of files that the day read, and that are others now or gone."""
        return [f.path for f in self.receipt.inputs if self.inspected.get(f) is None]

    @cached_property
    def unplaced(self) -> list[str]:
        """The paths of unchanged files that lie in no input as the job names them now."""
        placed = {file.path for files in self.files.values() for file in files}
        return [f.path for f in self.receipt.inputs if f.path not in placed and f.path not in self.changed]

    @cached_property
    def seen_days(self) -> Mapping[str, tuple[InputFile, ...]]:
        """The same as `files`, whatever has become of them: for what only asks for days."""
        return {
            name: tuple(
                InputFile(f.path, f.bytes, "", f.fingerprint, _day(f.path, self.home(source), source), ())
                for f in self.receipt.inputs
                if f.path.startswith(f"{self.home(source)}/")
            )
            for name, source in self.job.spec.inputs.items()
        }

    @cached_property
    def tables(self) -> Mapping[str, list[Path]]:
        """Table -> the files that the day's run published, as far as they are there."""
        paths = self.state.paths_of(self.entry)
        return {table: [path for path in files if path.is_file()] for table, files in paths.items()}

    def sql(self) -> Iterator[Sql]:
        """Every SELECT of the job whose result was published, or decided whether it was."""
        spec = self.job.spec
        if self.job.features_sql is not None:
            yield Sql(spec.source, self.job.features_sql, staged=False)
        for table, text in self.job.decide_sql.items():
            yield Sql(spec.decide[table], text, staged=True)
        for audit in spec.audit:
            if isinstance(audit, SqlAudit):
                yield Sql(f"the audit {audit.name!r}", audit.sql, staged=True, audit=True)

    def scored(self) -> list[InputFile] | None:
        """The files whose rows were scored; None where the snapshot of them is gone."""
        if self.job.features_sql is None:
            return [f for f in self.files[self.job.spec.source] if f.day == self.entry.day]
        home = renames.runs_home(self.job.workspace, self.entry.job)
        run = RunFolder(home / self.entry.day / self.entry.run_id)
        found = [inputs.inspect_parquet(self.job.workspace, path.local()) for path in run.snapshots]
        return found or None


def _day(path: str, home: str, source: Input) -> str:
    """The day of a file of an input that lies in `home`, as plans hold it."""
    layout = inputs.layout_of(source)
    day = layout.day_of(path.removeprefix(home).removeprefix("/").split("/")) if layout else None
    return day.isoformat() if day else ""
