"""Compare pixels to decide whether two tiles of different splits are overlapping cuts of one photo."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.shared.data.common_area import agreement
from components.shared.events import progress
from components.shared.services.s3_client import THREADS
from components.split.keypoints import Candidate

# Standard deviations of Gaussian blurs, in pixels of the working size. Only structures between the first two are
# compared. The third is the neighbourhood in which the contrast is made equal, because two dark cracks of a similar
# shape would correlate otherwise.
FINE_BLUR, COARSE_BLUR, CONTRAST_BLUR = 1.0, 5.0, 6.0
# In grey levels. Where the contrast is lower, it is mostly noise, and it is not amplified further.
LOWEST_CONTRAST = 2.0
# In pixels. The shift of a candidate can be wrong by so much.
SHIFT_ERROR = 2
# The shared area must be at least this share of the smaller tile.
MIN_SHARED = 0.2
CANDIDATES_PER_READ = 256
FOUND_TYPES = {"row": "int64", "other": "int64", "correlation": "float64", "shared": "float64"}


class Overlap(NamedTuple):
    """How well two tiles agree in the area that both show.

    Attributes:
        correlation: The result of `agreement` for this area.
        shared: Size of this area, as a share of the smaller tile, 0 to 1.
    """

    correlation: float
    shared: float


NO_OVERLAP = Overlap(0.0, 0.0)


def compare_candidates(candidates: Sequence[Candidate], read: Callable[[int], NDArray[np.uint8]]) -> pd.DataFrame:
    """Compare the pixels of the candidates.

    Args:
        candidates: Pairs of tiles that could overlap.
        read: Returns the `keypoints.working_image` of a tile, given its row number.

    Returns:
        Table (row, other, correlation, shared). `correlation` and `shared` are the values of `Overlap`. If a pair of
        tiles has several candidates, the table has only the candidate with the highest correlation.
    """
    found = []
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(candidates), CANDIDATES_PER_READ):
            block = candidates[start : start + CANDIDATES_PER_READ]
            rows, others, *_ = zip(*block, strict=True)
            wanted = sorted({*rows, *others})
            structures = dict(zip(wanted, pool.map(lambda row: even_structure(read(row)), wanted), strict=True))
            for row, other, mirrored, placement in block:
                structure = np.ascontiguousarray(structures[row][:, ::-1]) if mirrored else structures[row]
                overlap = overlap_of(structure, structures[other], placement)
                found.append((row, other, *overlap))
            progress(start + len(block), len(candidates), "comparing tiles that could overlap")
    table = pd.DataFrame(found, columns=list(FOUND_TYPES)).astype(FOUND_TYPES)
    return table.sort_values("correlation", ascending=False).drop_duplicates(["row", "other"], ignore_index=True)


def even_structure(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the structures of a tile, float32 (H, W). Their contrast is made equal in all parts of the tile.

    Args:
        grey: uint8 (H, W), from `keypoints.working_image`.
    """
    levels = grey.astype(np.float32)
    structure = cv2.GaussianBlur(levels, (0, 0), FINE_BLUR) - cv2.GaussianBlur(levels, (0, 0), COARSE_BLUR)
    variance = cv2.GaussianBlur(structure * structure, (0, 0), CONTRAST_BLUR)
    return np.asarray(structure / np.sqrt(variance + LOWEST_CONTRAST**2), np.float32)


def overlap_of(structure: NDArray[np.float32], other: NDArray[np.float32], placement: NDArray[np.float64]) -> Overlap:
    """Lay a tile over another one, and correlate the area that both show.

    Args:
        structure, other: float32 (H, W), from `even_structure`. If `Candidate.mirrored` is true, the caller has already
            mirrored `structure`.
        placement: float64 (2, 3), as in `keypoints.Candidate`.
    """
    height, width = other.shape
    laid = np.asarray(cv2.warpAffine(structure, placement, (width, height)), np.float32)
    corners = np.array([[0, 0, 1], [structure.shape[1] - 1, structure.shape[0] - 1, 1]]) @ placement.T
    left, top = np.ceil(np.maximum(corners.min(axis=0), 0)).astype(int)
    right, bottom = np.floor(np.minimum(corners.max(axis=0), [width - 1, height - 1])).astype(int) + 1
    shared = max(right - left, 0) * max(bottom - top, 0) / min(structure.size, other.size)
    if shared < MIN_SHARED or min(right - left, bottom - top) < 4 * SHIFT_ERROR:
        return NO_OVERLAP

    inner = np.s_[top + SHIFT_ERROR : bottom - SHIFT_ERROR, left + SHIFT_ERROR : right - SHIFT_ERROR]
    template = np.ascontiguousarray(laid[inner])
    return Overlap(agreement(other[top:bottom, left:right], template), float(shared))
