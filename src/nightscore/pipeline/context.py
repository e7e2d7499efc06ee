"""One day of a job at work: its plan, its folder, what its SQL may see and use."""

import dataclasses
import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nightscore.common import NotYet, Workspace, as_day
from nightscore.job import CHALLENGERS, PART_VARIABLES, Job
from nightscore.pipeline.read import inputs
from nightscore.scorers import NOT_INSTALLED, OF_MODEL, read_hardware, version_of
from nightscore.store import (
    Engine,
    EngineResources,
    MemoryBudget,
    Piece,
    Place,
    Plan,
    Receipt,
    RunFolder,
    StagedFile,
    TableProof,
    View,
    compute_table_proof,
    job_memory_budget,
    library_versions,
    plan_from_json,
    quote_identifier,
    renames,
    run_folder,
    sound_file,
    storage,
)


def causes_hash(job: Job) -> str:
    """The hash of a job as a cause of its days: under the names that it and its tables had first."""
    names = renames.last_names(job.workspace)
    return job.hash_as(names.jobs.origin(job.name), names.tables.first)


@dataclass(frozen=True)
class Day:
    """A job and the plan of one of its days.

    With `after_days` it sees inputs that reach so many days past it (`resolve_later_inputs`): what came true.
    `part` is the one of the features that their SQL is asked for; none: all rows.
    """

    job: Job
    plan: Plan
    after_days: int = 0
    part: int | None = None

    @classmethod
    def of(cls, job: Job, receipt: Receipt, files: inputs.Files | None = None, known_at: str = "") -> "Day":
        """A published day to be computed again: its own parameters, and the job's SQL as it is now.

        `files` are what it reads (default: its inputs as they are now), `known_at` cuts what it sees of them.
        """
        read = inputs.resolve_inputs(job, as_day(receipt.day)) if files is None else files
        params = job.own_params(receipt.params)
        return cls(job, Plan(job.name, receipt.day, "score", params=params, inputs=read, known_at=known_at))

    def __str__(self) -> str:
        return f"job {self.job.name}, day {self.plan.day}"

    @property
    def workspace(self) -> Workspace:
        """The workspace, whose paths plans and staged files name."""
        return self.job.workspace

    def locate(self, path: str) -> Path:
        """Where a file lies that the plan, or a staged file, names."""
        return storage.locate(self.workspace, path)

    def place(self, path: str) -> Place:
        """What a path of a staged file names."""
        return storage.place_of(self.job.workspace, path)

    @property
    def run(self) -> RunFolder:
        """The folder of the plan's run."""
        return run_folder.folder_of_plan(self.job.workspace, self.plan)

    @cached_property
    def budget(self) -> MemoryBudget:
        """What the job may use here. Broken where that is more than there is."""
        return job_memory_budget(self.job)

    @property
    def temp(self) -> Path:
        """Where SQL spills: the run's own folder, once there is one."""
        folder = self.run.path if self.plan.run_id else storage.runs(self.job.workspace)
        return folder.scratch()

    @cached_property
    def variables(self) -> dict[str, Any]:
        """What SQL reads with getvariable: the scored day, the parameters, and which part of the features."""
        return {
            "day": dt.date.fromisoformat(self.plan.day),
            **self.job.params(self.plan.params),
            **self._part_variables(),
        }

    def _part_variables(self) -> dict[str, int]:
        features = self.job.spec.features
        if not features.asks_part or features.parts is None:
            return {}
        whole = self.part is None  # the only part of one has all rows
        return dict(zip(PART_VARIABLES, (0, 1) if whole else (self.part or 0, features.parts), strict=True))

    def refuse_changed_job(self) -> None:
        """Hold the job to what it was when the plan was made.

        Raises:
            NotYet: it has changed since.
        """
        if causes_hash(self.job) != self.plan.job_hash:
            raise NotYet(
                f"{self.job.shown}: the job has changed since the plan of {self.plan.day}; run it again"
            )

    def refuse_other_versions(self) -> None:
        """Hold this process's libraries to those of the plan, which the receipt will name.

        Raises:
            NotYet: one is of another version; a plan that is made here names those that are here.
        """
        refuse_versions(str(self), self.plan.versions)

    @property
    def sql_threads(self) -> int:
        """Threads of the SQL whose rows are published: one, unless the job says that more do no harm."""
        threads = self.job.spec.scoring.sql_threads
        return read_hardware().cores if threads == "auto" else threads

    def steady_inputs(self) -> AbstractContextManager[None]:
        """A context that ends with NotYet where an input is not what it was when the plan was made."""
        return inputs.steady_inputs(self.job, self.plan.inputs, dt.date.fromisoformat(self.plan.day))

    def steady_files(self, piece: Piece) -> AbstractContextManager[None]:
        """The same for the input files that a piece reads: its machine has no use for the others.

        Of a piece of a snapshot there are none. Whoever publishes holds all inputs to the plan.
        """
        return inputs.steady_files(self.job, self.plan.inputs, {part.path for part in piece.ranges})

    def engine(
        self,
        staged: Mapping[str, Sequence[StagedFile]] | None = None,
        source: Iterable[str] = (),
        memory: int | None = None,
        *,
        threads: int | None = None,
        views: Sequence[View] = (),
        asked: Sequence[str] | None = None,
    ) -> Engine:
        """An engine that sees the inputs, `params`, and staged files under the given names.

        `source` are further files (as plans name them) that it may read by their path; `memory` is
        what it may use in bytes (default: its part of the budget), before it spills to disk.
        `threads` are its threads (default: as many as there are cores). `views` are further views.
        `asked` is the SQL that it will be asked, where that is known: inputs that it does not name are left
        out, for DuckDB takes some 0.3 ms of CPU for each file that it is told of, read or not.
        """
        tables = staged or {}
        text = None if asked is None else "\n".join(asked).lower()
        seen = [view for view in self._inputs() if text is None or view.name.lower() in text]
        staged_views = [self._staged(name, files) for name, files in tables.items()]
        seen += [*views, *staged_views]
        seen.append(View("the source", self._paths(source), columns={"nothing": "INTEGER"}))
        try:
            return self._opened(seen, self.resources(memory, threads), tables)
        except Exception as error:  # DuckDB says of a file that is gone what it likes
            if gone := [path for view in staged_views for path in view.files if not path.exists()]:
                raise NotYet(
                    f"{gone[0].name} was staged and is gone: the run was collected meanwhile, as one that "
                    "nobody would take up; run the day again"
                ) from error
            raise

    def published_engine(self, tables: Mapping[str, Sequence[Path]]) -> Engine:
        """An engine that sees published files as the job's SQL sees its tables, by their names there."""
        seen = [View(f"staged {name}", tuple(files), stored=True) for name, files in tables.items()]
        return self._opened(seen, self.resources(), tables)

    def show(self, engine: Engine, table: str, file: StagedFile) -> None:
        """Let later SQL of an engine see a table that was staged since it was opened."""
        engine.add(self._staged(table, [file]))
        _define_staged(engine, table, table, ["run_id"])

    def binding_engine(self) -> Engine:
        """An engine to bind SQL by, not to run it: of each input it sees the first file alone.

        The files of an input have the same columns, which is seen when they are listed; DuckDB would look at
        hundreds of them again for each statement, which is most of a small night.
        """
        seen = [
            view if view.by_name else dataclasses.replace(view, files=view.files[:1])
            for view in self._inputs()
        ]
        return self._opened(seen, self.resources(None, None), ())

    def engine_of(self, views: Sequence[View]) -> Engine:
        """An engine that sees other files in the place of the inputs."""
        return self._opened(views, self.resources(threads=1), ())

    def _opened(self, seen: Sequence[View], resources: EngineResources, tables: Iterable[str]) -> Engine:
        engine = Engine(seen, resources, self.variables, self.job.shown_macros.values())
        try:
            self._define(engine, tables)
        except BaseException:
            engine.close()
            raise
        return engine

    def _define(self, engine: Engine, tables: Iterable[str]) -> None:
        names = ["day", *self.job.spec.params]
        engine.define(
            "params", "SELECT " + ", ".join(f"getvariable('{n}') AS {quote_identifier(n)}" for n in names)
        )
        challengers = self.job.spec.model.challenger_columns
        for name in tables:
            _define_staged(engine, name, name, ["run_id", *(challengers if name == "scores" else ())])
        if challengers and "scores" in tables:
            _define_staged(engine, CHALLENGERS, "scores", ["run_id"])

    def read_back(self, files: Iterable[StagedFile]) -> TableProof:
        """The proof of one table's staged files, each hashed before anything parses it, and once.

        Raises:
            Broken: one is damaged, or of another run.
        """
        found = [(sound_file(self.place(file.path)), file.path) for file in files]
        sha256 = [computed for (_, computed), _ in found]
        return compute_table_proof([(local, path) for (local, _), path in found], self.plan.run_id, sha256)

    def resources(self, memory: int | None = None, threads: int | None = None) -> EngineResources:
        """What an engine may use: `memory` in bytes, within the budget; default: all of that, all cores."""
        allowed = self.budget.sql
        return EngineResources(
            threads or read_hardware().cores, min(memory or allowed, allowed), self.temp,
            seconds=self.job.spec.limits.seconds,
        )  # fmt: skip

    def _inputs(self) -> list[View]:
        if self.plan.status == "carry":  # there are none of the day
            return []
        day = dt.date.fromisoformat(self.plan.day)
        return inputs.views(self.job, self.plan.inputs, day, self.plan.known_at, self.after_days)

    def _staged(self, name: str, files: Sequence[StagedFile]) -> View:
        return View(f"staged {name}", self._paths(file.path for file in files), stored=True)

    def _paths(self, relative: Iterable[str]) -> tuple[Path, ...]:
        return tuple(self.locate(path) for path in relative)


def read_others_plan(text: str) -> Plan:
    """The plan that another process has written, once its libraries are those of this one.

    A process with another nightscore may not know all of its fields.

    Raises:
        NotYet: a library is of another version.
        ValueError, TypeError, KeyError: it is no plan.
    """
    seen = json.loads(text)
    refuse_versions(f"job {seen['job']}, day {seen['day']}", seen["versions"])
    return plan_from_json(text)


def refuse_versions(shown: str, planned: Mapping[str, str]) -> None:
    """Hold this process's libraries to those of a plan.

    Raises:
        NotYet: one is of another version.
    """
    # What a model's own process has is held to the plan by who opens it.
    planned = {name: found for name, found in planned.items() if not name.startswith(OF_MODEL)}
    here = {name: version_of(name) for name in planned} | library_versions()
    others = [
        f"{name} {planned.get(name, NOT_INSTALLED)} (here: {here.get(name, NOT_INSTALLED)})"
        for name in sorted(planned.keys() | here.keys())
        if planned.get(name) != here.get(name)
    ]
    if others:
        raise NotYet(
            f"{shown}: planned with other libraries than this process has: {', '.join(others)}; "
            "plan again here (run the day again), or install the same versions wherever it is run"
        )


def _define_staged(engine: Engine, name: str, table: str, hidden: Sequence[str]) -> None:
    """A staged table as SQL sees it, without some columns."""
    columns, staged = ", ".join(map(quote_identifier, hidden)), quote_identifier(f"staged {table}")
    engine.define(name, f"SELECT * EXCLUDE ({columns}) FROM {staged}")
