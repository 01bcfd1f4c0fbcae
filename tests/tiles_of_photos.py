"""Cut overlapping tiles out of drawn photos, as people cut them: anywhere, mirrored, rotated, and saved as JPEG."""

import cv2
import numpy as np

SIDE = 128


def cut(photo: np.ndarray, x: float, y: float, turn: int = 0) -> np.ndarray:
    """Cut a tile at a place that can be between pixels, mirror it and rotate it, and save it as JPEG."""
    moved = cv2.warpAffine(photo, np.float32([[1, 0, -x], [0, 1, -y]]), (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    mirrored = moved[:, ::-1] if turn >= 4 else moved
    turned = np.ascontiguousarray(np.rot90(mirrored, turn % 4))
    return cv2.imdecode(cv2.imencode(".jpg", turned, [cv2.IMWRITE_JPEG_QUALITY, 90])[1], cv2.IMREAD_COLOR)
