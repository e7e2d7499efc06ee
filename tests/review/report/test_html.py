"""The report of a published day: its numbers are the day's own, and no text in it is more than text."""

import datetime as dt
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import Broken, Receipt, load, query, report, run
from nightscore.cli.main import call
from nightscore.delivery.figures import figures_json, figures_text
from nightscore.review.report.data import gather_facts
from nightscore.review.report.profile import Breakdown, Count, DayProfiler, bin_edges
from nightscore.store.published.gc import collect_garbage
from nightscore.store.sql.engine import EngineResources
from tests.support.pages import timeless
from tests.support.workspace import JOB, linear_model, make_workspace, rows_of, write_day

FIRST, SECOND, THIRD = "2020-01-01", "2020-01-02", "2020-01-03"
ROWS = 2_000
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

HOSTILE = ("<script>alert(1)</script>", "</style></svg><b>bold</b>", "\"'><img src=x onerror=alert(1)>")
HOSTILE_JOB = """\
job: hostile
about: "<script>alert('about')</script>"
owner: "</title><script>alert('owner')</script>"
inputs:
  rows: {path: data/lake/rows, partition: day}
features: features.sql
key: [id]
keep: [label]
model:
  path: data/models/linear.onnx
  outputs: {score: y}
decide:
  hostile_tiers: tiers.sql
params:
  word: {type: string, default: "<script>alert('param')</script>", about: a word}
audit:
  - {name: "<script>alert('audit')</script>", sql: SELECT false, severity: warn}
"""


def texts(values: tuple[str, ...]) -> str:
    """A SELECT's list of text literals."""
    return "[" + ", ".join("'" + v.replace("'", "''") + "'" for v in values) + "]"


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mini` on two days, the second one published twice, first by another model; only read by tests."""
    root = make_workspace(tmp_path_factory.mktemp("report") / "ws", ROWS)
    run(load("mini", root), FIRST)
    linear_model(root / "data/models/linear.onnx", (4.0, 1.0))
    run(load("mini", root), SECOND)
    linear_model(root / "data/models/linear.onnx", (1.0, 2.0))
    run(load("mini", root), SECOND)
    return root


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose every text tries to become more than text."""
    root = make_workspace(tmp_path_factory.mktemp("hostile") / "ws", 60)
    folder = root / "jobs/hostile"
    folder.mkdir()
    (folder / "job.yaml").write_text(HOSTILE_JOB)
    label = f"{texts(HOSTILE)}[1 + id % 3]"
    (folder / "features.sql").write_text(f"SELECT id, a, b, {label} AS label FROM rows")
    odd, list_ = 'id % 5 = 0 AS "<i>odd"', f"{texts(HOSTILE)} AS list"
    (folder / "tiers.sql").write_text(f"SELECT id, label AS tier, {odd}, {list_} FROM scores WHERE id < 50")
    for day in (FIRST, SECOND):
        run(load("hostile", root), day)
    return root


def receipts(root: Path, day: str) -> list[Receipt]:
    """Every receipt of a day of `mini`, the oldest first."""
    found = query("SELECT receipt FROM receipts WHERE day = $1 ORDER BY run_number", root, values=[day])
    return [Receipt.model_validate_json(text) for text in found.column("receipt").to_pylist()]


def scores(day: str, weights: tuple[float, float]) -> np.ndarray:
    """What the model must have given, by NumPy."""
    rows = rows_of(day, ROWS)
    a, b = rows.column("a").to_numpy(), rows.column("b").to_numpy()
    return a * np.float32(weights[0]) + b * np.float32(weights[1])


class Page(HTMLParser):
    """Every element of a page with its attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.code: dict[str, list[str]] = {}
        self._for = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "pre":
            self._for = dict(attrs)["data-for"] or ""
            self.code.setdefault(self._for, []).append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self._for = ""

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._for:
            self.code[self._for][-1] += data


def card(html: str, title: str) -> str:
    """The number on a card."""
    found = re.search(rf"<p>{title}</p>\s*<strong>([0-9,]+)", html)
    assert found, title
    return found[1]


@pytest.mark.slow
def test_the_totals_are_those_of_the_receipt(space: Path) -> None:
    """Rows read, scored, rejected and published, run, hashes, model, tables and audits are the receipt's."""
    html, receipt = report("mini", SECOND, space), receipts(space, SECOND)[-1]
    for name in ("read", "scored", "rejected", "published"):
        assert card(html, f"rows {name}") == f"{getattr(receipt.rows, name):,}"
    assert card(html, "audits passed") == "1"
    assert receipt.model
    text = Page(html).text
    for words in (
        receipt.run_id, receipt.fingerprint, receipt.model.sha256, receipt.key_hash.in_, receipt.job_hash,
        receipt.inputs[0].path, receipt.inputs[0].fingerprint, "as many as asked for", "n = 10",
        "2,010 rows counted again in 2 tables", "Thursday",
    ):  # fmt: skip
        assert words in text, words
    assert "does not hold" not in text
    assert "no longer in force" not in text


def test_the_histogram_is_numpys(space: Path) -> None:
    """Both days' rows by bin, and their quantiles, are what NumPy counts in the scores it makes itself."""
    [found] = gather_facts(load("mini", space), dt.date(2020, 1, 2)).distributions
    assert found.before
    for side, day in ((found.now, SECOND), (found.before, FIRST)):
        truth = scores(day, (1.0, 2.0))
        counts, _ = np.histogram(truth.astype(np.float64), np.array(found.edges))
        assert side.counts == tuple(counts)
        assert (sum(side.counts), side.rows, side.other) == (ROWS, ROWS, 0)
        wanted = np.quantile(truth.astype(np.float64), [0, 0.01, 0.5, 0.99, 1])
        assert side.quantiles == pytest.approx([*wanted, truth.mean(dtype=np.float64)], rel=1e-12)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0.0, 1.0),
        (-3e-9, 5e-9),
        (0.1, 0.7),
        (-1e30, 1e30),
        (123456.0, 123457.0),
        (-5.0, -4.999),
        (0.0, 5e-324),
    ],
)
def test_bins_are_few_even_and_hold_every_value(low: float, high: float) -> None:
    """The edges hold both ends, rise, and are at most 51; values too close to tell apart have none."""
    edges = bin_edges(low, high)
    if high == 5e-324:
        assert edges == ()
        return
    assert edges[0] <= low < high <= edges[-1] * (1 + 1e-12 if edges[-1] > 0 else 1 - 1e-12)
    assert 10 < len(edges) <= 51
    assert all(np.diff(edges) > 0)
    assert bin_edges(high, high) == ()


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.7), (-0.3, 0.3), (1e-7, 3.3e-5), (1000.1, 1000.9)])
def test_values_on_and_beside_an_edge_are_in_numpys_bin(tmp_path: Path, low: float, high: float) -> None:
    """Every edge, and the numbers just below and above it, are counted where NumPy counts them."""
    edges = np.array(bin_edges(low, high))
    inner = edges[(edges > low) & (edges < high)]
    values = np.concatenate([[low, high], inner, np.nextafter(inner, low), np.nextafter(inner, high)])
    pq.write_table(pa.table({"v": values}), tmp_path / "t.parquet")
    with DayProfiler(
        {"t": [tmp_path / "t.parquet"]}, None, EngineResources(1, 1_000_000_000, tmp_path)
    ) as days:
        found = days.distribution("t", "v")
    assert found
    assert found.edges == tuple(edges)
    assert found.now.counts == tuple(np.histogram(values, edges)[0])


def test_decisions_are_counted_by_value_beside_the_day_before(hostile: Path) -> None:
    """Texts and booleans of few values are counted on both days; the key and lists are left out."""
    facts = gather_facts(load("hostile", hostile), dt.date(2020, 1, 2))
    [tiers] = [t for t in facts.tables if t.name == "hostile_tiers"]
    by_tier, by_odd = tiers.breakdowns
    assert {c.value: (c.now, c.before) for c in by_tier.counts or ()} == {
        HOSTILE[0]: (17, 17), HOSTILE[1]: (17, 17), HOSTILE[2]: (16, 16),
    }  # fmt: skip
    assert by_odd == Breakdown("<i>odd", (Count("false", 40, 40), Count("true", 10, 10)))
    [counted] = [t for t in facts.tables if t.name == "hostile_scores"]
    assert counted.breakdowns == ()


def test_amounts_are_added_up_by_group(tmp_path: Path) -> None:
    """Decimals summed and floats averaged as pandas does, grades in their order; no lists, no ids."""
    now = pa.table(
        {
            "grade": ["B", "A", "B", "C10", "C9"], "loan_id": [1, 2, 3, 4, 5],
            "loss": pa.array([*map(Decimal, ("1.25", "2.5", "0.25")), None, Decimal(9)], pa.decimal128(9, 2)),
            "pd": [0.5, 0.25, 0.0, 1.0, 1.0],
            "paths": pa.array([[Decimal("1.00")]] * 5, pa.list_(pa.decimal128(18, 2))),
        }
    )  # fmt: skip
    pq.write_table(now, tmp_path / "now.parquet")
    pq.write_table(now.slice(0, 2).drop(["pd"]), tmp_path / "before.parquet")
    resources = EngineResources(1, 1_000_000_000, tmp_path)
    files = [{"t": [tmp_path / f"{name}.parquet"]} for name in ("now", "before")]
    with DayProfiler(*files, resources) as days:
        [by_grade] = [one for one in days.breakdowns("t", days.columns("t")) if one.column == "grade"]
    frame = now.to_pandas().groupby("grade")
    assert [(one.column, one.how) for one in by_grade.measures] == [("loss", "sum"), ("pd", "mean")]
    assert [one.value for one in by_grade.counts or ()] == ["A", "B", "C9", "C10"]
    for one in by_grade.counts or ():
        rows = frame.get_group(one.value)
        assert (one.now, one.measured[1]) == (len(rows), rows["pd"].mean())
        assert (one.measured[0] or 0) == sum(x for x in rows["loss"] if x is not None)
    assert {one.value: one.measured_before for one in by_grade.counts or ()} == {
        "A": (Decimal("2.50"), None), "B": (Decimal("1.25"), None), "C9": (None, None), "C10": (None, None),
    }  # fmt: skip


def test_hostile_texts_stay_text(hostile: Path) -> None:
    """Texts of data, job and parameters are on the page as text: no element, no attribute comes of them."""
    html = report("hostile", SECOND, hostile)
    page = Page(html)
    for words in (*HOSTILE, "<script>alert('about')</script>", "<script>alert('param')</script>", "<i>odd"):
        assert words in page.text, words
    known = {
        "html", "head", "meta", "title", "style", "body", "main", "header", "footer", "section", "article",
        "div", "p", "h1", "h2", "h3", "h4", "span", "strong", "small", "em", "i", "br", "code", "pre", "a",
        "ul", "li", "dl", "dt", "dd", "table", "caption", "thead", "tbody", "tr", "th", "td", "figure",
        "figcaption", "details", "summary", "nav", "svg", "g", "path", "line", "text",
    }  # fmt: skip
    assert {tag for tag, _ in page.elements} <= known
    names = {name for _, attributes in page.elements for name in attributes}
    assert not [name for name in names if name.startswith("on")]
    # The one <i> that the page itself has is a legend's swatch.
    assert all("swatch" in a.get("class", "") for tag, a in page.elements if tag == "i")


@pytest.mark.parametrize("job", ["hostile", "mini"])
def test_the_page_loads_and_runs_nothing(space: Path, hostile: Path, job: str) -> None:
    """No script, no address of another file, no CSS import; the policy says so too; every chart is XML."""
    html = report(job, SECOND, hostile if job == "hostile" else space)
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.elements}
    for _, attributes in page.elements:
        assert not attributes.keys() & {"src", "srcset", "data", "poster", "action", "xlink:href"}
        assert attributes.get("href", "#").startswith("#")
        assert "url(" not in attributes.get("style", "")
    style = html.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    policy = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    charts = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(charts) >= 4
    for chart in charts:
        ElementTree.fromstring(chart)  # noqa: S314 - made by us


def test_a_warned_audit_is_said_at_the_top(hostile: Path, space: Path) -> None:
    """An audit of severity warn that did not pass has a band of its own; without one there is none."""
    assert "1 of 1 audits warned:" in Page(report("hostile", SECOND, hostile)).text
    assert "audits warned:" not in Page(report("mini", SECOND, space)).text


def test_a_replaced_run_is_shown_as_it_was(space: Path) -> None:
    """The page of a replaced run says so and has that run's own numbers, also after gc."""
    old, new = receipts(space, SECOND)
    collect_garbage(load("mini", space).workspace, 0.0)
    facts = gather_facts(load("mini", space), dt.date(2020, 1, 2), old.run_id)
    assert facts.replaced_by
    assert facts.replaced_by.run_id == new.run_id
    [found] = facts.distributions
    truth = scores(SECOND, (4.0, 1.0)).astype(np.float64)
    assert found.now.quantiles
    assert (found.now.quantiles[0], found.now.quantiles[4]) == (truth.min(), truth.max())
    page = Page(report("mini", SECOND, space, old.run_id))
    assert "This run is no longer in force." in page.text
    assert f"Run {new.run_id} replaced it" in page.text
    assert old.model
    assert old.model.sha256 in page.text
    assert [past.run_id for past in facts.past] == [receipts(space, FIRST)[0].run_id, old.run_id]


@pytest.mark.parametrize("which", [0, 1], ids=["replaced", "in force"])
def test_what_the_page_says_to_type_gives_the_days_rows(
    space: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], which: int
) -> None:
    """Each command and each Python text of the page runs, and gives this run's rows of each table."""
    receipt = receipts(space, SECOND)[which]
    monkeypatch.chdir(space)
    code = Page(report("mini", SECOND, run_id=receipt.run_id)).code
    assert (len(code["shell"]), len(code["python"])) == (2, 4)
    for line in code["shell"]:
        name, *arguments = shlex.split(line)
        assert name == "nightscore"
        assert call([*arguments, "--format", "csv"]) == 0
        printed = capsys.readouterr().out.splitlines()
        assert len(printed) == 11
        assert all(receipt.run_id in row for row in printed[1:])
    tables = [table.rows for table in receipt.tables.values()]
    for text, rows in zip(code["python"], np.repeat(tables, 2), strict=True):
        done: dict[str, object] = {}
        exec(text, done)  # noqa: S102 - that is what a reader of the page does
        found = done["rows"]
        if isinstance(found, duckdb.DuckDBPyRelation):
            found = found.to_arrow_table()
        assert found.num_rows == rows  # type: ignore[attr-defined]
        assert set(found["run_id"].to_pylist()) == {receipt.run_id}  # type: ignore[index]


def test_the_first_day_has_nothing_beside_it(space: Path) -> None:
    """Without an earlier day there is no second column and no change, and the page says why."""
    facts = gather_facts(load("mini", space), dt.date(2020, 1, 1))
    assert facts.before is None
    assert facts.distributions[0].before is None
    text = Page(report("mini", FIRST, space)).text
    assert "first day" in text
    assert "no day was published before this one" in text


def test_one_value_has_no_chart_but_a_sentence(tmp_path: Path) -> None:
    """A model that gives one value to all rows: no histogram, its quantiles, and the reason."""
    root = make_workspace(tmp_path / "ws", 50)
    linear_model(root / "data/models/linear.onnx", (0.0, 0.0))
    run(load("mini", root), FIRST)
    [found] = gather_facts(load("mini", root), dt.date(2020, 1, 1)).distributions
    assert (found.edges, found.now.quantiles) == ((), (0.0,) * 6)
    text = Page(report("mini", FIRST, root)).text
    assert "No chart: every row has the same value" in text
    assert "The job's first run" in text


def test_a_job_without_decisions_audits_or_rows(tmp_path: Path) -> None:
    """Scores alone, and none of them: the page is there, without charts that would show nothing."""
    job = JOB.partition("decide:")[0] + "policy: {empty: publish}\n"
    root = make_workspace(tmp_path / "ws", 0, job)
    run(load("mini", root), FIRST)
    text = Page(report("mini", FIRST, root)).text
    assert "The job asks no audits." in text
    assert "No chart: no row has a value" in text
    assert "Decisions" not in text


def test_infinite_scores_are_counted_apart(tmp_path: Path) -> None:
    """Those of a version that published them are in no bin and in no quantile; their number is shown."""
    root = make_workspace(tmp_path / "ws", 100)
    run(load("mini", root), FIRST)
    [file] = (root / "data/tables/mini_scores").glob("*/*.parquet")
    rows = pq.read_table(file, partitioning=None)
    scores = np.where(rows["id"].to_numpy() < 3, np.float32(np.inf), rows["score"].to_numpy())
    pq.write_table(rows.set_column(rows.column_names.index("score"), "score", pa.array(scores)), file)
    [found] = gather_facts(load("mini", root), dt.date(2020, 1, 1)).distributions
    assert (sum(found.now.counts), found.now.rows, found.now.other) == (97, 100, 3)
    assert found.now.quantiles
    assert np.isfinite(found.now.quantiles).all()


def test_what_a_validator_asks_of_the_numbers_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows that were scored again, values that the model's type does not hold, SQL that is approximate."""
    root = make_workspace(tmp_path / "ws", 300)
    more = "policy: {value_lost: count}\nsql: approximate\n"
    (root / "jobs/mini/job.yaml").write_text(JOB.replace("features: rows", "features: features.sql") + more)
    wide = "SELECT id, a, CASE WHEN id < 7 THEN 16777217 ELSE id END AS b FROM rows"  # 2^24 + 1 is no float32
    (root / "jobs/mini/features.sql").write_text(wide)
    receipt = run(load("mini", root), FIRST)
    assert receipt.value_lost == {"b": 7} and receipt.score_sample
    text = Page(report("mini", FIRST, root)).text
    call(["--workspace", str(root), "receipts", "mini", "--day", FIRST])
    again = f"{receipt.score_sample.rows} rows scored again alone by onnx"
    assert again in text and again in capsys.readouterr().out
    assert "7 values that the model's type does not hold" in text
    assert "approximate: bytes may depend on memory, threads and the layout of files" in text


@pytest.mark.slow
def test_files_that_are_not_listed_are_counted(tmp_path: Path) -> None:
    """Of more than 200 input files 200 are named, and the page says how many more there are."""
    root = make_workspace(tmp_path / "ws", days=())
    write_day(root, FIRST, 410, files=205)
    run(load("mini", root), FIRST)
    text = Page(report("mini", FIRST, root)).text
    assert text.count(f"data/lake/rows/day={FIRST}/part-") == 200
    assert "… and 5 more" in text


def test_a_table_that_lost_rows_is_a_red_band(tmp_path: Path) -> None:
    """The rows of the tables' files are counted again: where they are not the receipt's, the page says so."""
    root = make_workspace(tmp_path / "ws", 100)
    receipt = run(load("mini", root), FIRST)
    [top] = (root / f"data/tables/mini_top/day={FIRST}").glob("*.parquet")
    with duckdb.connect() as connection:
        connection.sql(
            "FROM read_parquet($1, hive_partitioning = false) LIMIT 4", params=[str(top)]
        ).to_parquet(str(root / "fewer.parquet"))
    (root / "fewer.parquet").replace(top)
    text = Page(report("mini", FIRST, root)).text
    assert receipt.tables["mini_top"].rows == 10
    assert "The proof does not hold:" in text
    assert "mini_top holds 4 rows, the receipt says 10" in text


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, damage: str) -> None:
    """A published file that is gone or damaged: an error that names it, not a page without its rows."""
    root = make_workspace(tmp_path / "ws", 100)
    run(load("mini", root), FIRST)
    [file] = (root / f"data/tables/mini_scores/day={FIRST}").glob("*.parquet")
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(Broken, match=re.escape(file.name)):
        report("mini", FIRST, root)


@pytest.mark.parametrize(
    ("job", "day", "run_id", "says"),
    [
        ("minni", SECOND, None, "did you mean mini?"),
        ("mini", THIRD, None, f"{THIRD} is not published; published: {FIRST}, {SECOND}"),
        ("mini", "tonight", None, "'tonight' is no day"),
        ("mini", SECOND, "nope", "no run 'nope' is published; published: 20"),
    ],
)
def test_what_is_not_there_is_named_beside_what_is(
    space: Path, job: str, day: str, run_id: str | None, says: str
) -> None:
    """An unknown job, day or run is an error that lists those that exist."""
    with pytest.raises(Broken, match=re.escape(says)):
        report(job, day, space, run_id)


def test_nothing_published_yet(tmp_path: Path) -> None:
    """A job without a published day: the message says which command publishes one."""
    root = make_workspace(tmp_path / "ws", 10)
    with pytest.raises(Broken, match=f"nothing is published yet; `nightscore run mini --day {FIRST}`"):
        report("mini", FIRST, root)


@pytest.mark.parametrize("library", ["vl_convert", "jinja2"])
@pytest.mark.sample(1)
@pytest.mark.slow
def test_without_the_extra_the_message_says_what_to_install(space: Path, library: str) -> None:
    """A Python without a library of the extra: one line with the pip command, exit code 1."""
    code = f"import sys; sys.modules[{library!r}] = None; from nightscore.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "report", "mini", "--day", SECOND],
        cwd=space, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        f'nightscore: broken: a report needs {library}: pip install "nightscore[report]"\n'
    )


def test_the_help_does_not_load_what_charts_need(space: Path) -> None:
    """`nightscore --help` loads neither the chart library nor the templates' nor a browser's."""
    names = ("vl_convert", "jinja2", "webbrowser", "duckdb", "nightscore.review.report.html")
    code = "import sys; from nightscore.cli.main import call; call(['--help']); "
    code += f"print(sorted(set({names!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "report" in done.stdout


@pytest.mark.slow
def test_the_command_writes_the_page_and_prints_its_path(
    space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default into the run's folder, again over what is there; --out elsewhere; --run another run."""
    old, new = receipts(space, SECOND)
    at = ("--workspace", str(space), "report", "mini", "--day", SECOND)
    for _ in range(2):
        assert call([*at]) == 0
    beside = space / f"data/runs/mini/{SECOND}/{new.run_id}/report.html"
    assert capsys.readouterr().out == f"{beside}\n" * 2
    assert timeless(beside.read_text()) == timeless(report("mini", SECOND, space))
    other = tmp_path / "new folder/page.html"
    assert call([*at, "--run", old.run_id, "--out", str(other)]) == 0
    assert capsys.readouterr().out == f"{other}\n"
    assert timeless(other.read_text()) == timeless(report("mini", SECOND, space, old.run_id))
    assert [p.name for p in other.parent.iterdir()] == ["page.html"]
    assert call([*at, "--out", str(tmp_path)]) == 1
    assert f"{tmp_path} is a folder" in capsys.readouterr().err


@pytest.mark.slow
def test_gc_keeps_a_report_beside_its_receipt(tmp_path: Path) -> None:
    """A report in a run's folder is kept; in a folder that was removed by hand it may go, the day may not."""
    root = make_workspace(tmp_path / "ws", 50)
    job = load("mini", root)
    receipt = run(job, FIRST)
    folder = root / f"data/runs/mini/{FIRST}/{receipt.run_id}"
    written = ["--workspace", str(root), "report", "mini", "--day", FIRST]
    assert call(written) == 0
    collect_garbage(job.workspace, 0.0)
    assert (folder / "report.html").exists()
    shutil.rmtree(folder)
    assert call(written) == 0
    assert (folder / "report.html").exists()
    collect_garbage(job.workspace, 0.5)
    assert (folder / "report.html").exists()
    old = time.time() - 3600
    for path in (folder, *folder.iterdir()):
        os.utime(path, (old, old))
    collect_garbage(job.workspace, 0.5)
    assert not folder.exists()
    assert run(job, FIRST).status == "unchanged"
    assert report("mini", FIRST, root)


@pytest.mark.skipif(CHROMIUM is None, reason="NO BROWSER: install Debian's chromium to see the page opened")
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_browser_opens_it_from_disk(hostile: Path, tmp_path: Path, scheme: str) -> None:
    """From file://: no request but the file, no message on the console, the charts drawn in the theme."""
    from playwright.sync_api import sync_playwright

    file = tmp_path / "report.html"
    file.write_text(report("hostile", SECOND, hostile), encoding="utf-8")
    requests: list[str] = []
    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(color_scheme=scheme, viewport={"width": 1200, "height": 900})  # type: ignore[arg-type]
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(file.as_uri())
        drawn = page.locator("figure svg").count()
        wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 20, 24)"
        bar = page.locator("figure svg [aria-roledescription=bar]").first
        colour = bar.evaluate("bar => getComputedStyle(bar).fill")
        browser.close()
    assert requests == [file.as_uri()]
    assert said == []
    assert drawn >= 4
    assert wide[0] <= wide[1]
    assert dark == (scheme == "dark")
    assert colour == ("rgb(106, 165, 255)" if dark else "rgb(47, 111, 208)")


@pytest.mark.skipif(CHROMIUM is None, reason="NO BROWSER: install Debian's chromium to see the page opened")
@pytest.mark.slow
def test_a_highlight_that_is_a_page_runs_nothing(tmp_path: Path) -> None:
    """A mail of the day is seen as it is, in a frame of its own: no script runs, nothing is asked for."""
    from playwright.sync_api import sync_playwright

    server = socket.create_server(("127.0.0.1", 0))
    page_of_row = (
        "concat('<h1>Row &amp; ', id, '</h1><script>document.body.innerHTML = 1; alert(1)</script>', "
        f"'<img src=\"http://127.0.0.1:{server.getsockname()[1]}/x.png\"></iframe><b id=out>out</b>')"
    )
    highlight = (
        f"highlights:\n  - title: Pages\n    sql: >-\n      SELECT id, {page_of_row} AS page\n"
        "      FROM mini_top\n"
        "      ORDER BY id\n      LIMIT 1\n    by: id\n    format: {page: html}\n"
    )
    root = make_workspace(tmp_path / "w", 50, JOB + highlight, days=(FIRST,))
    receipt = run(load("mini", root), FIRST)
    [one] = receipt.highlights
    assert one.reason == "" and one.columns[1].format == "html"
    file = tmp_path / "report.html"
    file.write_text(report("mini", FIRST, root), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("dialog", lambda dialog: pytest.fail(dialog.message))
        page.goto(file.as_uri())
        frame = page.frame_locator("iframe.page")
        assert frame.locator("h1").inner_text() == f"Row & {one.rows[0][0]}"
        assert page.locator("#out").count() == 0 and frame.locator("#out").count() == 1
        page.wait_for_timeout(300)
        browser.close()
    server.settimeout(0.1)
    with pytest.raises(TimeoutError):  # nobody came for the picture
        server.accept()
    assert "a page: see the report" in figures_text(receipt.highlights)
    assert "script" not in figures_text(receipt.highlights) + json.dumps(figures_json(receipt.highlights))
