"""The files of a job: as they are, and how they differ from those that a published day was made from.

What a day was made from stands in its plan. A file is found by the job's name alone, never by one of an
address: what is shown are job.yaml and the SQL that it names.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from airflow.api_fastapi.core_api.security import get_user
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from nightscore.airflow.web.access import Sight, SightDep
from nightscore.airflow.web.html import page
from nightscore.common import Broken, NightscoreError
from nightscore.job import Job, peek_job_name, read_job_texts
from nightscore.store import CatalogEntry, read_plan, run_folder

CONTEXT = 3  # lines around a change
CHOICES = 60  # days to choose from
NOW = "now"
NOT_KEPT = "a version before this one kept no text with a day, or the day's plan is gone"
Kind = Literal["added", "removed", "place", "same"]

router = APIRouter(dependencies=[Depends(get_user)], default_response_class=HTMLResponse)


@dataclass(frozen=True)
class Change:
    """One file in two versions: whether it was added, removed or changed, and lines with their kinds."""

    name: str
    state: Literal["added", "removed", "changed"]
    lines: tuple[tuple[Kind, str], ...]


@router.get("/jobs/{job}/files")
def job_files(
    request: Request, sight: SightDep, job: str, before: str = "", after: str = NOW,
) -> Response:  # fmt: skip
    """The files of a job; with `before`, a run, their difference from that run to `after`, a run or now."""
    history = sight.history(job)
    old = _texts(sight, job, history, before) if before else None
    new = _texts(sight, job, history, after)
    if isinstance(sight.jobs.get(job), Broken) and after == NOW and old is not None:
        old = {name: text for name, text in old.items() if name in (new or {})}  # its SQL is not known now
    problem = NOT_KEPT if new is None or (before and old is None) else ""
    changes = compare_texts(old, new) if old is not None and new is not None else []
    return page(
        request, "files", title=job, job=sight.jobs.get(job), texts=new or {}, problem=problem,
        changes=changes, before=before, after=after, runs=history[:CHOICES], now=NOW,
        called={entry.run_id: f"{entry.day}, run {entry.run_id}" for entry in history} | {NOW: "now"},
    )  # fmt: skip


def compare_texts(old: Mapping[str, str], new: Mapping[str, str]) -> list[Change]:
    """The files that differ between two versions, each with its unified difference."""
    return [
        Change(name, _state(name, old, new), tuple(_difference(old.get(name, ""), new.get(name, ""))))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _state(
    name: str, old: Mapping[str, str], new: Mapping[str, str]
) -> Literal["added", "removed", "changed"]:
    if name not in old:
        return "added"
    return "changed" if name in new else "removed"


def _difference(old: str, new: str) -> list[tuple[Kind, str]]:
    kinds: dict[str, Kind] = {"+": "added", "-": "removed", "@": "place"}
    _, _, *lines = [*difflib.unified_diff(old.splitlines(), new.splitlines(), n=CONTEXT, lineterm="")] or [
        "",
        "",
    ]
    return [(kinds.get(line[:1], "same"), line) for line in lines] or [("place", "only ends of lines differ")]


def _texts(sight: Sight, job: str, history: list[CatalogEntry], version: str) -> dict[str, str] | None:
    """The files of a job, now or of a run of it; None where they were not kept.

    Raises:
        HTTPException: 404, the job has published no such run.
    """
    if version == NOW:
        return _texts_now(sight, job)
    entry = next((entry for entry in history if entry.run_id == version), None)
    if entry is None:
        raise HTTPException(404, f"Job {job} has published no such run.")
    plan = run_folder.folder_of_run(sight.workspace, job, entry.day, entry.run_id).plan
    try:
        found = read_plan(plan) if plan.exists() else None
    except (OSError, NightscoreError):
        return None
    return dict(found.job_texts) or None if found else None


def _texts_now(sight: Sight, job: str) -> dict[str, str]:
    """Of a job that can't be read its job.yaml at least; nothing of one whose folder is gone."""
    match sight.jobs.get(job):
        case Job() as one:
            return read_job_texts(one)
        case Broken():
            files = [file for file in sight.workspace.job_files() if peek_job_name(file) == job]
            return {file.name: _read_inside(sight, file) for file in files[:1]}
    return {}


def _read_inside(sight: Sight, file: Path) -> str:
    """A job.yaml; where it is a link out of the workspace, why it is not shown."""
    try:
        return sight.workspace.resolve(sight.workspace.relative(file)).read_text("utf-8", errors="replace")
    except (OSError, NightscoreError) as error:
        return f"can't be read: {error}"
