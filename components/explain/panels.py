"""Draw panels. A panel shows an image, the same image with each map over it, and the mask of its crack."""

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from matplotlib import colormaps

from components.shared.data.manifest import CLASSES
from components.shared.results.measurements import spoken

NAMES = tuple(spoken(name) for name in CLASSES)
OUTLINE_RGB = (64, 255, 64)
STRONGEST_COLOUR = 0.65
STRONGEST_SIGNED_COLOUR = 0.8
PAGE_JPEG_QUALITY = 85


@dataclass(frozen=True)
class Panel:
    """An image and its maps, side by side.

    Attributes:
        image: uint8 (H, k * H, 3) RGB, with k parts. Each part is H pixels wide.
        caption: The names of the parts, from left to right.
    """

    image: np.ndarray
    caption: str

    def uri(self) -> str:
        """Return the panel as a JPEG in a data URI."""
        bgr = cv2.cvtColor(self.image, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, PAGE_JPEG_QUALITY])
        return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def draw_panel(image: np.ndarray, maps: dict[int, np.ndarray], signed: np.ndarray, mask: np.ndarray | None) -> Panel:
    """Return a panel that shows, from left to right: the image, the image with each map over it, and the mask.

    A map that contains only zeros is not drawn, because it would look like the plain image. The caption says so.

    Args:
        image: uint8 (H, H, 3) RGB.
        maps: Class (0 or 1) -> Grad-CAM map for this class, float (H, H) in [0, 1].
        signed: KernelSHAP map, float (H, H). A region with a value above 0 makes P(crack) higher.
        mask: bool (H, H); its outline is drawn on the maps. None if there is no mask.
    """
    parts = [image]
    captions = ["tile"]

    for label, evidence in maps.items():
        if evidence.any():
            parts.append(_outlined(_blend(image, evidence), mask))
            captions.append(f"Grad-CAM for {NAMES[label]}")
        else:
            captions.append(f"Grad-CAM for {NAMES[label]} is empty")

    if signed.any():
        parts.append(_outlined(_blend_signed(image, signed), mask))
        captions.append("SHAP")
    else:
        captions.append("SHAP is empty")

    if mask is not None:
        parts.append(np.repeat(255 * mask.astype(np.uint8)[..., None], 3, axis=2))
        captions.append("mask")
    return Panel(np.concatenate(parts, axis=1), ", ".join(captions))


def _blend(image: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    levels = (255 * evidence).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    strength = STRONGEST_COLOUR * evidence[..., None] ** 0.5
    return np.rint((1 - strength) * image + strength * colours).astype(np.uint8)


def _blend_signed(image: np.ndarray, signed: np.ndarray) -> np.ndarray:
    """Draw red and blue over the grey image. The image's own colours would look like parts of the map."""
    share = signed / np.abs(signed).max()
    colours = 255 * colormaps["RdBu_r"](0.5 + share / 2)[..., :3]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    strength = STRONGEST_SIGNED_COLOUR * np.abs(share)[..., None] ** 0.5
    return np.rint((1 - strength) * grey + strength * colours).astype(np.uint8)


def _outlined(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    if mask is None:
        return image
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(image.copy(), contours, -1, OUTLINE_RGB, 1)


def write_panels(rows: pd.DataFrame, panels: list[Panel], folder: Path) -> None:
    """Write panels as PNG files, with names such as 003_wrong_wall_crack.png: number, answer, surface, true class."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (row, panel) in enumerate(zip(rows.itertuples(), panels, strict=True)):
        verdict = "right" if row.right else "wrong"
        truth = NAMES[row.label].replace(" ", "_")
        path = folder / f"{number:03d}_{verdict}_{row.surface}_{truth}.png"
        cv2.imwrite(str(path), cv2.cvtColor(panel.image, cv2.COLOR_RGB2BGR))
