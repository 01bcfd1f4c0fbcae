"""Open the report in a real browser: on a desk screen, on a phone and on paper."""

import re

import pytest

from tests.browser import DESK, PAPER, PHONE, in_first_screen, open_page, scroll_width

OPEN_FOLDS = "document.querySelectorAll('details[open]').length"
FOLDS = "document.querySelectorAll('details').length"


@pytest.fixture
def path(report, tmp_path):
    report({"cnn": True, "vit": True}, "cnn", cnn={"missed": 14, "alarms": 13})
    return tmp_path / "report.html"


def pages_of(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


@pytest.mark.parametrize("window", [PHONE, DESK], ids=["phone", "desk"])
def test_the_first_screen_shows_verdict_sentences_missed_cracks_and_false_alarms(path, browser, window):
    page, complaints = open_page(browser, path, window)
    missed_cracks, false_alarms = page.locator("main > .wrong-answers section").all()
    for tiles in (missed_cracks, false_alarms):
        tile = tiles.locator("img").first.bounding_box()
        assert tile["width"] > 80
        assert tile["y"] + tile["height"] <= window["height"]
    assert in_first_screen(page, ".callout")
    assert in_first_screen(page, "text=No champion yet.")
    assert complaints == []


@pytest.mark.parametrize("window", [PHONE, DESK], ids=["phone", "desk"])
def test_sections_are_closed_and_the_page_is_short_until_the_reader_opens_them(path, browser, window):
    page, complaints = open_page(browser, path, window)
    assert page.evaluate(OPEN_FOLDS) == 0
    assert page.evaluate("document.documentElement.scrollHeight") < 3 * window["height"]
    page.get_by_role("button", name="Open all sections").click()
    assert page.evaluate(OPEN_FOLDS) == page.evaluate(FOLDS) > 8
    assert scroll_width(page) <= window["width"]
    page.get_by_role("button", name="Close all sections").click()
    assert page.evaluate(OPEN_FOLDS) == 0
    assert complaints == []


def test_a_link_opens_the_sections_around_its_target(path, browser):
    page, _ = open_page(browser, path, DESK)
    target = page.get_by_text("the drift text of vit")
    assert not target.is_visible()
    page.locator("nav.contents").first.get_by_role("link", name="Drift of vit").click()
    assert target.is_visible()
    assert page.evaluate(OPEN_FOLDS) == 2


def test_an_address_with_an_anchor_opens_the_sections_around_it(path, browser):
    page, _ = open_page(browser, path, DESK, "#data-details")
    assert page.get_by_text("about the Data").is_visible()
    assert page.evaluate(OPEN_FOLDS) == 1


def test_the_page_is_complete_without_javascript(path, browser):
    context = browser.new_context(java_script_enabled=False, viewport=DESK)
    page = context.new_page()
    page.goto(path.as_uri())
    text = page.get_by_text("about the Data")
    assert not text.is_visible()
    page.locator("summary", has_text=re.compile(r"^\s*Data\s*$")).click()
    assert text.is_visible()
    context.close()


def test_print_shows_all_sections_and_leaves_them_closed_afterwards(path, browser):
    page, _ = open_page(browser, path, DESK)
    closed = pages_of(page.pdf(prefer_css_page_size=True))
    assert page.evaluate(OPEN_FOLDS) == 0
    page.get_by_role("button", name="Open all sections").click()
    opened = pages_of(page.pdf(prefer_css_page_size=True))
    assert closed == opened > 8


def test_wide_tables_and_tall_images_fit_the_paper(path, browser):
    page, _ = open_page(browser, path, PAPER)
    page.get_by_role("button", name="Open all sections").click()
    page.emulate_media(media="print")
    assert scroll_width(page) <= PAPER["width"]
    heights = page.evaluate("[...document.images].map(image => image.getBoundingClientRect().height)")
    assert max(heights) <= PAPER["height"]
