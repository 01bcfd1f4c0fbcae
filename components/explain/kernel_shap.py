"""Signed KernelSHAP over the regions of an image: superpixels for a CNN, blocks of patch tokens for a transformer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from skimage.segmentation import slic

from components.explain.grad_cam import patch_grid
from components.shared.config import Precision
from components.shared.errors import InputError
from components.shared.network.device import pick_precision
from components.shared.network.network import Network

Margin = Callable[[torch.Tensor], torch.Tensor]
SMOOTHING = 1 / 16  # standard deviation of the blur under SLIC, of a superpixel's edge


def margin_of(network: Network, precision: Precision) -> Margin:
    """Return the function (n, 3, H, W) in 0 to 255 -> (n,) log-odds of crack; it raises InputError at NaN."""
    device = network.mean.device.type
    bf16 = pick_precision(precision, device) == "bf16"

    def margin(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=bf16):
            logits = network(images.contiguous(memory_format=torch.channels_last)).float()
        if not logits.isfinite().all():
            raise InputError(
                f"{network.info.architecture} answers with logits that are not finite, so nothing can be explained; "
                "its training diverged: lower the learning rate"
            )
        return logits[:, 1] - logits[:, 0]

    return margin


def find_regions(network: Network, images: torch.Tensor, count: int) -> np.ndarray:
    """Cut each image into about `count` regions that are hidden or shown as one.

    A transformer reads an image in patches, so its regions are blocks of whole patches, the same for every image; a
    CNN's are SLIC superpixels, which follow the image's own edges.

    Args:
        network: Tells its patch grid, if it has one.
        images: uint8 (N, 3, H, W).
        count: Regions wanted.

    Returns:
        int64 (N, H, W), region of each pixel, from 0 in each image.

    Source: Achanta et al. 2012, "SLIC superpixels", in scikit-image.
    """
    grid, size = patch_grid(network), network.input_size
    if grid is not None:
        blocks = _blocks(grid, (size, size), count)
        return np.repeat(blocks[None], len(images), axis=0)
    pictures = images.permute(0, 2, 3, 1).cpu().numpy()
    # on unsmoothed images the camera's noise tears superpixels to pieces, and the library joins those to one
    smooth = SMOOTHING * size / count**0.5
    return np.array([slic(picture, n_segments=count, sigma=smooth, start_label=0) for picture in pictures], np.int64)


def _blocks(grid: tuple[int, int], shape: tuple[int, int], count: int) -> np.ndarray:
    side = max(1, int(count**0.5))
    rows, columns = (
        np.arange(pixels) * patches // pixels * min(side, patches) // patches
        for pixels, patches in zip(shape, grid, strict=True)
    )
    return rows[:, None] * (columns.max() + 1) + columns[None]


def kernel_shap(
    margin: Margin,
    images: torch.Tensor,
    hidden: torch.Tensor,
    regions: np.ndarray,
    coalitions: int,
    batch_size: int,
    seed: int,
) -> np.ndarray:
    """Share each image's log-odds of crack among its regions.

    The images of all coalitions are built and scored in batches on the images' device; the shap library chooses and
    weighs the coalitions and solves for the values.

    Args:
        margin: (n, 3, H, W) uint8 -> (n,) log-odds of crack.
        images: uint8 (N, 3, H, W).
        hidden: uint8 (N, 3, H, W), what a hidden region shows instead.
        regions: From `find_regions`.
        coalitions: Sets of shown regions scored for each image.
        batch_size: Masked images in a pass.
        seed: Of the coalitions, drawn anew from it for every image.

    Returns:
        float32 (N, H, W), at each pixel the value of its region: above 0 it speaks for crack, below 0 for no crack.
        An image's region values add up to its log-odds less those of the hidden image.

    Source: Lundberg and Lee 2017, "A unified approach to interpreting model predictions", theorem 2.
    """
    maps = []
    for image, baseline, labels in zip(images, hidden, regions, strict=True):
        with _numpy_seed(seed):
            maps.append(_values(margin, image, baseline, labels, coalitions, batch_size)[labels])
    return np.array(maps, np.float32).reshape(regions.shape)


def _values(
    margin: Margin, image: torch.Tensor, baseline: torch.Tensor, labels: np.ndarray, coalitions: int, batch_size: int
) -> np.ndarray:
    from shap import KernelExplainer  # late: it takes seconds to import

    places, count = torch.from_numpy(labels).to(image.device), int(labels.max()) + 1

    def answers(sets: np.ndarray) -> np.ndarray:
        shown = torch.from_numpy(sets > 0.5).to(image.device)
        masked = (torch.where(batch[:, places][:, None], image, baseline) for batch in shown.split(batch_size))
        return torch.cat([margin(batch) for batch in masked]).double().cpu().numpy()

    explainer = KernelExplainer(answers, np.zeros((1, count)))
    return explainer.shap_values(np.ones(count), nsamples=coalitions, l1_reg=False, silent=True)


@contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, the only one that shap draws from, and put it back."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def mean_colour(images: torch.Tensor) -> torch.Tensor:
    """Each image's mean colour, everywhere: uint8 (N, 3, H, W)."""
    mean = images.float().mean(dim=(2, 3), keepdim=True).round().to(torch.uint8)
    return mean.expand_as(images)
