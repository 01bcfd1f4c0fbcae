"""The saved-model folder: `model.safetensors` (the backbone's tensors) and `model.json` (ModelInfo). No pickle.

`model.sha256` holds the checksums of both, as `sha256sum` writes them: no bit of the three can change unseen.
"""

import hashlib
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from components.shared.errors import InputError
from components.shared.hashing import file_digest
from components.shared.network.network import ModelInfo, Network, build_network

WEIGHTS, INFO, SUMS = "model.safetensors", "model.json", "model.sha256"


def save_network(network: Network, folder: str | Path) -> None:
    """Write a network to a folder, created where it is missing; the same weights give the same bytes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.backbone.state_dict().items()}
    save_file(tensors, folder / WEIGHTS)
    (folder / INFO).write_text(network.info.model_dump_json(indent=2))
    (folder / SUMS).write_bytes(_sums(folder))


def read_info(folder: str | Path) -> ModelInfo:
    """Read `model.json`.

    Raises:
        InputError: A file is missing or damaged, or of a version or content this code does not know.
    """
    folder = Path(folder)
    for name in (INFO, WEIGHTS, SUMS):
        if not (folder / name).is_file():
            raise InputError(f"{folder} is no saved model: {name} is missing")
    if (folder / SUMS).read_bytes() != _sums(folder):
        raise InputError(f"the saved model {folder} is damaged: its files are not those that {SUMS} names")
    path = folder / INFO
    try:
        return ModelInfo.model_validate_json(path.read_bytes())
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
    except (SafetensorError, RuntimeError) as error:
        raise InputError(
            f"{path} cannot be loaded as {network.info.architecture}: {str(error).splitlines()[0]}"
        ) from error
    return network.to(device).eval()


def weights_digest(folder: str | Path) -> str:
    """Return the sha256 of a saved model's checksums, which names the model."""
    return hashlib.sha256(_sums(Path(folder))).hexdigest()


def _sums(folder: Path) -> bytes:
    return "".join(f"{file_digest(folder / name)}  {name}\n" for name in (INFO, WEIGHTS)).encode()
