"""The registered model as MLflow loads it. It receives image files as base64 and returns P(crack).

The model is logged in MLflow's way "models from code": MLflow runs this file and unpickles nothing. Every module of
this project that this file imports is copied into the model's code folder. So a serving host does not need this
project.
"""

import base64
import binascii
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from components.shared.data.image import ImageError
from components.shared.data.manifest import CLASSES
from components.shared.network.saved_network import load_network
from components.shared.network.tiles import decode_tile
from components.shared.results.calibration import read_calibration


class CrackClassifier(PythonModel):
    """The whole classifier: preprocessing, network, calibration and threshold."""

    def load_context(self, context: Any) -> None:
        """Load the saved-model folder and its calibration on the CPU."""
        self.network = load_network(context.artifacts["model"])
        self.calibration = read_calibration(context.artifacts["calibration"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict | None = None) -> pd.DataFrame:
        """Classify images.

        Args:
            context: MLflow passes it. It is not used.
            model_input: One string column `image`: base64 of a PNG, JPEG or other image file. A path or URL is refused.
            params: Not used.

        Returns:
            One row per image: p_crack (0 to 1, calibrated), label ("crack" or "no_crack") and threshold (0 to 1).

        Raises:
            MlflowException: There is no row, or a row is not base64 of a complete image file. A server then answers
                with status 400.
        """
        if model_input.empty:
            raise MlflowException.invalid_parameter_value("the column image is empty; send at least one image")

        size = self.network.input_size
        tiles = np.stack([_tile(row, text, size) for row, text in enumerate(model_input["image"])])

        with torch.inference_mode():
            logits = self.network(torch.from_numpy(tiles).permute(0, 3, 1, 2)).numpy()

        p_crack = self.calibration.p_crack(logits[:, 0], logits[:, 1])
        labels = np.take(CLASSES, p_crack >= self.calibration.threshold)
        return pd.DataFrame({"p_crack": p_crack, "label": labels, "threshold": self.calibration.threshold})


def _tile(row: int, cell: Any, size: int) -> np.ndarray:
    """Decode a cell of the column `image`, and return the tile, uint8 (size, size, 3) RGB."""
    if isinstance(cell, list) and len(cell) == 1:  # some requests give a row as a list of its cells
        cell = cell[0]

    try:
        return decode_tile(base64.b64decode(cell, validate=True), size)
    except (binascii.Error, TypeError, ValueError) as error:  # TypeError: the cell is not text
        cause = error if isinstance(error, ImageError) else "not base64"
        raise MlflowException.invalid_parameter_value(
            f"row {row} of the column image must be base64 of an image file (a path or a URL is never opened): {cause}"
        ) from error


set_model(CrackClassifier())
