"""Reports and bake-offs in a real browser: nothing is cut on a phone, and a desktop's columns have room."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from nightscore import load, report, run
from nightscore.review import open_templates
from nightscore.review.report import charts
from tests.e2e.servers import binary
from tests.support.workspace import DAYS, JOB, make_workspace

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("vl_convert")
pytestmark = pytest.mark.e2e

HIGHLIGHTS = """\
highlights:
  - title: Worth of the rows by band, in US dollars
    sql: >-
      SELECT CASE WHEN a < 0.5 THEN 'low' ELSE 'high' END AS a_band_with_a_long_name, count(*) AS rows,
          CAST(sum(CAST(score * 1000000 AS DECIMAL(18, 2))) AS DECIMAL(18, 2)) AS worth,
          avg(a) AS share, min(score) AS least, max(score) AS greatest
      FROM scores GROUP BY ALL ORDER BY ALL
    by: a_band_with_a_long_name
    format: {worth: money USD, share: percent}
    against: day before
"""
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BOXES = """Array.from(document.querySelectorAll('svg')).map(one => one.getBoundingClientRect())
    .filter(box => box.width > 0)"""
CUT = f"{BOXES}.filter(box => box.right > innerWidth || box.left < 0).length"
SEEN = f"{BOXES}.length"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a report and a bake-off."""
    folder = tmp_path_factory.mktemp("pages")
    root = make_workspace(folder / "w", 2_000, JOB + HIGHLIGHTS)
    for day in DAYS[:2]:
        run(load("mini", root), day)
    (folder / "report.html").write_text(report("mini", DAYS[1], root))
    results = [
        SimpleNamespace(
            name=f"int8 by column {i}",
            technique="quantization",
            about="weights as 8 bits " * 4,
            why="why " * 60,
        )
        for i in range(3)
    ]
    points = [
        {"name": one.name, "times": 1.0 + i, "technique": "t", "status": "measured", "loss": 10.0 ** -(i + 1)}
        for i, one in enumerate(results)
    ]
    drawn = [charts.render_svg(charts.pareto_chart(points, width)) for width in (charts.WIDE, charts.PHONE)]
    bakeoff = SimpleNamespace(
        job="mini", day=DAYS[0], rows=10, day_rows=10, taken="plain", held_out="", results=results
    )
    columns = ("candidate", "rows/s", "")
    html = open_templates().get_template("bakeoff.html").render(
        bakeoff=bakeoff, rows=[(one.name, "1,000", "measured") for one in results], columns=columns,
        numbers=columns[1:-1], budget="none", charts=drawn,
    )  # fmt: skip
    (folder / "bakeoff.html").write_text(html)
    return folder


@pytest.fixture(scope="module")
def browser() -> "playwright.Browser":
    path = binary("chromium", "chromium-browser", "google-chrome")
    with playwright.sync_playwright() as found:
        with found.chromium.launch(executable_path=path, args=["--no-sandbox"]) as one:
            yield one


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1400])
@pytest.mark.parametrize("name", ["report", "bakeoff"])
def test_nothing_is_cut(
    pages: Path, browser: "playwright.Browser", name: str, width: int, scheme: str
) -> None:
    """The page is no wider than the window, and every chart that is seen lies within it."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto((pages / f"{name}.html").as_uri())
    assert page.evaluate(TOO_WIDE) <= 0
    assert page.evaluate(CUT) == 0
    assert page.evaluate(SEEN) >= 1
    page.close()


def test_reasons_have_a_column(pages: Path, browser: "playwright.Browser") -> None:
    """On a desktop the reasons of a bake-off stand beside the candidates, in half of the page at least."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto((pages / "bakeoff.html").as_uri())
    widths = page.evaluate("Array.from(document.querySelectorAll('.why dd')).map(one => one.clientWidth)")
    assert min(widths) > 500
    page.close()
