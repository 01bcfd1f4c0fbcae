"""Describe a network, so that it can be built again."""

from typing import Literal

from pydantic import Field

from components.shared.config import Config, Interpolation
from components.shared.data.manifest import CLASSES
from components.shared.network.resize import Resize
from components.shared.network.weight_values import shown_names


class ModelInfo(Config):
    """The description of a network. It is enough to build the network again, except for the trained weights.

    The file `model.json` contains these fields.

    Attributes:
        architecture: Name in timm, such as "resnet50".
        classes: Names of the two logits, in their order.
        weights: "none", "hub" (timm's default for the architecture), a file's path or s3://BUCKET/KEY.
        weights_sha256: sha256 of the weights file. It is empty for "none". For "hub", it is empty until the weights are
            loaded.
        weights_licence: Licence of the pretrained weights, such as "apache-2.0". It is empty if it is not known.
        weights_resampled: Names of the pretrained tensors that timm resampled to another size, such as position
            embeddings. It is empty until the weights are loaded.
        input_size: Height and width in pixels.
        mean: Mean per RGB channel that the pretrained weights expect, on the scale 0 to 1.
        std: Standard deviation per RGB channel, on the same scale.
        interpolation: How tiles are scaled to `input_size`, unless they shrink strongly.
        given: Those of the fields mean, std and interpolation that the user set. Metadata of a weights file replace the
            other ones when the weights are loaded.
        dropout: Probability of dropout before the head.
        stochastic_depth: Probability that training skips the deepest block. Earlier blocks are skipped less often.
        tuning: The trained layers: "full", "head_only" or "last_N".
        seed: Seed of the random weights: the weights of the head, or all weights if `weights` is "none".
        dataset_digest: Digest of the data set version that the network was trained on.
        split_digest: Digest of the splits that the network was trained on.
        tile_pixels: Median side of the training tiles, pixels, before they were scaled to `input_size`. It is None if
            the network was trained before this was recorded.
        tile_mm: Side of a training tile on the concrete, millimetres; None if unknown.
    """

    format_version: Literal[1] = 1
    architecture: str
    classes: tuple[str, str] = CLASSES
    weights: str = "none"
    weights_sha256: str = ""
    weights_licence: str = ""
    weights_resampled: tuple[str, ...] = ()
    input_size: int = Field(ge=16)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = "bilinear"
    given: tuple[str, ...] = ()
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    tuning: str = "full"
    seed: int = 0
    dataset_digest: str = ""
    split_digest: str = ""
    tile_pixels: int | None = Field(default=None, gt=0)
    tile_mm: float | None = Field(default=None, gt=0)

    @property
    def tile_side(self) -> int:
        """Return the side of a training tile in pixels, or the network's input size if it was not recorded."""
        return self.tile_pixels or self.input_size

    @property
    def preprocessing(self) -> str:
        """Return in words how a tile is prepared for the network."""
        mean, std = (", ".join(f"{value:g}" for value in channels) for channels in (self.mean, self.std))
        return f"normalised with mean {mean} and std {std}, and scaled with {self.interpolation} interpolation"

    @property
    def resize(self) -> Resize:
        """Return the function that scales a tile to the network's input size."""
        return Resize(self.input_size, self.interpolation)

    @property
    def initial_weights(self) -> str:
        """Return in words from which weights the training started."""
        if self.weights == "none":
            return "random weights"
        licence = self.weights_licence or "not known"
        resampled = ""
        if self.weights_resampled:
            names = shown_names(list(self.weights_resampled))
            resampled = f"; they were made for another input size, so timm resampled {names}"
        return f"pretrained weights ({self.weights}, sha256 {self.weights_sha256[:12]}, licence: {licence}{resampled})"
