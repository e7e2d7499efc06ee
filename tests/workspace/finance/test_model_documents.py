"""The model documents of the finance jobs: each is there, whole, and none of its figures is typed."""

import datetime as dt
import re

import pytest

from nightscore import load
from nightscore.review.dossier.document import SECTIONS, read_document
from tests.workspace.finance.world import REPOSITORY

JOBS = sorted(file.parent.name for file in (REPOSITORY / "jobs/finance").glob("*/job.yaml"))
DAY = dt.date(2022, 12, 28)
FIGURE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
# What is no measurement: levels and spans that are definitions, years, and sources with their numbers.
NAMED = re.compile(
    r"\b(1|5|99|97\.5|2\.5|95) %|\b(250|500|501) days\b|\b(19|20)\d\d\b|S&P 500|MAR\d+(\.\d+)?|"
    r"IFRS 9( [B\d.]+)?|`[^`]*`|\bZ2\b|\bstage [123]\b"
)
MEASURED = ("Limitations", "Outcomes analysis", "Benchmarks")


def text_of(job: str) -> str:
    """The document as it was written."""
    return (REPOSITORY / "jobs/finance" / job / "model.md").read_text(encoding="utf-8")


def section(text: str, name: str) -> str:
    """What stands under a heading."""
    return text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("job", JOBS)
def test_every_job_has_a_whole_document_whose_figures_are_there(job: str) -> None:
    """All ten sections; each figure of a file is found, in the format that is asked for."""
    known = {"params": load(job, REPOSITORY).params(), "record": dict.fromkeys(("nights", "restatements"), 1)}
    document = read_document(load(job, REPOSITORY), DAY, DAY, known)
    assert document.missing == () and list(document.sections) == list(SECTIONS)
    assert "{{" not in "".join(document.sections.values())


@pytest.mark.parametrize("job", JOBS)
def test_it_is_a_page(job: str) -> None:
    """A validator reads it in minutes: at most 900 words."""
    written = text_of(job).partition("\n---\n")[2]
    assert len(FIGURE.sub("0", written).split()) <= 900


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("name", MEASURED)
def test_what_was_measured_is_never_typed(job: str, name: str) -> None:
    """Where measurements stand no digit is left but those of figures, definitions and sources."""
    left = NAMED.sub("", FIGURE.sub("", section(text_of(job), name)))
    assert not re.findall(r"\S*\d\S*", left)


@pytest.mark.parametrize("job", JOBS)
def test_limitations_say_how_much(job: str) -> None:
    """Three at least, and most of them have a figure."""
    limitations = re.split(r"^- ", section(text_of(job), "Limitations"), flags=re.MULTILINE)[1:]
    assert len(limitations) >= 3
    assert sum(bool(FIGURE.search(one)) for one in limitations) >= len(limitations) / 2
