import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from components.collect.config import CollectConfig
from components.collect.run import collect_images, photos_of
from components.shared import name_search
from components.shared.data.drift_profile import make_profile, read_profile, write_profile
from components.shared.data.image_features import FEATURES, describe_images
from components.shared.errors import InputError
from components.shared.network.network import Network, build_network, describe
from components.shared.network.saved_network import save_network
from components.shared.services import mlflow_runs
from components.shared.services.store import Store
from tests.mlflow_store import new_mlflow_store
from tests.unprivileged import unprivileged

NAME = "crack-classifier"


def image(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (48, 48, 3)).astype(np.uint8)


def png(number: int) -> bytes:
    return cv2.imencode(".png", image(number)[..., ::-1])[1].tobytes()


@pytest.fixture
def network() -> Network:
    return build_network(describe("test_resnet", "none", 32, 1)).eval()


@pytest.fixture
def version(tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Register version 1 without an alias. It has the profile of a training sample of five images.

    Returns the folder of its artifacts.
    """
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(tmp_path))
    artifacts = tmp_path / "registered" / "artifacts"
    save_network(network, artifacts / "model")
    digest = hashlib.sha256((artifacts / "model" / "model.safetensors").read_bytes()).hexdigest()
    profile = make_profile(
        groups=np.arange(5),
        image_features=describe_images(image(n) for n in range(5)),
        p_crack=np.full(5, 0.1),
        embeddings=np.ones((5, 3)),
        slices=pd.DataFrame({"surface": ["wall"] * 5}),
        model=digest,
    )
    write_profile(profile, artifacts / "reference_profile.parquet")
    mlflow_runs.client().create_registered_model(NAME)
    mlflow_runs.client().create_model_version(NAME, artifacts.parent.as_uri())
    return artifacts


@pytest.fixture
def champion(version: Path) -> Path:
    mlflow_runs.client().set_registered_model_alias(NAME, "champion", "1")
    return version


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    """Write ten images of five photos, a mask, and a file that is not an image. Return their folder."""
    folder = tmp_path / "incoming"
    (folder / "bridge").mkdir(parents=True)
    for number in range(10):
        (folder / "bridge" / f"p{number // 2}-{number}.png").write_bytes(png(number))
    (folder / "notes.txt").write_text("sunny")
    (folder / "masks").mkdir()  # masks of labelled tiles do not count as images
    (folder / "masks" / "p0-0.png").write_bytes(png(0))
    return folder


def collect(uri: str | Path, tmp_path: Path, **parameters) -> tuple[str, str]:
    config = CollectConfig(precision="fp32", batch_size=4, **parameters)
    return collect_images(str(uri), config, str(tmp_path / "observed"), str(tmp_path / "reference"))


def test_images_are_profiled_at_the_networks_input_size(champion, network, incoming, tmp_path):
    assert collect(incoming, tmp_path, group_pattern=r"(p\d+)-") == ("1", str(incoming))
    observed = read_profile(tmp_path / "observed")
    tiles = np.stack([cv2.resize(image(n), (32, 32), interpolation=cv2.INTER_LINEAR) for n in range(10)])
    with torch.inference_mode():
        logits, embeddings = network.logits_and_embeddings(torch.from_numpy(tiles).permute(0, 3, 1, 2))
    np.testing.assert_allclose(observed.features["p_crack"], logits.softmax(1)[:, 1], atol=1e-5)
    np.testing.assert_allclose(observed.embeddings, embeddings, atol=1e-4)
    pd.testing.assert_frame_equal(observed.features[list(FEATURES)], describe_images(image(n) for n in range(10)))
    assert observed.groups.tolist() == [f"p{n // 2}" for n in range(10)]
    assert (tmp_path / "reference").read_bytes() == (champion / "reference_profile.parquet").read_bytes()
    assert observed.model == read_profile(tmp_path / "reference").model


@pytest.mark.parametrize(("word", "days"), [("date", 0), ("yesterday", 1)])
def test_a_day_in_the_store_gives_the_same_profile_as_a_folder(champion, incoming, tmp_path, s3, word, days):
    day = f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d}"
    Store(f"{s3}/incoming/{day}").put_folder("bridge", incoming / "bridge")
    Store(f"{s3}/incoming/{day}-old").put_bytes("other.png", png(99))
    assert collect(f"{s3}/incoming/{{{word}}}", tmp_path) == ("1", f"{s3}/incoming/{day}")
    of_store = (tmp_path / "observed").read_bytes()
    collect(incoming, tmp_path)
    assert of_store == (tmp_path / "observed").read_bytes()


def test_images_that_cannot_be_read_are_skipped_with_a_warning(champion, incoming, tmp_path, caplog):
    (incoming / "half.png").write_bytes(png(3)[:200])
    (incoming / "loop.png").symlink_to("loop.png")
    collect(incoming, tmp_path)
    assert len(read_profile(tmp_path / "observed").groups) == 10
    assert "2 of 12 images cannot be read and were skipped; the first is half.png" in caplog.text


def test_a_folder_that_cannot_be_listed_is_an_error(champion, incoming, tmp_path):
    (incoming / "bridge").chmod(0)
    with unprivileged(), pytest.raises(InputError, match=r"the folder .*/bridge cannot be listed: Permission denied"):
        collect(incoming, tmp_path)


def test_a_sample_of_many_images_is_drawn(champion, tmp_path):
    (tmp_path / "many").mkdir()
    for number in range(40):
        (tmp_path / "many" / f"{number:02d}.PNG").write_bytes(png(number))
    collect(tmp_path / "many", tmp_path, sample=30)
    groups = read_profile(tmp_path / "observed").groups
    assert len(set(groups)) == 30
    assert sorted(groups) != [f"{number:02d}.PNG" for number in range(30)]


@pytest.mark.parametrize(
    ("pattern", "photo"), [(None, "a/p1-3.jpg"), (r"(p\d+)-", "p1"), (r"([a-z]+)/", "a"), (r"(q\d)", "a/p1-3.jpg")]
)
def test_the_photo_is_the_patterns_first_group(pattern, photo):
    assert photos_of(["a/p1-3.jpg"], pattern).tolist() == [photo]


def test_without_a_champion_there_is_nothing_to_compare_images_with(version, incoming, tmp_path):
    with pytest.raises(InputError, match=r"crack-classifier has no champion.*promote"):
        collect(incoming, tmp_path)


def test_the_error_names_an_empty_prefix_or_folder(champion, tmp_path, s3):
    for uri in (f"{s3}/incoming/2026-01-31", str(tmp_path / "nowhere")):
        with pytest.raises(InputError, match=rf"there is no image under {uri}; .*; check the path"):
            collect(uri, tmp_path)


@pytest.mark.parametrize("place", ["store", "folder"])
def test_a_day_without_images_has_an_empty_profile_if_other_days_have_images(champion, tmp_path, s3, caplog, place):
    days = f"{s3}/days" if place == "store" else str(tmp_path / "days")
    with pytest.raises(InputError, match=rf"there is no image under {days}/\d+-\d+-\d+"):
        collect(f"{days}/{{date}}", tmp_path)
    (tmp_path / "days" / "2026-01-30").mkdir(parents=True)
    (tmp_path / "days" / "2026-01-30" / "one.png").write_bytes(png(1))
    if place == "store":
        Store(days).put_bytes("2026-01-30/one.png", png(1))
    assert collect(f"{days}/{{date}}", tmp_path) == ("1", f"{days}/{datetime.now(UTC):%Y-%m-%d}")
    observed, reference = (read_profile(tmp_path / name) for name in ("observed", "reference"))
    assert (len(observed.groups), len(reference.groups)) == (0, 5)
    assert observed.model == reference.model
    assert f"there is no image under {days}" in caplog.text


def test_the_slices_of_an_image_are_parts_of_its_path(champion, incoming, tmp_path):
    collect(incoming, tmp_path)
    assert read_profile(tmp_path / "observed").slices.to_dict("list") == {"folder": ["bridge"] * 10}
    (incoming / "other.png").write_bytes(png(11))
    collect(incoming, tmp_path, slice_pattern=r"(?P<place>bridge)/p(?P<odd>[13])?")
    found = read_profile(tmp_path / "observed").slices
    assert found["place"].tolist() == ["bridge"] * 10 + [""]
    assert "".join(found["odd"]) == "1133"


@pytest.mark.parametrize("setting", [{"group_pattern": "(a|aa)+$"}, {"slice_pattern": "(?P<part>(a|aa)+)$"}])
def test_a_pattern_that_takes_for_ever_is_ended(champion, incoming, tmp_path, monkeypatch, setting):
    monkeypatch.setattr(name_search, "SECONDS_ALLOWED", 1)
    (incoming / f"{'a' * 100}.png").write_bytes(png(1))
    with pytest.raises(InputError, match=r"the pattern .*\(a\|aa\)\+.* takes more than 1 s on 11 names; write it"):
        collect(incoming, tmp_path, **setting)
    assert not (tmp_path / "observed").exists()


def test_a_pattern_without_a_named_group_is_refused():
    with pytest.raises(ValueError, match=r"no named capturing group; write \(\?P<surface>"):
        CollectConfig(slice_pattern="^([a-z]+)/")


def test_a_warning_counts_the_names_that_do_not_match_the_pattern(champion, incoming, tmp_path, caplog):
    collect(incoming, tmp_path, group_pattern=r"(p[123])-")
    assert "the paths of 4 of 10 images do not match collect.group_pattern" in caplog.text


def test_a_version_without_a_profile_is_refused(champion, incoming, tmp_path):
    (champion / "reference_profile.parquet").unlink()
    with pytest.raises(InputError, match="version 1 has no drift profile of its training sample; run crack-training"):
        collect(incoming, tmp_path)


def test_a_profile_with_older_features_is_refused_before_any_image_is_read(champion, incoming, tmp_path):
    path = champion / "reference_profile.parquet"
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"crack.feature_version": b"0"}), path)
    with pytest.raises(InputError, match="features of version 0"):
        collect(incoming, tmp_path)
    assert not (tmp_path / "observed").exists()


def test_a_profile_of_another_network_is_refused(champion, incoming, tmp_path):
    with open(champion / "model" / "model.safetensors", "ab") as file:
        file.write(b" ")
    with pytest.raises(InputError, match="belongs to another network"):
        collect(incoming, tmp_path)


def test_a_champion_that_answers_with_nan_is_an_error(champion, network, incoming, tmp_path):
    with torch.no_grad():
        network.get_parameter("backbone.fc.bias")[1] = torch.nan
    save_network(network, champion / "model")
    profile = read_profile(champion / "reference_profile.parquet")
    digest = hashlib.sha256((champion / "model" / "model.safetensors").read_bytes()).hexdigest()
    write_profile(replace(profile, model=digest), champion / "reference_profile.parquet")
    with pytest.raises(InputError, match=r"answers that are not finite .* with `crack-pipeline rollback"):
        collect(incoming, tmp_path)
    assert not (tmp_path / "observed").exists()


def test_it_is_an_error_if_no_image_can_be_read(champion, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"none of the 1 images under .* can be read"):
        collect(tmp_path / "broken", tmp_path)
