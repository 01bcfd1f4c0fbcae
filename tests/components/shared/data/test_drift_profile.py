import dataclasses

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from components.shared.data.drift_profile import Profile, make_profile, read_profile, write_profile
from components.shared.data.image_features import FEATURES
from components.shared.errors import InputError


def profile(images: int) -> Profile:
    rng = np.random.default_rng(0)
    features = pd.DataFrame(rng.random((images, len(FEATURES))), columns=list(FEATURES))
    groups = np.array([f"photo {index // 2}" for index in range(images)])
    slices = pd.DataFrame({"surface": [("wall", "deck", "")[index % 3] for index in range(images)]})
    return make_profile(groups, features, rng.random(images), rng.random((images, 5)), slices, "a" * 64)


@pytest.mark.parametrize("images", [0, 7])
def test_what_is_read_is_what_was_written(tmp_path, images):
    written = profile(images)
    write_profile(written, tmp_path / "profile")
    read = read_profile(tmp_path / "profile")
    assert read.groups.tolist() == written.groups.tolist()
    pd.testing.assert_frame_equal(read.features, written.features)
    assert read.slices.to_dict("list") == written.slices.to_dict("list")
    np.testing.assert_array_equal(read.embeddings, written.embeddings)
    assert read.embeddings.shape == (images, 5)
    assert read.model == "a" * 64


def test_confidence_is_of_the_answer_given():
    p_crack = profile(7).features["p_crack"]
    assert profile(7).features["confidence"].tolist() == np.where(p_crack > 0.5, p_crack, 1 - p_crack).tolist()


def test_some_rows_keep_their_values():
    some = profile(7).rows(np.array([5, 2]))
    assert some.groups.tolist() == ["photo 2", "photo 1"]
    assert some.slices["surface"].tolist() == profile(7).slices["surface"].iloc[[5, 2]].tolist()
    assert some.features["noise"].tolist() == profile(7).features["noise"].iloc[[5, 2]].tolist()


def test_the_sample_digest_tells_samples_apart_but_not_processors():
    first = profile(7)
    last_bit = np.nextafter(first.features, np.inf)
    assert dataclasses.replace(first, features=last_bit).sample_digest() == first.sample_digest()
    assert profile(6).sample_digest() != first.sample_digest()
    assert dataclasses.replace(first, embeddings=first.embeddings + 1).sample_digest() != first.sample_digest()
    assert dataclasses.replace(first, model="b" * 64).sample_digest() != first.sample_digest()


def test_features_of_another_version_are_refused(tmp_path):
    write_profile(profile(3), tmp_path / "profile")
    table = pq.read_table(tmp_path / "profile")
    facts = {**table.schema.metadata, b"crack.feature_version": b"0"}
    pq.write_table(table.replace_schema_metadata(facts), tmp_path / "profile")
    with pytest.raises(
        InputError, match=r"features of version 0, but this code computes version 2.*run crack-training"
    ):
        read_profile(tmp_path / "profile")


def test_another_file_is_no_profile(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other")
    with pytest.raises(InputError, match=r"other is not a drift profile"):
        read_profile(tmp_path / "other")
