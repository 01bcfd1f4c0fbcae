"""Does the novelty of answers find a surface that the model never saw, and leave images of the known kind alone?

A small network learns synthetic concrete. At most 6 % of the new tiles of the same concrete may have a novelty above 1,
and at least 95 % of the tiles of sound brickwork must have it. Otherwise, the exit status is 1. We also print how often
a batch of new photos causes a warning. With a folder of real data sets, real concrete is shown as well.

    make simulate, or: python tests/simulate/simulate_novelty.py [FOLDER OF THE REAL DATA SETS]
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from components.ingest.sources.synthetic import TILES_PER_PHOTO, draw_dataset
from components.shared.data.drift_profile import make_profile
from components.shared.data.image import decode
from components.shared.data.image_features import describe_images
from components.shared.data.novelty import Novelty, embedding_limit
from components.shared.network.network import Network, build_network, describe
from components.shared.network.resize import Resize
from pipelines.registry.classify import FEWEST_TO_WARN, USUAL_SHARE_OF_STRANGE

PIXELS = 64
TILES = 1000
TRAINED_ON = 700
REFERENCE = 500
STEPS = 300
BATCH = 32
BATCHES_DRAWN = 2000
MOST_STRANGE_OF_THE_KNOWN = 0.06
FEWEST_STRANGE_OF_THE_UNKNOWN = 0.95
REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL_SETS = {"CCIC, sound": "ccic/Negative", "CCIC, cracks": "ccic/Positive", "UAV75, sound": "uav75_tiles/no_crack",
             "SDNET2018, sound": "sdnet2018_sample/D/UD"}  # fmt: skip
REAL_IMAGES = 150


@dataclass(frozen=True)
class Described:
    """Images as a model sees them: features, embeddings (n, d) and P(crack) (n,)."""

    features: pd.DataFrame
    embeddings: np.ndarray
    p_crack: np.ndarray


def brickwork(number: int, size: int = 128) -> np.ndarray:
    """Draw a tile of sound brickwork, uint8 (size, size, 3)."""
    rng = np.random.default_rng([77, number])
    colour = np.array([150, 75, 60]) * np.exp(rng.normal(0, 0.08, 3)) * rng.uniform(0.6, 1.2)
    mortar = np.array([170, 165, 155]) * rng.uniform(0.7, 1.1)
    height, joint = int(rng.integers(26, 44)), int(rng.integers(3, 6))
    width = int(height * rng.uniform(2, 2.6))
    top, left = rng.integers(0, height), rng.integers(0, width)

    image = np.empty((size, size, 3), np.float32)
    image[:] = mortar
    for row in range(-1, size // height + 2):
        for column in range(-2, size // width + 3):
            x = column * width - left + (row % 2) * width // 2
            y = row * height - top
            shade = colour * np.exp(rng.normal(0, 0.1))
            cv2.rectangle(image, (x + joint, y + joint), (x + width - 1, y + height - 1), shade.tolist(), -1)

    texture = cv2.GaussianBlur(rng.normal(0, 1, (size, size)).astype(np.float32), (0, 0), 1.0)
    image = cv2.GaussianBlur(image * (1 + 0.18 * texture[..., None]), (0, 0), 0.5)
    image += rng.normal(0, rng.uniform(1, 5), (size, size, 1))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def train(images: list[np.ndarray], labels: list[int]) -> Network:
    """Train a small network to find cracks."""
    torch.manual_seed(0)
    network = build_network(describe("resnet10t", "none", PIXELS, 1)).train()
    tiles, answers = _tensor(images), torch.tensor(labels)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, STEPS)
    rng = np.random.default_rng(2)
    for _ in range(STEPS):
        batch = rng.choice(len(images), BATCH, replace=False)
        turned = tiles[batch].flip(tuple(axis for axis in (2, 3) if rng.random() < 0.5))
        loss = torch.nn.functional.cross_entropy(network(turned), answers[batch], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def look_at(network: Network, images: list[np.ndarray]) -> Described:
    """Describe images and run the network over them."""
    logits, embeddings = [], []
    with torch.inference_mode():
        for batch in _tensor(images).split(BATCH):
            answers, vectors = network.logits_and_embeddings(batch)
            logits.append(answers.numpy())
            embeddings.append(vectors.numpy())
    margin = np.diff(np.concatenate(logits), axis=1)[:, 0]
    return Described(describe_images(images), np.concatenate(embeddings), 1 / (1 + np.exp(-margin)))


def _tensor(images: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack([Resize(PIXELS)(image) for image in images])).permute(0, 3, 1, 2)


def fit_novelty(network: Network, images: list[np.ndarray]) -> Novelty:
    """Fit novelty as register does: make a profile of training images, and take the limit from held-out images."""
    known = look_at(network, images[:REFERENCE])
    names = np.arange(REFERENCE).astype(str)
    slices = pd.DataFrame(index=range(REFERENCE))
    profile = make_profile(names, known.features, known.p_crack, known.embeddings, slices, "")
    held_out = look_at(network, images[TRAINED_ON:])
    return Novelty(profile, embedding_limit(known.embeddings, held_out.embeddings))


def share_warned(strange: np.ndarray, photos: int) -> float:
    """The share of batches of whole photos for which `predict` warns."""
    by_photo = strange.reshape(-1, TILES_PER_PHOTO)
    rng = np.random.default_rng(0)
    warned = 0
    for _ in range(BATCHES_DRAWN):
        batch = by_photo[rng.choice(len(by_photo), photos, replace=False)]
        warned += batch.size >= FEWEST_TO_WARN and batch.mean() > USUAL_SHARE_OF_STRANGE
    return warned / BATCHES_DRAWN


def main() -> int:
    """Print the tables; return the exit status."""
    known = list(draw_dataset(TILES, 1))
    images = [tile.image for tile in known]
    network = train(images[:TRAINED_ON], [tile.label for tile in known[:TRAINED_ON]])
    novelty = fit_novelty(network, images)

    new = [tile.image for tile in draw_dataset(400, 2)]
    sets = {"new photos of the same concrete": new, "sound brickwork": [brickwork(number) for number in range(200)]}
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else REAL_DATA
    for name, place in REAL_SETS.items():
        files = sorted((folder / place).glob("*"))
        chosen = np.random.default_rng(0).permutation(len(files))[:REAL_IMAGES]
        if len(files):
            sets[name] = [decode(files[index].read_bytes()) for index in chosen]

    table = Table(title="Novelty", title_justify="left")
    for title in ("images", "number", "share above 1", "median", "share called cracks"):
        table.add_column(title)
    strange = {}
    for name, shown in sets.items():
        seen = look_at(network, shown)
        scores = novelty.scores(seen.features, seen.embeddings)
        strange[name] = scores > 1
        cells = (strange[name].mean(), np.median(scores), (seen.p_crack > 0.5).mean())
        table.add_row(name, str(len(shown)), *(f"{cell:.3f}" for cell in cells))
    Console(width=120).print(table)

    usual, unknown = list(strange.values())[:2]
    for photos in (1, 4, 20):
        print(f"warnings for batches of {photos} new photos of the same concrete: {share_warned(usual, photos):.3f}")
    return int(usual.mean() > MOST_STRANGE_OF_THE_KNOWN or unknown.mean() < FEWEST_STRANGE_OF_THE_UNKNOWN)


if __name__ == "__main__":
    sys.exit(main())
