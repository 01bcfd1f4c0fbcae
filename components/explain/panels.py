"""Overlay panels: an image, its maps and its mask, side by side."""

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
OUTLINE = (64, 255, 64)  # RGB


@dataclass(frozen=True)
class Panel:
    """Image and maps side by side, uint8 (H, k H, 3) RGB, and what they are, from left to right."""

    picture: np.ndarray
    caption: str

    def uri(self) -> str:
        """The picture as a JPEG in a data URI."""
        _, data = cv2.imencode(".jpg", cv2.cvtColor(self.picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
        return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def draw_panel(image: np.ndarray, maps: dict[int, np.ndarray], signed: np.ndarray, mask: np.ndarray | None) -> Panel:
    """Draw an image and, beside it, each map over it, and the mask.

    Args:
        image: uint8 (H, H, 3) RGB.
        maps: Class (0 or 1) -> Grad-CAM, float (H, H) in [0, 1]. A map of zeros is not drawn but told: a plain image in
            its place would be taken for a map.
        signed: KernelSHAP, float (H, H), above 0 for crack.
        mask: bool (H, H); its outline is drawn on the maps.
    """
    drawn = {name: _outlined(_blend(image, single), mask) for name, single in maps.items() if single.any()}
    parts = ["image", *(f"for {NAMES[name]}" if name in drawn else f"nothing for {NAMES[name]}" for name in maps)]
    pictures = [image, *drawn.values()]
    if signed.any():
        pictures.append(_outlined(_blend_signed(image, signed), mask))
    parts.append("SHAP" if signed.any() else "no region matters to SHAP")
    if mask is not None:
        pictures.append(np.repeat(255 * mask.astype(np.uint8)[..., None], 3, axis=2))
        parts.append("mask")
    return Panel(np.concatenate(pictures, axis=1), ", ".join(parts))


def _blend(image: np.ndarray, single: np.ndarray) -> np.ndarray:
    colours = cv2.cvtColor(cv2.applyColorMap((255 * single).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    strength = 0.65 * single[..., None] ** 0.5
    return np.rint((1 - strength) * image + strength * colours).astype(np.uint8)


def _blend_signed(image: np.ndarray, signed: np.ndarray) -> np.ndarray:
    """Lay the diverging colours over the grey image: a colour of the image's own would be read as evidence."""
    share = signed / np.abs(signed).max()
    colours = 255 * colormaps["RdBu_r"](0.5 + share / 2)[..., :3]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    strength = 0.8 * np.abs(share)[..., None] ** 0.5
    return np.rint((1 - strength) * grey + strength * colours).astype(np.uint8)


def _outlined(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    if mask is None:
        return image
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(image.copy(), contours, -1, OUTLINE, 1)


def write_panels(rows: pd.DataFrame, panels: list[Panel], folder: Path) -> list[str]:
    """Write panels as PNG, named by place and verdict; return the names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, (row, panel) in enumerate(zip(rows.itertuples(), panels, strict=True)):
        verdict = "right" if row.right else "wrong"
        names.append(f"{number:03d}_{verdict}_{row.surface}_{NAMES[row.label].replace(' ', '_')}.png")
        cv2.imwrite(str(folder / names[-1]), cv2.cvtColor(panel.picture, cv2.COLOR_RGB2BGR))
    return names
