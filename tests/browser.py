"""A real browser for pages."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

# Windows, in CSS pixels.
DESK: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
# A4 without the margins of page.css, 96 pixels an inch.
PAPER: ViewportSize = {"width": 703, "height": 1016}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium or Chrome. Without one, the test is skipped."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"there is no browser to open the pages in: none of {', '.join(PROGRAMS)} is on the PATH")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        yield opened
        opened.close()


def open_page(browser: Browser, path: Path, window: ViewportSize, anchor: str = "") -> tuple[Page, list[str]]:
    """Open a page. Also returns its errors and its requests to the network."""
    page = browser.new_page(viewport=window)
    complaints: list[str] = []

    def note_request(url: str) -> None:
        if not url.startswith(("file:", "data:")):
            complaints.append(url)

    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: note_request(request.url))
    page.goto(path.resolve().as_uri() + anchor)
    return page, complaints


def in_first_screen(page: Page, selector: str) -> bool:
    """Whether the first element that matches begins in the window, before the reader scrolls."""
    box = page.locator(selector).first.bounding_box()
    assert box is not None
    assert page.viewport_size is not None
    return box["y"] < page.viewport_size["height"]


def scroll_width(page: Page) -> int:
    """Width of the page's content, CSS pixels. A page scrolls sideways if its content is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth")
