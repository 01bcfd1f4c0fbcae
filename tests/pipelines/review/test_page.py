"""The review page in a real browser, with the keyboard at a desk and by touch on a phone."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.review.page import PageTile, write_page
from tests.browser import DESK, PHONE, in_first_screen, open_page, scroll_width

TILES = [f"{number:064x}" for number in range(1, 5)]
LABELS = ["crack", "no_crack", "crack", "no_crack"]
BUTTONS = "[data-answer], .moves button"


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    shown = []
    for number, (tile, label) in enumerate(zip(TILES, LABELS, strict=True)):
        image = np.random.default_rng(number).normal(120 + 20 * number, 10, (128, 128, 3)).clip(0, 255).astype(np.uint8)
        cv2.line(image, (0, 20 * number), (127, 100), (40, 40, 40), 2)
        jpeg = cv2.imencode(".jpg", image)[1].tobytes()
        shown.append(PageTile(tile, jpeg, label, f"the facts of {number}, crack/Brücke 1+2.png"))
    path = tmp_path_factory.mktemp("page") / "review.html"
    write_page("0123456789ab", shown, path)
    return path


def saved(page, folder: Path) -> tuple[str, list[list[str]]]:
    """Press s. Return the name of the downloaded file and its rows."""
    with page.expect_download() as download:
        page.keyboard.press("s")
    target = folder / "answers.csv"
    download.value.save_as(target)
    return download.value.suggested_filename, list(csv.reader(target.read_text().splitlines()))


def test_a_person_answers_with_the_keyboard_and_saves(path, browser, tmp_path) -> None:
    page, complaints = open_page(browser, path, DESK)
    assert page.locator("#count").inner_text() == "Tile 1 of 4, 0 answered"
    assert page.locator("#save").is_disabled()
    for key in ("c", "n", "u", "b"):
        page.keyboard.press(key)
    assert page.locator("#count").inner_text().endswith("4 answered. All tiles are answered. Save the answers")
    words = ["crack", "no_crack", "unsure", "bad image"]
    assert saved(page, tmp_path) == (
        "answers-0123456789ab.csv",
        [["tile", "answer"], *([tile, word] for tile, word in zip(TILES, words, strict=True))],
    )
    assert complaints == []


def test_the_label_is_hidden_until_the_answer_or_until_it_is_asked_for(path, browser) -> None:
    page, _ = open_page(browser, path, DESK)
    assert page.locator("#label").inner_text() == ""
    visible = page.locator("main").inner_text()
    assert "facts" not in visible
    assert "Brücke" not in visible
    page.keyboard.press("l")
    assert page.locator("#label").inner_text() == "The label is crack. the facts of 0, crack/Brücke 1+2.png"
    page.keyboard.press("l")
    assert page.locator("#label").inner_text() == ""
    page.keyboard.press("l")
    page.keyboard.press("ArrowRight")
    assert page.locator("#label").inner_text() == ""
    page.keyboard.press("c")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#label").inner_text().startswith("The label is no_crack.")
    assert page.locator("button.chosen").get_attribute("data-answer") == "crack"


def test_undo_takes_back_the_last_answer(path, browser, tmp_path) -> None:
    page, _ = open_page(browser, path, DESK)
    page.keyboard.press("c")
    page.keyboard.press("n")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("b")  # changes the answer to tile 2
    page.keyboard.press("z")
    assert page.locator("#count").inner_text() == "Tile 2 of 4, 2 answered"
    assert saved(page, tmp_path)[1][1:] == [[TILES[0], "crack"], [TILES[1], "no_crack"]]
    page.keyboard.press("z")
    page.keyboard.press("z")
    page.keyboard.press("z")  # there is nothing left to undo
    assert page.locator("#count").inner_text() == "Tile 1 of 4, 0 answered"


def test_answers_are_there_when_the_page_is_opened_again(path, browser) -> None:
    context = browser.new_context(viewport=DESK)
    page = context.new_page()
    page.goto(path.as_uri())
    page.keyboard.press("c")
    page.close()
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("#count").inner_text() == "Tile 2 of 4, 1 answered"
    context.close()


def test_a_browser_that_keeps_nothing_says_so(path, browser) -> None:
    page = browser.new_page(viewport=DESK)
    page.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('blocked'); }})")
    page.goto(path.as_uri())
    page.keyboard.press("c")
    assert page.get_by_text("This browser does not keep the answers").is_visible()
    assert page.locator("#count").inner_text() == "Tile 2 of 4, 1 answered"


def test_a_person_answers_by_touch_on_a_phone(path, browser) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(path.as_uri())
    page.locator("[data-answer='no_crack']").tap()
    page.locator("#next").tap()
    page.locator("[data-answer='bad image']").tap()
    page.locator("#undo").tap()
    assert page.locator("#count").inner_text() == "Tile 3 of 4, 1 answered"
    for button in page.locator(BUTTONS).all():
        box = button.bounding_box()
        assert box["height"] >= 44
        assert box["width"] >= 44
    context.close()


@pytest.mark.parametrize("window", [PHONE, DESK], ids=["phone", "desk"])
def test_tile_and_buttons_are_in_the_first_screen(path, browser, window) -> None:
    page, complaints = open_page(browser, path, window)
    assert in_first_screen(page, "#tile")
    for button in page.locator(BUTTONS).all():
        box = button.bounding_box()
        assert box["y"] + box["height"] <= window["height"]
    assert page.locator("#tile").bounding_box()["width"] > 300
    assert scroll_width(page) <= window["width"]
    assert complaints == []
