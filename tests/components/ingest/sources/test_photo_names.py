"""The photo that an annotation names, in the spelling of each program."""

import unicodedata

import pytest

from components.ingest.sources.photo_names import PhotoNames

PHOTOS = [
    "images/pier 1/IMG_1.jpg", "images/pier 2/IMG_1.jpg", "train/images/deck.JPG", "Brücke 3+4.jpg",
    "0badcafe-real.jpg", "twin.jpg", "twin.png", "a+b.jpg", "ab.jpg",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "photo"),
    [
        ("images/pier 1/IMG_1.jpg", "images/pier 1/IMG_1.jpg"),
        ("pier 2/IMG_1.jpg", "images/pier 2/IMG_1.jpg"),
        ("labels/pier 2/IMG_1", "images/pier 2/IMG_1.jpg"),
        (".\\images\\pier 1\\IMG_1.jpg", "images/pier 1/IMG_1.jpg"),
        ("data/upload/pier 1/IMG_1.png", "images/pier 1/IMG_1.jpg"),
        ("IMG_1.jpg", None),
        ("train/labels/deck", "train/images/deck.JPG"),
        ("deck.jpg", "train/images/deck.JPG"),
        (unicodedata.normalize("NFD", "Brücke 3+4.jpg"), "Brücke 3+4.jpg"),
        ("1f2e3d4c-Brücke_34.jpg", "Brücke 3+4.jpg"),
        ("labels/1f2e3d4c-Brücke_34", "Brücke 3+4.jpg"),
        ("1f2e3d4c-IMG_1.jpg", None),
        ("1F2E3D4C-deck.jpg", None),
        ("1f2e3d4c-ab.jpg", None),  # a+b.jpg gets the same name
        ("0badcafe-real.jpg", "0badcafe-real.jpg"),
        ("1f2e3d4c-0badcafe-real.jpg", "0badcafe-real.jpg"),
        ("twin.png", "twin.png"),
        ("twin", None),
        ("other.jpg", None),
        ("1f2e3d4c-", None),
        ("", None),
    ],
)
def test_the_photo_of_a_name(name: str, photo: str | None) -> None:
    assert PhotoNames(PHOTOS).find(name) == photo
