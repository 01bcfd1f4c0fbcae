"""The licence of the initial weights is known, or the run says that it is not."""

import pytest
from pydantic import ValidationError

from components.shared.errors import InputError
from components.train.dry_run import describe_network
from components.train.licence import checked_licence
from pipelines.config.network_checks import check_networks, check_networks_for_cluster
from pipelines.config.run_config import Candidate, RunConfig
from tests.components.train.conftest import recipe

DINOV3 = "vit_small_patch16_dinov3"


@pytest.mark.parametrize(
    ("changes", "licence"),
    [
        ({"weights": "none", "weights_licence": "mit"}, ""),
        ({"weights": "hub"}, "apache-2.0"),
        ({"weights": "hub", "weights_licence": "mit"}, "apache-2.0"),
        ({"weights": "hub", "architecture": DINOV3}, "dinov3-license"),
        ({"weights": "w.pth", "architecture": DINOV3}, ""),
        ({"weights": "w.pth", "weights_licence": "mit"}, "mit"),
    ],
)
def test_the_licence_is_that_of_timm_or_the_given_one(changes, licence):
    assert checked_licence(recipe(**changes)) == licence


@pytest.mark.parametrize("check", [check_networks, check_networks_for_cluster])
@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"architecture": DINOV3, "weights": "hub"}, "have the licence dinov3-license, but .* only apache-2.0, mit;"),
        ({"weights": "s3://bucket/w"}, 'licence of the weights "s3://bucket/w" .* is not known.*; set weights_licence'),
        ({"weights": "s3://bucket/w", "weights_licence": "cc-by-nc-4.0"}, "have the licence cc-by-nc-4.0"),
        ({"weights": "s3://bucket/w", "weights_licence": "apache"}, "have the licence apache, "),
    ],
)
def test_a_licence_that_is_not_allowed_is_refused_before_a_run(check, changes, cause):
    candidate = Candidate(train=recipe(**changes))
    config = RunConfig(candidates={"cnn": candidate}, weights_licences=("apache-2.0", "mit"))
    with pytest.raises(InputError, match=cause):
        check(config)


def test_the_licence_is_shown_where_the_weights_are():
    info = describe_network(recipe(weights="hub"), seed=1).model_copy(update={"weights_sha256": "0123456789abcdef"})
    assert info.initial_weights == "pretrained weights (hub, sha256 0123456789ab, licence: apache-2.0)"
    assert "licence: not known" in info.model_copy(update={"weights_licence": ""}).initial_weights


def test_the_train_step_checks_the_licence_again():
    candidate = Candidate(train=recipe(weights="hub"))
    config = RunConfig(candidates={"cnn": candidate}, weights_licences=("MIT", "Apache-2.0"))
    step = candidate.train.model_validate_json(config.step_json("train", "cnn"))
    assert step.weights_licences == config.weights_licences
    assert checked_licence(step) == "apache-2.0"
    with pytest.raises(ValidationError):
        RunConfig(candidates={"cnn": candidate}, weights_licences=("",))
