"""The model documents of the finance jobs: each is there, whole, and none of its figures is typed."""

import datetime as dt
import html
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from deltalake import DeltaTable

from nightscore import load, run
from nightscore.review import dossier
from nightscore.review.dossier.document import SECTIONS, read_document
from tests.workspace.finance.world import DAYS, REPOSITORY, add_jobs

JOBS = sorted(file.parent.name for file in (REPOSITORY / "jobs/finance").glob("*/job.yaml"))
MARKET = ("volatility", "historical_simulation", "market_risk", "market_risk_backtest", "pnl_explain")
JUDGES = ("volatility_outcomes", "pla_test")
DAY = dt.date(2022, 12, 28)
FIGURE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
# What is no measurement: levels and spans that are definitions, years, and sources with their numbers.
NAMED = re.compile(
    r"\b(1|5|98|99|97\.5|2\.5|95) %|\b(250|500|501) days\b|\b(19|20)\d\d\b|S&P 500|MAR\d+(\.\d+)?|"
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
    document = read_document(load(job, REPOSITORY), DAY, DAY, known(job, REPOSITORY))
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


@pytest.fixture(scope="module")
def judged(explained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights of the market jobs and of those that judge them, with documents and metrics."""
    root = tmp_path_factory.mktemp("judged") / "w"
    shutil.copytree(explained, root)
    add_jobs(root, *(job for job in JUDGES if not (root / "jobs/finance" / job).exists()))
    for pattern in ("*.json", "*.parquet"):
        for file in (REPOSITORY / "data/models/finance").glob(pattern):
            shutil.copy(file, root / "data/models/finance")
    for job in JUDGES:
        for day in DAYS:
            run(load(job, root), day)
    return root


def newest(root: Path, table: str) -> pd.DataFrame:
    """The rows of a table's last day, by deltalake alone."""
    rows = DeltaTable(root / "data/tables" / table).to_pandas()
    return rows[rows["day"].astype(str) == DAYS[-1]]


@pytest.mark.slow
@pytest.mark.parametrize("job", [*MARKET, *JUDGES])
def test_a_dossier_of_real_nights_has_its_outcomes(judged: Path, job: str) -> None:
    """Every SELECT of the document is answered, and the record is that of two nights."""
    document = read_document(load(job, judged), *map(dt.date.fromisoformat, DAYS), known(job, judged))
    assert [table.problem for table in document.tables] == [""] * len(document.tables)
    page = dossier(job, *DAYS, judged)
    assert "Nobody has written" not in page and "No outcomes of" not in page
    receipts = [
        json.loads(file.read_text())
        for file in sorted((judged / f"data/runs/{job}").glob("*/*/receipt.json"))
    ]
    assert len(receipts) == 2
    for receipt in receipts:
        assert receipt["run_id"] in page and receipt["key_hash"]["out"][:12] in page
        for library, version in receipt["versions"].items():
            assert library in page and version in page


@pytest.mark.slow  # whole nights of seven jobs
def test_figures_of_the_page_are_the_published_ones(judged: Path) -> None:
    """Of four documents, read from the tables' own files."""
    risk = newest(judged, "market_risk").set_index("desk").loc["firm"]
    said = f"a VaR of {risk['var_99_historical']:,.0f} US dollars beside {risk['var_99']:,.0f} at the firm"
    assert said in plain(judged, "market_risk")
    test = newest(judged, "market_risk_backtest").set_index("desk").loc["firm"]
    said = f"over the last {test['days']} days {test['exceptions']} exceptions in hypothetical P&L"
    assert said in plain(judged, "market_risk_backtest")
    lines = newest(judged, "pnl_explain").query("desk == 'firm' and symbol == 'all'").iloc[0]
    assert f"On the last day {lines['unexplained']:,.2f} of the firm's" in plain(judged, "pnl_explain")
    outcomes = newest(judged, "volatility_coverage").set_index("symbol").loc["all"]
    said = f"{outcomes['below_1']} of {outcomes['forecasts']} returns lay below the 1 % quantile"
    assert said in plain(judged, "volatility_outcomes")


def known(job: str, root: Path) -> dict[str, object]:
    """What a document may name beside its files and tables."""
    return {"params": load(job, root).params(), "record": {}}


def plain(root: Path, job: str) -> str:
    """The text of a dossier."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", dossier(job, *DAYS, root))).split())
