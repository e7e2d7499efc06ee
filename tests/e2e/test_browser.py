"""A person in a browser: logs in, fills in the form, triggers, reads the report, queries the table."""

import csv
import datetime as dt
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import FrameLocator, Page, expect, sync_playwright

from nightscore.airflow.standalone import USER
from nightscore.job.loader import load
from tests.e2e.airflow import Airflow
from tests.e2e.servers import binary, until
from tests.e2e.world import loop, published, receipts, said

DAG = "retail_recommendations"
DAY = "2017-11-02"
NO_DAY = "2018-03-01"  # the sample ends in 2017
SQL = f"""SELECT household_id, rank, product_id, rung FROM {DAG}
WHERE day = DATE '{DAY}' AND household_id IN (1, 101) ORDER BY household_id, rank"""
SANDBOX = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")  # root in a container has none
WAIT = 60_000  # milliseconds
expect.set_options(timeout=WAIT)  # its own five seconds are few for Airflow's pages on a busy machine


@pytest.fixture(scope="module")
def browser_page(airflow: Airflow) -> Iterator[Page]:
    """A browser that is logged in."""
    chromium = binary("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=list(SANDBOX))
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(WAIT)
        page.goto(airflow.local.url)
        page.locator("input[name=username]").fill(USER)
        page.locator("input[name=password]").fill(airflow.local.password)
        page.locator("button[type=submit]").click()
        page.wait_for_url(lambda url: "login" not in url)
        yield page
        browser.close()


@pytest.fixture(scope="module")
def first_run(airflow: Airflow, browser_page: Page) -> str:
    """The run that was triggered in the form, and has ended well."""
    until(lambda: airflow.ask("GET", f"/dags/{DAG}").is_success, 60, "the DAG is known")
    run = trigger(airflow, browser_page, DAY, "form")
    assert airflow.ended(DAG, run) == "success"
    return run


def trigger(airflow: Airflow, page: Page, day: str, picture: str) -> str:
    """Open the form, pick a day, press Trigger; the run that this makes."""
    from tests.e2e.conftest import SCREENSHOTS

    before = {one["dag_run_id"] for one in airflow.runs(DAG)}
    page.goto(f"{airflow.local.url}/dags/{DAG}")
    page.get_by_test_id("trigger-dag-button").click()
    form = page.get_by_role("dialog")
    form.get_by_test_id("trigger-dag-submit").wait_for()
    field = form.locator("input[name=element_day]")
    expect(field).to_have_value(latest(airflow))  # filled in by the API server
    field.fill(day)
    page.screenshot(path=SCREENSHOTS / f"{picture}.png")
    with page.expect_response(lambda r: "/dagRuns" in r.url and r.request.method == "POST") as answer:
        form.get_by_test_id("trigger-dag-submit").click()
    assert answer.value.ok

    def made() -> str:
        found = [one for one in airflow.runs(DAG) if one["dag_run_id"] not in before]
        return next((str(one["dag_run_id"]) for one in found if one["run_type"] == "manual"), "")

    return until(made, 30, "the run that was triggered is there")


def latest(airflow: Airflow) -> str:
    """The job's latest complete day, now."""
    job = load(DAG, airflow.root)
    return job.spec.schedule.latest_complete_day(dt.datetime.now(dt.UTC)).isoformat()


def address(airflow: Airflow, run: str) -> str:
    """Where Airflow shows a run."""
    return f"{airflow.local.url}/dags/{DAG}/runs/{quote(run, safe='')}"


def test_a_day_picked_in_the_form_is_published(
    airflow: Airflow, browser_page: Page, first_run: str, screenshots: Path, tmp_path: Path
) -> None:
    """The browser shows success; the files are those of the plain loop, but for the run's name."""
    browser_page.goto(address(airflow, first_run))
    expect(browser_page.get_by_text("Success").first).to_be_visible()
    browser_page.wait_for_timeout(2_000)  # the graph is drawn in steps
    browser_page.screenshot(path=screenshots / "run.png")
    assert airflow.receipt(DAG, first_run)["status"] == "published"
    assert receipts(airflow.root, DAG) == {DAY: 1}
    loop(airflow.root, tmp_path / "loop", DAG, DAY)
    assert published(airflow.root, DAG, DAY) == published(tmp_path / "loop", DAG, DAY)


def test_the_run_has_a_report(
    airflow: Airflow, browser_page: Page, first_run: str, screenshots: Path
) -> None:
    """The tab Report of the run shows the day's report, with the rows of its receipt."""
    browser_page.goto(address(airflow, first_run))
    browser_page.get_by_role("link", name="Report").first.click()
    report = framed(browser_page)
    rows = airflow.receipt(DAG, first_run)["rows"]["published"]
    # A report is made when it is first asked for.
    expect(report.get_by_text(f"{rows:,}").first).to_be_visible()
    expect(report.get_by_text(DAY).first).to_be_visible()
    browser_page.wait_for_timeout(1_000)
    browser_page.screenshot(path=screenshots / "report.png")


def test_a_query_in_the_page_gives_what_the_command_gives(
    airflow: Airflow, browser_page: Page, first_run: str, screenshots: Path
) -> None:
    """The same rows, in the same order."""
    browser_page.goto(f"{airflow.local.url}/nightscore/query")
    browser_page.locator("#sql").fill(SQL)
    browser_page.locator("#run").click()
    browser_page.locator("#rows").wait_for()
    browser_page.screenshot(path=screenshots / "query.png")
    shown = [cells(row) for row in browser_page.locator("table.data tbody tr").all()]
    code, text = said(airflow.root, "query", SQL, "--format", "csv")
    assert code == 0, text
    assert shown == list(csv.reader(io.StringIO(text)))[1:] and len(shown) == 20


def test_a_second_trigger_of_the_day_is_unchanged(
    airflow: Airflow, browser_page: Page, first_run: str
) -> None:
    """Nothing is scored, publish says so with the first run's receipt, and there is still one."""
    run = trigger(airflow, browser_page, DAY, "form-again")
    assert airflow.ended(DAG, run) == "success"
    found = airflow.receipt(DAG, run)
    assert (found["status"], found["run_id"]) == ("unchanged", airflow.receipt(DAG, first_run)["run_id"])
    assert [one["state"] for one in airflow.tasks(DAG, run, "score")] == ["skipped"]
    assert receipts(airflow.root, DAG) == {DAY: 1}


def test_a_day_without_data_fails_with_the_message_of_the_command(
    airflow: Airflow, browser_page: Page, first_run: str, screenshots: Path
) -> None:
    """At once, with no second try, and where the person looks: in the log of the task."""
    code, text = said(airflow.root, "run", DAG, "--day", NO_DAY)
    message = text.strip().partition("broken: ")[2]
    assert code == 1 and NO_DAY in message
    run = trigger(airflow, browser_page, NO_DAY, "form-no-day")
    assert airflow.ended(DAG, run) == "failed"
    [plan] = airflow.tasks(DAG, run, "plan")
    assert (plan["state"], plan["try_number"]) == ("failed", 1)
    browser_page.goto(f"{address(airflow, run)}/tasks/plan")
    expect(browser_page.get_by_text(message).first).to_be_visible()
    browser_page.screenshot(path=screenshots / "no-day.png")
    assert receipts(airflow.root, DAG) == {DAY: 1}


@pytest.mark.parametrize(
    "conf", [{"day": "2017-13-45"}, {"day": DAY, "limit": 0}, {"day": DAY, "device": "gpu"}]
)
def test_values_that_the_form_does_not_allow_make_no_run(
    airflow: Airflow, first_run: str, conf: dict[str, Any]
) -> None:
    """Airflow refuses them before there is a run, also from whoever has no form."""
    before = len(airflow.runs(DAG))
    answer = airflow.ask(
        "POST", f"/dags/{DAG}/dagRuns", logical_date=None, conf={**conf, "discovery_slots": 1}
    )
    assert answer.status_code == 400 and str(list(conf.values())[-1]) in answer.text
    assert len(airflow.runs(DAG)) == before


def framed(page: Page) -> FrameLocator:
    """The page that Airflow shows inside its own."""
    page.locator("iframe").wait_for()
    return page.frame_locator("iframe")


def cells(row: Any) -> list[str]:
    """The texts of a table's row."""
    return [cell.inner_text().replace(",", "") for cell in row.locator("td").all()]
