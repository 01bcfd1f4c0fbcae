import numpy as np
import pytest
import torch

from components.shared.errors import InputError
from components.shared.network.network import build_network, describe
from components.train.recipe import Loss, clip, freeze, learning_rate, make_optimizer, set_rate, set_training
from tests.components.train.conftest import recipe


def network_of(architecture, **options):
    return build_network(
        describe(architecture, "none", 64, 1, dropout=options.get("dropout", 0.0), stochastic_depth=0.1)
    )


def test_the_learning_rate_warms_up_and_falls_to_zero():
    rates = [learning_rate(recipe(warmup=0.2, learning_rate=1.0), step, 10) for step in range(11)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[10] == pytest.approx(0)


def test_weight_decay_spares_biases_normalisation_and_position_embeddings():
    network = network_of("test_vit")
    groups = make_optimizer(network, recipe()).param_groups
    decayed = {id(p) for group in groups for p in group["params"] if group["weight_decay"] == 0.05}
    assert {group["weight_decay"] for group in groups} == {0, 0.05}
    for name, parameter in network.backbone.named_parameters():
        assert (id(parameter) in decayed) == (parameter.ndim > 1 and name not in ("pos_embed", "cls_token")), name


def test_layers_far_from_the_head_learn_more_slowly():
    network = network_of("test_vit")
    optimizer = make_optimizer(network, recipe(layer_decay=0.5, warmup=0))
    set_rate(optimizer, recipe(learning_rate=0.1, warmup=0), 0, 10)
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    blocks = network.backbone.blocks
    assert rates[id(network.heads[0].weight)] == pytest.approx(0.1)
    assert rates[id(blocks[5].mlp.fc1.weight)] == pytest.approx(0.05)
    assert rates[id(blocks[4].mlp.fc1.weight)] == pytest.approx(0.025)


def test_frozen_layers_neither_drop_nor_count_and_autograd_leaves_them_out():
    network = network_of("test_resnet", dropout=0.3)
    freeze(network, "last_1")
    set_training(network)
    modes = {name: module.training for name, module in network.backbone.named_modules() if "bn" in name}
    assert modes
    assert all(training == name.startswith("layer4.") for name, training in modes.items())
    features = network.backbone.layer3(network.backbone.layer2(network.backbone.layer1(torch.rand(2, 32, 8, 8))))
    assert not features.requires_grad
    assert network(torch.rand(2, 3, 64, 64)).requires_grad


def test_more_blocks_than_there_are_is_an_error():
    with pytest.raises(InputError, match=r"last_9: test_resnet has 5 blocks"):
        freeze(network_of("test_resnet"), "last_9")


def test_parts_of_a_batch_add_up_to_the_batch_and_weights_to_its_size():
    labels = np.array([0] * 30 + [1] * 10)
    loss = Loss(recipe(class_balance="weights"), labels)
    logits, targets = torch.randn(40, 2), torch.from_numpy(labels)
    parts = sum(loss(a, b) for a, b in zip(logits.chunk(3), targets.chunk(3), strict=True))
    assert parts.item() == pytest.approx(loss(logits, targets).item(), rel=1e-5)
    assert loss.weights[targets].sum().item() == pytest.approx(40)
    assert loss.weights.tolist() == pytest.approx([40 / 60, 2])


@pytest.mark.parametrize("length", [0.1, 1.0, 30.0])
def test_a_long_gradient_is_cut_as_pytorch_cuts_it(length):
    after = []
    for cut in ("ours", "pytorch"):
        network = network_of("test_vit")
        optimizer = make_optimizer(network, recipe(weight_decay=0.0))
        for number, parameter in enumerate(network.parameters()):
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
        total = torch.cat([parameter.grad.flatten() for parameter in network.parameters()]).norm()
        for parameter in network.parameters():
            parameter.grad *= length / total
        if cut == "ours":
            clip(optimizer, 1.0)
        else:
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        after.append([optimizer.state[parameter]["exp_avg"] for parameter in network.parameters()])
    for ours, expected in zip(*after, strict=True):
        torch.testing.assert_close(ours, expected, rtol=2e-6, atol=0)
