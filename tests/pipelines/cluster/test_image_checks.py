"""Checks that the registry has the container images of a run, and that MLflow runs from the same image."""

import base64
import json

import pytest

from components.shared.errors import InputError
from pipelines.cluster.image_checks import check_container_images, check_server_image, require_in_registry
from pipelines.cluster.kubernetes_view import UnseenError, WarnedError


@pytest.fixture(autouse=True)
def docker_login(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


@pytest.fixture
def digests(tmp_path, monkeypatch, image_registry):
    file = tmp_path / "digests.json"
    file.write_text(json.dumps({name: image_registry.reference(name) for name in ("cpu", "gpu")}))
    monkeypatch.setenv("IMAGE_DIGESTS", str(file))


def test_images_that_the_registry_has_are_right_and_a_missing_one_is_named(image_registry, digests):
    assert check_container_images().splitlines() == [image_registry.reference("cpu"), image_registry.reference("gpu")]
    image_registry.names.remove("gpu")
    with pytest.raises(InputError, match=f"{image_registry.host} does not have .*/gpu@sha256:.*make images-push"):
        check_container_images()


def test_a_registry_with_a_password_is_asked_with_the_one_of_docker_login(image_registry, docker_login):
    image_registry.password = "secret"
    with pytest.raises(UnseenError, match=r"answers 401 .*docker login"):
        require_in_registry(image_registry.reference("cpu"))
    entry = base64.b64encode(b"robot:secret").decode()
    docker_login.write_text(json.dumps({"auths": {image_registry.host: {"auth": entry}}}))
    require_in_registry(image_registry.reference("cpu"))
    with pytest.raises(InputError, match="does not have"):
        require_in_registry(image_registry.reference("other"))


def test_a_registry_that_cannot_be_asked_leaves_the_answer_open(image_registry):
    image_registry.status = 503
    with pytest.raises(UnseenError, match="answers 503"):
        require_in_registry(image_registry.reference("cpu"))
    with pytest.raises(UnseenError, match=r"127.0.0.1:9 does not answer this machine \(ConnectionError\)"):
        require_in_registry(f"127.0.0.1:9/cpu@sha256:{'0' * 64}")


def test_tags_are_not_asked_for(tmp_path, monkeypatch):
    file = tmp_path / "digests.json"
    file.write_text(json.dumps({"cpu": "127.0.0.1:9/cpu:1", "gpu": "127.0.0.1:9/gpu:1"}))
    monkeypatch.setenv("IMAGE_DIGESTS", str(file))
    assert check_container_images(allow_tags=True) == "127.0.0.1:9/cpu:1\n127.0.0.1:9/gpu:1"


def test_mlflow_s_image_is_compared_with_the_steps_image(image_registry, digests, tmp_path):
    file = tmp_path / "kustomization.yaml"
    name, _, digest = image_registry.reference("cpu").partition("@")
    file.write_text(json.dumps({"images": [{"name": "crack-cpu", "newName": name, "digest": digest}]}))
    assert check_server_image(file) == image_registry.reference("cpu")
    file.write_text(json.dumps({"images": [{"name": "crack-cpu", "newName": name, "newTag": "old"}]}))
    with pytest.raises(WarnedError, match=f"MLflow runs from {name}:old, but .* write its name and digest"):
        check_server_image(file)
    with pytest.raises(UnseenError, match="does not exist on this machine"):
        check_server_image(tmp_path / "missing.yaml")
