"""Signed KernelSHAP over the regions of an image: superpixels for a CNN, blocks of patch tokens for a transformer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from skimage.segmentation import slic

from components.explain.grad_cam_families import patch_grid
from components.shared.config import Precision
from components.shared.errors import InputError
from components.shared.network.device import pick_precision
from components.shared.network.network import Network

Margin = Callable[[torch.Tensor], torch.Tensor]
# Standard deviation of the blur under SLIC, as a share of a superpixel's edge. Without it, the camera's noise tears
# superpixels to pieces, and the library joins those to one.
SUPERPIXEL_BLUR = 1 / 16


def margin_of(network: Network, precision: Precision) -> Margin:
    """Return the function (n, 3, H, W) in 0 to 255 -> (n,) log-odds of crack.

    The function raises InputError if the network answers with NaN or infinity.
    """
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
    """Cut each image into about `count` regions; each is hidden or shown as a whole.

    A transformer reads an image in patches, so its regions are blocks of whole patches, the same for every image. A
    CNN's regions are SLIC superpixels, which follow the image's own edges.

    Args:
        network: The network, which may have a patch grid.
        images: uint8 (N, 3, H, W).
        count: Number of regions wanted.

    Returns:
        int64 (N, H, W), region of each pixel, numbered from 0 in each image.

    Source: Achanta et al. 2012, "SLIC superpixels", in scikit-image.
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
    """Number the blocks of whole patches: int64 (H, W)."""
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
    """Divide each image's log-odds of crack among its regions.

    The images of all coalitions are built and scored in batches on the images' device. The shap library chooses and
    weighs the coalitions and solves for the values.

    Args:
        margin: (n, 3, H, W) uint8 -> (n,) log-odds of crack.
        images: uint8 (N, 3, H, W).
        hidden: uint8 (N, 3, H, W), what a hidden region shows instead.
        regions: From `find_regions`.
        coalitions: Sets of shown regions scored for each image.
        batch_size: Masked images in a pass.
        seed: Seed of the coalitions; every image gets the same draw.

    Returns:
        float32 (N, H, W), at each pixel the value of its region: above 0 it is evidence for crack, below 0 for no
        crack. An image's region values add up to its log-odds minus those of the hidden image.

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
    # Imported late, because it takes seconds.
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
    """Seed NumPy's global generator, the only one that shap draws from, and restore it afterwards."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def mean_colour(images: torch.Tensor) -> torch.Tensor:
    """Images filled with their own mean colour: uint8 (N, 3, H, W)."""
    mean = images.float().mean(dim=(2, 3), keepdim=True).round().to(torch.uint8)
    return mean.expand_as(images)
