"""Is a map's mass on the crack? Measures of maps against pixel masks.

All take maps float32 (N, H, W) in [0, 1] and masks bool (N, H, W), and return float64 (N,). A map of zeros points
nowhere and scores 0.
"""

import cv2
import numpy as np


def pointing_game(maps: np.ndarray, masks: np.ndarray, tolerance: float) -> np.ndarray:
    """Chance that a map's highest pixel is within `tolerance` pixels of the crack.

    It is 1 or 0 if one pixel is the highest. A map of regions, such as KernelSHAP's, has many highest pixels, and each
    counts the same.

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
    """Share of a map's sum that is on the crack, in [0, 1].

    Source: Wang et al. 2020, "Score-CAM", energy-based pointing game.
    """
    total = maps.sum(axis=(1, 2), dtype=np.float64)
    inside = (maps * masks).sum(axis=(1, 2), dtype=np.float64)
    return np.divide(inside, total, out=np.zeros(len(maps)), where=total > 0)


def energy_ratio(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Energy inside the mask over the mask's share of the image; a map that knows nothing reaches 1."""
    area = masks.mean(axis=(1, 2))
    return np.divide(energy_inside(maps, masks), area, out=np.zeros(len(maps)), where=area > 0)


def best_iou(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Highest intersection over union of the mask with a map cut at any of its own values, in [0, 1]."""
    values = maps.reshape(len(maps), -1)
    order = np.argsort(-values, axis=1, kind="stable")
    values = np.take_along_axis(values, order, axis=1)
    on_crack = np.take_along_axis(masks.reshape(len(maps), -1), order, axis=1)

    # IoU after the first 1, 2, … pixels, highest value first.
    intersection = on_crack.cumsum(axis=1)
    taken = np.arange(1, values.shape[1] + 1)
    crack = on_crack.sum(axis=1, keepdims=True)
    iou = intersection / (taken + crack - intersection)

    # A cut takes all pixels of one value or none, so only the last of equal values is a cut. Zeros are never taken.
    next_differs = np.diff(values, axis=1) != 0
    is_last_of_value = np.append(next_differs, np.ones((len(maps), 1), bool), axis=1)
    is_cut = is_last_of_value & (values > 0)
    return np.where(is_cut, iou, 0).max(axis=1)
