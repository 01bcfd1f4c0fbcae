"""Does the registered version answer as the network that was measured? Asked as a serving host would load it."""

import numpy as np
import pandas as pd

from components.shared.network.served_process import ModelProcess


def check_version(model_uri: str, images: pd.Series, measured: np.ndarray, tolerance: float) -> None:
    """Hold a logged model's answers against the stored predictions of the same images.

    Args:
        model_uri: As MLflow writes it, such as `models:/crack-classifier/3`.
        images: base64 of image files by sample_id.
        measured: float64 (images,): calibrated P(crack) of the stored predictions.
        tolerance: P(crack): how far apart the two may be.

    Raises:
        RuntimeError: The model cannot be loaded, refuses an image or answers otherwise; the message says which.
    """
    with ModelProcess(model_uri) as model:
        answers = model.ask(images.tolist())
    for sample_id, answer, expected in zip(images.index, answers, measured, strict=True):
        name = f"image {sample_id[:12]}"
        if "error" in answer:
            raise RuntimeError(f"{name} was measured with P(crack) {expected:.6f} and is refused: {answer['error']}")
        if not abs(answer["p_crack"] - expected) <= tolerance:  # not >, so that NaN disagrees
            raise RuntimeError(
                f"{name} was measured with P(crack) {expected:.6f} and is served with {answer['p_crack']:.6f}; at most "
                f"{tolerance:g} apart is allowed"
            )
