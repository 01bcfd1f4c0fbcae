"""A new head starts small in every family of timm."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from components.shared.network.network import build_network, describe

# The smallest member of each family, since the test covers many.
SMALLEST_MEMBERS = """
    botnet26t_256 coatnet_pico_rw_224 convnextv2_atto cs3darknet_s darknet17 deit_tiny_distilled_patch16_224 dla46x_c
    edgenext_xx_small efficientformerv2_s0 efficientnet_lite0 efficientvit_b0 efficientvit_m0 eva02_tiny_patch14_224
    fastvit_t8 fbnetc_100 gernet_s ghostnet_050 gmlp_ti16_224 hardcorenas_a hgnetv2_b0 inception_next_atto lcnet_035
    levit_128s levit_conv_128s mambaout_femto maxvit_pico_rw_256 mixnet_s mixer_s32_224 mnasnet_small mobilenetv2_035
    mobilenetv3_small_050 mobilenetv4_conv_small_035 mobileone_s0 mobilevit_xxs mobilevitv2_050 pit_ti_224
    poolformer_s12 pvt_v2_b0 regnetx_002 repghostnet_050 repvgg_a0 repvit_m0_9 resnet10t semnasnet_050 shvit_s1
    skresnet18 spnasnet_100 starnet_s1 swiftformer_xs test_nfnet test_vit tiny_vit_5m_224 tinynet_e
    vit_tiny_r_s16_p8_224 xcit_nano_12_p16_224
"""
FAMILIES = SMALLEST_MEMBERS.split()


def build(architecture, size=64):
    return build_network(describe(architecture, "none", size, 1)).train()


@pytest.mark.parametrize("architecture", FAMILIES)
def test_the_loss_before_the_first_step_is_near_ln_2(architecture):
    generator = torch.Generator().manual_seed(1)
    size = 56 if "patch14" in architecture else 64
    images = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        logits = build(architecture, size)(images)

    # Over both labels of every image, so that the result does not depend on labels drawn by chance.
    labels = torch.tensor([0] * len(logits) + [1] * len(logits))
    loss = F.cross_entropy(torch.cat([logits, logits]), labels)
    assert loss.item() == pytest.approx(math.log(2), abs=0.05)


def test_the_families_are_many():
    assert len(set(FAMILIES)) >= 40


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "test_efficientnet", "mobilenetv3_small_050"])
def test_the_first_gradient_is_of_the_order_of_the_following_ones(architecture):
    network = build(architecture)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    generator = torch.Generator().manual_seed(1)
    norms = []
    for _ in range(6):
        labels = torch.arange(16) % 2
        brightness = 60 + 100 * labels.view(-1, 1, 1, 1)
        images = brightness + 20 * torch.randn(16, 3, 64, 64, generator=generator)
        F.cross_entropy(network(images), labels).backward()
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        norms.append(nn.utils.get_total_norm(gradients).item())
        optimizer.step()
        optimizer.zero_grad()

    following = sorted(norms[1:])[2]
    assert norms[0] < 10
    assert 1 / 3 < norms[0] / following < 3
