"""A backfill of the days that a person picks in a browser, wherever the browser and the job are."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Locator, Page, sync_playwright

from nightscore.airflow.standalone import USER
from tests.e2e.airflow import Airflow
from tests.e2e.servers import binary, until
from tests.e2e.test_browser import SANDBOX, WAIT
from tests.e2e.world import receipts

FIRST, LAST = "2020-03-06", "2020-03-09"  # a Friday and a Monday; New York's clocks change on that Sunday
WANTED = {
    "chicago": ["2020-03-06", "2020-03-07", "2020-03-08", "2020-03-09"],
    "exchange": ["2020-03-06", "2020-03-09"],
    "paused": ["2020-03-06", "2020-03-09"],  # comes after both
}
ZONES = (
    "UTC",
    "Asia/Tokyo",
    "America/New_York",
)  # the days are really run in the last: Airflow runs no day twice


@contextmanager
def in_zone(airflow: Airflow, zone: str) -> Iterator[Page]:
    """A browser of a zone, logged in."""
    chromium = binary("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=list(SANDBOX))
        page = browser.new_page(viewport={"width": 1400, "height": 1000}, timezone_id=zone)
        page.set_default_timeout(WAIT)
        page.goto(airflow.local.url)
        page.locator("input[name=username]").fill(USER)
        page.locator("input[name=password]").fill(airflow.local.password)
        page.locator("button[type=submit]").click()
        page.wait_for_url(lambda url: "login" not in url)
        yield page
        browser.close()


def pick(page: Page, airflow: Airflow, dag: str, first: str, last: str) -> tuple[Locator, list[str]]:
    """Fill in Airflow's form of a backfill; gives it, and the partitions that its dry run names."""
    page.goto(f"{airflow.local.url}/dags/{dag}")
    page.get_by_test_id("trigger-dag-button").click()
    form = page.get_by_role("dialog").first
    form.get_by_text("Backfill", exact=True).first.click()
    choose(page, form, first)
    with page.expect_response(lambda one: one.url.endswith("/backfills/dry_run")) as answer:
        choose(page, form, last)
    return form, [one["partition_key"] for one in answer.value.json()["backfills"]]


def choose(page: Page, form: Locator, day: str) -> None:
    """Pick a day in the first field that has none."""
    form.get_by_text("Select date and time").first.click()
    field = page.get_by_placeholder("YYYY/MM/DD").last
    field.fill(day.replace("-", "/"))
    field.press("Enter")
    page.keyboard.press("Escape")


def test_the_days_that_are_picked_are_run(airflow: Airflow) -> None:
    """In three zones, of a daily job of Chicago, one of New York's exchange, and one after both; run in one.

    A job that comes after Chicago's follows its backfill by itself, and each of its runs has its day; that
    after both was paused until then, and so has its own backfill.
    """
    for dag in (*WANTED, "chained"):
        until(lambda dag=dag: airflow.ask("GET", f"/dags/{dag}").is_success, 60, "the DAG is known")  # type: ignore[misc]
    airflow.unpause("chained")
    for zone in ZONES:
        with in_zone(airflow, zone) as page:
            for dag, days in WANTED.items():
                form, found = pick(page, airflow, dag, FIRST, LAST)
                assert found == days, (zone, dag)
                if zone == ZONES[-1]:
                    form.get_by_role("button", name="Run Backfill").click()
                    ended(airflow, dag, days)
    ended(airflow, "chained", WANTED["chicago"], "asset_triggered")
    others = [one for one in airflow.runs("paused") if one["run_type"] != "backfill"]
    assert all(
        one["partition_key"] > LAST for one in others
    )  # what was published meanwhile made no run of it


def ended(airflow: Airflow, dag: str, days: list[str], kind: str = "backfill") -> None:
    """Wait until the runs of a kind have ended, and hold them to the days; without those of the schedule."""

    def found() -> list[dict[str, Any]]:
        return [one for one in airflow.runs(dag) if one["run_type"] == kind and one["partition_key"] <= LAST]

    def over() -> bool:
        runs = found()
        return len(runs) >= len(days) and all(one["state"] in ("success", "failed") for one in runs)

    until(over, 300, "the runs have ended", pause=2)
    runs = found()
    assert sorted((one["partition_key"], one["state"]) for one in runs) == [(day, "success") for day in days]
    assert {day: receipts(airflow.root, dag).get(day) for day in days} == dict.fromkeys(days, 1)
