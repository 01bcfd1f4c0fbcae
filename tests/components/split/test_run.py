"""Test the splits: groups are not divided, strata have the wanted shares, and unsuitable data are refused."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.data.manifest import SPLITS, make_manifest, make_splits, read_splits, rows_of, write_manifest
from components.shared.data.versions import COMMIT, Version
from components.shared.errors import InputError
from components.shared.hashing import file_digest
from components.shared.services.records import write_record
from components.shared.services.store import Store
from components.split.config import SplitConfig
from components.split.leak_check import LeakError, check_leaks
from components.split.run import assign_splits, split_groups

SHARES = SplitConfig().shares()


def table(groups: list[tuple[str, list[int]]], surface: str = "wall", source: str = "walls") -> pd.DataFrame:
    """Return manifest rows for groups. Each group is given as (name, labels of its images)."""
    rows = [(name, label) for name, labels in groups for label in labels]
    number = len(rows)
    return pd.DataFrame(
        {
            "sample_id": [sha256(f"{source}/{surface}/{i}".encode()).hexdigest() for i in range(number)],
            "path": [f"{source}/{i}.jpg" for i in range(number)],
            "source": source,
            "label": [label for _, label in rows],
            "surface": surface,
            "group_id": [name for name, _ in rows],
            "width": 64,
            "height": 64,
            "phash": "0" * 16,
            "mask_id": None,
            "shard": "00000.tar",
            "offset": range(number),
            "size": 1,
            "mask_offset": pd.array([None] * number, "Int64"),
            "mask_size": pd.array([None] * number, "Int64"),
        }
    )


def alternating(prefix: str, number: int, images: int = 1) -> list[tuple[str, list[int]]]:
    """Return groups with `images` images each. Groups without cracks and groups with cracks alternate."""
    return [(f"{prefix}{group}", [group % 2] * images) for group in range(number)]


def mixed(prefix: str, number: int, pairs: int = 1) -> list[tuple[str, list[int]]]:
    """Return groups that have `pairs` images of each class."""
    return [(f"{prefix}{group}", [0, 1] * pairs) for group in range(number)]


def shares_of(frame: pd.DataFrame, chosen: dict[str, str]) -> pd.Series:
    return frame["group_id"].map(chosen).value_counts(normalize=True).reindex(SPLITS, fill_value=0.0)


def assign(frame: pd.DataFrame, folder: Path, s3: str, seed: int = 0, **parameters: object) -> pd.DataFrame:
    write_manifest(make_manifest(frame), folder / "manifest")
    config = SplitConfig.model_validate({"store": s3, **parameters})
    assign_splits(folder / "manifest", folder / "splits", folder / "page.html", config, seed)
    return frame.merge(read_splits(folder / "splits").table, on="sample_id")


def test_shares_are_met_in_every_stratum() -> None:
    parts = []
    for surface, source, number in (("wall", "a", 300), ("deck", "a", 120), ("deck", "b", 90)):
        groups = [(f"{source}{surface}{i}", [i % 2] * (1 + i % 3)) for i in range(number)]
        parts.append(table(groups, surface, source))
    frame = pd.concat(parts, ignore_index=True)
    chosen = split_groups(frame, SHARES, seed=5)
    for _, part in frame.groupby(["label", "source", "surface"]):
        share = shares_of(part, chosen)
        assert np.abs(share - pd.Series(SHARES)).max() <= 3 / len(part)  # the size of the largest group


def test_groups_are_not_divided_and_large_groups_do_not_change_the_shares() -> None:
    groups = [("giant", [0, 1] * 60), *mixed("g", 60, pairs=4)]
    frame = table(groups)
    chosen = split_groups(frame, SHARES, seed=1)
    assert chosen["giant"] == "train"
    assert np.abs(shares_of(frame, chosen) - pd.Series(SHARES)).max() <= 8 / len(frame)


def test_the_splits_depend_on_the_seed_and_not_on_the_order_of_rows() -> None:
    frame = table(alternating("g", 200))
    first = split_groups(frame, SHARES, seed=1)
    assert split_groups(frame.sample(frac=1, random_state=3), SHARES, seed=1) == first
    other = split_groups(frame, SHARES, seed=2)
    assert (pd.Series(other).sort_index() != pd.Series(first).sort_index()).sum() > 40


group_lists = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=12), min_size=8, max_size=60)


@settings(max_examples=60, deadline=None)
@given(group_lists, st.integers(0, 2**31))
def test_splits_of_any_groups_have_no_leak(labels: list[list[int]], seed: int) -> None:
    frame = table([(f"g{i}", own) for i, own in enumerate(labels)])
    chosen = split_groups(frame, SHARES, seed)

    assert set(chosen) == set(frame["group_id"])
    manifest = make_manifest(frame)
    check_leaks(manifest, make_splits(frame.assign(split=frame["group_id"].map(chosen))))
    largest = max(map(len, labels))
    assert np.abs(shares_of(frame, chosen) - pd.Series(SHARES)).max() <= 2 * largest / len(frame) + 0.02


def test_the_written_splits_are_the_same_every_time(s3: str, tmp_path: Path) -> None:
    frame = table(mixed("g", 100))
    assigned = assign(frame, tmp_path, s3, seed=7)
    first = (tmp_path / "splits").read_bytes()
    assign(frame, tmp_path, s3, seed=7)

    assert (tmp_path / "splits").read_bytes() == first
    counts = assigned.groupby("split").size()
    assert dict(counts) == {"train": 140, "val": 20, "test": 20, "robustness": 20}
    manifest, splits = make_manifest(frame), read_splits(tmp_path / "splits")
    for split, images in counts.items():
        assert len(rows_of(manifest, splits, str(split))) == images
    assert "140" in (tmp_path / "page.html").read_text()


def test_a_class_with_one_photo_is_refused(s3: str, tmp_path: Path) -> None:
    cracked = [(f"deck/700{photo}", [1] * 10) for photo in range(2, 7)]
    frame = table([("deck/7001", [0] * 50 + [1] * 10), *cracked])
    with pytest.raises(
        InputError, match=r"no_crack has one photo \(deck/7001\).* cannot be split without leaks. Add photos"
    ):
        assign(frame, tmp_path, s3)
    assert not (tmp_path / "splits").exists()


def test_a_class_with_three_photos_is_refused(s3: str, tmp_path: Path) -> None:
    frame = pd.concat([table(mixed("a", 3)), table([(f"b{group}", [0]) for group in range(20)], "deck")])
    with pytest.raises(InputError, match=r"crack has only 3 photos \(a0, a1, a2\)"):
        assign(frame, tmp_path, s3)


def test_too_few_images_for_a_split_are_refused(s3: str, tmp_path: Path) -> None:
    frame = table(alternating("g", 40))
    with pytest.raises(
        InputError, match=r"too few images: the split val would have 2 images of class no_crack, but split.min_images"
    ):
        assign(frame, tmp_path, s3)


def test_the_page_explains_a_share_that_differs_from_the_wanted_share(s3: str, tmp_path: Path) -> None:
    groups = [("giant", [0, 1] * 400), *mixed("g", 12, pairs=5)]
    assign(table(groups), tmp_path, s3)
    page = (tmp_path / "page.html").read_text()
    assert "instead of 70.0%" in page
    assert "giant" in page


def test_shares_that_leave_too_little_train_are_refused() -> None:
    with pytest.raises(ValueError, match=r"leave less than 0.1 for train"):
        SplitConfig(val=0.4, test=0.4, robustness=0.15)


def test_leak_check_names_the_leak() -> None:
    frame = table([("a", [0, 1]), ("b", [0, 1])])
    manifest = make_manifest(frame)

    with pytest.raises(LeakError, match=r"group a is in two splits: walls/\d.jpg in (train|test) and walls/\d.jpg in"):
        check_leaks(manifest, make_splits(frame.assign(split=["train", "test", "val", "val"])))
    with pytest.raises(LeakError, match="is not in any split"):
        check_leaks(manifest, make_splits(frame.assign(split="train").iloc[:3]))
    more = table([("a", [0, 1]), ("b", [0, 1]), ("c", [0])])
    with pytest.raises(LeakError, match="1 images of the splits are not in the manifest"):
        check_leaks(manifest, make_splits(more.assign(split="train")))


def test_real_deck_tiles_of_one_uncracked_photo_are_refused(real_data: Path, store, tmp_path: Path) -> None:
    from components.ingest.config import IngestConfig
    from components.ingest.run import ingest_dataset

    root = real_data / "sdnet2018_sample"
    if not root.is_dir():
        pytest.skip(f"no SDNET2018 tiles at {root}")
    ingest_dataset(str(root), tmp_path / "manifest", tmp_path / "page.html", IngestConfig(store=store.uri))

    with pytest.raises(InputError, match=r"no_crack has one photo \(sdnet2018:deck/7001\)"):
        assign_splits(
            tmp_path / "manifest", tmp_path / "splits", tmp_path / "page.html", SplitConfig(store=store.uri), 1
        )


def grown(frame: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Add tiles of known and of new photos to the frame. If `share` is 0.5, the frame gets 50 % more tiles."""
    rng = np.random.default_rng(seed)
    number = int(share * len(frame))
    more = table([(f"new{i // 6}", [i % 2]) for i in range(number)], surface="deck")
    known = rng.choice(frame["group_id"], number // 3)
    more.loc[: len(known) - 1, "group_id"] = known
    return pd.concat([frame, more], ignore_index=True)


def put_version(store: Store, frame: pd.DataFrame, file: Path) -> None:
    """Store a data set version that has only this file."""
    made = Version(make_manifest(frame).digest, {file.name: file_digest(file)}, {})
    store.put_file(made.key(file.name), file)
    write_record(store, f"datasets/{made.digest}/{COMMIT}", made)


@pytest.mark.parametrize("parameters", [{}, {"robustness": {"surface": "deck"}}])
def test_no_image_moves_when_the_data_set_grows(s3: str, tmp_path: Path, parameters: dict) -> None:
    frame = pd.concat(
        [
            table([(f"g{i}", [i % 2] * (1 + i % 4)) for i in range(240)]),
            table(alternating("d", 60), "deck"),
        ],
        ignore_index=True,
    )
    first = before = assign(frame, tmp_path, s3, seed=3, **parameters)
    for share, seed in ((0.1, 1), (0.5, 2)):
        bigger = grown(before.drop(columns="split"), share, seed)
        for row in np.flatnonzero(bigger["sample_id"].duplicated()):
            bigger.loc[row, "sample_id"] = sha256(f"{seed}{row}".encode()).hexdigest()
        after = assign(bigger, tmp_path, s3, seed=3, **parameters)
        both = before.merge(after, on="sample_id", suffixes=("", "_after"))
        assert len(both) == len(before)
        assert (both["split"] == both["split_after"]).all()
        assert after.groupby("group_id")["split"].nunique().max() == 1
        before = after
    if not parameters:
        shares = before["split"].value_counts(normalize=True)
        assert np.abs(shares - pd.Series(SHARES)).max() <= 0.02

    assert (
        "of the groups were in an earlier run. They stay in the splits that they had there."
        in (tmp_path / "page.html").read_text()
    )
    other = assign(first.drop(columns="split"), tmp_path, s3, seed=4, **parameters)  # another seed has another ledger
    both = other.merge(first, on="sample_id", suffixes=("", "_first"))
    assert (both["split"] != both["split_first"]).any()


def test_a_held_out_domain_is_not_divided_and_the_other_splits_share_the_rest(s3: str, tmp_path: Path) -> None:
    frame = pd.concat(
        [table(alternating("deck", 80, images=3), "deck"), table(alternating("wall", 80, images=3), "wall")],
        ignore_index=True,
    )
    assigned = assign(frame, tmp_path, s3, robustness={"surface": "wall"})

    assert set(assigned.loc[assigned["split"] == "robustness", "surface"]) == {"wall"}
    rest = assigned[assigned["surface"] == "deck"]["split"].value_counts(normalize=True)
    assert rest.to_dict() == pytest.approx({"train": 0.8, "val": 0.1, "test": 0.1}, abs=0.02)
    page = (tmp_path / "page.html").read_text()
    assert "instead of" not in page
    with pytest.raises(InputError, match='holds out source "moon", but no image has this source; choose one of walls'):
        assign(frame, tmp_path, s3, robustness={"source": "moon"})
    with pytest.raises(InputError, match="no_crack has no photos outside source walls"):
        assign(frame, tmp_path, s3, robustness={"source": "walls"})


@pytest.mark.parametrize("robustness", [{}, {"surface": "wall", "source": "walls"}])
def test_one_domain_is_held_out(robustness: dict) -> None:
    with pytest.raises(ValueError, match="must have either a surface or a source, but surface is"):
        SplitConfig.model_validate({"robustness": robustness})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "near_duplicates",
            r"1 pairs of .* are near duplicates, but are in different splits; the first pair: walls/\d+.jpg in train",
        ),
        (
            "photos",
            r"1 pairs of .* are from one photo, but are in different splits; the first pair: walls/\d+.jpg in train",
        ),
    ],
)
def test_related_images_in_different_splits_are_a_leak_even_in_different_groups(
    name: str, message: str, s3: str, store: Store, tmp_path: Path
) -> None:
    frame = table(alternating("g", 60, images=4))
    assigned = assign(frame, tmp_path, s3)
    one, other, third = (
        *assigned.loc[assigned["split"] == "train", "sample_id"].iloc[:2],
        assigned.loc[assigned["split"] == "test", "sample_id"].iloc[0],
    )
    related = {
        "near_duplicates": pd.DataFrame({"first": [one], "second": [third]}),
        "photos": pd.DataFrame({"sample_id": [one, other, third], "photo": "walls:p0"}),
    }
    file = tmp_path / f"{name}.parquet"
    related[name].to_parquet(file)
    put_version(store, frame, file)

    with pytest.raises(LeakError, match=message):
        assign(frame, tmp_path, s3)
