"""The report of a GPU: a part that fails does not hide the others."""

import torch

from components.shared.network.network import build_network, describe
from components.shared.network.saved_network import save_network
from tests.bench.gpu_report import SAME, compared, explaining, report, small


def test_the_table_has_the_numbers_of_one_part_and_the_error_of_another(tmp_path):
    plan = small("cpu")._replace(networks=("test_vit", "no_such_network"))
    assert not report(plan, tmp_path / "new" / "report.md", [explaining])
    table = (tmp_path / "new" / "report.md").read_text()
    assert "| KernelSHAP of one image, 500 coalitions (measured with 32), test_vit | " in table
    assert '| explaining | **failed**: InputError: unknown architecture "no_such_network"' in table

    assert report(plan._replace(networks=("test_vit",)), tmp_path / "report.md", [explaining])
    assert "failed" not in (tmp_path / "report.md").read_text()


def test_networks_that_differ_in_one_value_are_not_the_same(tmp_path):
    network = build_network(describe("test_resnet", "none", 32, 1))
    save_network(network, tmp_path / "one")
    save_network(network, tmp_path / "two")
    assert compared(tmp_path / "one", tmp_path / "two") == SAME

    with torch.no_grad():
        network.backbone.fc.bias[1] += 0.5
    save_network(network, tmp_path / "two")
    assert compared(tmp_path / "one", tmp_path / "two") == "other weights: they differ by up to 0.5"
