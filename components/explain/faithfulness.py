"""Measure whether the network's answer depends on the pixels that a map marks.

The measures are deletion and insertion curves, and ROAD.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

Score = Callable[[torch.Tensor], torch.Tensor]
ROAD_NOISE_SEED = 0
TIE_SEED = 0


@dataclass(frozen=True)
class Curves:
    """The probability of the explained class while we hide or show more and more pixels of an image.

    We begin with the pixels that have the highest values in the map. A faithful map has a small area under the deletion
    curve and a large area under the insertion curve.

    Attributes:
        deletion: float64 (N, steps + 1), the probability while pixels are hidden.
        insertion: float64 (N, steps + 1), the probability while pixels are shown.
    """

    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def deletion_auc(self) -> np.ndarray:
        """Return the area under the deletion curve, float64 (N,) in [0, 1]; lower is better."""
        return _area(self.deletion)

    @property
    def insertion_auc(self) -> np.ndarray:
        """Return the area under the insertion curve, float64 (N,) in [0, 1]; higher is better."""
        return _area(self.insertion)


def _area(curves: np.ndarray) -> np.ndarray:
    steps = curves.shape[1] - 1
    return np.trapezoid(curves, dx=1 / steps, axis=1)


def perturbation_curves(
    score: Score, images: torch.Tensor, maps: np.ndarray, steps: int, blur: float, batch_size: int
) -> Curves:
    """Return the deletion and insertion curves of each image.

    For deletion, we hide more and more pixels. For insertion, we show more and more pixels. We begin with the pixels
    that have the highest values in the map.

    The images with hidden pixels are computed and scored in batches on the device of `images`. A hidden pixel has the
    colour of the blurred image, which shows neither a crack nor sharp edges. Pixels with equal values have a random
    order, which is the same for all maps.

    Args:
        score: Function from images (n, 3, H, W) uint8 to the probability (n,) of the explained class.
        images: uint8 (N, 3, H, W).
        maps: float (N, H, W).
        steps: Number of equal parts in which the pixels are hidden or shown.
        blur: Standard deviation of the blur, pixels.
        batch_size: Number of images in a forward pass.

    Source: Petsiuk et al. 2018, "RISE", section 4.3. There, deletion replaces pixels with grey, and insertion starts
        from a blurred image. Here, deletion and insertion both use the blurred image, because grey patches on concrete
        look like cracks.
    """
    hidden = blurred(images, blur)
    ranks = torch.from_numpy(rank_pixels(maps)).to(images.device)
    levels = torch.linspace(0, 1, steps + 1, device=images.device)

    # `rows` has one row for each image to score. Its columns are the number of the original image, deletion (0) or
    # insertion (1), and the number of steps.
    image_numbers = torch.arange(len(images))
    rows = torch.cartesian_prod(image_numbers, torch.arange(2), torch.arange(steps + 1)).to(images.device)

    scores = []
    for part in rows.split(batch_size):
        number, inserting, step = part.unbind(1)
        comes_first = ranks[number] < levels[step][:, None, None]
        hide = comes_first ^ inserting.bool()[:, None, None]
        masked = torch.where(hide[:, None], hidden[number], images[number])
        scores.append(score(masked).cpu())

    curves = torch.cat(scores).view(len(images), 2, steps + 1).double().numpy()
    return Curves(deletion=curves[:, 0], insertion=curves[:, 1])


def road(
    score: Score, images: torch.Tensor, maps: np.ndarray, percentiles: tuple[float, ...], batch_size: int
) -> np.ndarray:
    """Return ROAD. It measures how much the probability P of the explained class drops if pixels are removed.

    We remove the most important pixels from one copy of an image, and the least important pixels from a second copy.
    ROAD is (drop of P on the first copy - drop of P on the second copy) / 2.

    A removed pixel gets the weighted mean of its neighbours plus a little noise. If some neighbours are removed too, we
    solve a system of linear equations for the values of all removed pixels. So the network cannot see the shape of the
    removed region.

    Args:
        score: Function from images (n, 3, H, W), 0 to 255, to the probability (n,) of the explained class.
        images: uint8 (N, 3, H, W).
        maps: float (N, H, W).
        percentiles: How many pixels to remove. For example, 90 removes 10 % of the pixels: the first copy loses the
            pixels with the highest map values, and the second copy loses the pixels with the lowest map values.
        batch_size: Images in a forward pass.

    Returns:
        float64 (N,) in [-0.5, 0.5], the mean over the percentiles. Higher is better. A random map has 0 on average.

    Source: Rong et al. 2022, "A consistent and efficient evaluation strategy for attribution methods"; the code is in
        the pytorch-grad-cam library. We replace map values by ranks, so that every map removes the same number of
        pixels.
    """

    def model(batch: torch.Tensor) -> torch.Tensor:
        p = torch.cat([score(255 * part.clamp(0, 1)) for part in batch.split(batch_size)])
        return torch.stack([1 - p, p], dim=1)

    measure = ROADCombined(list(percentiles))
    importance = 1 - rank_pixels(maps)
    targets = [ClassifierOutputTarget(1)] * len(images)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(ROAD_NOISE_SEED)
        found = measure(images.float() / 255, importance, targets, model)
    return np.asarray(found, np.float64)


def rank_pixels(maps: np.ndarray) -> np.ndarray:
    """For each pixel of a map, return the share of pixels with a higher value, float32 (N, H, W) in [0, 1).

    Pixels with equal values get a random order.
    """
    values = maps.reshape(len(maps), -1)
    pixels = values.shape[1]

    # A stable sort of shuffled pixels puts equal values into random order.
    shuffle = np.random.default_rng(TIE_SEED).permutation(pixels)
    order = shuffle[np.argsort(-values[:, shuffle], axis=1, kind="stable")]

    shares = np.arange(pixels, dtype=np.float32)[None] / pixels
    ranks = np.empty(values.shape, np.float32)
    np.put_along_axis(ranks, order, shares, axis=1)
    return ranks.reshape(maps.shape)


def blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return images uint8 (N, 3, H, W) with a Gaussian blur. `sigma` is the standard deviation in pixels."""
    pixels = images.permute(0, 2, 3, 1).cpu().numpy()
    smooth = np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in pixels])
    return torch.from_numpy(smooth).permute(0, 3, 1, 2).contiguous().to(images.device)
