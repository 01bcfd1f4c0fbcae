"""What a weights file says about itself, in the metadata of a safetensors file.

`crack-pipeline weights import` writes these texts. The format: 8 bytes with the length of the header (little endian),
then the header in JSON, whose key `__metadata__` holds texts by name. We read it without the library safetensors,
because a machine without PyTorch checks the licence of a weights file.

Source: https://github.com/huggingface/safetensors#format
"""

import json
from pathlib import Path

from pydantic import ValidationError

from components.shared.config import ChannelDeviations, ChannelMeans, Config, Interpolation
from components.shared.errors import InputError

LONGEST_HEADER = 100_000_000  # bytes, as in the library safetensors
# These texts hold JSON. All other texts are plain.
_IN_JSON = ("mean", "std")


class WeightsMetadata(Config):
    """What a weights file says about itself. A field that the file does not have is None or "".

    Attributes:
        architecture: Name in timm, such as "tf_efficientnet_lite0".
        mean: Mean per RGB channel that the weights expect, on the scale 0 to 1.
        std: Standard deviation per RGB channel, on the same scale.
        interpolation: How the images of the pretraining were scaled.
        licence: Licence of the weights, such as "apache-2.0".
        source: Where the weights come from, such as an address or the name of a file.
    """

    architecture: str = ""
    mean: ChannelMeans | None = None
    std: ChannelDeviations | None = None
    interpolation: Interpolation | None = None
    licence: str = ""
    source: str = ""

    def texts(self) -> dict[str, str]:
        """Return the metadata as a safetensors file stores them: name -> text."""
        stored = {}
        for name, value in self.model_dump(exclude_none=True).items():
            stored[name] = json.dumps(value) if name in _IN_JSON else value
        return stored


def read_metadata(path: Path) -> WeightsMetadata:
    """Return what a weights file says about itself. A file that is not in the format safetensors says nothing.

    Raises:
        InputError: A text of the file is not valid. The message gives only the cause.
    """
    texts = _texts(path) if path.suffix == ".safetensors" else {}
    fields = {}
    for name, text in texts.items():
        if name in WeightsMetadata.model_fields:
            fields[name] = _from_json(text) if name in _IN_JSON else text
    if ("mean" in fields) != ("std" in fields):
        raise InputError(
            "the metadata of the file have only one of mean and std; write the file again with "
            '"crack-pipeline weights import"'
        )
    try:
        return WeightsMetadata.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise InputError(
            f'the metadata of the file have {name} "{texts[name]}": {first["msg"]}; write the file again with '
            '"crack-pipeline weights import"'
        ) from error


def _texts(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file: name -> text. A damaged file has none; its reader gives the cause."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, LONGEST_HEADER))
    try:
        return dict(json.loads(header).get("__metadata__", {}))
    except (ValueError, AttributeError, TypeError):
        return {}


def _from_json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
