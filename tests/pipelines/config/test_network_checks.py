"""Networks that cannot be trained are found before a run starts, on the machine that starts it."""

import builtins

import pytest

from components.shared.errors import InputError
from components.shared.network.weights import UnreachableWeightsError
from pipelines.config import network_checks
from pipelines.config.network_checks import check_networks, check_networks_for_cluster
from pipelines.config.run_config import Candidate, RunConfig
from tests.answering_server import answering
from tests.components.train.conftest import recipe


def run_of(**changes):
    return RunConfig(candidates={"cnn": Candidate(train=recipe(**changes))})


@pytest.fixture
def missing_hub(monkeypatch):
    """A hub that answers, but does not have the file."""
    with answering(lambda *_: (404, {"X-Error-Code": "EntryNotFound"}, b"")) as address:
        template = f"{address}/{{repo_id}}/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield


@pytest.mark.parametrize("check", [check_networks, check_networks_for_cluster])
def test_a_wrong_candidate_is_refused_for_this_machine_and_for_a_cluster(check, s3, tmp_path, missing_hub):
    check(run_of())

    page = tmp_path / "w.safetensors"
    page.write_bytes(b"<html>404</html>")
    with pytest.raises(InputError, match="the file is a web page"):
        check(run_of(weights=str(page)))
    with pytest.raises(InputError, match="halonet_h1 cannot be trained with input_size 40"):
        check(run_of(architecture="halonet_h1", input_size=40, weights=f"{s3}/w.safetensors"))
    with pytest.raises(InputError, match=r"s3://\S+/w.safetensors does not exist; .*mirror-weights"):
        check(run_of(weights=f"{s3}/w.safetensors"))
    with pytest.raises(InputError, match=r"the hub does not have the weights of test_resnet at http.*\. Instead, set"):
        check(run_of(weights="hub"))


def test_weights_that_only_a_pod_may_reach_are_an_error_here_and_a_warning_for_a_cluster(monkeypatch, caplog):
    for source in ("hub", "/mnt/w.safetensors", "s3://bucket/w.safetensors"):
        caplog.clear()
        with pytest.raises(UnreachableWeightsError):
            check_networks(run_of(weights=source))
        check_networks_for_cluster(run_of(weights=source))
        (warning,) = caplog.messages
        assert warning.startswith("candidate cnn: its weights were not checked: ")


def test_compile_needs_a_compiler_only_on_the_machine_that_trains(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(InputError, match="compile is true"):
        check_networks(run_of(compile=True))
    check_networks_for_cluster(run_of(compile=True))


def test_a_machine_without_pytorch_checks_weights_in_s3(monkeypatch, s3):
    def without_pytorch(name, *more):
        if name.partition(".")[0] in ("torch", "timm", "huggingface_hub"):
            raise ImportError(name)
        return imported(name, *more)

    imported = builtins.__import__
    monkeypatch.setattr(network_checks, "find_spec", lambda _: None)
    monkeypatch.setattr(builtins, "__import__", without_pytorch)
    check_networks_for_cluster(run_of(weights="hub"))
    with pytest.raises(InputError, match="does not exist"):
        check_networks_for_cluster(run_of(weights=f"{s3}/w.safetensors"))
