import hashlib
import os
import subprocess
import sys

import pytest
import timm
import torch
from safetensors.torch import save_file

from components.shared.errors import InputError
from components.shared.network.network import build_network, describe
from components.shared.network.weights import known_digest

NOWHERE = "http://127.0.0.1:1"  # nothing listens on this port


def described(weights, architecture="test_resnet", **update):
    return describe(architecture, weights, 64, 3).model_copy(update=update)


@pytest.fixture
def hub(tmp_path):
    """Return a network whose weights are in a cache of the hub, and the environment that names this cache."""
    network = timm.create_model("test_resnet")
    repository = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(network.state_dict(), snapshot / "model.safetensors")
    return network, {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_ENDPOINT": NOWHERE}


def mirror(environment, *arguments):
    command = [sys.executable, "-c", "from pipelines.cli.main import main; main()", "mirror-weights", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=120)


def test_mirrored_weights_are_loaded_from_s3_and_their_checksum_recorded(hub, s3, store):
    network, environment = hub
    run = mirror(environment, "test_resnet", "--to", s3)
    assert run.returncode == 0, run.stderr
    uri = f"{s3}/test_resnet.r160_in1k.safetensors"
    assert run.stdout == f"test_resnet: weights: {uri}\n"
    built = build_network(described(uri, weights_sha256=known_digest(uri)))
    assert torch.equal(built.backbone.layer1[0].conv1.weight, network.layer1[0].conv1.weight)
    assert built.backbone.get_classifier().out_features == 2
    contents = store.get_bytes("test_resnet.r160_in1k.safetensors")
    assert built.info.weights_sha256 == hashlib.sha256(contents).hexdigest()
    store.put_bytes("test_resnet.r160_in1k.safetensors", contents[:-1] + b"x")
    with pytest.raises(InputError, match="is damaged"):
        build_network(described(uri))


def test_an_unreachable_hub_gives_an_error_at_once_that_names_the_three_other_sources(s3, store):
    run = mirror({"HF_ENDPOINT": NOWHERE, "HF_HUB_CACHE": "/nowhere"}, "resnet18", "--to", s3)
    assert run.returncode == 2
    url = f"{NOWHERE}/timm/resnet18.a1_in1k"
    assert run.stderr.startswith(f"error: the weights of resnet18 cannot be fetched: {url}")
    for source in ("path of a weights file", "mirror-weights", '"none"'):
        assert source in run.stderr
    assert store.list() == []


def test_sources_that_cannot_exist_are_refused(s3, store):
    with pytest.raises(InputError, match=r'weights file "nowhere\.safetensors" does not exist'):
        described("nowhere.safetensors")
    with pytest.raises(InputError, match=r'"s3://bucket", which does not name an object in S3; write s3://BUCKET/KEY'):
        described("s3://bucket")
    with pytest.raises(InputError, match="has no weights on the hub"):
        described("hub", "botnet50ts_256")
    store.put_bytes("w.safetensors", b"x")
    with pytest.raises(InputError, match="has no checksum next to it"):
        known_digest(f"{s3}/w.safetensors")


def test_weights_that_changed_since_they_were_recorded_are_refused(tmp_path):
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / f"{seed}.pth")
    recorded = build_network(described(str(tmp_path / "1.pth"))).info
    (tmp_path / "1.pth").write_bytes((tmp_path / "2.pth").read_bytes())
    with pytest.raises(InputError, match="the file has changed"):
        build_network(recorded)
