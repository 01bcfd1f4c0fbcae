"""Small concrete-like tiles as files."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

Write = Callable[..., Path]


@pytest.fixture
def write_tile() -> Write:
    """A function that writes a textured tile. The seed chooses the texture, and `shift` moves it by pixels."""

    def write(path: Path, seed: int, shift: int = 0, quality: int = 95, size: int = 64) -> Path:
        rng = np.random.default_rng(seed)
        field = cv2.resize(rng.normal(128, 60, (9, 9)), (size + 8, size + 8), interpolation=cv2.INTER_CUBIC)
        field = field[shift : shift + size, shift : shift + size] + rng.normal(0, 3, (size, size))
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), field.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
        return path

    return write


@pytest.fixture
def tiles(tmp_path: Path, write_tile: Write) -> Path:
    """A folder with 12 tiles in crack/ and 12 in no_crack/. They are named PHOTO_NUMBER.jpg. A photo has four tiles."""
    for index in range(24):
        name = "crack" if index % 2 else "no_crack"
        write_tile(tmp_path / "walls" / name / f"p{index // 4}_{index}.jpg", seed=index)
    return tmp_path / "walls"
