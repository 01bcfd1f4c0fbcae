import numpy as np
import pytest
import torch

from components.train.loss import Loss
from tests.components.train.conftest import recipe


def test_the_parts_of_a_batch_add_up_to_the_batch_and_class_weights_are_1_on_average():
    labels = np.array([0] * 30 + [1] * 10)
    loss = Loss(recipe(class_balance="weights"), labels)
    logits, targets = torch.randn(40, 2), torch.from_numpy(labels)
    parts = sum(loss(a, b) for a, b in zip(logits.chunk(3), targets.chunk(3), strict=True))
    assert parts.item() == pytest.approx(loss(logits, targets).item(), rel=1e-5)
    assert loss.class_weights[targets].sum().item() == pytest.approx(40)
    assert loss.class_weights.tolist() == pytest.approx([40 / 60, 2])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_labels_are_smoothed_as_the_formula_says(smoothing):
    loss = Loss(recipe(label_smoothing=smoothing), np.array([0, 1]))
    logits, labels = torch.randn(5, 2), torch.tensor([0, 1, 1, 0, 1])
    targets = torch.full((5, 2), smoothing / 2)
    targets[torch.arange(5), labels] += 1 - smoothing
    expected = -(targets * logits.log_softmax(1)).sum()
    torch.testing.assert_close(loss(logits, labels), expected)
