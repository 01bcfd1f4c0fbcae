"""The page of an inspection in a real browser."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.inspect.config import InspectConfig
from components.inspect.run import inspect_photos, write_results
from tests.browser import DESK, PHONE, browser, open_page, scroll_width  # noqa: F401 (a fixture)
from tests.components.inspect.test_photo_facts import rationals
from tests.components.inspect.test_run import cracked
from tests.inspection_model import dark_tile_model

LATITUDE, LONGITUDE = rationals(48, 51, 29.6), rationals(2, 17, 40.2)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    """The page about a photo with a crack and a position, a photo without a crack, and a file that is no photo."""
    folder = tmp_path_factory.mktemp("inspection")
    name = "a_photo_with_a_very_long_name_that_a_phone_must_break_" + "x" * 60
    exif = Image.Exif()
    exif.get_ifd(34853).update({1: "N", 2: LATITUDE, 3: "E", 4: LONGITUDE})
    Image.fromarray(cracked()).save(folder / f"{name}.jpg", quality=95, exif=exif)
    Image.fromarray(np.full((100, 120, 3), 190, np.uint8)).save(folder / "clean.png")
    (folder / "<script>alert(1)<.jpg").write_text("not an image")

    model, config = dark_tile_model(folder / "model"), InspectConfig()
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    write_results(inspect_photos(paths, model, config, folder / "out", lambda _: None), model, config, folder / "out")
    return folder / "out" / "inspection.html"


@pytest.mark.parametrize("window", [DESK, PHONE], ids=["desk", "phone"])
def test_the_page_fits_and_asks_for_nothing(browser, page_file, window):  # noqa: F811
    page, complaints = open_page(browser, page_file, window)
    assert scroll_width(page) <= window["width"]
    for image in page.locator("img").all():
        image.scroll_into_view_if_needed()
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert complaints == []
    assert page.locator("svg circle").count() == 1
    assert "not an image" in page.locator("table").inner_text()
    page.close()


def test_the_filter_hides_the_other_photos_and_a_point_of_the_map_leads_to_its_photo(browser, page_file):  # noqa: F811
    page, _ = open_page(browser, page_file, DESK)
    photos = page.locator(".cards-photos figure")
    assert photos.filter(visible=True).count() == 2
    page.locator(".cards-photos input[value=no_crack]").check()
    assert photos.filter(visible=True).count() == 1
    assert "clean.png" in photos.filter(visible=True).inner_text()
    page.locator(".cards-photos input[value='']").check()
    assert photos.filter(visible=True).count() == 2

    anchor = page.locator("svg a").get_attribute("href")
    assert anchor is not None
    assert "a_photo_with" in page.locator(anchor).inner_text()
    overlay = photos.first.locator("a").get_attribute("href")
    assert overlay is not None
    assert (page_file.parent / overlay).is_file()
    page.close()
