"""What a page of Nightscore is made of fits a telephone: laid out by a browser, without an Airflow."""

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import sync_playwright

import nightscore.airflow
from tests.e2e.servers import binary
from tests.e2e.test_browser import SANDBOX

BASE = Path(nightscore.airflow.__file__).parent / "web/templates/base.html"
PARTS = {
    "the frame of a report": '<iframe srcdoc="a report"></iframe>',
    "the form of a held day": '<section class="held"><label>Because <input size="50"></label></section>',
    "a held day's badge": '<span class="badge held">held</span>',
}


def test_no_part_is_wider_than_a_telephone_and_a_badge_is_no_section() -> None:
    style = "".join(re.findall(r"<style>(.*?)</style>", BASE.read_text(), re.DOTALL))
    chromium = binary("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=list(SANDBOX))
        page = browser.new_page(viewport={"width": 420, "height": 900})
        for name, html in PARTS.items():
            page.set_content(f"<!doctype html><style>{style}</style><main>{html}</main>")
            assert page.evaluate("document.documentElement.scrollWidth") <= 420, name
        padding = page.evaluate("getComputedStyle(document.querySelector('.badge')).paddingLeft")
        browser.close()
    assert float(padding.removesuffix("px")) < 10
