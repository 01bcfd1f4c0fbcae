"""Draw an inspected photo with its crack map and findings, and a close-up of each finding."""

from pathlib import Path

import cv2
import numpy as np
import torch

from components.inspect.crack_map import CrackMap
from components.inspect.findings import CRACK, NEEDS_REVIEW, Finding
from components.inspect.photo_reader import Photo, preview
from components.inspect.tile_grid import TileGrid
from components.shared.atomic_file import atomic_file
from components.shared.errors import InputError
from components.shared.network.grad_cam import Cam, grad_cam
from components.shared.network.grad_cam_families import find_target
from components.shared.network.network import Network
from components.shared.network.resize import Resize

LONGEST = 1600  # pixels of the longer side of an overlay
JPEG_QUALITY = 85
STRONGEST_COLOUR = 0.55  # largest weight of a colour that is drawn over the photo
CLOSE_UP = 320  # pixels of the side of each half of a close-up
CLOSE_UP_TILES = 3  # side of the left half, in tiles
COLOURS = {CRACK: (230, 40, 40), NEEDS_REVIEW: (240, 170, 20)}  # RGB
TILE_COLOUR = (255, 255, 255)


def draw_overlay(photo: Photo, crack_map: CrackMap, findings: list[Finding], threshold: float) -> np.ndarray:
    """Draw the photo with its crack map and the numbered outlines of the findings, uint8 (h, w, 3) RGB.

    Pixels whose P(crack) is below half of the threshold get no colour, so that the concrete stays visible.
    """
    small = preview(photo, LONGEST)
    height, width = small.shape[:2]
    p_crack = _stretched(crack_map, width / photo.width, height / photo.height, width, height)
    strength = STRONGEST_COLOUR * np.clip((p_crack - threshold / 2) / (1 - threshold / 2), 0, 1)[..., None] ** 0.5
    colours = cv2.applyColorMap((255 * p_crack).astype(np.uint8), cv2.COLORMAP_INFERNO)
    blended = (1 - strength) * small + strength * cv2.cvtColor(colours, cv2.COLOR_BGR2RGB)
    drawn = np.rint(blended).astype(np.uint8)

    scale = np.array([width / photo.width, height / photo.height])
    thickness = max(2, max(width, height) // 600)
    for number, finding in reversed(list(enumerate(findings, start=1))):
        corners = np.rint(np.array(finding.polygon) * scale).astype(np.int32)
        colour = COLOURS[finding.triage]
        cv2.polylines(drawn, [corners], isClosed=True, color=colour, thickness=thickness, lineType=cv2.LINE_AA)
        _write_number(drawn, number, corners.min(axis=0), colour, thickness)
    return drawn


def _stretched(crack_map: CrackMap, scale_x: float, scale_y: float, width: int, height: int) -> np.ndarray:
    """Return the crack map at the size of a drawing, float32 (height, width); 0 where there is no data."""
    vertical, horizontal = crack_map.vertical, crack_map.horizontal
    rows = ((np.arange(height) + 0.5) / scale_y - vertical.centres[0]) / vertical.step
    columns = ((np.arange(width) + 0.5) / scale_x - horizontal.centres[0]) / horizontal.step
    place_x, place_y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    values = np.nan_to_num(crack_map.p_crack).astype(np.float32)
    return cv2.remap(values, place_x, place_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _write_number(drawing: np.ndarray, number: int, corner: np.ndarray, colour: tuple, thickness: int) -> None:
    size = 0.35 * thickness
    place = (int(corner[0]), max(int(corner[1]) - 3 * thickness, 12 * thickness))
    for ink, width in (((255, 255, 255), 4 * thickness), (colour, thickness)):
        cv2.putText(drawing, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, size, ink, width, cv2.LINE_AA)


def draw_close_ups(photo: Photo, grid: TileGrid, findings: list[Finding], network: Network) -> list[np.ndarray]:
    """Draw a close-up of each finding.

    The left half shows the finding and its surroundings. The right half shows the tile with the largest P(crack)
    (`Finding.peak`), coloured by its Grad-CAM map. Grad-CAM uses the deepest layer whose map is fine enough. If the map
    is empty, the tile is drawn without the map.

    Returns:
        uint8 (CLOSE_UP, 2 * CLOSE_UP, 3) RGB, in the order of the findings.
    """
    if not findings:
        return []
    # We go from top to bottom, so that each part of a TIFF file is decoded once.
    order = sorted(range(len(findings)), key=lambda index: findings[index].peak[1])
    surroundings, tiles = {}, {}
    for index in order:
        surroundings[index] = _surroundings(photo, grid.side, findings[index])
        left, top = findings[index].peak
        tiles[index] = photo.rows(top, top + grid.side).pixels[:, left : left + grid.side]

    evidence = _evidence(network, [tiles[index] for index in range(len(findings))])
    drawings = []
    for index, cam_map in enumerate(evidence):
        tile = Resize(CLOSE_UP)(tiles[index])
        drawings.append(np.concatenate([surroundings[index], _coloured(tile, cam_map)], axis=1))
    return drawings


def _surroundings(photo: Photo, side: int, finding: Finding) -> np.ndarray:
    """Draw the tile `Finding.peak` and the part of the photo around it. Outline the finding and this tile."""
    extent = min(CLOSE_UP_TILES * side, photo.width, photo.height)
    left = int(np.clip(finding.peak[0] + side / 2 - extent / 2, 0, photo.width - extent))
    top = int(np.clip(finding.peak[1] + side / 2 - extent / 2, 0, photo.height - extent))
    pixels = photo.rows(top, top + extent).pixels[:, left : left + extent]

    drawing = np.array(Resize(CLOSE_UP)(np.ascontiguousarray(pixels)))
    scale = CLOSE_UP / extent
    corners = np.rint((np.array(finding.polygon) - (left, top)) * scale).astype(np.int32)
    cv2.polylines(drawing, [corners], True, COLOURS[finding.triage], 1, cv2.LINE_AA)

    first = np.rint((np.array(finding.peak) - (left, top)) * scale).astype(int)
    last = np.minimum(first + round(side * scale), CLOSE_UP - 1)
    cv2.rectangle(drawing, first.tolist(), last.tolist(), TILE_COLOUR, 1)
    return drawing


def _evidence(network: Network, tiles: list[np.ndarray]) -> np.ndarray:
    """Return the Grad-CAM map of each tile for the class crack, float32 (n, size, size), 0 to 1."""
    inputs = torch.from_numpy(np.stack([network.resize(tile) for tile in tiles])).permute(0, 3, 1, 2)
    try:
        return grad_cam(network, Cam(find_target(network)), inputs.to(network.mean.device), True, batch_size=16)
    except InputError:  # the network has no layer that gives a map
        return np.zeros((len(tiles), network.input_size, network.input_size), np.float32)


def _coloured(tile: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    stretched = cv2.resize(evidence, (CLOSE_UP, CLOSE_UP), interpolation=cv2.INTER_LINEAR)[..., None]
    colours = cv2.applyColorMap((255 * stretched[..., 0]).astype(np.uint8), cv2.COLORMAP_INFERNO)
    strength = STRONGEST_COLOUR * stretched**0.5
    return np.rint((1 - strength) * tile + strength * cv2.cvtColor(colours, cv2.COLOR_BGR2RGB)).astype(np.uint8)


def write_jpeg(pixels: np.ndarray, path: Path) -> None:
    """Write a drawing, uint8 (h, w, 3) RGB, completely or not at all."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    with atomic_file(path) as file:
        file.write_bytes(data.tobytes())
