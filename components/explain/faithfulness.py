"""Does the answer rest on what a map marks? Deletion and insertion curves."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch

Score = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Curves:
    """P(class) while pixels go or come in the order of the map, float64 (N, steps + 1), and the areas under them (N,).

    A faithful map has a low deletion and a high insertion area.
    """

    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def deletion_auc(self) -> np.ndarray:
        """Area under the deletion curve, in [0, 1]; lower is better."""
        return np.trapezoid(self.deletion, dx=1 / (self.deletion.shape[1] - 1), axis=1)

    @property
    def insertion_auc(self) -> np.ndarray:
        """Area under the insertion curve, in [0, 1]; higher is better."""
        return np.trapezoid(self.insertion, dx=1 / (self.insertion.shape[1] - 1), axis=1)


def perturbation_curves(
    score: Score, images: torch.Tensor, maps: np.ndarray, steps: int, blur: float, batch_size: int
) -> Curves:
    """Delete and insert the pixels of each image in the order of its map, most important first.

    Masked images are built and scored in batches on the images' device. A hidden pixel shows the blurred image, which
    has no crack but no hard edges either. Pixels of equal value go in random order, the same for all maps.

    Args:
        score: (n, 3, H, W) uint8 -> (n,) probability of the class explained.
        images: uint8 (N, 3, H, W).
        maps: float (N, H, W).
        steps: Equal parts in which the pixels go.
        blur: Standard deviation of the blur, pixels.
        batch_size: Masked images in a pass.

    Source: Petsiuk et al. 2018, "RISE", section 4.3; there deletion shows grey and insertion starts blurred, here both
        use the blur, because grey patches on concrete are cracks of their own.
    """
    hidden = blurred(images, blur)
    ranks = torch.from_numpy(rank_pixels(maps)).to(images.device)
    levels = torch.linspace(0, 1, steps + 1, device=images.device)
    jobs = torch.cartesian_prod(torch.arange(len(images)), torch.arange(1, steps), torch.arange(2)).to(images.device)
    scores = []
    for picture, level, inserting in (chunk.unbind(1) for chunk in jobs.split(batch_size)):
        first = ranks[picture] < levels[level][:, None, None]
        hide = first ^ inserting.bool()[:, None, None]
        scores.append(score(torch.where(hide[:, None], hidden[picture], images[picture])).cpu())
    between = torch.cat(scores).view(len(images), steps - 1, 2)
    start, end = (
        torch.cat([score(batch).cpu() for batch in pictures.split(batch_size)])[:, None]
        for pictures in (images, hidden)
    )
    deletion, insertion = torch.cat([start, between[..., 0], end], 1), torch.cat([end, between[..., 1], start], 1)
    return Curves(deletion.double().numpy(), insertion.double().numpy())


def rank_pixels(maps: np.ndarray) -> np.ndarray:
    """Share of pixels that come before each pixel, highest value first: float32 (N, H, W) in [0, 1)."""
    flat = maps.reshape(len(maps), -1)
    shuffle = np.random.default_rng(0).permutation(flat.shape[1])
    order = shuffle[np.argsort(-flat[:, shuffle], axis=1, kind="stable")]
    ranks = np.empty(flat.shape, np.float32)
    np.put_along_axis(ranks, order, np.arange(flat.shape[1], dtype=np.float32)[None] / flat.shape[1], axis=1)
    return ranks.reshape(maps.shape)


def blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of uint8 (N, 3, H, W); `sigma` in pixels."""
    pictures = images.permute(0, 2, 3, 1).cpu().numpy()
    smooth = np.stack([cv2.GaussianBlur(picture, (0, 0), sigma) for picture in pictures])
    return torch.from_numpy(smooth).permute(0, 3, 1, 2).contiguous().to(images.device)
