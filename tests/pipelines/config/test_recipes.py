"""The recipes for network families: each can be compiled, and each network can be built, frozen and run.

The networks have random weights here and, where the architecture allows it, few pixels. The real weights of a recipe
come from the hub.
"""

from pathlib import Path

import pytest
import timm
import yaml

from components.shared.network.network import build_network, describe
from components.train.dry_run import describe_network, try_network
from components.train.frozen_layers import freeze
from pipelines.config.network_checks import check_augmentations
from pipelines.config.parameter_file import load_run_config
from pipelines.graphs.compile import compile_pipeline

PARAMS = Path(__file__).parents[3] / "pipelines" / "params"
RECIPES = {
    "convnext": ["convnext_nano", "convnext_tiny"],
    "efficientnet": ["lite0", "b0"],
    "dinov2": ["probe", "last_blocks", "whole"],
}
CASES = [(recipe, candidate) for recipe, candidates in RECIPES.items() for candidate in candidates]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_can_be_compiled_and_its_augmentations_fit(recipe, tmp_path):
    config = load_run_config(PARAMS / f"{recipe}.yaml")
    check_augmentations(config)
    compile_pipeline("crack-training", config, tmp_path / "p.yaml")
    pipeline = next(yaml.load_all((tmp_path / "p.yaml").read_text(), yaml.CSafeLoader))
    shown = yaml.dump(pipeline)
    for candidate in RECIPES[recipe]:
        assert f"name: train {candidate}" in shown


@pytest.mark.parametrize(("recipe", "candidate"), CASES)
def test_the_network_of_a_recipe_can_be_trained(recipe, candidate):
    config = load_run_config(PARAMS / f"{recipe}.yaml")
    train = config.candidates[candidate].train

    # The weights exist, and their licence is one that the file allows.
    published = timm.get_pretrained_cfg(train.architecture)
    assert train.weights == "hub"
    assert published.hf_hub_id
    assert published.license in config.weights_licences
    allowed = train.model_copy(update={"weights_licences": config.weights_licences})
    info = describe_network(allowed, seed=1)
    assert (info.weights_licence, info.mean) == (published.license, published.mean)

    small = train.model_copy(update={"weights": "none", "input_size": 42 if recipe == "dinov2" else 32})
    try_network(describe_network(small, seed=1), small)


def test_the_patches_of_dinov2_fill_the_tiles_of_its_recipe():
    train = load_run_config(PARAMS / "dinov2.yaml").candidates["probe"].train
    assert train.input_size % 14 == 0


@pytest.mark.parametrize(
    ("candidate", "trained"), [("probe", set()), ("last_blocks", {8, 9, 10, 11}), ("whole", set(range(12)))]
)
def test_the_recipes_of_dinov2_train_the_blocks_that_they_name(candidate, trained):
    train = load_run_config(PARAMS / "dinov2.yaml").candidates[candidate].train
    network = build_network(describe(train.architecture, "none", 42, 1))
    freeze(network, train.tuning)
    blocks = network.backbone.blocks
    states = {index: {each.requires_grad for each in block.parameters()} for index, block in enumerate(blocks)}
    assert {index for index, state in states.items() if state == {True}} == trained
    assert {index for index, state in states.items() if state == {False}} == set(range(12)) - trained
    assert all(parameter.requires_grad for parameter in network.backbone.head.parameters())
    assert network.backbone.patch_embed.proj.weight.requires_grad == (candidate == "whole")
