"""Find pairs of tiles that are in different splits and could be overlapping cuts of one photo. Compare SIFT keypoints.

Ingestion has its own search for overlaps, which compares landmarks. If the leak check used the same search, it would
miss the same pairs.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from components.shared.events import progress

# Tiles are scaled so that their shorter side has this many pixels. Lengths below are in these pixels.
WORKING_SIDE = 96
# Of a longer tile, only the upper or left part is used.
MAX_ASPECT = 2
KEYPOINTS = 80
# Standard deviation of SIFT's first blur, in pixels. OpenCV's default is 1.6. Finer structures change with JPEG and
# with a shift by half a pixel.
FIRST_BLUR = 1.8
# OpenCV's default is 0.04. Concrete without cracks has few keypoints of so much contrast.
LEAST_CONTRAST = 0.01
DESCRIPTOR_LENGTH = 128
# The descriptors are compared by so many principal components.
COMPONENTS = 32
# Each keypoint is compared with the keypoints in SEARCHED_LISTS of the lists of the index.
SEARCHED_LISTS = 8
# The lists are learnt from so many descriptors for each list.
LEARNT_PER_LIST = 64
NEIGHBOURS = 3
MAX_DISTANCE = 220.0
MIN_MATCHES = 3
# How far a keypoint can be from its place in the other tile, and how much the scale and the angle can differ.
PLACE_ERROR, SCALE_ERROR = 2.5, 0.1
TILES_PER_SEARCH = 256


class Keypoints(NamedTuple):
    """The K keypoints of a tile.

    Attributes:
        descriptors: uint8 (K, DESCRIPTOR_LENGTH).
        places: float32 (K, 2), the x and y of each keypoint.
    """

    descriptors: NDArray[np.uint8]
    places: NDArray[np.float32]


NO_KEYPOINTS = Keypoints(np.zeros((0, DESCRIPTOR_LENGTH), np.uint8), np.zeros((0, 2), np.float32))


class Candidate(NamedTuple):
    """Two tiles that are in different splits and could overlap.

    Attributes:
        row, other: Row numbers of the tiles.
        mirrored: True if the tile `row` must be mirrored left to right before `placement` is applied.
        placement: float64 (2, 3), a matrix that maps places x, y from the tile `row` to the tile `other`. The matrix is
            a rotation by a multiple of 90 degrees, and a shift.
    """

    row: int
    other: int
    mirrored: bool
    placement: NDArray[np.float64]


def working_image(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the grey levels of a tile in the working size, uint8 (H, W). `image` is uint8 (H, W, 3), RGB."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    shorter = min(grey.shape)
    used = grey[: MAX_ASPECT * shorter, : MAX_ASPECT * shorter]
    scale = WORKING_SIDE / shorter
    size = round(used.shape[1] * scale), round(used.shape[0] * scale)
    return np.asarray(cv2.resize(used, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), np.uint8)


def find_keypoints(grey: NDArray[np.uint8]) -> Keypoints:
    """Return the strongest keypoints of a tile.

    Args:
        grey: uint8 (H, W), from `working_image`.

    Source: Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 2004. We use OpenCV.
    """
    layers, edge_threshold = 3, 10  # OpenCV's defaults
    sift = cv2.SIFT.create(KEYPOINTS, layers, LEAST_CONTRAST, edge_threshold, FIRST_BLUR, cv2.CV_8U)
    found, descriptors = sift.detectAndCompute(grey, None)
    if descriptors is None:
        return NO_KEYPOINTS
    places = cv2.KeyPoint.convert(found[:KEYPOINTS])
    return Keypoints(np.asarray(descriptors[:KEYPOINTS], np.uint8), np.asarray(places, np.float32))


def overlap_candidates(
    upright: Sequence[Keypoints], mirrored: Sequence[Keypoints], ends: NDArray[np.int64]
) -> Iterator[Candidate]:
    """Find pairs of tiles that could overlap. The two tiles of a pair are in different splits.

    A pair is found if several keypoints of its tiles match, and one rotation and shift fits these matches.

    The index divides the descriptors into lists of similar descriptors. Only some lists are searched, so the time grows
    more slowly than the number of pairs. The search misses some matches of keypoints. But overlapping tiles have many
    matches, so the search still finds the overlap.

    Args:
        upright: The keypoints of N tiles. All tiles of a split are next to each other.
        mirrored: The keypoints of the same tiles after they are mirrored left to right. The mirrored tiles of the first
            split are not used.
        ends: int64 (S,), the end of each split. For [5, 8], the rows 0 to 4 are the first split, and the rows 5 to 7
            are the second split.
    """
    places_of_tile = list(zip(*upright, strict=True))[1]
    places = np.concatenate(places_of_tile)
    if not len(places):
        return
    owners = np.repeat(np.arange(len(upright)), list(map(len, places_of_tile)))
    index = _empty_index(upright, len(places))

    for start, end in pairwise([0, *ends.tolist()]):
        for first in range(start, end, TILES_PER_SEARCH):
            asked = range(first, min(first + TILES_PER_SEARCH, end))
            for turned in (upright, mirrored) if start else ():
                for row, matches in _matches(index, turned, asked):
                    for other, placement in _placements(turned[row].places, matches, owners, places):
                        yield Candidate(row, other, turned is mirrored, placement)
            progress(asked.stop, len(upright), "searching overlaps of different splits")

        if end < len(upright):
            _add(index, upright[start:end])


def _empty_index(upright: Sequence[Keypoints], number: int) -> Any:
    """Return an index that is prepared for the descriptors of the tiles, but empty. There are `number` descriptors."""
    import faiss

    lists = max(1, round(number**0.5))
    every = max(1, number // (lists * LEARNT_PER_LIST))
    descriptors = _descriptors(upright[::every])
    index = faiss.index_factory(DESCRIPTOR_LENGTH, f"PCA{COMPONENTS},IVF{lists},Flat")
    inverted_lists = faiss.extract_index_ivf(index)
    inverted_lists.nprobe = SEARCHED_LISTS
    inverted_lists.cp.min_points_per_centroid = 1  # a warning about few points would mean nothing to our users
    index.train(descriptors)
    return index


def _add(index: Any, tiles: Sequence[Keypoints]) -> None:
    for first in range(0, len(tiles), TILES_PER_SEARCH):
        index.add(_descriptors(tiles[first : first + TILES_PER_SEARCH]))


def _descriptors(tiles: Sequence[Keypoints]) -> NDArray[np.float32]:
    """Return the descriptors of tiles, float32 (K, DESCRIPTOR_LENGTH)."""
    descriptors, _ = zip(*tiles, strict=True)
    return np.concatenate(descriptors).astype(np.float32)


def _matches(index: Any, turned: Sequence[Keypoints], asked: range) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """For each row number in `asked`, yield the row number and the matches of the tile's keypoints, int64 (M, 2).

    A match has two numbers: the number of a keypoint in the tile, and the number of a keypoint in the index.
    """
    distances, found = index.search(_descriptors(turned[asked.start : asked.stop]), NEIGHBOURS)
    near = (found >= 0) & (distances <= MAX_DISTANCE**2)

    start = 0
    for row in asked:
        own = slice(start, start + len(turned[row].places))
        keypoint, neighbour = np.nonzero(near[own])
        yield row, np.stack([keypoint, found[own][keypoint, neighbour]], axis=1)
        start = own.stop


def _placements(
    own_places: NDArray[np.float32], matches: NDArray[np.int64], owners: NDArray[np.int64], places: NDArray[np.float32]
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Find the tiles that could overlap the tile with `own_places`.

    A tile is found if several matches with this tile fit one placement.

    Yields:
        The row number of the tile that could overlap, and the `Candidate.placement`.
    """
    tile_of_match = owners[matches[:, 1]]
    tiles, counts = np.unique(tile_of_match, return_counts=True)
    for tile in tiles[counts >= MIN_MATCHES].tolist():
        keypoint, found = matches[tile_of_match == tile].T
        placement = _placement(own_places[keypoint], places[found])
        if placement is not None:
            yield tile, placement


def _placement(own_places: NDArray[np.float32], other_places: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Return the `Candidate.placement` that fits the places, float64 (2, 3). Return None if no placement fits.

    RANSAC estimates any rotation, scale and shift. We accept only rotations by about a multiple of 90 degrees, with a
    scale of about 1. Random matches seldom give such a rotation and scale.
    """
    matrix, agree = cv2.estimateAffinePartial2D(own_places, other_places, ransacReprojThreshold=PLACE_ERROR)
    if matrix is None or not np.isfinite(matrix).all() or agree.sum() < MIN_MATCHES:
        return None
    rotation = np.rint(matrix[:, :2])
    if abs(np.linalg.det(rotation)) != 1 or np.abs(matrix[:, :2] - rotation).max() > SCALE_ERROR:
        return None
    shifts = other_places - own_places @ rotation.T
    return np.column_stack([rotation, np.median(shifts[agree.ravel() == 1], axis=0)])
