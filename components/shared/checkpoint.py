"""The saved-model folder: `model.safetensors` (the backbone's tensors) and `model.json` (ModelInfo). No pickle."""

import hashlib
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from components.shared.model import ModelInfo, Network, build_network
from components.shared.runtime import InputError

WEIGHTS, INFO = "model.safetensors", "model.json"


def save_network(network: Network, folder: str | Path) -> None:
    """Write a network to a folder, created where it is missing; the same weights give the same bytes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.backbone.state_dict().items()}
    save_file(tensors, folder / WEIGHTS)
    (folder / INFO).write_text(network.info.model_dump_json(indent=2))


def read_info(folder: str | Path) -> ModelInfo:
    """Read `model.json`.

    Raises:
        InputError: The file is missing, or of a version or content this code does not know.
    """
    path = Path(folder) / INFO
    try:
        return ModelInfo.model_validate_json(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"{folder} is no saved model: {INFO} is missing") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}: {where}: {first['msg']} (got {first['input']!r}); the model needs saving anew"
        ) from error


def load_network(folder: str | Path, device: str = "cpu") -> Network:
    """Load a trained network in eval mode.

    Raises:
        InputError: A file is missing or damaged, or names or shapes of the tensors do not fit the architecture.
    """
    network = build_network(read_info(folder), load_weights=False)
    path = Path(folder) / WEIGHTS
    try:
        network.backbone.load_state_dict(load_file(path))
    except (FileNotFoundError, SafetensorError, RuntimeError) as error:
        raise InputError(
            f"{path} cannot be loaded as {network.info.architecture}: {str(error).splitlines()[0]}"
        ) from error
    return network.to(device).eval()


def weights_digest(folder: str | Path) -> str:
    """sha256 of a saved model's two files, which names the model."""
    content = (Path(folder) / WEIGHTS).read_bytes() + (Path(folder) / INFO).read_bytes()
    return hashlib.sha256(content).hexdigest()
