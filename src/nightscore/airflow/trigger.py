"""Waiting for a day's input without holding a worker."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from nightscore.common import Broken, NotYet, Workspace, as_day, open_workspace
from nightscore.store import Walk

SECONDS = 60.0  # between two looks


class PartitionTrigger(BaseTrigger):
    """Fires when a job's inputs have the day, ready by their rules, and each of some tables has it.

    `folders` are those of a trigger that a version before has left in Airflow's database: each has to hold
    data.

    Its event is True then, and False at `deadline` (epoch seconds). The triggerer has to see the workspace
    under the same path as the workers.
    """

    def __init__(
        self,
        *,
        workspace: str,
        folders: list[str],
        tables: list[str],
        day: str,
        deadline: float,
        seconds: float = SECONDS,
        job: str = "",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.workspace, self.folders, self.tables, self.day = workspace, folders, tables, day
        self.deadline, self.seconds, self.job = deadline, seconds, job

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the triggerer makes it from."""
        names = ("workspace", "folders", "tables", "day", "deadline", "seconds", "job")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look again and again."""
        while not (landed := await asyncio.to_thread(self._landed)) and time.time() < self.deadline:
            await asyncio.sleep(max(0.0, min(self.seconds, self.deadline - time.time())))
        yield TriggerEvent(landed)  # type: ignore[no-untyped-call]

    def _landed(self) -> bool:
        root = Path(self.workspace)
        try:
            return (
                not find_missing_folders(root, self.folders)
                and not (self.job and find_unready_inputs(root, self.job, self.day))
                and not find_unpublished_tables(root, self.tables, self.day)
            )
        except Broken:
            return True  # the task goes on, and its plan says what is wrong


def find_unready_inputs(root: Path, job: str, day: str) -> dict[str, str]:
    """What a run of a day waits for, by input of files.

    Raises:
        Broken: waiting does not help.
    """
    from nightscore.job import load
    from nightscore.pipeline import waited_for  # not at parse time

    return waited_for(load(job, open_workspace(root)), as_day(day))


def find_missing_folders(root: Path, folders: list[str]) -> list[str]:
    """Those of some folders in which there is nothing to read yet, nor to refuse: a plan says what is wrong.

    Raises:
        Broken: one can't be, for it leads out of the workspace or into a table.
    """
    workspace = Workspace(root)
    return [f for f in folders if not _holds_data(workspace, f)]


def _holds_data(workspace: Workspace, folder: str) -> bool:
    try:
        path = workspace.resolve(folder)
        return Walk(workspace, path).holds_data(path)
    except NotYet:  # a disk that does not answer, or a file that is being written
        return False


def find_unpublished_tables(root: Path, tables: list[str], day: str) -> list[str]:
    """Those of some tables that no receipt in force names for the day."""
    if not tables:
        return []
    from nightscore.store import catalog  # DuckDB and Delta: only where a job waits for a table

    state = catalog.read_catalog(open_workspace(root))
    called = state.names.tables.current  # whoever waits does so under the name of when it began
    return [name for name in tables if day not in state.published.get(called(name), {})]
