"""Build and check the augmentation of training tiles, from the transforms that the parameter file names."""

import difflib
import inspect
import random
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from pydantic import JsonValue, ValidationError

from components.shared.errors import InputError
from components.train.config import NamedTransform, TrainConfig
from components.train.opencv_transforms import FastColorJitter, FastGaussNoise
from components.train.quiet_albumentations import BasicTransform, Compose, albumentations

OWN_TRANSFORMS: dict[str, type[BasicTransform]] = {
    "FastColorJitter": FastColorJitter,
    "FastGaussNoise": FastGaussNoise,
}
# A parameter file cannot name these classes. The first three are base classes, Transform3D is for volumes, and Lambda
# takes Python functions.
NOT_FOR_TILES = {"BasicTransform", "DualTransform", "ImageOnlyTransform", "Transform3D", "Lambda"}
# In a parameter file, OpenCV's constants are written by name, such as BORDER_REFLECT_101.
OPENCV_CONSTANT = re.compile(r"(BORDER|INTER)_[A-Z0-9_]+")
# The check applies a transform once with each of these seeds. Some transforms change the size of a tile only sometimes.
TRIAL_SEEDS = range(3)


def build_augmentation(transforms: Sequence[NamedTransform]) -> Callable[[np.ndarray, int], np.ndarray]:
    """Return the function `augment(image, seed)`. Image and result are (H, W, 3) uint8 RGB.

    The result depends only on the image and the seed.

    Args:
        transforms: The transforms in `TrainConfig.augment`. They are applied in the order of this list.

    Raises:
        InputError: A name or an argument is wrong.
    """
    pipeline = Compose([_build(item, position) for position, item in enumerate(transforms)])

    def augment(image: np.ndarray, seed: int) -> np.ndarray:
        # All transforms take their random numbers from these two generators, in turn. `set_random_seed` would give
        # every transform the same random numbers. Then, for example, a tile with strong noise would always be bright.
        pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        return pipeline(image=image)["image"]

    return augment


def check_augmentation(config: TrainConfig) -> None:
    """Build every transform and apply it to a tile of the network's input size.

    Raises:
        InputError: A transform is unknown, has a wrong argument, needs data that a tile does not have, or changes the
            size or the type of the tile.
    """
    random_pixels = np.random.default_rng(0)
    tile = random_pixels.integers(0, 256, (config.input_size, config.input_size, 3), dtype=np.uint8)
    for position, item in enumerate(config.augment):
        _try(_build(item, position), tile, _place(item, position))


def transforms_for_tiles() -> dict[str, type[BasicTransform]]:
    """Return the transforms that a parameter file may name: Albumentations' transforms for images, and our own."""
    found = dict(OWN_TRANSFORMS)
    for name, kind in inspect.getmembers(albumentations, inspect.isclass):
        for_volumes = issubclass(kind, albumentations.Transform3D)
        if issubclass(kind, BasicTransform) and not for_volumes and name not in NOT_FOR_TILES:
            found[name] = kind
    return found


def _place(item: NamedTransform, position: int) -> str:
    return f"augment.{position}.{next(iter(item))}"


def _build(item: NamedTransform, position: int) -> BasicTransform:
    [(name, arguments)] = item.items()
    known = transforms_for_tiles()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f'did you mean "{near[0]}"?' if near else "https://albumentations.ai/docs lists the names"
        raise InputError(f'augment.{position}: Albumentations has no transform "{name}" for tiles; {hint}')

    values = {key: _opencv_constant(value) for key, value in arguments.items()}
    try:
        with warnings.catch_warnings():
            # Albumentations only warns about an unknown argument. We turn the warning into an error.
            warnings.simplefilter("error")
            return known[name](**values)
    except (ValueError, TypeError, Warning) as error:
        known_arguments = ", ".join(inspect.signature(known[name]).parameters)
        raise InputError(
            f"{_place(item, position)}: {_cause(error)}; correct the arguments. {name} accepts {known_arguments}"
        ) from error


def _opencv_constant(value: JsonValue) -> Any:
    """Return the number of an OpenCV constant, such as 4 for "BORDER_REFLECT_101". Other values are not changed."""
    if isinstance(value, str) and OPENCV_CONSTANT.fullmatch(value):
        return getattr(cv2, value, value)
    return value


def _cause(error: Exception) -> str:
    """Return, in one line, why Albumentations refuses a transform's arguments. `error` is the error that it raised."""
    if not isinstance(error.__cause__, ValidationError):
        return str(error).splitlines()[0]

    detail = error.__cause__.errors()[0]
    message = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:
        return message
    if detail["type"] == "missing":
        return f"{detail['loc'][0]} is missing"
    return f"{detail['loc'][0]} is {detail['input']}: {message}"


def _try(transform: BasicTransform, tile: np.ndarray, place: str) -> None:
    """Apply a transform to a tile a few times.

    Raises:
        InputError: The transform fails on the tile, needs data that a tile does not have, or changes the tile's size or
            type.
    """
    if isinstance(transform, albumentations.ConstrainedCoarseDropout):
        raise _needs(place, "mask")  # without a mask, this transform does nothing and raises no error
    for target in transform.targets_as_params:
        if target != "image":
            raise _needs(place, target)

    side = len(tile)
    for seed in TRIAL_SEEDS:
        transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        try:
            result = transform(image=tile, force_apply=True)["image"]
        except KeyError as error:  # the transform looks for data that tiles do not have
            raise _needs(place, str(error.args[0])) from error
        except Exception as error:  # the transforms of Albumentations raise many kinds of errors
            raise InputError(
                f"{place} fails on a tile of {side} px: {error}; change its arguments, or remove it"
            ) from error

        if result.shape != tile.shape:
            size = " x ".join(map(str, result.shape[:2]))
            raise InputError(
                f"{place} changes a tile of {side} x {side} px to {size} px, but the network needs {side} px; choose a "
                f"transform that keeps the size, such as RandomResizedCrop: {{size: [{side}, {side}]}}"
            )
        if result.dtype != tile.dtype:
            raise InputError(
                f"{place} changes the tile's values from uint8 to {result.dtype}; remove this transform, because the "
                "network normalises its tiles itself"
            )


def _needs(place: str, target: str) -> InputError:
    return InputError(f"{place} needs {target}, but a tile has only a label; choose another transform")
