"""Find the licence of the initial weights, and check that the run allows it."""

from pathlib import Path

from components.shared.errors import InputError
from components.shared.network.weights_metadata import read_metadata
from components.train.config import TrainConfig


def checked_licence(config: TrainConfig) -> str:
    """Return the licence of the initial weights. Return "" if it is not known, or if training starts from scratch.

    What the publisher says counts more than the setting `weights_licence`: timm for weights on its hub, and the
    metadata of a file. The metadata of an object in S3 are known only after the download.

    Raises:
        InputError: `weights_licences` is not empty, and the licence is not in it or is not known.
    """
    if config.weights == "none":
        return ""

    licence = config.weights_licence
    if config.weights == "hub":
        licence = _published_licence(config.architecture) or licence
    elif Path(config.weights).is_file():
        licence = read_metadata(Path(config.weights)).licence or licence
    check_allowed(licence, config)
    return licence


def check_allowed(licence: str, config: TrainConfig) -> None:
    """Raise `InputError` if `weights_licences` is not empty, and a licence is not in it or is "" (not known)."""
    allowed = ", ".join(config.weights_licences)
    if config.weights == "none" or not allowed:
        return
    if not licence:
        raise InputError(
            f'the licence of the weights "{config.weights}" of {config.architecture} is not known, but '
            f"weights_licences allows only {allowed}; set weights_licence to the licence of these weights"
        )
    if licence.lower() not in allowed.lower().split(", "):
        raise InputError(
            f'the weights "{config.weights}" of {config.architecture} have the licence {licence}, but weights_licences '
            f"allows only {allowed}; choose other weights, or add the licence to weights_licences"
        )


def _published_licence(architecture: str) -> str:
    """Return the licence that timm gives for the weights on its hub. Return "" if timm does not know it."""
    import timm  # imported here because a machine without PyTorch can check the licence of a weights file

    published = timm.get_pretrained_cfg(architecture)
    licence = published.license if published else None
    return "" if licence in (None, "unknown") else licence
