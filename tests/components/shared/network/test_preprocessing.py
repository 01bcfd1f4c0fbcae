"""Mean, standard deviation and interpolation come from the user, the weights file or timm, and all readers use them."""

import base64
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from components.collect.run import _classify
from components.inspect.tile_answers import classify_tiles, read_model
from components.predict.config import PredictConfig
from components.predict.run import run_network
from components.predict.views import CLEAN
from components.shared.data.versions import fetch
from components.shared.errors import InputError
from components.shared.network.network import Network, build_network, describe
from components.shared.network.saved_network import load_network, save_network
from components.train.dry_run import describe_network, try_network
from tests.components.train.conftest import recipe
from tests.inspection_model import dark_tile_model
from tests.tiny_version import commit_tiny_version, tile

GIVEN = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "bicubic"}
IN_FILE = {"mean": "[0.3, 0.3, 0.3]", "std": "[0.2, 0.2, 0.2]", "interpolation": "bicubic"}


@pytest.fixture
def write(tmp_path):
    def write(metadata, architecture="test_resnet"):
        torch.manual_seed(1)
        path = tmp_path / "weights.safetensors"
        save_file(timm.create_model(architecture).state_dict(), path, metadata)
        return str(path)

    return write


def built(path, architecture="test_resnet", **settings):
    return build_network(describe(architecture, path, 64, 1, settings)).info


def test_the_user_comes_before_the_file_and_the_file_before_timm(write):
    published = timm.get_pretrained_cfg("test_resnet")
    silent = built(write(None))
    assert (silent.mean, silent.std, silent.interpolation) == (published.mean, published.std, "bilinear")

    path = write(IN_FILE)
    from_file = built(path)
    assert (from_file.mean, from_file.std, from_file.interpolation) == ((0.3,) * 3, (0.2,) * 3, "bicubic")
    mixed = built(path, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert (mixed.mean, mixed.std, mixed.interpolation) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic")


def test_a_saved_model_keeps_what_its_weights_file_said(write, tmp_path):
    network = build_network(describe("test_resnet", write(IN_FILE), 64, 1))
    save_network(network, tmp_path / "model")
    assert load_network(tmp_path / "model").info == network.info


@pytest.mark.parametrize(
    ("metadata", "cause"),
    [
        ({"architecture": "resnet18"}, "file says that it has weights of resnet18; set architecture to resnet18"),
        ({"mean": "[0.5, 0.5, 0.5]"}, "only one of mean and std"),
        ({"mean": "half", "std": "[1, 1, 1]"}, 'the metadata of the file have mean "half": .*; write the file again'),
        ({"mean": "[0, 0, 0]", "std": "[0, 1, 1]"}, r'have std "\[0, 1, 1\]": Input should be greater than 0'),
        ({"interpolation": "lanczos"}, 'have interpolation "lanczos"'),
    ],
)
def test_metadata_that_cannot_be_used_are_refused(write, metadata, cause):
    path = write(metadata)
    with pytest.raises(InputError, match=cause) as refusal:
        built(path)
    assert str(refusal.value).startswith(f'weights "{path}" cannot be used for test_resnet: ')


def test_a_tag_in_the_name_of_the_architecture_does_not_matter(write):
    assert built(write({"architecture": "test_resnet.r160_in1k"})).architecture == "test_resnet"


def test_the_licence_in_the_file_counts_more_than_the_setting(write):
    config = recipe(weights=write({"licence": "cc-by-nc-4.0"}), weights_licence="mit")
    info = describe_network(config, seed=1)
    assert try_network(info, config).weights_licence == info.weights_licence == "cc-by-nc-4.0"

    # The metadata of an object in S3 are known only after its download.
    limited = config.model_copy(update={"weights_licences": ("mit",)})
    with pytest.raises(InputError, match=r"have the licence cc-by-nc-4.0, but weights_licences allows only mit"):
        try_network(info.model_copy(update={"weights_licence": "mit"}), limited)
    with pytest.raises(InputError, match=r"have the licence cc-by-nc-4.0, but"):
        describe_network(limited, seed=1)


def test_the_settings_of_a_training_give_mean_and_std():
    info = describe_network(recipe(**GIVEN), seed=1)
    assert (info.mean, info.std, info.interpolation) == (GIVEN["mean"], GIVEN["std"], "bicubic")
    with pytest.raises(ValidationError, match=r"mean is \(0.5, 0.5, 0.5\) and std is None: give both or neither"):
        recipe(mean=(0.5, 0.5, 0.5))
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        recipe(mean=(123.7, 116.3, 103.5), std=(0.2, 0.2, 0.2))


def by_hand(folder, images):
    """Return logits (n, 2) of images (48, 48, 3), without the code that is tested."""
    scaled = np.stack([cv2.resize(image, (32, 32), interpolation=cv2.INTER_CUBIC) for image in images])
    normalised = (scaled / 255 - np.array(GIVEN["mean"])) / np.array(GIVEN["std"])
    network = timm.create_model("test_resnet", num_classes=2).eval()
    network.load_state_dict(load_file(folder / "model" / "model.safetensors"))
    with torch.inference_mode():
        return network(torch.from_numpy(normalised).float().permute(0, 3, 1, 2)).numpy()


def test_predict_collect_inspect_and_serving_prepare_tiles_in_the_same_way(store, tmp_path):
    network = dark_tile_model(tmp_path, side=32).network
    save_network(Network(network.backbone, network.info.model_copy(update=GIVEN)), tmp_path / "model")
    manifest, *_ = commit_tiny_version(store, tmp_path)
    files = [tile(number % 2, number) for number in range(48)]
    images = [cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB) for file in files]
    by_name = dict(zip((f"{number}.png" for number in range(48)), by_hand(tmp_path, images), strict=True))
    expected = np.stack(list(by_name.values()))

    rows = manifest.table.assign(split="test", **CLEAN)
    folder, config = fetch(store, manifest, tmp_path / "cache"), PredictConfig(workers=0, precision="fp32")
    predicted, _ = run_network(load_network(tmp_path / "model"), rows, folder, config, "test")
    order = np.stack([by_name[name] for name in rows["path"]])
    np.testing.assert_allclose(predicted[["logit_0", "logit_1"]], order, atol=1e-4)

    collected, _ = _classify(load_network(tmp_path / "model"), images, "fp32")
    np.testing.assert_allclose(collected, expected, atol=1e-4)

    model = read_model("crack-classifier", "1", tmp_path)
    p_crack = model.calibration.p_crack(expected[:, 0], expected[:, 1])
    inspected = np.concatenate([answers for answers, _ in classify_tiles(model, images)])
    np.testing.assert_allclose(inspected, p_crack, atol=1e-4)

    from components.register.served_model import CrackClassifier

    served = CrackClassifier()
    files_of_model = {
        "model": "model",
        "calibration": "calibration.json",
        "reference_profile": "reference_profile.parquet",
        "novelty": "novelty.json",
    }
    served.load_context(SimpleNamespace(artifacts={name: tmp_path / file for name, file in files_of_model.items()}))
    request = pd.DataFrame({"image": [base64.b64encode(file).decode() for file in files]})
    np.testing.assert_allclose(served.predict(None, request)["p_crack"], p_crack, atol=1e-4)
