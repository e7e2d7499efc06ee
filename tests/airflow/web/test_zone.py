"""Moments of the page in the zone of whoever looks, in a real browser; the truth is Python's zoneinfo."""

import datetime as dt
import threading
import time
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest

pytest.importorskip("airflow")
pytest.importorskip("playwright")

import uvicorn
from playwright.sync_api import Browser, sync_playwright

from tests.airflow.test_nights import known
from tests.airflow.web.server import api_server, browsers
from tests.e2e.servers import binary
from tests.support.workspace import JOB, make_workspace

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SCHEDULE = "schedule: {daily: '02:00', timezone: America/Chicago}\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, metadata: None) -> Iterator[tuple[str, str]]:
    """The address of an API server of Airflow with the page in it, and a token of somebody."""
    root = make_workspace(tmp_path_factory.mktemp("zone"), 10, JOB + SCHEDULE)
    known(root, "mini", "mini")
    with api_server(root, {"root": "admin"}, tmp_path_factory.mktemp("passwords") / "p.json") as app:
        token = browsers(app)("root").cookies["_token"]
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        end = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < end and thread.is_alive()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", token
        server.should_exit = True
        thread.join(20)


def seen(
    browser: Browser, served: tuple[str, str], zone: str, chosen: str | None = None, scripts: bool = True
) -> list[tuple[str, str, str]]:
    """Of each moment on the front page: what a machine reads, what a person does, its title."""
    address, token = served
    context = browser.new_context(timezone_id=zone, java_script_enabled=scripts)
    context.add_cookies([{"name": "_token", "value": token, "url": address}])
    if chosen:
        context.add_init_script(f"localStorage.setItem('timezone', JSON.stringify('{chosen}'))")
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(f"{address}/nightscore/")
    moments = page.locator("time.here")
    found = [
        (one.get_attribute("datetime") or "", one.inner_text(), one.get_attribute("title") or "")
        for one in moments.all()
    ]
    context.close()
    assert not refused
    return found


def test_moments_are_shown_in_the_zone_of_who_looks(served: tuple[str, str]) -> None:
    """The browser's, or the one that was chosen in Airflow; the job's is kept, and shown without scripts."""
    cases = [
        ("Asia/Tokyo", None, True, "Asia/Tokyo"), ("America/New_York", None, True, "America/New_York"),
        ("Asia/Tokyo", "America/New_York", True, "America/New_York"),
        ("Asia/Tokyo", "No/Such_Zone", True, "Asia/Tokyo"), ("Asia/Tokyo", None, False, None),
    ]  # fmt: skip
    with sync_playwright() as playwright:
        chromium = binary("chromium", "chromium-browser", "google-chrome")
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        for zone, chosen, scripts, shown in cases:
            found = seen(browser, served, zone, chosen, scripts)
            assert found
            for machine, text, title in found:
                moment = dt.datetime.fromisoformat(machine)
                there = moment.astimezone(ZoneInfo(shown or "UTC"))
                assert title.endswith(f"{moment:%Y-%m-%d %H:%M} UTC")
                if shown is None:
                    assert text.startswith(f"{there:%Y-%m-%d %H:%M} UTC") or text.endswith((" CST", " CDT"))
                else:
                    assert text.startswith(f"{there:%Y-%m-%d %H:%M} ") and len(text) > len(
                        "2020-01-01 00:00 "
                    )
                    assert "; " in title, "and as it was, in the zone of the job"
        browser.close()
