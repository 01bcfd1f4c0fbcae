"""Write and read the saved-model folder: `model.safetensors` (the backbone's tensors) and `model.json` (ModelInfo).

`model.sha256` holds the checksums of both files, in the format of `sha256sum`. Readers verify them, so a change of any
bit is noticed. No file contains a pickle, which could run code when it is loaded.
"""

import hashlib
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from components.shared.errors import InputError
from components.shared.hashing import file_digest
from components.shared.network.model_info import ModelInfo
from components.shared.network.network import Network, build_network

WEIGHTS = "model.safetensors"
INFO = "model.json"
CHECKSUMS = "model.sha256"


def save_network(network: Network, folder: str | Path) -> None:
    """Write a network to a folder. Create the folder if it does not exist. The same weights give the same bytes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.backbone.state_dict().items()}
    save_file(tensors, folder / WEIGHTS)
    (folder / INFO).write_text(network.info.model_dump_json(indent=2))
    (folder / CHECKSUMS).write_bytes(_checksums(folder))


def read_info(folder: str | Path) -> ModelInfo:
    """Read `model.json` and verify the checksums of the folder.

    Raises:
        InputError: A file is missing or damaged, or `model.json` is not valid for this code.
    """
    folder = Path(folder)
    for name in (INFO, WEIGHTS, CHECKSUMS):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder} is not a saved model: {name} is missing; give the folder that the step train wrote"
            )
    if (folder / CHECKSUMS).read_bytes() != _checksums(folder):
        raise InputError(
            f"the saved model {folder} is damaged: its files do not match the checksums in {CHECKSUMS}; fetch it again"
        )

    path = folder / INFO
    try:
        return ModelInfo.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}: {field}: {first['msg']} (got {first['input']!r}); train the model again with this "
            "version of the code"
        ) from error


def load_network(folder: str | Path, device: str = "cpu") -> Network:
    """Load a trained network and return it in eval mode.

    Raises:
        InputError: A file is missing or damaged, or the tensors' names or shapes do not fit the architecture.
    """
    network = build_network(read_info(folder), load_weights=False)
    path = Path(folder) / WEIGHTS
    try:
        network.backbone.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        cause = str(error).splitlines()[0]
        raise InputError(
            f"{path} cannot be loaded as {network.info.architecture}: {cause}; train and save the model again"
        ) from error
    return network.to(device).eval()


def weights_digest(folder: str | Path) -> str:
    """Return the sha256 of a saved model's checksums, which identifies the model."""
    return hashlib.sha256(_checksums(Path(folder))).hexdigest()


def _checksums(folder: Path) -> bytes:
    """Return the content that `model.sha256` must have: the checksums of `model.json` and `model.safetensors`."""
    lines = [f"{file_digest(folder / name)}  {name}\n" for name in (INFO, WEIGHTS)]
    return "".join(lines).encode()
