"""Seconds of KernelSHAP: our batches compared with shap's KernelExplainer, which calls the network per coalition.

Seconds are wall-clock. All measurements use the same number of threads. Three ratios show where the gain comes
from:

- batches alone (fp32, the precision of the single calls),
- batches in the precision that the explain step uses on this device,
- the ceiling: the network's arithmetic at the speed of the device's own matrix product in that precision.

Then our values are compared with those of KernelExplainer for the same coalitions. For comparison, the sampling error
is printed: the difference between two draws of coalitions. Before we compare values, the last layer learns to recognise
synthetic cracks, because a network with random weights gives nearly the same answer to every image.

Usage: python tests/bench/bench_explain.py
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from shap import KernelExplainer
from sklearn.linear_model import LogisticRegression

from components.explain.config import ExplainConfig
from components.explain.faithfulness import blurred, perturbation_curves
from components.explain.kernel_shap import find_regions, kernel_shap, margin_of
from components.ingest.sources.synthetic import draw_dataset
from components.predict.run import gigaflops
from components.shared.network.device import pick_device, pick_precision
from components.shared.network.network import Network, build_network, describe

COALITIONS, REGIONS, SEED = 500, 49, 1
BATCH = ExplainConfig().batch_size if pick_device() == "cuda" else 16  # as local.yaml has it for CPUs
SMALL = (("resnet18", 128), ("vit_tiny_r_s16_p8_224", 128))  # of make run
LARGE = (("resnet50", 224), ("vit_base_patch16_224", 224))  # of the paper: a CPU is timed on fewer coalitions
FEWER = 32  # the cost grows with their number


def main() -> None:
    """For each network, print the seconds of every way and the differences between the values of the ways."""
    device = pick_device()
    precision = pick_precision("auto", device)
    print(f"KernelSHAP of one image, {COALITIONS} coalitions, {device}, {torch.get_num_threads()} threads")
    for name, size in SMALL + LARGE:
        bench = Bench(build_network(describe(name, "none", size, SEED)).eval().to(device))
        small = (name, size) in SMALL
        if small:
            learn_head(bench.network)
        (naive, *batched), values = bench.seconds(COALITIONS if small or device == "cuda" else FEWER)
        print(f"{name}, {size} px: once per coalition, fp32: {naive:.2f} s")
        for way, spent in zip(
            ("batched, fp32", f"batched, {precision}", f"ceiling, {precision}"), batched, strict=True
        ):
            print(f"  {way}: {spent:.2f} s, {naive / spent:.1f} times faster", flush=True)
        if small:
            once, exact, fast = values
            others = {"once per coalition": once, f"batched, {precision}": fast}
            others["other coalitions"] = bench.batched("fp32", COALITIONS, SEED + 1)
            differences = ", ".join(f"{way} {_distance(other, exact):.0e}" for way, other in others.items())
            print(f"  difference from batched, fp32, as a share of the values: {differences}")
            print(f"  deletion and insertion curve, 20 steps, one batched pass: {bench.curves():.2f} s", flush=True)


class Bench:
    """A network and the image that is explained."""

    def __init__(self, network: Network):
        self.network, self.size, self.device = network, network.input_size, network.mean.device
        tile = next(tile for tile in draw_dataset(8, seed=1, size=self.size) if tile.label == 1)
        self.image = torch.from_numpy(tile.image.copy()).permute(2, 0, 1)[None].to(self.device)
        self.hidden = blurred(self.image, self.size / 16)
        self.regions = find_regions(network, self.image, REGIONS)

    def seconds(self, coalitions: int) -> tuple[list[float], list[np.ndarray]]:
        """Return seconds for COALITIONS (naive, batched fp32, batched, ceiling), and the maps of the first three."""
        self.network.to(memory_format=torch.contiguous_format)
        naive, naive_seconds = _timed(lambda: self.once_per_coalition(coalitions))
        self.network.to(memory_format=torch.channels_last)
        (exact, exact_seconds), (fast, fast_seconds) = (
            _timed(partial(self.batched, precision, coalitions)) for precision in ("fp32", "auto")
        )
        ceiling = coalitions * gigaflops(self.network) / _matmul_gigaflops(self.device)
        spent = [COALITIONS / coalitions * it for it in (naive_seconds, exact_seconds, fast_seconds, ceiling)]
        return spent, [naive, exact, fast]

    def batched(self, precision: str, coalitions: int, seed: int = SEED) -> np.ndarray:
        """Our way: float32 (H, W)."""
        margin = margin_of(self.network, precision)
        return kernel_shap(margin, self.image, self.hidden, self.regions, coalitions, BATCH, seed)[0]

    @torch.inference_mode()
    def once_per_coalition(self, coalitions: int) -> np.ndarray:
        """The naive way, with the same coalitions: float (H, W)."""
        labels, count = self.regions[0], int(self.regions.max()) + 1

        def answers(sets: np.ndarray) -> np.ndarray:
            shown = [torch.from_numpy(single[labels] > 0.5).to(self.device) for single in sets]
            return np.array([float(self.network(torch.where(part, self.image, self.hidden)).diff()) for part in shown])

        np.random.seed(SEED)
        explainer = KernelExplainer(answers, np.zeros((1, count)))
        return explainer.shap_values(np.ones(count), nsamples=coalitions, l1_reg=False, silent=True)[labels]

    def curves(self) -> float:
        """Seconds of the deletion and the insertion curve in 20 steps."""
        margin = margin_of(self.network, "auto")
        importance = np.random.default_rng(SEED).random((1, self.size, self.size)).astype(np.float32)
        score = lambda batch: margin(batch).sigmoid()  # noqa: E731
        return _timed(lambda: perturbation_curves(score, self.image, importance, 20, self.size / 16, BATCH))[1]


@torch.inference_mode()
def learn_head(network: Network) -> None:
    """Fit the last layer to synthetic tiles, by logistic regression on its inputs."""
    tiles = list(draw_dataset(200, seed=2, size=network.input_size))
    images = torch.from_numpy(np.stack([tile.image for tile in tiles])).permute(0, 3, 1, 2)
    seen = [network.logits_and_embeddings(part.to(network.mean.device))[1] for part in images.split(BATCH)]
    fitted = LogisticRegression(max_iter=10_000).fit(torch.cat(seen).cpu().numpy(), [tile.label for tile in tiles])
    weights, bias = (torch.from_numpy(it).float() for it in (fitted.coef_, fitted.intercept_))
    head = network.backbone.get_classifier()
    head.weight.copy_(torch.cat([-weights, weights]) / 2)
    head.bias.copy_(torch.cat([-bias, bias]) / 2)


def _distance(values: np.ndarray, others: np.ndarray) -> float:
    """Return the root mean square of the difference, divided by the root mean square of `others`."""
    return float(np.sqrt(((values - others) ** 2).mean() / (others**2).mean()))


def _matmul_gigaflops(device: torch.device) -> float:
    """Return 10^9 operations per second of a large matrix product, in the precision of the explain step."""
    kind = torch.bfloat16 if pick_precision("auto", device.type) == "bf16" else torch.float32
    side = 8192 if device.type == "cuda" else 1024
    square = torch.rand(side, side, device=device, dtype=kind)
    # reading a number waits for the device
    return 2 * side**3 / min(_timed(lambda: float((square @ square)[0, 0]))[1] for _ in range(10)) / 1e9


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
