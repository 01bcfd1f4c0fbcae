"""Measure whether a map marks the crack. The maps are compared with masks, which are true on the pixels of the crack.

All functions take maps float32 (N, H, W) in [0, 1] and masks bool (N, H, W). They return float64 (N,), one value for
each map. The value is 0 if a map contains only zeros.
"""

import cv2
import numpy as np


def pointing_game(maps: np.ndarray, masks: np.ndarray, tolerance: float) -> np.ndarray:
    """Return whether the highest value of a map is on the crack: 1 for yes, 0 for no.

    The value is on the crack if the crack is at most `tolerance` pixels away. In a map of regions, such as a KernelSHAP
    map, many pixels have the highest value. The result is then the share of these pixels that are on the crack.

    Source: Zhang et al. 2018, "Top-down neural attention by excitation backprop", section 4.1.
    """
    hits = np.zeros(len(maps))
    for index, (single, mask) in enumerate(zip(maps, masks, strict=True)):
        peak = single.max()
        if peak <= 0 or not mask.any():
            continue
        distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        highest = single == peak
        hits[index] = (distance[highest] <= tolerance).mean()
    return hits


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the sum of a map's values on the crack, divided by the sum of all values of the map, in [0, 1].

    Source: Wang et al. 2020, "Score-CAM", energy-based pointing game.
    """
    total = maps.sum(axis=(1, 2), dtype=np.float64)
    inside = (maps * masks).sum(axis=(1, 2), dtype=np.float64)
    return np.divide(inside, total, out=np.zeros(len(maps)), where=total > 0)


def energy_ratio(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return `energy_inside` / (share of pixels that are true in the mask). A constant map has a ratio of 1."""
    area = masks.mean(axis=(1, 2))
    return np.divide(energy_inside(maps, masks), area, out=np.zeros(len(maps)), where=area > 0)


def best_iou(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the largest overlap of the mask with a part of the map, in [0, 1].

    The part has the pixels whose value is at least a threshold. Every value above 0 in the map is tried as the
    threshold. The overlap is the intersection over union (IoU).
    """
    values = maps.reshape(len(maps), -1)
    order = np.argsort(-values, axis=1, kind="stable")
    values = np.take_along_axis(values, order, axis=1)
    on_crack = np.take_along_axis(masks.reshape(len(maps), -1), order, axis=1)

    # The IoU of the mask with the 1, 2, 3, … pixels that have the highest values.
    intersection = on_crack.cumsum(axis=1)
    taken = np.arange(1, values.shape[1] + 1)
    crack = on_crack.sum(axis=1, keepdims=True)
    iou = intersection / (taken + crack - intersection)

    # Pixels with the same value are all above a threshold, or all below it. So we use the IoU only after the last pixel
    # of each value. Pixels with value 0 are never included.
    next_differs = np.diff(values, axis=1) != 0
    is_last_of_value = np.append(next_differs, np.ones((len(maps), 1), bool), axis=1)
    is_cut = is_last_of_value & (values > 0)
    return np.where(is_cut, iou, 0).max(axis=1)
