"""A person decides about held days in the browser; the run goes on, and what comes after it, too."""

from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import expect

from nightscore.airflow.standalone import USER
from nightscore.common import open_workspace
from nightscore.store.published.catalog import read_catalog
from tests.e2e.airflow import Airflow
from tests.e2e.servers import until
from tests.e2e.test_browser import WAIT
from tests.e2e.test_picked_days import in_zone
from tests.e2e.world import receipts

RELEASED, DISCARDED = "2020-03-02", "2020-03-03"


def waits(airflow: Airflow, run: str) -> bool:
    """Whether the run's publish task waits for a person."""
    return airflow.tasks("held", run, "publish")[0]["state"] == "deferred"


def test_a_held_day_is_released_and_another_discarded_in_the_browser(
    airflow: Airflow, screenshots: Path
) -> None:
    """From the run's tab by a person in New York, in the dark, and from the front page's job on a phone."""
    airflow.unpause("held")
    airflow.unpause("afterheld")
    runs = {day: airflow.trigger("held", partition_key=day) for day in (RELEASED, DISCARDED)}
    for run in runs.values():
        until(lambda run=run: waits(airflow, run), 240, "a person is asked")  # type: ignore[misc]
    assert not [one for one in read_catalog(open_workspace(airflow.root)).history if one.job == "held"]

    asked = airflow.api("GET", f"/dags/held/dagRuns/{quote(runs[RELEASED], safe='')}/hitlDetails")
    [action] = asked["hitl_details"]  # as Airflow lists it among Required Actions
    assert action["options"] == ["Release", "Discard"] and f"held {RELEASED}" in action["subject"]

    with in_zone(airflow, "America/New_York") as page:
        page.emulate_media(color_scheme="dark")
        page.goto(f"{airflow.local.url}/dags/held/runs/{quote(runs[RELEASED], safe='')}")
        page.get_by_role("link", name="Report").first.click()
        tab = page.frame_locator("iframe")
        expect(tab.get_by_text(f"{RELEASED} is held")).to_be_visible(timeout=WAIT)
        expect(tab.locator(".audits").get_by_text("many", exact=True)).to_be_visible()
        expect(tab.locator("[id^=staged-]").first).to_be_visible(timeout=WAIT)
        page.screenshot(path=screenshots / "held-dark.png")
        tab.locator("input[name=because]").press("Enter")  # decides nothing
        tab.locator("input[name=because]").fill("all stores were closed")
        tab.locator("#release").click()
        assert airflow.ended("held", runs[RELEASED]) == "success"

        page.emulate_media(color_scheme="light")
        page.goto(f"{airflow.local.url}/nightscore/")
        row = page.locator("#job-held")
        expect(row.get_by_text("held", exact=True).first).to_be_visible(timeout=WAIT)
        assert row.locator("td.state").evaluate("cell => cell.offsetWidth") >= 280  # to read a message in
        page.screenshot(path=screenshots / "front.png", full_page=True)
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size({"width": 420, "height": 900})
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 420, wide
        page.screenshot(path=screenshots / "front-420-dark.png", full_page=True)
        page.goto(f"{airflow.local.url}/nightscore/jobs/held")
        page.locator("input[name=because]").fill("wrong prices")
        page.locator("#discard").click()
        assert airflow.ended("held", runs[DISCARDED]) == "failed"

    receipt = airflow.receipt("held", runs[RELEASED])
    assert (receipt["released"]["by"], receipt["released"]["because"]) == (USER, "all stores were closed")
    assert receipts(airflow.root, "held") == {RELEASED: 1}
    until(lambda: receipts(airflow.root, "afterheld") == {RELEASED: 1}, 240, "what comes after has its day")
