"""Layouts: what is found in which folder, and what is said if nothing is found."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.ingest.sources.layouts import find_layout, list_files
from components.ingest.sources.name_search import first_groups
from components.shared.errors import InputError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def listed(root: Path, layout: str, pattern: str | None = None) -> list[dict]:
    files = list_files(root, layout, pattern)
    return files.astype(object).where(files.notna(), None).to_dict("records")


def test_ccic(tmp_path: Path) -> None:
    touch(tmp_path, "Positive/1.jpg", "Negative/2.jpg", "Negative/.DS_Store", "README.md")
    assert find_layout(tmp_path, "auto") == ("ccic", tmp_path)
    found = [(file["path"], file["label"], file["photo"]) for file in listed(tmp_path, "ccic")]
    assert found == [("Negative/2.jpg", 0, None), ("Positive/1.jpg", 1, None)]


def test_sdnet2018_knows_surface_and_photo_of_names_with_and_without_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "D/CD/7001-12.jpg", "D/UD/7001-3_2.jpg", "P/UP/001-99.jpg", "W/CW/7074-105_2.jpg", "W/UW/odd.jpg")
    layout, root = find_layout(tmp_path, "auto")

    assert layout == "sdnet2018"
    found = {file["path"]: (file["label"], file["surface"], file["photo"]) for file in listed(root, layout)}
    assert found == {
        "D/CD/7001-12.jpg": (1, "deck", "deck/7001"),
        "D/UD/7001-3_2.jpg": (0, "deck", "deck/7001"),
        "P/UP/001-99.jpg": (0, "pavement", "pavement/001"),
        "W/CW/7074-105_2.jpg": (1, "wall", "wall/7074"),
        "W/UW/odd.jpg": (0, "wall", None),
    }


def test_folders_with_masks_and_photos_by_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "crack/DSC5b_r1.jpg", "crack/DSC5_r2.jpg", "no_crack/DSC7_r1.jpg", "masks/DSC5b_r1.png")
    layout, root = find_layout(tmp_path, "auto")
    files = listed(root, layout, r"^(DSC\d+)")
    found = {file["path"]: (file["label"], file["photo"], file["mask"]) for file in files}

    assert found == {
        "crack/DSC5b_r1.jpg": (1, "DSC5", "masks/DSC5b_r1.png"),
        "crack/DSC5_r2.jpg": (1, "DSC5", None),
        "no_crack/DSC7_r1.jpg": (0, "DSC7", None),
    }


def test_outer_folders_around_the_data_do_not_matter(tmp_path: Path) -> None:
    touch(tmp_path / "download" / "dataset", "Positive/1.jpg", "Negative/2.jpg")
    assert find_layout(tmp_path, "auto") == ("ccic", tmp_path / "download" / "dataset")


def test_pattern_that_misses_a_name_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "crack/a1.jpg", "no_crack/b.jpg")
    with pytest.raises(
        InputError, match=r"group_pattern '\(\\\\d\)' does not match 1 of 2 names, such as 'no_crack/b.jpg'"
    ):
        list_files(tmp_path, "folders", r"(\d)")


def test_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "crack/a\udcff.jpg", "no_crack/b.jpg")
    with pytest.raises(InputError, match=r"the name 'crack/a\\udcff.jpg' is not UTF-8; rename the file"):
        list_files(tmp_path, "folders")


def test_unknown_layout_names_what_was_expected_and_found(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt", "b.txt", "notes.md", "cracked/1.jpg")
    with pytest.raises(InputError) as caught:
        find_layout(tmp_path, "auto")
    message = str(caught.value)
    for part in ("Positive, Negative", "D/CD", "crack, no_crack", "folders cracked", "2 .txt", "1 .md"):
        assert part in message


def test_empty_folder_is_reported_as_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the folder is empty"):
        find_layout(tmp_path, "auto")


def test_one_class_only_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "Positive/1.jpg")
    (tmp_path / "Negative").mkdir()
    with pytest.raises(
        InputError,
        match="only one class: layout ccic expects images of the class no_crack in Negative, but there are none",
    ):
        find_layout(tmp_path, "auto")


def test_folders_of_classes_without_any_file_have_no_images(tmp_path: Path) -> None:
    for name in ("crack", "no_crack"):
        (tmp_path / name).mkdir()
    with pytest.raises(
        InputError, match="no images: layout folders expects images of the class crack in crack and images"
    ):
        find_layout(tmp_path, "auto")


def test_missing_layout_that_the_user_named_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "Positive/1.jpg", "Negative/2.jpg")
    with pytest.raises(InputError, match=r"Expected folders \(sdnet2018: D/CD"):
        find_layout(tmp_path, "sdnet2018")


def test_a_link_to_itself_is_refused_by_name_and_hides_no_other_file(tmp_path: Path) -> None:
    touch(tmp_path, *(f"crack/{number}.jpg" for number in range(50)), "no_crack/1.jpg")
    (tmp_path / "crack" / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "crack" / "nowhere.jpg").symlink_to("gone.jpg")
    names = [file["path"] for file in listed(tmp_path, "folders")]
    assert len(names) == 53
    assert {"crack/loop.jpg", "crack/nowhere.jpg"} < set(names)


@pytest.mark.parametrize("part", ["masks", "crack/inner"])
def test_a_folder_that_cannot_be_listed_is_an_error(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "crack/1.jpg", "no_crack/1.jpg", f"{part}/1.png")
    scan = os.scandir

    def refusing(path: str) -> Iterator[os.DirEntry]:
        if path == f"{tmp_path}/{part}":  # root, who runs the tests in a container, may list everything
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(InputError, match=rf"the folder {tmp_path}/{part} cannot be listed: Permission denied; make it"):
        listed(tmp_path, "folders")


def test_a_folder_of_masks_that_links_to_itself_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "crack/1.jpg", "no_crack/1.jpg")
    (tmp_path / "masks").symlink_to("masks")
    with pytest.raises(InputError, match=r"/masks cannot be listed: Too many levels of symbolic links"):
        listed(tmp_path, "folders")


@pytest.mark.parametrize("folder", ["crack", "masks"])
@pytest.mark.parametrize("kind", ["pipe", "device", "linked folder"])
def test_only_regular_files_are_taken(kind: str, folder: str, tmp_path: Path) -> None:
    touch(tmp_path, "crack/1.jpg", "no_crack/1.jpg", "masks/1.png")
    odd = tmp_path / folder / "odd.jpg"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to("/dev/zero" if kind == "device" else tmp_path)
    message = (
        "is a link to a folder; replace" if kind == "linked folder" else "is not a regular file, but .*; remove it"
    )
    with pytest.raises(InputError, match=f"/{folder}/odd.jpg {message}"):
        listed(tmp_path, "folders")


def test_a_pattern_that_takes_for_ever_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(InputError, match=r"group_pattern '\(a\|aa\)\+\$' takes more than 3 s on 1 names; write"):
        first_groups("(a|aa)+$", ["a" * 100 + "!"], seconds=3)
    assert time.monotonic() - started < 20
