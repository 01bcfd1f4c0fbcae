"""Load the registered model version as a serving host does, and compare its answers with the measured answers."""

import numpy as np
import pandas as pd

from components.shared.network.served_process import ModelProcess


def check_version(model_uri: str, images: pd.Series, measured: np.ndarray, tolerance: float) -> None:
    """Compare a logged model's answers with the stored predictions of the same images.

    Args:
        model_uri: The model's URI as MLflow writes it, such as `models:/crack-classifier/3`.
        images: Image files in base64, by sample_id.
        measured: Calibrated P(crack) of the stored predictions, float64 (images,), 0 to 1.
        tolerance: Largest allowed difference in P(crack).

    Raises:
        RuntimeError: The model cannot be loaded, it refuses an image, or an answer differs by more than the tolerance.
    """
    with ModelProcess(model_uri) as model:
        answers = model.ask(images.tolist())

    for sample_id, answer, expected in zip(images.index, answers, measured, strict=True):
        name = f"image {sample_id[:12]}"
        if "error" in answer:
            raise RuntimeError(
                f"{name} was measured with P(crack) {expected:.6f}, but the served model refuses it: {answer['error']}"
            )

        close = abs(answer["p_crack"] - expected) <= tolerance  # False for NaN
        if not close:
            raise RuntimeError(
                f"{name} was measured with P(crack) {expected:.6f}, but the served model answers "
                f"{answer['p_crack']:.6f}; a difference of at most {tolerance:g} is allowed"
            )
