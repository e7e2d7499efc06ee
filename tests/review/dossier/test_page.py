"""The dossier: its record is what the table of receipts holds, its figures those of the files it names."""

import datetime as dt
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable

from nightscore import Broken, Restate, load, run
from nightscore.cli.main import call
from nightscore.evaluation.promote import promote_model
from nightscore.pipeline.publish.hold import Held, discard_day, release_day
from nightscore.review import dossier
from tests.support.pages import timeless
from tests.support.workspace import JOB, linear_model, make_workspace, rows_of, write_day

FIRST, SECOND, THIRD = "2020-01-01", "2020-01-02", "2020-01-03"
ROWS = 400
HOSTILE = "<script>alert(1)</script>"

STRICT = """
  - {name: scores are small, sql: SELECT max(score) < 5 FROM scores}
  - {name: scores are tiny, sql: SELECT max(score) < 0.5 FROM scores, severity: warn}
close: true
"""

CARD = {
    "figures": {"model": {"below": 0.0124, "name": "a_b* <i>"}}, "t, of": -2.516, "forecasts": 40240,
    "list": [1, 2, 3],
}  # fmt: skip

MODEL = """\
---
figures: {card: data/models/card.json}
tables:
  top:
    about: The best of the last day
    sql: SELECT id, score, rank FROM mini_top WHERE day = $2 AND rank <= 3 ORDER BY rank
  days:
    about: Rows by day
    sql: SELECT day, count(*) AS n FROM mini_top WHERE day BETWEEN $1 AND $2 GROUP BY 1
  gone: {about: Of a job that has not run, sql: SELECT * FROM later_scores}
---
## Purpose
Rows are scored by **two weights**. <b>Not bold</b>, [no link](http://example.com), ![no image](x.png).

## Data
`rows`, {{ record/nights }} nights.

## Method
Least squares (Gauss 1809).

## Assumptions
- {{ params/n }} are chosen.

## Limitations
- {{ card/figures/model/below | .2% }} are below, t = {{ card/t, of | .1f }}, in {{ card/forecasts | , }}
  forecasts.
- The third is {{ card/list/2 }}; the name is {{ card/figures/model/name }}.

## Outcomes analysis
The best is {{ top/score | .4f }}; {{ gone/x }}.

## Benchmarks
| a | b |
|---|---|
| {{ card/list/0 }} | {{ card/list/1 }} |

## Thresholds
Held if a score is large: {{ record/releases }} released.

## Changes
{{ record/restatements }} restatements.

## Owner
Ask the tests.
"""


class Page(HTMLParser):
    """The tables of a page by `data-of`, as rows of texts; all text; all tags and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.facts: dict[str, str] = {}
        self.sections: dict[str, str] = {}
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._table = self._fact = self._section = ""
        self._head = self._in_table = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        if tag == "table":
            self._table, self._in_table = found.get("data-of", ""), True
            self.tables.setdefault(self._table, [])
        if tag == "section":
            self._section = found.get("id", "")
        if tag == "strong":
            self._fact = found.get("data-of", "")
        self._head = tag == "thead" or (self._head and tag != "tbody")
        if tag == "tr" and not self._head:
            self.tables.setdefault(self._table, []).append([])
        if tag == "td":
            self.tables[self._table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._in_table = False
        if tag == "strong":
            self._fact = ""

    def handle_data(self, data: str) -> None:
        self.text += data
        self.sections[self._section] = self.sections.get(self._section, "") + data
        if self._fact:
            self.facts[self._fact] = data
        rows = self.tables.get(self._table, [])
        if self._in_table and rows and rows[-1]:
            rows[-1][-1] += data


def squeezed(rows: list[list[str]]) -> list[list[str]]:
    """Cells without line breaks."""
    return [[" ".join(cell.split()) for cell in row] for row in rows]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three closed days: one restated after a promotion, one released, one discarded and run anew."""
    root = make_workspace(tmp_path_factory.mktemp("dossier") / "ws", ROWS, JOB + STRICT[1:])
    (root / "data/models/card.json").write_text(json.dumps(CARD))
    (root / "jobs/mini/model.md").write_text(MODEL)
    shutil.copytree(root / "jobs/mini", root / "jobs/later")
    later = JOB.replace("job: mini", "job: later").replace("mini_top", "later_top")
    (root / "jobs/later/job.yaml").write_text(later)
    run(load("mini", root), FIRST)
    linear_model(root / "data/models/large.onnx", (40.0, 1.0))
    linear_model(root / "data/models/next.onnx", (1.0, 1.0))
    with pytest.raises(Held):
        run(load("mini", root), SECOND, model="data/models/large.onnx")
    space = load("mini", root).workspace
    release_day(space, "mini", dt.date(2020, 1, 2), by="Ada Lovelace", because=f"looked at {HOSTILE}")
    with pytest.raises(Held):
        run(load("mini", root), THIRD, model="data/models/large.onnx")
    discard_day(space, "mini", dt.date(2020, 1, 3), by="Bob", because="the wrong model")
    promote_model(load("mini", root), "data/models/next.onnx", by="Eve", because="better", force=True)
    run(load("mini", root), THIRD, params={"n": 7})
    run(load("mini", root), FIRST, restate=Restate("the new champion", by="Eve"))
    return root


@pytest.fixture(scope="module")
def page(space: Path) -> Page:
    """The dossier of all three days."""
    return Page(dossier("mini", FIRST, THIRD, space))


@pytest.fixture(scope="module")
def receipts(space: Path) -> list[dict[str, Any]]:
    """Every receipt, by deltalake alone, in the order of publication."""
    table = DeltaTable(space / "data/tables/receipts").to_pyarrow_table().sort_by("run_number")
    return [json.loads(text) for text in table["receipt"].to_pylist()]


def test_every_receipt_has_its_own_numbers(page: Page, receipts: list[dict[str, Any]]) -> None:
    """Day, run, moment, rows, audits, state, fingerprint, key hash, as deltalake reads the receipts."""
    found = squeezed(page.tables["receipts"])
    newest = {one["day"]: one["run_id"] for one in receipts}
    assert len(found) == len(receipts) == 4
    for row, one in zip(found, receipts, strict=True):
        state = "in force" if newest[one["day"]] == one["run_id"] else "replaced"
        assert row == [
            one["day"],
            one["run_id"],
            dt.datetime.fromisoformat(one["published_at"]).strftime("%Y-%m-%d %H:%M:%S UTC"),
            *(f"{one['rows'][name]:,}" for name in ("read", "scored", "rejected", "published")),
            f"{sum(audit['passed'] for audit in one['audits'])} of {len(one['audits'])}",
            f"{state} closed{' released' if one['released'] else ''}",
            one["fingerprint"][:12],
            one["key_hash"]["out"][:12],
        ]


def test_a_restatement_has_its_reason_what_moved_and_which_causes(
    page: Page, receipts: list[dict[str, Any]]
) -> None:
    """As its receipt has it; the model is the cause that had changed."""
    [one] = [receipt for receipt in receipts if receipt["restatement"]]
    [row] = squeezed(page.tables["restatements"])
    said = one["restatement"]
    assert row[:2] == [FIRST, str(said["number"])] and row[3:5] == ["Eve", "the new champion"]
    moved = said["tables"]["mini_scores"]
    assert f"mini_scores: {moved['changed']} changed, 0 added, 0 removed; a 0, score" in row[5]
    assert f"score {moved['moved']['score']}; mini_top" in row[5]
    before = next(receipt for receipt in receipts if receipt["run_id"] == said["replaces"])
    assert f"model: data/models/linear.onnx {before['model']['sha256'][:12]}" in row[6]
    assert f"→ data/models/next.onnx {one['model']['sha256'][:12]}" in row[6]
    assert "inputs" not in row[6] and "library" not in row[6]


def test_what_people_decided_is_there_with_names_and_reasons(page: Page) -> None:
    """The release with the audits that had failed, the discard, the promotion; by time."""
    rows = squeezed(page.tables["approvals"])
    assert sorted((row[0], row[2], row[4]) for row in rows) == [
        ("discard", "Bob", "the wrong model"),
        ("promotion", "Eve", "better"),
        ("release", "Ada Lovelace", f"looked at {HOSTILE}"),
    ]
    about = {row[0]: row[3] for row in rows}
    assert SECOND in about["release"] and "scores are small; scores are tiny" in about["release"]
    assert THIRD in about["discard"] and "data/models/next.onnx" in about["promotion"]
    assert rows == sorted(rows, key=lambda row: row[1])
    counts = {
        "nights": "3",
        "runs": "4",
        "restatements": "1",
        "releases": "1",
        "discards": "1",
        "warned": "3",
    }
    assert page.facts == counts


def test_audits_are_counted_over_the_nights_in_force(page: Page, receipts: list[dict[str, Any]]) -> None:
    """How often each was asked and passed, and on which days not, by the receipts in force."""
    in_force = {one["day"]: one for one in receipts}
    rows = {row[0]: row for row in squeezed(page.tables["audits"])}
    assert len(rows) == 3
    for name, row in rows.items():
        answers = {
            day: audit["passed"]
            for day, one in sorted(in_force.items())
            for audit in one["audits"]
            if audit["name"] == name
        }
        assert row[2:4] == [str(len(answers)), str(sum(answers.values()))]
        assert re.findall(r"2020-01-0\d", row[4]) == [day for day, passed in answers.items() if not passed]
    assert rows["scores are small"][1] == "held" and rows["scores are tiny"][1] == "a warning"


def test_models_parameters_and_libraries_have_their_nights(
    page: Page, receipts: list[dict[str, Any]]
) -> None:
    """Which night had which; and the nights at which one became another."""
    in_force = {one["day"]: one for one in receipts}
    models = [row for row in squeezed(page.tables["models"]) if "onnx" in row[1]]
    assert [(row[1].split()[0], row[2], row[3], row[4]) for row in models] == [
        ("data/models/next.onnx", FIRST, THIRD, "2"),
        ("data/models/large.onnx", SECOND, SECOND, "1"),
    ]
    changes = squeezed(page.tables["changes"])
    assert ["", "parameter n", "10", "7"] in changes
    assert [row[0] for row in changes if row[0]] == [SECOND, THIRD]
    versions = {row[0]: row[1:] for row in squeezed(page.tables["versions"])}
    for name, version in in_force[THIRD]["versions"].items():
        assert versions[name] == [version, FIRST, THIRD, "3"]


def test_figures_are_read_and_never_typed(page: Page, space: Path) -> None:
    """Of the JSON file, of a published table, of parameters and record, in the formats asked for."""
    said = " ".join(page.sections["limitations"].split())
    assert "1.24% are below, t = -2.5, in 40,240 forecasts." in said
    assert "The third is 3; the name is a_b* <i>." in said
    assert "3 nights" in page.sections["data"] and "7 are chosen." in page.sections["assumptions"]
    rows = rows_of(THIRD, ROWS)
    best = np.sort(rows["a"].to_numpy() + rows["b"].to_numpy())[::-1]
    assert f"The best is {best[0]:.4f}; not published." in page.sections["outcomes-analysis"]
    assert squeezed(page.tables[""]) == [["1", "2"]]
    top = page.tables["outcome top"]
    assert [float(row[1]) for row in top] == pytest.approx(best[:3].tolist(), rel=1e-5)
    assert [row[2].strip() for row in top] == ["1", "2", "3"]
    assert sorted(map(tuple, squeezed(page.tables["outcome days"]))) == [
        (FIRST, "10"),
        (SECOND, "10"),
        (THIRD, "7"),
    ]
    assert "No outcomes of gone:" in page.text and "later_scores" in page.text
    card = space / "data/models/card.json"
    card.write_text(json.dumps(CARD | {"forecasts": 7}))
    assert "in 7 forecasts" in " ".join(Page(dossier("mini", FIRST, THIRD, space)).text.split())
    card.write_text(json.dumps(CARD))


def test_sql_says_what_it_does_in_its_own_words(space: Path, tmp_path: Path) -> None:
    """The comment at the top of each file, its lines joined as a reader has them; no comment further down."""
    root = tmp_path / "ws"
    shutil.copytree(space, root)
    sql = (root / "jobs/mini/top.sql").read_text()
    comment = "-- The best of the day,\n-- by score.\n--\n"
    comment += "-- * ties go to\n--   the smaller id\n-- * <b>n</b> of them\n"
    (root / "jobs/mini/top.sql").write_text(f"{comment}WITH none AS (SELECT 1) -- not this\n{sql}")
    said = Page(dossier("mini", FIRST, THIRD, root)).sections["method"]
    assert "The best of the day, by score.\n\n* ties go to the smaller id\n* <b>n</b> of them" in said
    assert "not this" not in said


def test_a_span_has_its_own_days_alone(space: Path) -> None:
    """From the second to the second: one receipt, and no restatement or discard of other days."""
    page = Page(dossier("mini", SECOND, SECOND, space))
    assert [row[0] for row in page.tables["receipts"]] == [SECOND]
    assert "restatements" not in page.tables
    # A promotion's moment has whole seconds: one that came later may stand before the release.
    assert {row[0] for row in page.tables["approvals"]} == {"release", "promotion"}
    assert page.facts["runs"] == "1"


def test_no_text_is_more_than_text(page: Page) -> None:
    """No script, no address of another file, no element of an author's or a person's own."""
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "b", "iframe", "object", "form", "input", "base"}
    for _, attributes in page.elements:
        assert not attributes.keys() & {"src", "srcset", "data", "poster", "action", "xlink:href"}
        assert attributes.get("href", "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    assert HOSTILE in page.text and "<b>Not bold</b>" in page.text
    assert "two weights" in page.text and "**two weights**" not in page.text
    policy = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_all_sections_are_there_in_order(page: Page) -> None:
    """Those of a model document, then the record and the versions."""
    found = [a["id"] for tag, a in page.elements if tag == "section"]
    assert found == [
        "purpose", "data", "method", "assumptions", "limitations", "outcomes-analysis", "benchmarks",
        "thresholds", "changes", "owner", "record", "versions",
    ]  # fmt: skip
    assert "SR 26-2 (17 April 2026)" in page.text and "Nobody has written" not in page.text


def test_a_job_without_a_model_document_has_its_record_all_the_same(space: Path, tmp_path: Path) -> None:
    """And the page says which file to write."""
    root = tmp_path / "ws"
    shutil.copytree(space, root)
    (root / "jobs/mini/model.md").unlink()
    page = Page(dossier("mini", FIRST, THIRD, root))
    assert "Nobody has written Purpose, Data" in page.text and "jobs/mini/model.md" in page.text
    assert len(page.tables["receipts"]) == 4


@pytest.mark.parametrize(
    ("was", "is_", "says"),
    [
        ("card/figures/model/below", "card/figures/modle/below", "jobs/mini/model.md:25: "),
        ("card/figures/model/below", "card/figures/modle/below", "card/figures has no 'modle'; there: model"),
        ("card/forecasts | ,", "card/figures | ,", "can't be written as ','"),
        ("data/models/card.json", "data/models/none.json", "head: figures.card: data/models/none.json"),
        ("## Data", "## Dater", "jobs/mini/model.md:15: section 'Dater' is not one of a model document"),
        ("figures: {card", "figurs: {card", "head: figurs: Extra inputs are not permitted"),
        ("about: The best", "about: [The best", "jobs/mini/model.md:"),
        ("{{ card/list/2 }}", "{{ card/list/9 }}", "card/list has no '9'; there: 0 to 2"),
        (
            "FROM later_scores",
            "FROM later_score",
            "head: tables.gone: 'later_score' is a table of no job; those of mini: mini_scores, mini_top; "
            "published: ",
        ),
        ("figures: {card", "figures: {record", "head: 'record' stands for two things"),
        ("figures: {card", "figures: {params: data/models/card.json, card", "head: 'params' stands for two"),
        ("  days:\n", "  card:\n", "head: 'card' stands for two things"),
        ("  days:\n", "  record:\n", "head: 'record' stands for two things"),
        ("---\n## Purpose", "---\n\n\nNot to be used.\n## Purpose", "model.md:14: 'Not to be used.' stands"),
        ("---\nfigures", "----\nfigures", "model.md:1: '----' stands before the first heading"),
    ],
)
@pytest.mark.sample(5)
def test_a_mistake_in_the_document_is_named_with_its_line(
    space: Path, tmp_path: Path, was: str, is_: str, says: str
) -> None:
    """File, line, the offending value, and what is there."""
    root = tmp_path / "ws"
    shutil.copytree(space, root)
    assert was in MODEL
    (root / "jobs/mini/model.md").write_text(MODEL.replace(was, is_))
    with pytest.raises(Broken, match=re.escape(says)):
        dossier("mini", FIRST, THIRD, root)


@pytest.mark.parametrize(
    "sql",
    ["SELECT score + nothing AS x FROM mini_top", "WITH later AS (FROM mini_top) SELECT nothing FROM later"],
)
def test_an_outcome_that_cannot_be_read_is_not_called_unpublished(
    space: Path, tmp_path: Path, sql: str
) -> None:
    """Its figures say that it can't be read, and a band says why."""
    root = tmp_path / "ws"
    shutil.copytree(space, root)
    (root / "jobs/mini/model.md").write_text(MODEL.replace("SELECT * FROM later_scores", sql))
    page = Page(dossier("mini", FIRST, THIRD, root))
    assert "; can't be read." in page.sections["outcomes-analysis"]
    assert "No outcomes of gone:" in page.text and "nothing" in page.text


def test_a_value_of_nothing_is_no_value(space: Path, tmp_path: Path) -> None:
    """A NULL of a published row is not an outcome that is not published."""
    root = tmp_path / "ws"
    shutil.copytree(space, root)
    (root / "jobs/mini/model.md").write_text(MODEL.replace("SELECT * FROM later_scores", "SELECT NULL AS x"))
    assert "; no value." in Page(dossier("mini", FIRST, THIRD, root)).sections["outcomes-analysis"]


def test_a_night_that_another_job_has_taken_over_is_not_counted(tmp_path: Path) -> None:
    """The old job's nights in force are those that it still has whole; the new job has its own."""
    root = make_workspace(tmp_path, 40, JOB, days=(FIRST, SECOND))
    run(load("mini", root), FIRST)
    run(load("mini", root), SECOND)
    shutil.copytree(root / "jobs/mini", root / "jobs/other")
    other = JOB.replace("job: mini", "job: other")
    (root / "jobs/other/job.yaml").write_text(other)
    (root / "jobs/mini/job.yaml").write_text(
        JOB.replace("mini_top:", "mini_old:").replace("mini_top", "mini_old")
    )
    to_other = ("mini_top", "--from", "mini", "--to", "other", "--by", "Ada", "--because", "renamed")
    assert call(["--workspace", str(root), "hand-over", *to_other]) == 0
    assert Page(dossier("mini", FIRST, SECOND, root)).facts["nights"] == "2"
    run(load("other", root), SECOND)
    old, new = (Page(dossier(job, FIRST, SECOND, root)) for job in ("mini", "other"))
    assert (old.facts["nights"], old.facts["runs"], new.facts["nights"]) == ("1", "2", "1")
    state = {row[0]: " ".join(row[8].split()) for row in old.tables["receipts"]}
    assert state == {FIRST: "in force", SECOND: "replaced by other"}


def test_limitations_without_a_figure_are_refused(space: Path, tmp_path: Path) -> None:
    """A limitation says how much."""
    root = tmp_path / "ws"
    shutil.copytree(space, root)
    text = re.sub(r"(## Limitations\n).*?(## Outcomes)", r"\1- Some.\n\n\2", MODEL, flags=re.DOTALL)
    (root / "jobs/mini/model.md").write_text(text)
    with pytest.raises(Broken, match="Limitations have no figure"):
        dossier("mini", FIRST, THIRD, root)


def test_the_command_writes_the_page_and_prints_its_path(
    space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default below data/dossiers; --out elsewhere; days that are not there are told."""
    at = ("--workspace", str(space), "dossier", "mini")
    assert call([*at, "--from", FIRST, "--to", THIRD]) == 0
    file = space / f"data/dossiers/mini/{FIRST}_{THIRD}.html"
    assert capsys.readouterr().out == f"{file}\n"
    assert timeless(file.read_text()) == timeless(dossier("mini", FIRST, THIRD, space))
    other = tmp_path / "page.html"
    assert call([*at, "--from", FIRST, "--to", FIRST, "--out", str(other)]) == 0
    assert other.read_text().startswith("<!doctype html>")
    capsys.readouterr()
    assert call([*at, "--from", THIRD, "--to", FIRST]) == 2
    assert f"--from {THIRD} is after --to {FIRST}" in capsys.readouterr().err
    assert call([*at, "--from", "2021-01-01", "--to", "2021-01-31"]) == 1
    assert f"published: 3 days from {FIRST} to {THIRD}" in capsys.readouterr().err


def test_a_day_that_is_held_is_said_with_what_has_failed(space: Path, tmp_path: Path) -> None:
    """It has no receipt yet, and waits for a person; a day outside of the span is not of the page."""
    root = tmp_path / "ws"
    shutil.copytree(space, root)
    write_day(root, "2020-01-04", ROWS)
    with pytest.raises(Held):
        run(load("mini", root), "2020-01-04", model="data/models/large.onnx")
    said = " ".join(Page(dossier("mini", FIRST, "2020-01-04", root)).text.split())
    assert "Held, and nobody has decided: 2020-01-04, run " in said and ": scores are small" in said
    assert "Held, and" not in Page(dossier("mini", FIRST, THIRD, root)).text


def test_a_receipt_that_cannot_be_read_is_a_red_band(space: Path, tmp_path: Path) -> None:
    """The others are there; the page is not complete."""
    root = tmp_path / "ws"
    shutil.copytree(space, root)
    [file] = (root / f"data/tables/receipts/day={SECOND}").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-40])
    page = Page(dossier("mini", FIRST, THIRD, root))
    assert "A receipt can't be read:" in page.text and "incomplete" in page.text
    assert [row[0] for row in page.tables["receipts"]] == [FIRST, THIRD, FIRST]
