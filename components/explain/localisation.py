"""Does a map lie on the crack? Measures of maps against pixel masks.

All take maps float32 (N, H, W) in [0, 1] and masks bool (N, H, W), and return float64 (N,). A map of zeros points
nowhere and scores 0.
"""

import cv2
import numpy as np


def pointing_game(maps: np.ndarray, masks: np.ndarray, tolerance: float) -> np.ndarray:
    """Chance that a map's highest pixel lies within `tolerance` pixels of the crack.

    It is 1 or 0 where one pixel is the highest; a map of regions, such as KernelSHAP's, has many, of which none is
    preferred.

    Source: Zhang et al. 2018, "Top-down neural attention by excitation backprop", section 4.1.
    """
    hits = np.zeros(len(maps))
    for index, (single, mask) in enumerate(zip(maps, masks, strict=True)):
        distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        if single.max() > 0 and mask.any():
            hits[index] = (distance[single == single.max()] <= tolerance).mean()
    return hits


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of a map's sum that lies on the crack, in [0, 1].

    Source: Wang et al. 2020, "Score-CAM", energy-based pointing game.
    """
    total = maps.sum(axis=(1, 2), dtype=np.float64)
    inside = (maps * masks).sum(axis=(1, 2), dtype=np.float64)
    return np.divide(inside, total, out=np.zeros(len(maps)), where=total > 0)


def energy_ratio(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Energy inside the mask over the mask's share of the image: 1 is what a map that knows nothing reaches."""
    area = masks.mean(axis=(1, 2))
    return np.divide(energy_inside(maps, masks), area, out=np.zeros(len(maps)), where=area > 0)


def best_iou(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Highest intersection over union of the mask with a map cut at any of its own values, in [0, 1]."""
    flat = maps.reshape(len(maps), -1)
    order = np.argsort(-flat, axis=1, kind="stable")
    sorted_values = np.take_along_axis(flat, order, axis=1)
    hit = np.take_along_axis(masks.reshape(len(maps), -1), order, axis=1)
    inside, taken, area = hit.cumsum(axis=1), np.arange(1, flat.shape[1] + 1), hit.sum(axis=1, keepdims=True)
    # a cut takes all pixels of one value or none, so only the last of equal values counts; zeros are never taken
    last = np.append(np.diff(sorted_values, axis=1) != 0, np.ones((len(maps), 1), bool), axis=1) & (sorted_values > 0)
    return np.where(last, inside / (taken + area - inside), 0).max(axis=1)
