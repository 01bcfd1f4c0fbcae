"""A mask belongs to the image with the same name and folder. Masks that fit no image or several images are counted."""

import unicodedata
from pathlib import Path

import pytest

from components.ingest.sources.layouts import find_layout
from components.ingest.sources.source_listing import Listing, list_images
from components.shared.errors import InputError

COMPOSED = unicodedata.normalize("NFC", "Brücke")
DECOMPOSED = unicodedata.normalize("NFD", "Brücke")


def listing(root: Path, *names: str) -> Listing:
    for name in ("no_crack/other.jpg", *names):
        touch(root / name)
    return list_images(find_layout(root))


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def masks(found: Listing) -> dict[str, str]:
    files = found.files.dropna(subset="mask")
    return dict(zip(files["path"], files["mask"], strict=True))


def test_a_mask_belongs_to_the_image_in_the_same_folder(tmp_path: Path) -> None:
    images = [f"{label}/{pier}/IMG_1.jpg" for label in ("crack", "no_crack") for pier in ("pier1", "pier2")]
    found = listing(tmp_path, *images, "masks/pier1/IMG_1.png")
    assert masks(found) == {"crack/pier1/IMG_1.jpg": "masks/pier1/IMG_1.png"}
    assert found.masks_without_image == 0
    assert found.warnings == [
        "images of class crack without a mask, although others have one: 1, such as crack/pier2/IMG_1.jpg"
    ]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("crack/a.jpg", "masks/a.png"),
        ("crack/a.jpg", "Masks/a_mask.png"),
        ("crack/a.jpg", "masks/a-label.tif"),
        ("crack/a.JPG", "masks/a.GT.png"),
        (f"crack/{COMPOSED}.jpg", f"masks/{DECOMPOSED}.png"),
        (f"crack/{DECOMPOSED}.jpg", f"masks/{COMPOSED}_mask.png"),
        (f"crack/{COMPOSED}/a.jpg", f"masks/{DECOMPOSED}/a.png"),
        ("crack/pier1/a.jpg", "masks/a.png"),
        ("crack/pier1/a.jpg", "masks/crack/pier1/a.png"),
        ("crack/a_mask.jpg", "masks/a_mask.png"),
        ("crack/a.jpg", "crack/a_mask.png"),
        ("crack/deep/a.jpg", "crack/deep/a-labels.png"),
        ("crack/a.jpg", "crack/masks/a.png"),
        ("crack/a.jpg", "crack/Mask/a_mask.png"),
        ("crack/images/a.jpg", "crack/masks/a.png"),
        ("crack/images/a.jpg", "masks/a.png"),
        ("crack/Images/pier1/a.jpg", "crack/masks/pier1/a.png"),
        ("crack/pier1/a.jpg", "crack/pier1/masks/a.png"),
        ("crack/pier1/images/a.jpg", "crack/pier1/masks/a.png"),
    ],
)
def test_names_of_masks(image: str, mask: str, tmp_path: Path) -> None:
    found = listing(tmp_path, image, mask)
    assert masks(found) == {image: mask}
    assert found.masks_without_image == 0
    assert len(found.files) == 2


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ("no_crack/a.jpg", "crack/masks/a.png", "no_crack/masks/a.png"),
            {"crack/a.jpg": "crack/masks/a.png", "no_crack/a.jpg": "no_crack/masks/a.png"},
        ),
        (
            ("no_crack/pier1/a.jpg", "crack/pier1/a.jpg", "crack/masks/pier1/a.png"),
            {"crack/pier1/a.jpg": "crack/masks/pier1/a.png"},
        ),
        (("crack/a.jpg", "no_crack/masks/a.png"), {}),
    ],
)
def test_a_folder_of_masks_belongs_to_the_folder_that_contains_it(
    names: tuple[str, ...], expected: dict[str, str], tmp_path: Path
) -> None:
    found = listing(tmp_path, "crack/a.jpg", *names)
    assert masks(found) == expected
    assert found.masks_without_image == (0 if expected else 1)
    assert not [path for path in found.files["path"] if "/masks/" in path]


def test_masks_of_each_part_of_a_set_are_found(tmp_path: Path) -> None:
    images = [f"{split}/{label}/a.jpg" for split in ("train", "test") for label in ("crack", "no_crack")]
    for name in (*images, "train/masks/a.png", "test/masks/b.png"):
        touch(tmp_path / name)
    found = list_images(find_layout(tmp_path))
    assert masks(found) == {"train/crack/a.jpg": "train/masks/a.png"}
    assert found.warnings[0] == "masks that belong to no image: 1, such as test/masks/b.png"
    assert sorted(found.files["path"]) == sorted(images)


@pytest.mark.parametrize("mask", ["masks/crack/a.png", "masks/a.png", "tiles/masks/a.png"])
def test_masks_beside_the_folder_that_contains_the_class_folders_are_found(mask: str, tmp_path: Path) -> None:
    for name in ("set/tiles/crack/a.jpg", "set/tiles/no_crack/b.jpg", f"set/{mask}"):
        touch(tmp_path / name)
    layout = find_layout(tmp_path)
    found = list_images(layout)
    prefix = layout.root.relative_to(tmp_path / "set").as_posix()
    assert [f"{prefix}/{path}".removeprefix("./") for path in masks(found).values()] == [mask]
    assert len(found.files) == 2
    assert found.warnings == []


def test_a_class_folder_with_masks_only_has_no_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expects images of the class crack in crack, but there are none"):
        listing(tmp_path, "crack/masks/a.png")


def test_a_mask_of_a_folder_is_not_given_to_an_image_of_another_folder(tmp_path: Path) -> None:
    found = listing(tmp_path, "crack/pier2/a.jpg", "masks/pier1/a.png")
    assert masks(found) == {}
    assert found.masks_without_image == 1
    assert found.warnings == ["masks that belong to no image: 1, such as masks/pier1/a.png"]


def test_a_mask_that_fits_several_images_is_not_used(tmp_path: Path) -> None:
    found = listing(tmp_path, "crack/pier1/a.jpg", "crack/pier2/a.jpg", "masks/a.png")
    assert masks(found) == {}
    assert found.masks_without_image == 1
    assert found.warnings == [
        "masks that fit several images and are not used: 1, such as masks/a.png; put each mask into a folder with "
        "the same name as the folder of its image"
    ]


def test_an_image_with_two_masks_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"crack/a.jpg has two masks: masks/a.png and masks/a_mask.png; keep only one"):
        listing(tmp_path, "crack/a.jpg", "masks/a.png", "masks/a_mask.png")


def test_masks_of_a_set_with_surfaces_are_told_apart(tmp_path: Path) -> None:
    names = ["D/CD/7-1.jpg", "D/UD/7-2.jpg", "W/CW/7-1.jpg", "W/UW/7-3.jpg"]
    for name in (*names, "masks/D/CD/7-1.png", "W/masks/7-1.png", "masks/D/7-2.png"):
        touch(tmp_path / name)
    found = list_images(find_layout(tmp_path))
    assert masks(found) == {
        "D/CD/7-1.jpg": "masks/D/CD/7-1.png",
        "D/UD/7-2.jpg": "masks/D/7-2.png",
        "W/CW/7-1.jpg": "W/masks/7-1.png",
    }
