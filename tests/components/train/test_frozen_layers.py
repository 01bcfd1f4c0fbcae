import pytest
import torch

from components.shared.errors import InputError
from components.shared.network.network import build_network, describe
from components.train.frozen_layers import freeze, set_training


def build_resnet(dropout=0.0):
    return build_network(describe("test_resnet", "none", 64, 1, dropout=dropout, stochastic_depth=0.1))


def test_frozen_layers_stay_in_eval_mode_and_need_no_gradient():
    network = build_resnet(dropout=0.3)
    freeze(network, "last_1")
    set_training(network)
    modes = {name: module.training for name, module in network.backbone.named_modules() if "bn" in name}
    assert modes
    assert all(training == name.startswith("layer4.") for name, training in modes.items())
    features = network.backbone.layer3(network.backbone.layer2(network.backbone.layer1(torch.rand(2, 32, 8, 8))))
    assert not features.requires_grad
    assert network(torch.rand(2, 3, 64, 64)).requires_grad


def test_it_is_an_error_to_train_more_blocks_than_the_network_has():
    with pytest.raises(InputError, match=r"tuning is last_9, but test_resnet has only 5 blocks"):
        freeze(build_resnet(), "last_9")
