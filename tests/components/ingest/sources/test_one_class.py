"""The option `all`: a folder without class folders, whose images all have one class."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.ingest.sources.open_sources import Source, open_sources
from components.ingest.sources.uri import parse_sources
from components.shared.data.corrections import Answer, Entry, add_entry, now
from components.shared.data.manifest import Manifest, read_manifest
from components.shared.errors import InputError
from components.shared.hashing import file_digest
from components.shared.services.store import Store
from tests.components.ingest.version_files import kept

Write = Callable[..., Path]
PATTERN = r"group_pattern=^(p\d)"


@pytest.fixture
def sound(tmp_path: Path, write_tile: Write) -> Path:
    """A folder with six tiles of two photos, in two folders."""
    for index in range(6):
        write_tile(tmp_path / "sound" / f"day {index % 2}" / f"p{index // 3}_{index}.jpg", seed=100 + index)
    return tmp_path / "sound"


def opened(uri: str, scratch: Path, **config: object) -> Source:
    scratch.mkdir(exist_ok=True)
    parsed = IngestConfig.model_validate({"store": "s3://unused/store", **config})
    [source] = open_sources(parse_sources(uri), parsed, scratch)
    return source


def test_all_images_get_the_class_and_photos_can_be_named(sound: Path, tmp_path: Path) -> None:
    sound.joinpath("notes.txt").write_text("dry day")
    source = opened(f"{sound}?all=no_crack&{PATTERN}", tmp_path / "a", layout="ccic")
    assert (source.name, source.layout, source.one_class) == ("sound", "one class", True)
    assert source.files["label"].tolist() == [0] * 6
    assert set(source.files["photo"]) == {"p0", "p1"}
    assert source.understood == ["the layout is one class; images by folder: all folders (no_crack): 6"]
    assert [warning[:19] for warning in source.warnings] == ["1 file was skipped "]

    [unknown, _] = opened(f"{sound}?all=no_crack", tmp_path / "b").warnings[::-1]
    assert unknown.startswith("the photos of 6 of 6 tiles are not known, so false alarms per photo cannot be measured")
    cracks = opened(f"{sound}?all=crack", tmp_path / "c")
    assert cracks.files["label"].tolist() == [1] * 6
    assert not any("false alarms" in warning for warning in cracks.warnings)


@pytest.mark.parametrize("option", ["tile=64", "layout=photos&tile=64"])
def test_whole_photos_without_cracks_are_cut_into_tiles(option: str, tmp_path: Path, write_tile: Write) -> None:
    for seed in (1, 2):
        write_tile(tmp_path / "sound" / f"{seed}.jpg", seed, size=150)
    source = opened(f"{tmp_path / 'sound'}?all=no_crack&{option}", tmp_path / "scratch")
    assert source.files["label"].tolist() == [0] * 8
    assert source.files["photo"].value_counts().to_dict() == {"1.jpg": 4, "2.jpg": 4}
    assert "2 photos with the option all=no_crack are cut into tiles of 64 pixels" in source.understood[0]
    source.bring(source.files)
    assert len(list(source.folder.rglob("*.png"))) == 8


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("no-crack/1.jpg", "but also the class folder no-crack; remove the option, or give a folder that has only im"),
        ("W/UW/1.jpg", "but also the class folder UW"),
        ("day 0/masks/p0_0.png", "but also the mask day 0/masks/p0_0.png"),
        ("day 0/p0_0_mask.png", "but also the mask day 0/p0_0_mask.png"),
        ("instances.json", "but also the file instances.json, which can give images a class"),
        ("day 0/p0_0.txt", "but also the file day 0/p0_0.txt"),
    ],
)
def test_a_folder_that_also_says_the_class_elsewhere_is_refused(
    extra: str, message: str, sound: Path, tmp_path: Path
) -> None:
    file = sound / extra
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"")
    with pytest.raises(InputError, match=f"{sound} has the option all=no_crack, {message}"):
        opened(f"{sound}?all=no_crack", tmp_path / "scratch")


def test_the_option_needs_images_and_does_not_fit_tables_or_photos_of_cracks(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"/empty has the option all=no_crack, but no images\. Found: nothing"):
        opened(f"{tmp_path / 'empty'}?all=no_crack", tmp_path / "scratch")
    with pytest.raises(InputError, match=r"labels.csv\?all=crack': a table gives every image its class; remove the op"):
        opened(f"{tmp_path / 'labels.csv'}?all=crack", tmp_path / "scratch2")
    with pytest.raises(InputError, match="has whole photos and the option all=crack, but most tiles of a photo have n"):
        opened(f"{sound}?all=crack&tile=64", tmp_path / "scratch3")


def test_a_tile_that_people_call_a_crack_leaves_the_source(
    tiles: Path, sound: Path, store: Store, tmp_path: Path
) -> None:
    def ingest() -> tuple[Manifest, dict]:
        config = IngestConfig.model_validate({"store": store.uri, "min_images": 4})
        data = f"{tiles}?group_pattern=^(p\\d)_,{sound}?all=no_crack&{PATTERN}"
        digest = ingest_dataset(data, tmp_path / "manifest", tmp_path / "page.html", config).digest
        return read_manifest(tmp_path / "manifest"), json.loads(kept(store, digest, "report.json"))

    before, report = ingest()
    labels = before.table.groupby("source")["label"].value_counts().to_dict()
    assert labels == {("sound", 0): 6, ("walls", 0): 12, ("walls", 1): 12}
    assert report["sources"][1]["understood"] == [
        "the layout is one class; images by folder: all folders (no_crack): 6"
    ]

    answers = [
        Answer(file_digest(sound / "day 0" / "p0_0.jpg"), "no_crack", "crack"),
        Answer(file_digest(tiles / "no_crack" / "p0_0.jpg"), "no_crack", "crack"),
    ]
    add_entry(store, Entry("Ada", now(), "hairline", answers))
    after, report = ingest()
    labels = after.table.groupby("source")["label"].value_counts().to_dict()
    assert labels == {("sound", 0): 5, ("walls", 0): 11, ("walls", 1): 13}
    [refused] = report["quarantine"]
    assert refused["path"] == "day 0/p0_0.jpg"
    assert refused["reason"].startswith("Ada called it crack on 20")
    assert refused["reason"].endswith("hairline; but its source has the option all=no_crack")
