"""What is trained, and a rehearsal that finds what cannot work before any data is fetched."""

import os
import shutil

import torch

from components.shared.errors import InputError
from components.shared.network.network import ModelInfo, build_network, describe
from components.train.augmentation import check_augmentation
from components.train.config import TrainConfig
from components.train.frozen_layers import freeze
from components.train.optimizer import make_optimizer

# What an architecture may be unable to do; an error message shows their values.
LIMITED_BY_ARCHITECTURE = ("input_size", "tuning", "layer_decay", "dropout", "stochastic_depth")


def describe_network(config: TrainConfig, seed: int) -> ModelInfo:
    """Return the description of the network that will be trained; opens no connection.

    Raises:
        InputError: timm has no such architecture, or the weights file does not exist.
    """
    return describe(
        config.architecture,
        config.weights,
        config.input_size,
        seed,
        dropout=config.dropout,
        stochastic_depth=config.stochastic_depth,
        tuning=config.tuning,
    )


def rehearse(info: ModelInfo, config: TrainConfig) -> None:
    """Build augmentation and network as the training will, and run each on one tile.

    Raises:
        InputError: A transform cannot be used on tiles; the weights cannot be fetched or do not fit; timm cannot build,
            freeze or run the network with these settings; or `compile` is set and there is no C compiler.
    """
    check_augmentation(config)
    if config.compile and not has_compiler():
        raise InputError(
            "compile is true, but Triton needs a C compiler and there is none; set compile to false, or install one "
            "(apt-get install gcc libc6-dev); images/Dockerfile says how to add one to the project's container image"
        )

    try:
        network = build_network(info).eval()
        freeze(network, config.tuning)
        make_optimizer(network, config)
        with torch.inference_mode():
            network.logits_and_embeddings(torch.zeros(1, 3, info.input_size, info.input_size, dtype=torch.uint8))
    except InputError:
        raise
    except Exception as error:  # timm's networks differ in what they cannot do and in the errors that they raise
        settings = ", ".join(f"{name} {getattr(config, name)}" for name in LIMITED_BY_ARCHITECTURE)
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{config.architecture} cannot be trained with {settings}: {cause}; remove the setting that it does not "
            "support, or choose another architecture"
        ) from error


def has_compiler() -> bool:
    """Whether Triton, which `torch.compile` uses on a GPU, finds a C compiler."""
    return bool(os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"))
