"""Does the answer rest on what a map marks? Deletion and insertion curves, and ROAD."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

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
    jobs = torch.cartesian_prod(torch.arange(len(images)), torch.arange(2), torch.arange(steps + 1)).to(images.device)
    scores = []
    for picture, inserting, step in (chunk.unbind(1) for chunk in jobs.split(batch_size)):
        first = ranks[picture] < levels[step][:, None, None]
        hide = first ^ inserting.bool()[:, None, None]
        scores.append(score(torch.where(hide[:, None], hidden[picture], images[picture])).cpu())
    curves = torch.cat(scores).view(len(images), 2, steps + 1).double().numpy()
    return Curves(deletion=curves[:, 0], insertion=curves[:, 1])


def road(
    score: Score, images: torch.Tensor, maps: np.ndarray, percentiles: tuple[float, ...], batch_size: int
) -> np.ndarray:
    """How much more the answer suffers when the most important pixels are removed than when the least are.

    A removed pixel becomes the weighted mean of its neighbours, removed ones included, and a little noise, so that the
    shape of the hole tells the network nothing.

    Args:
        score: (n, 3, H, W), 0 to 255 -> (n,) probability of the class explained.
        images: uint8 (N, 3, H, W).
        maps: float (N, H, W).
        percentiles: Each: pixels above this percentile of the map are removed, and then those below its opposite.
        batch_size: Images in a pass.

    Returns:
        float64 (N,) in [-0.5, 0.5], half the difference of the two drops; higher is better, 0 is chance.

    Source: Rong et al. 2022, "A consistent and efficient evaluation strategy for attribution methods", in the
        pytorch-grad-cam library. Maps are ranked first, so that it removes as many pixels of every map.
    """

    def model(batch: torch.Tensor) -> torch.Tensor:
        p = torch.cat([score(255 * part.clamp(0, 1)) for part in batch.split(batch_size)])
        return torch.stack([1 - p, p], dim=1)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of the noise
        found = ROADCombined(list(percentiles))(
            images.float() / 255, 1 - rank_pixels(maps), [ClassifierOutputTarget(1)] * len(images), model
        )
    return np.asarray(found, np.float64)


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
