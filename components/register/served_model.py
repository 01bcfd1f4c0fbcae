"""The registered model as MLflow loads it. It receives image files as base64 and returns P(crack).

The model is logged as "models from code" (MLflow's term): MLflow runs this file and unpickles nothing. This file
imports modules of this project. The model's code folder contains copies of these modules, so a serving host does not
need this project.
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

from components.shared.data.drift_profile import read_profile
from components.shared.data.image import ImageError, decode_filled, read_header
from components.shared.data.image_features import describe_images
from components.shared.data.manifest import CLASSES
from components.shared.data.novelty import Novelty
from components.shared.network.resize import Resize
from components.shared.network.saved_network import load_network
from components.shared.results.calibration import read_calibration

MAX_PIXELS = 50_000_000  # limit of one image in a request; a decoded image needs three bytes per pixel
TILES_AT_ONCE = 32  # a request is classified in batches of this size, to limit its memory


class CrackClassifier(PythonModel):
    """The whole classifier: preprocessing, network, calibration, threshold, review band and novelty score."""

    def load_context(self, context: Any) -> None:
        """Load the saved-model folder, its calibration and its reference profile on the CPU."""
        self.network = load_network(context.artifacts["model"])
        self.calibration = read_calibration(context.artifacts["calibration"])
        profile = read_profile(context.artifacts["reference_profile"])
        self.novelty = Novelty.read(profile, context.artifacts["novelty"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict | None = None) -> pd.DataFrame:
        """Classify images.

        Args:
            context: MLflow passes it. It is not used.
            model_input: One string column `image`: base64 of a PNG, JPEG or other image file. A path or URL is refused.
            params: Not used.

        Returns:
            One row per image, with these columns:
            p_crack: calibrated, 0 to 1.
            label: "crack" or "no_crack".
            threshold: smallest P(crack) that gets the label "crack", 0 to 1.
            novelty: at least 0. Above 1, the image is unlike the training images, and the answer is not reliable.
            needs_review: whether a person must look at the image. None if the model has no review band.

        Raises:
            MlflowException: There is no row, or a row is not base64 of a complete image file, or an image has more
                than MAX_PIXELS pixels. A server then answers with status 400.
        """
        if model_input.empty:
            raise MlflowException.invalid_parameter_value("the column image is empty; send at least one image")

        cells = list(model_input["image"])
        answers = []
        for first in range(0, len(cells), TILES_AT_ONCE):
            rows = range(first, min(first + TILES_AT_ONCE, len(cells)))
            answers.append(self._answers([_image(row, cells[row], self.network.resize) for row in rows]))
        return pd.concat(answers, ignore_index=True)

    def _answers(self, images: list[tuple[np.ndarray, pd.DataFrame]]) -> pd.DataFrame:
        """Return the answers to images. Each image is given as a decoded tile and its features."""
        tiles = np.stack([tile for tile, _ in images])
        features = pd.concat([described for _, described in images], ignore_index=True)
        with torch.inference_mode():
            logits, embeddings = self.network.logits_and_embeddings(torch.from_numpy(tiles).permute(0, 3, 1, 2))

        p_crack = self.calibration.p_crack(logits[:, 0].numpy(), logits[:, 1].numpy())
        return pd.DataFrame(
            {
                "p_crack": p_crack,
                "label": np.take(CLASSES, p_crack >= self.calibration.threshold),
                "threshold": self.calibration.threshold,
                "novelty": self.novelty.scores(features, embeddings.numpy()),
                "needs_review": self.calibration.needs_review(p_crack),
            }
        )


def _image(row: int, cell: Any, resize: Resize) -> tuple[np.ndarray, pd.DataFrame]:
    """Decode a cell of column `image`. Return the tile, uint8 (size, size, 3) RGB, and the image's features."""
    if isinstance(cell, list) and len(cell) == 1:  # some requests give a row as a list of its cells
        cell = cell[0]

    try:
        data = base64.b64decode(cell, validate=True)
        header = read_header(data)
        if header.width * header.height > MAX_PIXELS:
            raise ImageError(
                f"the image has {header.width}x{header.height} pixels, more than {MAX_PIXELS:,}; send a tile"
            )
        image = decode_filled(data).pixels
    except (binascii.Error, TypeError, ValueError) as error:  # TypeError: the cell is not text
        cause = error if isinstance(error, ImageError) else "not base64"
        raise MlflowException.invalid_parameter_value(
            f"row {row} of the column image must be base64 of an image file (a path or a URL is never opened): {cause}"
        ) from error
    return resize(image), describe_images([image])


set_model(CrackClassifier())
