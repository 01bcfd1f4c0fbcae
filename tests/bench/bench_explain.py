"""Seconds of KernelSHAP: our batches against shap's KernelExplainer that calls the network once per coalition.

Seconds are wall-clock, on the same threads for all. Three ratios say where the gain comes from: batches alone (fp32 as
the network called once), batches in the precision that the explain step takes here, and the most that can be had: the
network's arithmetic at the speed of the device's own matrix product in that precision. The values are compared too:
with those of the naive way for the same coalitions, and in both precisions beside another draw of the coalitions, which
is the sampling error. Usage: python tests/bench/bench_explain.py
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from shap import KernelExplainer

from components.explain.faithfulness import blurred, perturbation_curves
from components.explain.kernel_shap import Margin, find_regions, kernel_shap, margin_of
from components.ingest.synthetic import draw_dataset
from components.predict.prediction import gigaflops
from components.shared.model import Network, build_network, describe
from components.shared.runtime import pick_device, pick_precision

COALITIONS, REGIONS, BATCH, SEED = 500, 49, 64, 1
# of make run, and of the paper; large networks are timed on fewer coalitions, and the cost grows with their number
NETWORKS = (("resnet18", 128, 500), ("vit_tiny_r_s16_p8_224", 128, 500))
LARGE = (("resnet50", 224, 100), ("vit_base_patch16_224", 224, 100))


def main() -> None:
    """Print seconds and equality."""
    device = pick_device()
    precision = pick_precision("auto", device)
    console = Console(width=120)
    title = f"KernelSHAP of one image, {COALITIONS} coalitions, {device}, {torch.get_num_threads()} threads: seconds"
    seconds = _table(
        title, "network", "once per coalition, fp32", "batched, fp32", f"batched, {precision}", f"{precision} ceiling"
    )
    apart = _table(
        "Apart from it, of the values' own size",
        "network",
        "naive, same coalitions",
        f"{precision}, same coalitions",
        "fp32, other coalitions",
    )
    for name, size, timed in NETWORKS + LARGE:
        network = build_network(describe(name, "none", size, 0.0, 0.0, "none", SEED)).eval().to(device)
        spent, differences = _compare(network, _tile(size).to(device), timed)
        naive = spent[0]
        seconds.add_row(name, f"{naive:.2f}", *(f"{it:.2f} ({naive / it:.1f}x)" for it in spent[1:]))
        apart.add_row(name, *(f"{it:.1e}" for it in differences))
        if (name, size, timed) in NETWORKS:
            console.print(f"{name}: both curves of one image, one batched pass: {_curves(network, size):.2f} s")
    console.print(seconds, apart)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _tile(size: int) -> torch.Tensor:
    tile = next(tile for tile in draw_dataset(8, seed=1, size=size) if tile.label == 1)
    return torch.from_numpy(tile.image.copy()).permute(2, 0, 1)[None]


def _compare(network: Network, image: torch.Tensor, timed: int) -> tuple[list[float], list[float]]:
    """Seconds for all coalitions (naive, batched fp32, batched, ceiling), and how far the values lie apart."""
    exact, fast = (margin_of(network, precision) for precision in ("fp32", "auto"))
    hidden, regions = blurred(image, network.input_size / 16), find_regions(network, image, REGIONS)

    def batched(margin: Margin, seed: int = SEED) -> np.ndarray:
        return kernel_shap(margin, image, hidden, regions, timed, BATCH, seed)[0]

    naive, naive_seconds = _timed(partial(_once_per_coalition, network, image, hidden, regions[0], timed))
    network.to(memory_format=torch.channels_last)
    (values, seconds), (quick, quick_seconds) = (_timed(partial(batched, margin)) for margin in (exact, fast))
    ceiling = timed * gigaflops(network) / _matmul_gigaflops(image.device)
    spent = [COALITIONS / timed * it for it in (naive_seconds, seconds, quick_seconds, ceiling)]
    return spent, [_apart(other, values) for other in (naive, quick, batched(exact, SEED + 1))]


@torch.inference_mode()
def _once_per_coalition(
    network: Network, image: torch.Tensor, hidden: torch.Tensor, labels: np.ndarray, coalitions: int
) -> np.ndarray:
    def answers(sets: np.ndarray) -> np.ndarray:
        shown = [torch.from_numpy(single[labels] > 0.5).to(image.device) for single in sets]
        return np.array([float(network(torch.where(part, image, hidden)).diff()) for part in shown])

    np.random.seed(SEED)
    count = int(labels.max()) + 1
    explainer = KernelExplainer(answers, np.zeros((1, count)))
    return explainer.shap_values(np.ones(count), nsamples=coalitions, l1_reg=False, silent=True)[labels]


def _apart(values: np.ndarray, others: np.ndarray) -> float:
    """Root mean square of the difference, as a share of that of the values."""
    return float(np.sqrt(((values - others) ** 2).mean() / (others**2).mean()))


def _matmul_gigaflops(device: torch.device) -> float:
    """10^9 operations a second of a large matrix product in the precision that explain takes."""
    kind = torch.bfloat16 if pick_precision("auto", device.type) == "bf16" else torch.float32
    side = 8192 if device.type == "cuda" else 1024
    square = torch.rand(side, side, device=device, dtype=kind)
    # the last number waits for the device
    return 2 * side**3 / min(_timed(lambda: float((square @ square)[0, 0]))[1] for _ in range(10)) / 1e9


def _curves(network: Network, size: int) -> float:
    margin, image = margin_of(network, "auto"), _tile(size).to(network.mean.device)
    importance = np.random.default_rng(SEED).random((1, size, size)).astype(np.float32)

    def draw() -> None:
        perturbation_curves(lambda batch: margin(batch).sigmoid(), image, importance, 20, size / 16, BATCH)

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
