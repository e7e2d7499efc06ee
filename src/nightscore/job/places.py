"""Where the parts of a job stand, as error messages name them: a file, or file and line."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nightscore.job.loader import Job


def sql_place(job: "Job", name: str) -> str:
    """A SQL file as error messages name it."""
    return job.workspace.relative(job.file.parent / name)


def audit_place(job: "Job", index: int) -> str:
    """An audit as error messages name it."""
    line = job.lines.get(("audit", index), 1)
    return f"{job.shown}:{line}: audit {str(job.spec.audit[index])!r}"


def highlight_place(job: "Job", index: int) -> str:
    """A highlight as error messages name it: its SQL file, or where it stands in job.yaml."""
    one = job.spec.highlights[index]
    if one.file:
        return sql_place(job, one.file)
    line = job.lines.get(("highlights", index), 1)
    return f"{job.shown}:{line}: highlight {one.title!r}"
