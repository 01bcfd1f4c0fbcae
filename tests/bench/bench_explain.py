"""Seconds of KernelSHAP: our batches against shap's KernelExplainer that calls the network once per coalition.

Both solve the same coalitions of the same image, and their values are compared. The naive way is timed on fewer
coalitions where 500 would take too long; its cost grows with their number. Usage: python tests/bench/bench_explain.py
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from shap import KernelExplainer

from components.explain.config import ExplainConfig
from components.explain.explanation import margin_of
from components.explain.faithfulness import blurred, perturbation_curves
from components.explain.kernel_shap import Margin, find_regions, kernel_shap
from components.ingest.synthetic import draw_dataset
from components.shared.model import Network, build_network, describe
from components.shared.runtime import pick_device, pick_precision

COALITIONS, NAIVE_COALITIONS, REGIONS, SIZE, BATCH, SEED = 500, 100, 49, 128, 64, 1
ARCHITECTURES = ("resnet18", "vit_tiny_r_s16_p8_224")


def main() -> None:
    """Print the table."""
    device = pick_device()
    console = Console(width=120)
    precision = pick_precision("auto", device)
    table = Table(title=f"KernelSHAP, {COALITIONS} coalitions, {SIZE} px, {device}, {torch.get_num_threads()} threads")
    for title in (
        "network",
        "once per coalition, s",
        "batched, fp32, s",
        f"batched, {precision}, s",
        "faster",
        "equal",
    ):
        table.add_column(title, justify="right")
    tile = next(tile for tile in draw_dataset(8, seed=1, size=SIZE) if tile.label == 1)
    image = torch.from_numpy(tile.image.copy()).permute(2, 0, 1)[None].to(device)
    for name in ARCHITECTURES:
        network = build_network(describe(name, "none", SIZE, 0.0, 0.0, "none", SEED)).eval().to(device)
        table.add_row(name, *_row(network, image))
    console.print(table)
    console.print(f"deletion and insertion curves of one image, one batched pass: {_curves(network, image):.2f} s")


def _row(network: Network, image: torch.Tensor) -> list[str]:
    exact = margin_of(network, ExplainConfig(precision="fp32"))
    fast = margin_of(network, ExplainConfig())
    hidden, regions = blurred(image, SIZE / 16), find_regions(network, image, REGIONS)

    def batched(margin: Margin, coalitions: int) -> np.ndarray:
        return kernel_shap(margin, image, hidden, regions, coalitions, BATCH, SEED)

    naive_values, naive = _timed(lambda: _once_per_coalition(network, image, hidden, regions[0]))
    network.to(memory_format=torch.channels_last)
    naive *= COALITIONS / NAIVE_COALITIONS
    values = batched(exact, NAIVE_COALITIONS)[0]
    seconds = [_timed(lambda margin=margin: batched(margin, COALITIONS))[1] for margin in (exact, fast)]
    apart = np.abs(values - naive_values).max() / np.abs(naive_values).max()
    ratios = " / ".join(f"{naive / spent:.1f}x" for spent in seconds)
    return [f"{naive:.1f}", *(f"{spent:.1f}" for spent in seconds), ratios, f"{apart:.0e}"]


@torch.inference_mode()
def _once_per_coalition(network: Network, image: torch.Tensor, hidden: torch.Tensor, labels: np.ndarray) -> np.ndarray:
    def answers(sets: np.ndarray) -> np.ndarray:
        shown = [torch.from_numpy(single[labels] > 0.5).to(image.device) for single in sets]
        return np.array([float(network(torch.where(part, image, hidden)).diff()) for part in shown])

    np.random.seed(SEED)
    count = int(labels.max()) + 1
    explainer = KernelExplainer(answers, np.zeros((1, count)))
    return explainer.shap_values(np.ones(count), nsamples=NAIVE_COALITIONS, l1_reg=False, silent=True)[labels]


def _curves(network: Network, image: torch.Tensor) -> float:
    margin = margin_of(network, ExplainConfig())
    importance = np.random.default_rng(SEED).random((1, SIZE, SIZE)).astype(np.float32)

    def draw() -> None:
        perturbation_curves(lambda batch: margin(batch).sigmoid(), image, importance, 20, SIZE / 16, BATCH)

    return _timed(draw)[1]


def _timed(work: Callable) -> tuple:
    """The work's result and its seconds, the better of two runs: the first also warms up."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return result, min(seconds)


if __name__ == "__main__":
    main()
