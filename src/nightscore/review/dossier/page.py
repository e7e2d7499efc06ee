"""The dossier of a job for whoever validates it: one HTML page that needs nothing beside itself.

Built as the report of a day is: no script and no address of another file, and no text of a job, a person or a
table becomes more than text.
"""

import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightscore.common import Broken, Workspace, as_day
from nightscore.job import Job, load
from nightscore.review.dossier.document import FILE, SECTIONS, Document, read_document
from nightscore.review.dossier.nights import Record, gather_record, model_text
from nightscore.review.report.html import open_templates
from nightscore.store import library_versions

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

GUIDANCE = "SR 26-2 (17 April 2026)"
COMMENT = re.compile(r"\A(?:--[^\n]*\n)+")
FAILED_SHOWN = 12  # nights of an audit that had not passed


def dossier(
    job: str, first: dt.date | str, last: dt.date | str, workspace: Workspace | Path | str | None = None
) -> str:
    """The dossier of a job's published days from `first` to `last`, both included, as one HTML page.

    Raises:
        Broken: there is no such job, none of the days is published, or its model document names what is not
            there; or the extra `report` is not installed.
    """
    return render_dossier(gather_record(load(job, workspace), as_day(first), as_day(last)))


def render_dossier(record: Record) -> str:
    """The page of a record. Errors as those of `dossier`."""
    templates = open_templates()
    known = {"params": _params(record), "record": _counts(record)}
    document = read_document(record.job, record.first, record.last, known)
    return templates.get_template("dossier.html").render(**_context(record, document, known))


def dossier_file(record: Record) -> Path:
    """Where the page lies unless another file is named: `data/dossiers/JOB/FROM_TO.html`."""
    folder = record.job.workspace.dossiers / record.job.name
    return folder / f"{record.first}_{record.last}.html"


def _counts(record: Record) -> dict[str, Any]:
    """The figures of the record that a model document may name."""
    kinds = [approval.kind for approval in record.approvals]
    return {
        "first_day": record.nights[0].receipt.day if record.nights else "",
        "last_day": record.nights[-1].receipt.day if record.nights else "",
        "nights": len(record.nights),
        "runs": len(record.runs),
        "restatements": len(record.restatements),
        "releases": kinds.count("release"),
        "discards": kinds.count("discard"),
        "warned": sum(any(not audit.passed for audit in night.receipt.audits) for night in record.nights),
        "rows": sum(night.receipt.rows.published for night in record.nights),
    }


def _params(record: Record) -> dict[str, Any]:
    """The parameters of the newest night, and of those that it does not have the defaults."""
    newest = record.nights[-1].receipt.params if record.nights else {}
    return {name: newest.get(name, param.default) for name, param in record.job.spec.params.items()}


def _context(record: Record, document: Document, known: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows; `known` are the figures of the record and its parameters."""
    job, markdown = record.job, _markdown()
    return {
        "record": record,
        "job": job,
        "spec": job.spec,
        "guidance": GUIDANCE,
        "document": document,
        "file": FILE,
        "sections": SECTIONS,
        "written": {name: markdown.render(text) for name, text in document.sections.items()},
        "counts": known["record"],
        "params": known["params"],
        "inputs": _inputs(job),
        "sql": _sql(job),
        "models": record.spans(model_text),
        "hashes": record.spans(lambda receipt: receipt.job_hash),
        "failed_shown": FAILED_SHOWN,
        "version": library_versions()["nightscore"],
    }


def _inputs(job: Job) -> list[tuple[str, str, str]]:
    """(name, where it comes from, how it is read) of each input."""
    found = []
    for name, source in job.spec.inputs.items():
        said = source.model_dump(mode="json", exclude_defaults=True)
        where = f"table {said.pop('table')}" if "table" in said else str(said.pop("path"))
        said.pop("columns", None)
        how = ", ".join(f"{key}: {_plain(value)}" for key, value in said.items())
        found.append((name, where, how))
    return found


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sql(job: Job) -> list[tuple[str, str]]:
    """(file, what it says of itself in its first comment) of each SQL of the job."""
    features = {job.spec.source: job.features_sql} if job.spec.source.endswith(".sql") else {}
    texts: Mapping[str, str | None] = {
        **features,
        **{job.spec.decide[table]: text for table, text in job.decide_sql.items()},
    }
    return [(name, _first_comment(text or "")) for name, text in texts.items()]


def _first_comment(sql: str) -> str:
    """The comment at the top of a SQL file, without its dashes; points and tables begin lines."""
    found = COMMENT.match(sql)
    text = ""
    for line in found[0].splitlines() if found else []:
        said = line.removeprefix("--").removeprefix(" ")
        is_apart = not said.strip() or said.startswith(("* ", "   ")) or text.endswith("\n")
        text += ("\n" if is_apart else " ") + said.strip() + ("\n" if said.startswith("   ") else "")
    return text.strip()


def _markdown() -> "MarkdownIt":
    """Markdown without HTML, links and images: text, emphasis, code, lists and tables."""
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        raise Broken(f'a dossier needs {error.name}: pip install "nightscore[report]"') from error
    options = {"html": False, "linkify": False}
    return (
        MarkdownIt("commonmark", options).enable("table").disable(["link", "image", "autolink", "reference"])
    )
