"""Describe the network, and run it once on a few tiles, so that wrong settings are found before data is fetched."""

import os
import shutil

from components.shared.errors import InputError
from components.shared.network.model_info import ModelInfo
from components.shared.network.network import build_network, describe, try_on_tiles
from components.train.augmentation import check_augmentation
from components.train.config import TrainConfig
from components.train.frozen_layers import freeze
from components.train.licence import check_allowed, checked_licence
from components.train.optimizer import make_optimizer

# Settings that some architectures do not support. The error message shows their values.
LIMITED_BY_ARCHITECTURE = ("input_size", "tuning", "layer_decay", "dropout", "stochastic_depth")


def describe_network(config: TrainConfig, seed: int) -> ModelInfo:
    """Return the description of the network that will be trained. Nothing is downloaded.

    Raises:
        InputError: timm has no such architecture, the weights file does not exist, or the licence of the weights is not
            allowed.
    """
    return describe(
        config.architecture,
        config.weights,
        config.input_size,
        seed,
        {"mean": config.mean, "std": config.std, "interpolation": config.interpolation},
        dropout=config.dropout,
        stochastic_depth=config.stochastic_depth,
        tuning=config.tuning,
        tile_mm=config.tile_mm,
        weights_licence=checked_licence(config),
    )


def dry_run(info: ModelInfo, config: TrainConfig) -> ModelInfo:
    """Build the augmentation and the network in the same way as the training, and try both of them.

    Returns:
        The description of the network. It now also has the facts that are known only after the weights are loaded.

    Raises:
        InputError: A transform cannot be used on tiles, `compile` is true but there is no C compiler, or the network
            cannot be trained (see `try_network`).
    """
    check_augmentation(config)
    check_compiler(config)
    return try_network(info, config)


def check_compiler(config: TrainConfig) -> None:
    """Raise `InputError` if `compile` is true, but there is no C compiler."""
    if config.compile and not has_compiler():
        raise InputError(
            "compile is true, but Triton needs a C compiler and finds none; set compile to false, or install a "
            "compiler (apt-get install gcc libc6-dev). images/Dockerfile says how to add gcc to the container image"
        )


def try_network(info: ModelInfo, config: TrainConfig) -> ModelInfo:
    """Build the network in the same way as the training, run it on three tiles, and return its description.

    Raises:
        InputError: The weights cannot be fetched, are not for this architecture or have a licence that is not allowed,
            or the network cannot be built, frozen or run with these settings.
    """
    try:
        network = build_network(info).eval()
        freeze(network, config.tuning)
        make_optimizer(network, config)
        try_on_tiles(network)
        check_allowed(network.info.weights_licence, config)
        return network.info
    except InputError:
        raise
    except Exception as error:  # timm's networks raise different errors for settings that they do not support
        settings = ", ".join(f"{name} {getattr(config, name)}" for name in LIMITED_BY_ARCHITECTURE)
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{config.architecture} cannot be trained with {settings}: {cause}; remove the setting that this "
            "architecture does not support, or choose another architecture"
        ) from error


def has_compiler() -> bool:
    """Return whether Triton finds a C compiler. `torch.compile` uses Triton on a GPU."""
    return bool(os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"))
