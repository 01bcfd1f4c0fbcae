"""Groups: no image of an earlier version ever changes its group, and what cannot join any group is in quarantine."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from components.ingest.duplicates import perceptual_hash
from components.ingest.earlier_versions import EarlierGroups
from components.ingest.grouping import Selection, select


def image(number: int, thumbnail: np.ndarray, photo: str | None = None, path: str = "") -> dict:
    name, small = path or f"{number}.jpg", thumbnail.clip(0, 255).astype(np.uint8)
    known = {
        "sample_id": f"{number:064x}",
        "path": name,
        "label": 0,
        "photo": photo,
        "source": "s",
        "mask": None,
        "marked": 0.0,
    }
    return known | {"thumbnail": small, "phash": perceptual_hash(small)}


def scene(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.kron(rng.uniform(60, 190, (8, 8)), np.ones((4, 4)))


def choose(images: list[dict], earlier: EarlierGroups | None = None) -> Selection:
    table = pd.DataFrame(images).drop(columns="thumbnail").astype({"photo": "str"})
    return select(table, np.stack([one["thumbnail"] for one in images]).__getitem__, 0.97, earlier)


def group_of(selection: Selection) -> dict[int, str]:
    """Return the group of each image, by the number given to `image`."""
    numbers = selection.images["sample_id"].map(lambda sample_id: int(sample_id, 16))
    return dict(zip(numbers, selection.images["group_id"], strict=True))


def earlier_of(selection: Selection) -> EarlierGroups:
    names = selection.images["sample_id"].to_numpy()[selection.near_pairs]
    groups = pd.concat([selection.images.assign(version=0), selection.quarantined.assign(version=1)])
    contested = selection.quarantined.dropna(subset="contested").set_index("sample_id")["contested"].to_dict()
    pairs = pd.DataFrame(names, columns=["first", "second"])
    return EarlierGroups(groups[["sample_id", "group_id", "version"]], pairs, contested)


def test_new_near_duplicate_joins_the_old_group_even_where_its_own_name_is_smaller() -> None:
    first = choose([image(5, scene(1)), image(6, scene(2))])
    images = [image(1, scene(1)), image(5, scene(1)), image(6, scene(2)), image(7, scene(3))]
    grown = choose(images, earlier_of(first))

    assert group_of(grown) == {1: f"{5:064x}", 5: f"{5:064x}", 6: f"{6:064x}", 7: f"{7:064x}"}
    assert grown.near_pairs.tolist() == [[0, 1]]
    again = choose(images, earlier_of(grown))
    assert group_of(again) == group_of(grown)
    assert again.near_pairs.tolist() == grown.near_pairs.tolist()


def test_image_that_would_join_two_old_groups_goes_to_quarantine_and_both_are_named() -> None:
    noise = np.random.default_rng(9).normal(0, 13, (32, 32))
    left, between, right = scene(1) - noise / 2, scene(1), scene(1) + noise / 2
    old = [image(1, left), image(3, right)]
    first = choose(old)

    assert len(set(group_of(first).values())) == 2
    assert (
        len(set(group_of(choose([*old, image(2, between)])).values())) == 1
    )  # without earlier versions, these images form one group
    grown = choose([*old, image(2, between), image(4, scene(5))], earlier_of(first))
    assert group_of(grown) == {1: f"{1:064x}", 3: f"{3:064x}", 4: f"{4:064x}"}
    (refusal,) = grown.between_groups.to_dict("records")
    assert refusal["path"] == "2.jpg"
    for group in group_of(first).values():
        assert group in refusal["reason"]
    once_more = choose([*old, image(2, between), image(4, scene(5))], earlier_of(grown))
    assert group_of(once_more) == group_of(grown)


def test_tile_of_one_old_photo_that_is_a_near_duplicate_of_another_goes_to_quarantine() -> None:
    old = [image(1, scene(1), "a"), image(2, scene(2), "b")]
    first = choose(old)
    grown = choose([*old, image(3, scene(2), "a"), image(4, scene(4), "a"), image(5, scene(5), "c")], earlier_of(first))
    assert group_of(grown) == {1: "s:a", 2: "s:b", 4: "s:a", 5: "s:c"}
    assert grown.between_groups["path"].tolist() == ["3.jpg"]
    assert "s:a, s:b" in grown.between_groups["reason"].item()


def test_duplicate_of_an_old_image_brings_its_new_photo_into_the_group() -> None:
    old = [image(1, scene(1), "a")]
    duplicate = image(1, scene(1), "z", path="duplicate.jpg")
    grown = choose([*old, duplicate, image(2, scene(2), "z")], earlier_of(choose(old)))
    assert group_of(grown) == {1: "s:a", 2: "s:a"}
    assert grown.copies.to_dict("records") == [{"path": "duplicate.jpg", "kept": "1.jpg"}]


def test_old_image_that_turns_up_in_another_old_photo_goes_to_quarantine() -> None:
    old = [image(1, scene(1), "a"), image(2, scene(2), "a"), image(3, scene(3), "b"), image(4, scene(4), "b")]
    first = choose(old)
    duplicate = image(1, scene(1), "b", path="duplicate.jpg")
    grown = choose([*old, duplicate, image(5, scene(5), "b")], earlier_of(first))

    assert group_of(grown) == {2: "s:a", 3: "s:b", 4: "s:b", 5: "s:b"}
    (refusal,) = grown.between_groups.to_dict("records")
    assert refusal["path"] == "1.jpg"
    assert "s:a, s:b" in refusal["reason"]
    again = choose([*old, duplicate, image(5, scene(5), "b")], earlier_of(grown))
    assert group_of(again) == group_of(grown)
    assert again.between_groups["path"].tolist() == ["1.jpg"]


def test_image_that_comes_back_has_the_group_that_it_had() -> None:
    old = [image(1, scene(1), "a"), image(2, scene(2), "b"), image(3, scene(3), "b")]
    grown = choose([*old, image(1, scene(1), "b", path="duplicate.jpg")], earlier_of(choose(old)))

    assert grown.between_groups["path"].tolist() == ["1.jpg"]
    new = image(4, scene(4), "b")
    again = choose([*old, image(1, scene(1), "b", path="duplicate.jpg"), new], earlier_of(grown))
    assert group_of(again) == {2: "s:b", 3: "s:b", 4: "s:b"}  # although its group has no other image any more
    assert group_of(choose([*old, new], earlier_of(again))) == {1: "s:a", 2: "s:b", 3: "s:b", 4: "s:b"}


def separate_then_together(*versions: Selection) -> EarlierGroups:
    """Combine the groups and pairs of several versions into what `read_earlier_versions` returns."""
    groups = pd.concat([earlier_of(one).groups.assign(version=number) for number, one in enumerate(versions)])
    several = groups.drop_duplicates(["sample_id", "group_id"])["sample_id"]
    contested = dict.fromkeys(several[several.duplicated()], "two groups")
    pairs = pd.concat([earlier_of(one).pairs for one in versions]).drop_duplicates()
    return EarlierGroups(groups.drop_duplicates("sample_id"), pairs, contested)


shown = st.tuples(
    st.integers(0, 5), st.sampled_from([None, "a", "b"]), st.sampled_from(["first", "second", "both", "new"])
)


@settings(max_examples=40, deadline=None)
@given(st.lists(shown, min_size=1, max_size=14))
def test_no_group_changes_and_no_near_duplicates_are_separated_whatever_two_versions_say(
    shown: list[tuple[int, str | None, str]],
) -> None:
    images: list[dict] = []
    of_version: dict[str, list[dict]] = {"first": [], "second": []}
    for number, (look, photo, when) in enumerate(shown):
        images.append(image(number, scene(look), photo))
        for name, members in of_version.items():
            if when in (name, "both"):
                members.append(images[-1])

    versions = [choose(members) for members in of_version.values() if members]
    together = choose(images, separate_then_together(*versions) if versions else None)
    again = choose(images, earlier_of(together))
    for version in versions:
        check_consistent(version, together)
        check_consistent(version, again)
    check_consistent(together, again)

    assert group_of(together).keys() <= group_of(again).keys()


def check_consistent(earlier: Selection, later: Selection) -> None:
    """No group changed, near duplicates share a group, and so do the images of a photo."""
    before, after = group_of(earlier), group_of(later)
    for number in before.keys() & after.keys():
        assert after[number] == before[number]
    groups = later.images["group_id"].to_numpy()
    assert (groups[later.near_pairs[:, 0]] == groups[later.near_pairs[:, 1]]).all()
    assert (later.images.groupby("photo")["group_id"].nunique() == 1).all()
