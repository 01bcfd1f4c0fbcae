"""Compute KernelSHAP values for the regions of an image.

The regions are superpixels for a CNN, and blocks of patches for a transformer. A region with a value above 0 makes
P(crack) higher, and a region with a value below 0 makes P(crack) lower.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from skimage.segmentation import slic

from components.shared.config import Precision
from components.shared.errors import InputError
from components.shared.network.device import pick_precision
from components.shared.network.grad_cam_families import patch_grid
from components.shared.network.network import Network

Margin = Callable[[torch.Tensor], torch.Tensor]
# Standard deviation of the blur before SLIC, as a share of a superpixel's height. Without the blur, the noise of the
# camera breaks superpixels into small pieces, and the library merges these pieces into one region.
SUPERPIXEL_BLUR = 1 / 16


def margin_of(network: Network, precision: Precision) -> Margin:
    """Return a function that takes images (n, 3, H, W), 0 to 255, and returns the log odds of a crack, float (n,).

    The function raises InputError if the network's answer is NaN or infinite.
    """
    device = network.mean.device.type
    bf16 = pick_precision(precision, device) == "bf16"

    def margin(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=bf16):
            logits = network(images.contiguous(memory_format=torch.channels_last)).float()
        if not logits.isfinite().all():
            raise InputError(
                f"{network.info.architecture} gives NaN or infinite answers, so no map can be computed. The "
                "training diverged; lower learning_rate"
            )
        return logits[:, 1] - logits[:, 0]

    return margin


def find_regions(network: Network, images: torch.Tensor, count: int) -> np.ndarray:
    """Divide each image into about `count` regions. KernelSHAP hides or shows each region as a whole.

    For a transformer, the regions are blocks of whole patches, which are the same for every image. For a CNN, the
    regions are SLIC superpixels, which follow the edges in the image.

    Args:
        network: The network. If it divides images into patches, the regions are blocks of patches.
        images: uint8 (N, 3, H, W).
        count: Number of regions wanted.

    Returns:
        int64 (N, H, W), the region of each pixel, numbered from 0 in each image.

    Source: Achanta et al. 2012, "SLIC superpixels"; the code is in scikit-image.
    """
    size = network.input_size
    grid = patch_grid(network)
    if grid is not None:
        blocks = _blocks(grid, (size, size), count)
        return np.repeat(blocks[None], len(images), axis=0)

    edge_of_superpixel = size / count**0.5
    regions = []
    for image in images.permute(0, 2, 3, 1).cpu().numpy():
        blur = SUPERPIXEL_BLUR * edge_of_superpixel
        regions.append(slic(image, n_segments=count, sigma=blur, start_label=0))
    return np.array(regions, np.int64)


def _blocks(grid: tuple[int, int], shape: tuple[int, int], count: int) -> np.ndarray:
    """Divide an image into blocks of whole patches. Return, for each pixel, the number of its block, int64 (H, W)."""
    blocks_per_side = max(1, int(count**0.5))
    block_of_line = []
    for pixels, patches in zip(shape, grid, strict=True):
        patch = np.arange(pixels) * patches // pixels
        block_of_line.append(patch * min(blocks_per_side, patches) // patches)

    block_row, block_column = block_of_line
    columns = block_column.max() + 1
    return block_row[:, None] * columns + block_column[None]


def kernel_shap(
    margin: Margin,
    images: torch.Tensor,
    hidden: torch.Tensor,
    regions: np.ndarray,
    coalitions: int,
    batch_size: int,
    seed: int,
) -> np.ndarray:
    """Return how much each region of an image contributes to the log odds of a crack.

    A coalition is a set of regions. These regions are shown, and all other regions are hidden. The images of all
    coalitions are computed and scored in batches on the device of `images`. The shap library chooses and weights the
    coalitions, and computes the contributions.

    Args:
        margin: Function from images (n, 3, H, W) uint8 to the log odds of a crack (n,).
        images: uint8 (N, 3, H, W).
        hidden: uint8 (N, 3, H, W). A hidden region shows the pixels of these images.
        regions: From `find_regions`.
        coalitions: Number of coalitions that are scored for each image.
        batch_size: Number of images in a forward pass.
        seed: Seed of the coalitions. All images use the same seed.

    Returns:
        float32 (N, H, W), the value of each pixel's region. The values of all regions add up to the log odds of the
        image minus the log odds of the same image in `hidden`.

    Source: Lundberg and Lee 2017, "A unified approach to interpreting model predictions", theorem 2.
    """
    maps = []
    for image, baseline, labels in zip(images, hidden, regions, strict=True):
        with _numpy_seed(seed):
            values = _region_values(margin, image, baseline, labels, coalitions, batch_size)
        maps.append(values[labels])
    return np.array(maps, np.float32).reshape(regions.shape)


def _region_values(
    margin: Margin, image: torch.Tensor, baseline: torch.Tensor, labels: np.ndarray, coalitions: int, batch_size: int
) -> np.ndarray:
    # Imported here, because the import takes seconds.
    from shap import KernelExplainer

    count = int(labels.max()) + 1
    region_of_pixel = torch.from_numpy(labels).to(image.device)

    def answers(sets: np.ndarray) -> np.ndarray:
        shown_regions = torch.from_numpy(sets > 0.5).to(image.device)
        margins = []
        for batch in shown_regions.split(batch_size):
            shown_pixels = batch[:, region_of_pixel][:, None]
            margins.append(margin(torch.where(shown_pixels, image, baseline)))
        return torch.cat(margins).double().cpu().numpy()

    explainer = KernelExplainer(answers, np.zeros((1, count)))
    return explainer.shap_values(np.ones(count), nsamples=coalitions, l1_reg=False, silent=True)


@contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
    """Seed NumPy's global random generator, which shap uses. At the end of the `with` block, restore its state."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def mean_colour(images: torch.Tensor) -> torch.Tensor:
    """Return images uint8 (N, 3, H, W), each filled with its own mean colour."""
    mean = images.float().mean(dim=(2, 3), keepdim=True).round().to(torch.uint8)
    return mean.expand_as(images)
