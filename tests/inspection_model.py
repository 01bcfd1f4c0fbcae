"""The artifacts of a model version whose answer is plain to see: a tile is a crack if it is dark."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from components.inspect.tile_answers import Model, read_model
from components.shared.data.drift_profile import make_profile, write_profile
from components.shared.data.image_features import describe_images
from components.shared.data.novelty import embedding_limit, write_limit
from components.shared.network.network import Network, build_network, describe
from components.shared.network.saved_network import save_network
from components.shared.results.calibration import Calibration, write_calibration

ARCHITECTURE = "test_resnet"


def dark_tile_model(
    folder: Path, side: int = 32, tile_mm: float | None = None, threshold: float = 0.4, architecture: str = ARCHITECTURE
) -> Model:
    """Write the artifacts of version 1 of crack-classifier into a folder, and load them."""
    info = describe(architecture, "none", side, seed=1, tile_mm=tile_mm)
    network = build_network(info.model_copy(update={"tile_pixels": side})).eval()
    tiles = plain_tiles(side)
    embeddings = learn_darkness(network, tiles)

    save_network(network, folder / "model")
    write_calibration(Calibration(1.0, threshold, "a test"), folder / "calibration.json")
    known = len(tiles) // 2
    profile = make_profile(
        groups=np.arange(known).astype(str),
        image_features=describe_images(tiles[:known]),
        p_crack=np.zeros(known),
        embeddings=embeddings[:known],
        slices=pd.DataFrame({"surface": ["wall"] * known}),
        model="0" * 64,
    )
    write_profile(profile, folder / "reference_profile.parquet")
    write_limit(embedding_limit(embeddings[:known], embeddings[known:]), folder / "novelty.json")
    return read_model("crack-classifier", "1", folder)


def plain_tiles(side: int) -> np.ndarray:
    """Return 64 tiles, uint8 (64, side, side, 3). A tile is one grey with noise, and every second tile is dark."""
    rng = np.random.default_rng(3)
    levels = np.where(np.arange(64) % 2, rng.uniform(20, 90, 64), rng.uniform(130, 230, 64))
    noise = rng.normal(0, 8, (64, side, side, 3))
    return np.clip(levels[:, None, None, None] + noise, 0, 255).astype(np.uint8)


def learn_darkness(network: Network, tiles: np.ndarray) -> np.ndarray:
    """Let the head answer the brightness of a tile; returns the embeddings of the tiles."""
    with torch.inference_mode():
        _, embeddings = network.logits_and_embeddings(torch.from_numpy(tiles).permute(0, 3, 1, 2))
    embeddings = embeddings.numpy().astype(np.float64)
    darkness = (110 - tiles.mean(axis=(1, 2, 3))) / 8
    design = np.column_stack([embeddings, np.ones(len(tiles))])
    weights = np.linalg.solve(design.T @ design + 1e-6 * np.eye(design.shape[1]), design.T @ darkness)

    (head,) = network.heads
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(np.stack([0 * weights[:-1], weights[:-1]])))
        head.bias.copy_(torch.tensor([0.0, weights[-1]]))
    return embeddings.astype(np.float32)
