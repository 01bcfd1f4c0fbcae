"""Check that the registered version, loaded as a serving host loads it, answers as the measured network did."""

import numpy as np
import pandas as pd

from components.shared.network.served_process import ModelProcess


def check_version(model_uri: str, images: pd.Series, measured: np.ndarray, tolerance: float) -> None:
    """Compare a logged model's answers with the stored predictions of the same images.

    Args:
        model_uri: As MLflow writes it, such as `models:/crack-classifier/3`.
        images: base64 of image files by sample_id.
        measured: Calibrated P(crack) of the stored predictions, float64 (images,), 0 to 1.
        tolerance: Largest allowed difference in P(crack).

    Raises:
        RuntimeError: The model cannot be loaded, refuses an image, or an answer is too different.
    """
    with ModelProcess(model_uri) as model:
        answers = model.ask(images.tolist())

    for sample_id, answer, expected in zip(images.index, answers, measured, strict=True):
        name = f"image {sample_id[:12]}"
        if "error" in answer:
            raise RuntimeError(f"{name} was measured with P(crack) {expected:.6f} and is refused: {answer['error']}")

        close = abs(answer["p_crack"] - expected) <= tolerance  # False for NaN
        if not close:
            raise RuntimeError(
                f"{name} was measured with P(crack) {expected:.6f} and is served with {answer['p_crack']:.6f}; at most "
                f"{tolerance:g} apart is allowed"
            )
