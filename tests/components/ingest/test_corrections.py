"""People's answers change labels in the next data set version. Everything else about a tile stays the same."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.shared.data.corrections import Answer, Entry, add_entry, now, signed
from components.shared.data.manifest import Manifest, read_manifest, read_splits
from components.shared.hashing import file_digest
from components.shared.services.store import Store
from components.split.config import SplitConfig
from components.split.run import assign_splits
from tests.components.ingest.version_files import keys

Write = Callable[..., Path]
PATTERN = r"?group_pattern=^(p\d)_"


class Review:
    """A source, its store, and the answers of people."""

    def __init__(self, source: Path, store: Store, folder: Path):
        self.source, self.store, self.folder = source, store, folder

    def ingest(self, **settings: object) -> Manifest:
        given = {"store": self.store.uri, "min_images": 4, "max_refused": 0.4, **settings}
        config = IngestConfig.model_validate(given)
        ingest_dataset(f"{self.source}{PATTERN}", self.folder / "manifest", self.folder / "page.html", config)
        return read_manifest(self.folder / "manifest")

    def answer(self, by: str, why: str = "", **answers: str) -> Entry:
        """Add an import to the store. `answers` maps a file name without its suffix to the answer."""
        given = []
        for name, answer in answers.items():
            [path] = self.source.glob(f"*/{name}.jpg")
            given.append(Answer(file_digest(path), path.parent.name, answer))
        entry = Entry(by, now(), why, given)
        add_entry(self.store, entry)
        return entry

    def roll_back(self, entry: Entry) -> None:
        add_entry(self.store, Entry("Eve", now(), "test", rolls_back=entry.id))

    def report(self) -> dict:
        (latest,) = keys(self.store, "sources/", "latest.json")
        key = f"{json.loads(self.store.get_bytes(latest))['reports']}/report.json"
        return json.loads(self.store.get_bytes(key))

    def page(self) -> str:
        return (self.folder / "page.html").read_text()


@pytest.fixture
def review(tiles: Path, store: Store, tmp_path: Path) -> Review:
    return Review(tiles, store, tmp_path)


def key_of(person: Ed25519PrivateKey) -> str:
    """The public key as a parameter file gives it."""
    pem = person.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode().splitlines()[1]


def labels(manifest: Manifest) -> dict[str, int]:
    stems = manifest.table["path"].map(lambda path: Path(path).stem)
    return dict(zip(stems, manifest.table["label"], strict=True))


def test_answers_give_a_new_version_and_a_rollback_gives_the_old_one(review: Review) -> None:
    before = review.ingest()
    entry = review.answer("Ada", "hairline", p0_0="crack", p1_5="no_crack", p0_2="no_crack")
    after = review.ingest()

    assert after.digest != before.digest
    assert labels(after) == labels(before) | {"p0_0": 1, "p1_5": 0}
    unchanged = [name for name in before.table.columns if name != "label"]
    assert after.table[unchanged].equals(before.table[unchanged])
    report = review.report()
    assert (report["corrected"], report["confirmed"], report["bad_images"], report["disputed"]) == (2, 1, 0, 0)
    assert {(row["path"], row["was"], row["answer"], row["by"], row["why"]) for row in report["corrections"]} == {
        ("no_crack/p0_0.jpg", "no_crack", "crack", "Ada", "hairline"),
        ("crack/p1_5.jpg", "crack", "no_crack", "Ada", "hairline"),
    }
    assert "Corrections by people" in review.page()
    assert entry.id[:12] in review.page()

    review.roll_back(entry)
    assert review.ingest().digest == before.digest
    assert "Corrections by people" not in review.page()


def test_a_bad_image_leaves_the_data_set_and_returns_to_its_group(review: Review) -> None:
    before = review.ingest()
    entry = review.answer("Ada", "lens flare", p0_0="bad image")
    after = review.ingest()
    assert labels(after) == {name: label for name, label in labels(before).items() if name != "p0_0"}
    [refused] = review.report()["quarantine"]
    assert refused["path"] == "no_crack/p0_0.jpg"
    assert refused["reason"].startswith("Ada called it a bad image on 20")
    assert refused["reason"].endswith("lens flare")
    assert refused["reason"] in review.page()

    # Without a record of its group, the returning tile would join the group of its new photo.
    (review.source / "no_crack" / "p0_0.jpg").rename(review.source / "no_crack" / "p9_0.jpg")
    review.roll_back(entry)
    assert review.ingest().digest == before.digest


def test_a_corrected_test_tile_stays_in_its_split(review: Review, tmp_path: Path) -> None:
    shares = {"val": 0.2, "test": 0.3, "robustness": 0.2, "min_images": 1, "leak_sample": 0}

    def split() -> dict[str, str]:
        config = SplitConfig.model_validate({"store": review.store.uri, **shares})
        manifest = review.ingest()
        assign_splits(review.folder / "manifest", tmp_path / "splits", tmp_path / "split.html", config, seed=1)
        splits = read_splits(tmp_path / "splits").table
        return dict(zip(manifest.table["path"], splits["split"], strict=True))

    before = split()
    in_test = sorted(path for path, name in before.items() if name == "test")
    flipped = {"crack": "no_crack", "no_crack": "crack"}
    review.answer("Ada", **{Path(path).stem: flipped[path.split("/")[0]] for path in (in_test[0], in_test[2])})
    review.answer("Ben", **{Path(in_test[3]).stem: "bad image"})
    after = split()
    assert review.report()["corrected"] == 2
    assert after == {path: name for path, name in before.items() if path != in_test[3]}


def test_near_duplicates_need_the_same_answer(review: Review, write_tile: Write) -> None:
    write_tile(review.source / "crack" / "p0_again.jpg", seed=1, quality=80)  # as p0_1.jpg
    before = review.ingest()
    review.answer("Ada", p0_1="no_crack")
    after = review.ingest()
    assert labels(before).keys() - labels(after).keys() == {"p0_1", "p0_again"}
    [row] = review.report()["corrections"]
    assert row["outcome"].startswith("in quarantine: near duplicates have both labels: this is no_crack")
    assert "crack/p0_again.jpg (crack)" in row["outcome"]

    review.answer("Ada", p0_again="no_crack")
    assert labels(review.ingest()) == labels(before) | {"p0_1": 0, "p0_again": 0}


def test_an_answer_settles_a_file_with_both_labels(review: Review) -> None:
    twin = review.source / "no_crack" / "p0_twin.jpg"
    twin.write_bytes((review.source / "crack" / "p0_1.jpg").read_bytes())
    assert "p0_1" not in labels(review.ingest())
    review.answer("Ada", p0_1="crack")
    assert labels(review.ingest())["p0_1"] == 1
    assert review.report()["conflicts"] == 0


def test_a_mask_that_contradicts_an_answer_is_not_used(review: Review) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40] = 255
    (review.source / "masks").mkdir()
    for name in ("p0_1", "p0_3"):
        cv2.imwrite(str(review.source / "masks" / f"{name}.png"), mask)
    review.ingest()
    review.answer("Ada", p0_1="no_crack")
    table = review.ingest().table.assign(stem=lambda rows: rows["path"].map(lambda path: Path(path).stem))
    table = table.set_index("stem")
    assert table.loc["p0_1", "label"] == 0
    assert table.loc[["p0_1", "p0_3"], "mask_id"].isna().tolist() == [True, False]
    assert review.report()["masks_dropped"] == 1


def test_nothing_is_applied_where_people_disagree(review: Review) -> None:
    before = review.ingest()
    review.answer("Ada", p0_0="crack")
    review.answer("Ben", p0_0="no_crack")
    assert review.ingest().digest == before.digest
    assert review.report()["disputes"][0]["answers"] == "crack (Ada), no_crack (Ben)"
    assert "crack (Ada), no_crack (Ben)" in review.page()


def test_with_public_keys_only_signed_answers_count(review: Review, caplog: pytest.LogCaptureFixture) -> None:
    ada, eve = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    keys_of_people = {"correction_keys": {"Ada": key_of(ada)}}
    before = labels(review.ingest(**keys_of_people))

    unsigned = review.answer("Ada", p0_0="crack")
    forged = signed(replace(unsigned, at=now()), eve)
    add_entry(review.store, forged)
    altered = replace(signed(replace(unsigned, at=now()), ada), why="something else")
    add_entry(review.store, altered)
    stranger = signed(replace(unsigned, at=now(), by="Eve"), eve)
    add_entry(review.store, stranger)
    assert labels(review.ingest(**keys_of_people)) == before
    for entry in (unsigned, forged, altered, stranger):
        assert f"correction {entry.id[:12]} of {entry.by} is not applied, because it is not signed" in caplog.text

    add_entry(review.store, signed(replace(unsigned, at=now()), ada))
    assert labels(review.ingest(**keys_of_people)) == before | {"p0_0": 1}
    assert labels(review.ingest()) == before | {"p0_0": 1}
