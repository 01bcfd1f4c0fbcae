import pytest
import torch

from components.shared.network.network import build_network, describe
from components.train.optimizer import clip_gradients, learning_rate, make_optimizer, set_learning_rate
from tests.components.train.conftest import recipe


def build_vit():
    return build_network(describe("test_vit", "none", 64, 1, stochastic_depth=0.1))


def test_the_learning_rate_warms_up_and_falls_to_zero():
    rates = [learning_rate(recipe(warmup=0.2, learning_rate=1.0), step, 10) for step in range(11)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[10] == pytest.approx(0)


def test_weight_decay_spares_biases_normalisation_and_position_embeddings():
    network = build_vit()
    groups = make_optimizer(network, recipe()).param_groups
    decayed = {id(p) for group in groups for p in group["params"] if group["weight_decay"] == 0.05}
    assert {group["weight_decay"] for group in groups} == {0, 0.05}
    for name, parameter in network.backbone.named_parameters():
        assert (id(parameter) in decayed) == (parameter.ndim > 1 and name not in ("pos_embed", "cls_token")), name


def test_layers_far_from_the_head_learn_more_slowly():
    network = build_vit()
    optimizer = make_optimizer(network, recipe(layer_decay=0.5, warmup=0))
    set_learning_rate(optimizer, recipe(learning_rate=0.1, warmup=0), 0, 10)
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    blocks = network.backbone.blocks
    assert rates[id(network.heads[0].weight)] == pytest.approx(0.1)
    assert rates[id(blocks[5].mlp.fc1.weight)] == pytest.approx(0.05)
    assert rates[id(blocks[4].mlp.fc1.weight)] == pytest.approx(0.025)


@pytest.mark.parametrize("length", [0.1, 1.0, 30.0])
def test_a_long_gradient_is_clipped_as_pytorch_clips_it(length):
    after = []
    for clipped_by in ("ours", "pytorch"):
        network = build_vit()
        optimizer = make_optimizer(network, recipe(weight_decay=0.0))
        for number, parameter in enumerate(network.parameters()):
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
        total = torch.cat([parameter.grad.flatten() for parameter in network.parameters()]).norm()
        for parameter in network.parameters():
            parameter.grad *= length / total
        if clipped_by == "ours":
            clip_gradients(optimizer, 1.0)
        else:
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        after.append([optimizer.state[parameter]["exp_avg"] for parameter in network.parameters()])
    for ours, expected in zip(*after, strict=True):
        torch.testing.assert_close(ours, expected, rtol=2e-6, atol=0)
