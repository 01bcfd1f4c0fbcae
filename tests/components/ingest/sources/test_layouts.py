"""Layouts: which files are found, with which label and photo, and what the messages say if there is no layout."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.ingest.sources.layouts import find_layout
from components.ingest.sources.source_listing import Listing, list_images
from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def listing(root: Path, layout: str = "auto", pattern: str | None = None) -> Listing:
    return list_images(find_layout(root, layout), pattern)


def listed(root: Path, layout: str = "auto", pattern: str | None = None) -> list[dict]:
    files = listing(root, layout, pattern).files
    return files.astype(object).where(files.notna(), None).to_dict("records")


def labels(root: Path) -> dict[str, int]:
    return {file["path"]: file["label"] for file in listed(root)}


def test_ccic(tmp_path: Path) -> None:
    touch(tmp_path, "Positive/1.jpg", "Negative/2.jpg", "Negative/.DS_Store", "README.md")
    layout = find_layout(tmp_path)
    assert (layout.name, layout.root) == ("ccic", tmp_path)
    found = [(file["path"], file["label"], file["photo"]) for file in listed(tmp_path)]
    assert found == [("Negative/2.jpg", 0, None), ("Positive/1.jpg", 1, None)]


def test_sdnet2018_knows_surface_and_photo_of_names_with_and_without_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "D/CD/7001-12.jpg", "D/UD/7001-3_2.jpg", "P/UP/001-99.jpg", "W/CW/7074-105_2.jpg", "W/UW/odd.jpg")
    assert find_layout(tmp_path).name == "sdnet2018"
    found = {file["path"]: (file["label"], file["surface"], file["photo"]) for file in listed(tmp_path)}
    assert found == {
        "D/CD/7001-12.jpg": (1, "deck", "deck/7001"),
        "D/UD/7001-3_2.jpg": (0, "deck", "deck/7001"),
        "P/UP/001-99.jpg": (0, "pavement", "pavement/001"),
        "W/CW/7074-105_2.jpg": (1, "wall", "wall/7074"),
        "W/UW/odd.jpg": (0, "wall", None),
    }


def test_folders_with_masks_and_photos_by_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "crack/DSC5b_r1.jpg", "crack/DSC5_r2.jpg", "no_crack/DSC7_r1.jpg", "masks/DSC5b_r1.png")
    files = listed(tmp_path, pattern=r"^(DSC\d+)")
    found = {file["path"]: (file["label"], file["photo"], file["mask"]) for file in files}

    assert found == {
        "crack/DSC5b_r1.jpg": (1, "DSC5", "masks/DSC5b_r1.png"),
        "crack/DSC5_r2.jpg": (1, "DSC5", None),
        "no_crack/DSC7_r1.jpg": (0, "DSC7", None),
    }


def test_outer_folders_around_the_data_do_not_matter(tmp_path: Path) -> None:
    touch(tmp_path / "download" / "dataset", "Positive/1.jpg", "Negative/2.jpg")
    touch(tmp_path, "readme.txt", "download/LICENSE", "download/dataset/__MACOSX/Positive/._1.jpg")
    layout = find_layout(tmp_path)
    assert (layout.name, layout.root) == ("ccic", tmp_path / "download" / "dataset")


def test_pattern_that_misses_a_name_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "crack/a1.jpg", "no_crack/b.jpg")
    with pytest.raises(
        InputError, match=r"group_pattern '\(\\\\d\)' finds no photo in 1 of 2 names, such as 'no_crack/b.jpg'"
    ):
        listing(tmp_path, "folders", r"(\d)")


def test_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "crack/a\udcff.jpg", "no_crack/b.jpg")
    with pytest.raises(InputError, match=r"the name 'crack/a\\udcff.jpg' is not UTF-8; rename the file"):
        listing(tmp_path, "folders")


def test_unknown_layout_names_what_was_expected_and_found(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt", "b.txt", "notes.md", "broken/1.jpg")
    with pytest.raises(InputError) as caught:
        find_layout(tmp_path)
    message = str(caught.value)
    for part in ("Positive, Negative", "D/CD", "crack, no_crack", "folders broken", "2 .txt", "1 .md"):
        assert part in message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "data.rar",
            b"Rar!\x1a\x07\x01\0",
            r"data.rar is a RAR archive, which we cannot unpack; unpack it with `unrar x /",
        ),
        ("in/part1.RAR", b"Rar!\x1a\x07\x01\0", "in/part1.RAR is a RAR archive"),
        ("data.7z", b"7z\xbc\xaf\x27\x1c", "data.7z is a 7z archive"),
        ("data.zip", b"PK\x05\x06" + bytes(18), "data.zip is an archive; unpack it and give the folder"),
        ("data.zip", b"PK\x03\x04", "data.zip is a zip archive whose end is missing"),
    ],
)
def test_an_archive_in_a_folder_without_images_is_named(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (touch(tmp_path, name, "readme.txt") / name).write_bytes(content)
    with pytest.raises(InputError, match=f"none of the known layouts, but it has an archive: .*{words}"):
        find_layout(tmp_path)


def test_empty_folder_is_reported_as_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the folder is empty"):
        find_layout(tmp_path)


def test_one_class_only_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "Positive/1.jpg")
    (tmp_path / "Negative").mkdir()
    with pytest.raises(
        InputError,
        match="only one class: layout ccic expects images of the class no_crack in Negative, but there are none",
    ):
        find_layout(tmp_path)


def test_class_folders_whose_files_are_of_another_kind_name_the_kind(tmp_path: Path) -> None:
    touch(tmp_path, "crack/1.DNG", "crack/2.dng", "no_crack/1.jpg")
    with pytest.raises(InputError, match=r"class crack in crack, but there are none.*2 files were skipped \(2 .dng\)"):
        find_layout(tmp_path)


def test_folders_of_classes_without_any_file_have_no_images(tmp_path: Path) -> None:
    for name in ("crack", "no_crack"):
        (tmp_path / name).mkdir()
    with pytest.raises(
        InputError, match="no images: layout folders expects images of the class crack in crack and images"
    ):
        find_layout(tmp_path)


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


def test_public_sets_are_recognised_under_the_names_that_copies_of_them_have(tmp_path: Path) -> None:
    lower = touch(tmp_path / "lower", "positive/1.jpg", "NEGATIVE/2.jpg")
    assert find_layout(lower).name == "ccic"
    assert labels(lower) == {"positive/1.jpg": 1, "NEGATIVE/2.jpg": 0}

    kaggle = touch(
        tmp_path / "kaggle",
        *("Decks/Cracked/7001-1.jpg", "Decks/Non-cracked/7001-2.jpg", "Pavements/Non-cracked/001-3.jpg"),
        *("Walls/Cracked/7070-4_2.jpg",),
    )
    found = {file["path"]: (file["label"], file["surface"], file["photo"]) for file in listed(kaggle)}
    assert find_layout(kaggle).name == "sdnet2018"
    assert found == {
        "Decks/Cracked/7001-1.jpg": (1, "deck", "deck/7001"),
        "Decks/Non-cracked/7001-2.jpg": (0, "deck", "deck/7001"),
        "Pavements/Non-cracked/001-3.jpg": (0, "pavement", "pavement/001"),
        "Walls/Cracked/7070-4_2.jpg": (1, "wall", "wall/7070"),
    }

    flat = touch(tmp_path / "flat", "CD/7001-1.jpg", "UD/7001-2.jpg", "uw/7070-1.jpg")
    assert [(file["surface"], file["label"]) for file in listed(flat)] == [("deck", 1), ("deck", 0), ("wall", 0)]
    lower_sdnet = touch(tmp_path / "lower_sdnet", "p/cp/1-1.jpg", "p/up/1-2.jpg")
    assert [file["photo"] for file in listed(lower_sdnet)] == ["pavement/1", "pavement/1"]


@pytest.mark.parametrize("names", [("Crack", "No Crack"), ("cracked", "uncracked"), ("CRACKS", "non-crack")])
def test_class_folders_have_many_names(names: tuple[str, str], tmp_path: Path) -> None:
    touch(tmp_path, f"{names[0]}/1.jpg", f"{names[1]}/2.jpg")
    assert find_layout(tmp_path).name == "folders"
    assert labels(tmp_path) == {f"{names[0]}/1.jpg": 1, f"{names[1]}/2.jpg": 0}


def test_a_folder_that_is_named_after_a_surface_is_not_a_public_set(tmp_path: Path) -> None:
    layout = find_layout(touch(tmp_path, "walls/crack/1.jpg", "walls/no_crack/2.jpg"))
    assert (layout.name, layout.root) == ("folders", tmp_path / "walls")


def test_names_of_two_layouts_can_be_mixed_if_each_class_has_one(tmp_path: Path) -> None:
    touch(tmp_path, "crack/1.jpg", "negative/2.jpg")
    assert labels(tmp_path) == {"crack/1.jpg": 1, "negative/2.jpg": 0}


def test_augmented_copies_of_an_export_share_their_photo_and_its_split_is_not_used(tmp_path: Path) -> None:
    names = [f"{split}/{part}/IMG_1_jpg.rf.{split}{part[0]}9.jpg" for split in ("train", "valid") for part in CLASSES]
    touch(tmp_path, *names, "test/crack/IMG.2_JPG.rf.b2.jpg", "test/no_crack/plain.jpg", "README.roboflow.txt")
    found = listing(tmp_path, pattern=None)
    photos = dict(zip(found.files["path"], found.files["photo"], strict=True))

    assert find_layout(tmp_path).name == "roboflow"
    assert {photos[name] for name in names} == {"IMG_1"}
    assert photos["test/crack/IMG.2_JPG.rf.b2.jpg"] == "IMG.2"
    assert photos.get("test/no_crack/plain.jpg") is None or photos["test/no_crack/plain.jpg"] != "IMG_1"
    assert "its own split (test 2, train 2, valid 2) is not used" in found.understood[1]
    assert found.warnings[0].startswith("1 file was skipped (1 .txt)")


def test_copies_of_a_photo_share_it_in_any_layout(tmp_path: Path) -> None:
    touch(tmp_path, "crack/a_png.rf.0f.png", "crack/a_png.rf.1f.png", "no_crack/b.jpg")
    assert [file["photo"] for file in listed(tmp_path)] == ["a", "a", None]


def test_two_layouts_in_one_folder_are_ambiguous(tmp_path: Path) -> None:
    touch(tmp_path / "one", "Positive/1.jpg", "Negative/2.jpg", "crack/3.jpg", "no_crack/4.jpg")
    with pytest.raises(InputError, match=r"ccic in .*\(Negative, Positive\); folders in .*\?layout=NAME") as caught:
        find_layout(tmp_path / "one")
    assert "several layouts" in str(caught.value)
    assert find_layout(tmp_path / "one", "folders").name == "folders"

    touch(tmp_path / "two", "a/crack/1.jpg", "a/no_crack/2.jpg", "b/Positive/3.jpg", "b/Negative/4.jpg")
    with pytest.raises(InputError, match="name these folders as separate sources"):
        find_layout(tmp_path / "two")


def test_what_is_not_read_is_said(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *("crack/1.jpg", "no_crack/2.jpg", "crack/.ipynb_checkpoints/1.jpg", "crack/notes.txt", "crack/raw.DNG"),
        *("crack/Thumbs.db", "crack/._1.jpg", "unsure/5.jpg", "6.jpg", "readme.md", "masks/classes.json"),
    )
    found = listing(tmp_path)
    assert set(found.files["path"]) == {"crack/1.jpg", "no_crack/2.jpg"}
    outside, folders, files = found.warnings
    assert outside == "images outside the class folders, which are not used: 1, such as 6.jpg"
    assert folders == "folders that are not used, because their names are not names of classes: unsure"
    assert files.startswith("5 files were skipped (")
    for kind in ("1 hidden", "1 .txt", "1 .dng", "1 .md", "1 .json"):
        assert kind in files


@pytest.mark.parametrize("part", ["masks", "crack/inner"])
def test_a_folder_that_cannot_be_listed_is_an_error(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "crack/1.jpg", "no_crack/1.jpg", f"{part}/1.png")
    scan = os.scandir

    def refusing(path: str) -> Iterator[os.DirEntry]:
        if path == f"{tmp_path}/{part}":  # the tests can run as root, who can list every folder
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
