"""Load the registered model version as a serving host does, and compare its answers with the measured answers."""

import numpy as np
import pandas as pd

from components.shared.network.served_process import ModelProcess


def check_version(folder: str, images: pd.Series, measured: np.ndarray, tolerance: float, name: str = "") -> None:
    """Compare the answers of a registered model version with the measured answers to the same images.

    Args:
        folder: The model version's files, as MLflow stores them.
        images: Image files in base64. The index is sample_id.
        measured: Calibrated P(crack) from the predictions of the run, float64 (images,), 0 to 1.
        tolerance: Largest allowed difference in P(crack).
        name: Name of the model in messages; if empty, messages name the folder.

    Raises:
        RuntimeError: The model cannot be loaded, it refuses an image, or an answer differs by more than the tolerance.
    """
    with ModelProcess(folder, name) as model:
        answers = model.ask(images.tolist())

    for sample_id, answer, expected in zip(images.index, answers, measured, strict=True):
        image = f"image {sample_id[:12]}"
        if "error" in answer:
            raise RuntimeError(
                f"{image} was measured with P(crack) {expected:.6f}, but the served model refuses this image: "
                f"{answer['error']}"
            )

        close = abs(answer["p_crack"] - expected) <= tolerance  # False for NaN
        if not close:
            raise RuntimeError(
                f"{image} was measured with P(crack) {expected:.6f}, but the served model answers "
                f"{answer['p_crack']:.6f}; a difference of at most {tolerance:g} is allowed"
            )
