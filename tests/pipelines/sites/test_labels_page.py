"""A person labels the tiles of a site on the page, and `accept-site` reads the saved file."""

import numpy as np

from components.shared.page import Page
from pipelines.review.page import PageTile, page_jpeg, show_tiles
from pipelines.sites.labels import read_labels, saved_by_page
from tests.browser import DESK, open_page
from tests.browser import browser as browser

PATHS = ["p0, left.png", 'p1 "right".png', "Brücke/p2.png"]


def test_the_saved_file_has_the_earlier_and_the_new_labels(browser, tmp_path):
    jpeg = page_jpeg(np.full((64, 64, 3), 128, np.uint8))
    tiles = [PageTile(path, jpeg, label="", facts=path) for path in PATHS]
    earlier = {"p9.png": "no_crack", PATHS[0]: ""}
    page = Page("crack-classifier version 1 at the site bridge")
    show_tiles(page, "bridge", tiles, saved_by_page(tmp_path / "labels.csv", earlier))
    page.write(tmp_path / "site.html")

    opened, complaints = open_page(browser, tmp_path / "site.html", DESK)
    for key in ("c", "u", "b", "n"):  # unsure and bad image are not labels, so u and b do nothing
        opened.keyboard.press(key)
    assert opened.locator("#count").inner_text() == "Tile 3 of 3, 2 answered"
    with opened.expect_download() as download:
        opened.keyboard.press("s")
    assert download.value.suggested_filename == "labels.csv"
    download.value.save_as(tmp_path / "saved.csv")
    assert read_labels(tmp_path / "saved.csv") == {"p9.png": "no_crack", PATHS[0]: "crack", PATHS[1]: "no_crack"}
    assert complaints == []
