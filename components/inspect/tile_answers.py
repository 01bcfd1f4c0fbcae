"""Classify tiles with a registered model version. P(crack) and novelty are the same as those of the served model."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from components.shared.data.drift_profile import read_profile
from components.shared.data.image_features import describe_images
from components.shared.data.novelty import Novelty
from components.shared.hashing import digest, file_digest
from components.shared.network.device import pick_device
from components.shared.network.network import Network
from components.shared.network.saved_network import load_network, weights_digest
from components.shared.results.calibration import Calibration, read_calibration
from components.shared.results.dossier import CALIBRATION, PROFILE

BATCH_SIZE = {"cpu": 16, "cuda": 256}  # 16 tiles fit into the caches of a CPU
# Tiles in one call that computes novelty. Each call first prepares the training sample, so few large calls are faster.
SCORED_AT_ONCE = 1024


@dataclass(frozen=True)
class Model:
    """A registered model version that classifies tiles.

    Attributes:
        name: The registered model's name.
        version: The number of the version.
        network: The network, in eval mode.
        calibration: Temperature, threshold and review band.
        novelty: Scores how much a tile differs from the training tiles.
        digest: Digest of everything that decides the answers: the weights, the calibration, the training tiles'
            profile, and the limit of novelty.
    """

    name: str
    version: str
    network: Network
    calibration: Calibration
    novelty: Novelty
    digest: str

    @property
    def low(self) -> float | None:
        """Return the smallest P(crack) of a region that needs review. None if the version has no certified review band.

        If the review band is not certified, every tile below the threshold needs review. A region of such tiles would
        cover almost the whole photo, so it would not help people to find a crack.
        """
        band = self.calibration.band
        return band.low if band is not None and band.is_certified else None


def read_model(name: str, version: str, artifacts: Path) -> Model:
    """Load a model version on the GPU, if there is one, or on the CPU.

    Args:
        name: The registered model's name.
        version: The number of the version.
        artifacts: The folder that `version_files` yields.

    Raises:
        InputError: A file is missing or damaged, or this code cannot read it.
    """
    network = load_network(artifacts / "model", pick_device()).to(memory_format=torch.channels_last)
    calibration, profile, novelty = (artifacts / name for name in (CALIBRATION, PROFILE, "novelty.json"))
    return Model(
        name=name,
        version=version,
        network=network,
        calibration=read_calibration(calibration),
        novelty=Novelty.read(read_profile(profile), novelty),
        digest=digest(weights_digest(artifacts / "model"), *map(file_digest, (calibration, profile, novelty))),
    )


def classify_tiles(
    model: Model, tiles: Iterable[np.ndarray], batch_size: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Classify tiles in order, n at a time. Yield the P(crack) and the novelty of these n tiles, each float64 (n,).

    The image features for the novelty are computed while the network runs.

    Args:
        model: A registered model version.
        tiles: uint8 (H, W, 3) RGB. A tile that does not have the network's input size is scaled.
        batch_size: Number of tiles in a forward pass. None means 16 on a CPU and 256 on a GPU.
    """
    batch_size = batch_size or BATCH_SIZE[model.network.mean.device.type]
    batches_at_once = max(1, SCORED_AT_ONCE // batch_size)
    remaining = iter(tiles)
    with ThreadPoolExecutor(1) as helper:
        while True:
            outputs = []
            for _ in range(batches_at_once):
                if batch := list(islice(remaining, batch_size)):
                    outputs.append(_outputs_of(model.network, batch, helper))
            if not outputs:
                return

            logits, embeddings, features = zip(*outputs, strict=True)
            class_logits = np.concatenate(logits)
            scores = model.novelty.scores(pd.concat(features, ignore_index=True), np.concatenate(embeddings))
            yield model.calibration.p_crack(class_logits[:, 0], class_logits[:, 1]), scores


def _outputs_of(
    network: Network, batch: list[np.ndarray], helper: ThreadPoolExecutor
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Return the logits (n, 2), the embeddings (n, d) and the features of a batch of tiles."""
    features = helper.submit(describe_images, batch)
    inputs = torch.from_numpy(np.stack([network.resize(tile) for tile in batch]))
    with torch.inference_mode():
        # The pixels already are in the order of channels_last.
        logits, embeddings = network.logits_and_embeddings(inputs.to(network.mean.device).permute(0, 3, 1, 2))
    return logits.cpu().numpy(), embeddings.cpu().numpy(), features.result()
