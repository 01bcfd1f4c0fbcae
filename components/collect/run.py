"""Compute the drift profile of production images with the champion's network."""

import re
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from components.collect.config import CollectConfig
from components.collect.production_images import ProductionImages
from components.shared.config import Precision
from components.shared.data.drift_profile import Profile, make_profile, read_profile, write_profile
from components.shared.data.image_features import FEATURES, describe_image
from components.shared.errors import InputError
from components.shared.events import progress, warn
from components.shared.hashing import file_digest
from components.shared.name_search import first_groups, groups_of
from components.shared.network.device import pick_device, pick_precision
from components.shared.network.network import Network
from components.shared.network.saved_network import load_network
from components.shared.results.calibration import Calibration
from components.shared.results.dossier import PROFILE
from components.shared.services import mlflow_runs
from components.shared.services.version_files import version_files

NamedImage = tuple[str, np.ndarray]  # path below the folder or prefix, and uint8 (H, W, 3) RGB


def collect_images(uri: str, config: CollectConfig, observed: str, reference: str) -> tuple[str, str]:
    """Write the drift profiles of the production images and of the champion's training sample.

    On a day without images, the profile of the production images is empty. The check step then reports the result
    "skipped".

    Args:
        uri: Folder or s3:// prefix of the images. The placeholders {date} and {yesterday} are replaced by dates in UTC.
        config: Sample size, patterns for the paths, batch size, and the registered model's name.
        observed: File to write: the profile of the production images.
        reference: File to write: the profile of the training sample.

    Returns:
        The champion's model version, and the folder or prefix with the dates in place of {date} and {yesterday}.

    Raises:
        InputError: There is no champion, no image can be read, or the champion's answers are not finite. Or the
            champion's profile is missing, was made by another network, or was made with another version of the
            features. Or a pattern takes too long on a path.
    """
    model_name = config.model_name
    version = mlflow_runs.version_by_alias(model_name, mlflow_runs.CHAMPION)
    if version is None:
        raise InputError(
            f"the model {model_name} has no champion to compare the images with; run crack-training, then promote the "
            "model version that it registers"
        )

    images = ProductionImages(uri, config.sample)
    with version_files(model_name, version) as files:
        trained = _training_profile(files, f"{model_name} version {version}")
        shutil.copyfile(files / PROFILE, reference)

        if images.names:
            network = load_network(files / "model", pick_device())
            profile = _profile_images(images, network, trained.model, config)
        else:
            warn(f"there is no image under {images.uri}, so the drift check is skipped")
            profile = trained.rows(np.arange(0))
        write_profile(profile, observed)
    return version, images.uri


def _training_profile(files: Path, version: str) -> Profile:
    """Read the profile of a model version's training sample, and check that it belongs to the version's network."""
    path = files / PROFILE
    if not path.exists():
        raise InputError(
            f"{version} has no drift profile of its training sample; run crack-training again and promote the model "
            "version that it registers"
        )
    profile = read_profile(path)
    if profile.model != file_digest(files / "model" / "model.safetensors"):
        raise InputError(
            f"the drift profile of {version} belongs to another network, so the files of this model version were "
            "changed after its registration; run crack-training again and promote the model version that it registers"
        )
    return profile


def _profile_images(images: ProductionImages, network: Network, weights: str, config: CollectConfig) -> Profile:
    """Describe and classify all images. Return their drift profile. `weights` is the sha256 of the weights file."""
    photos = photos_of(images.names, config.group_pattern)
    slices = slices_of(images.names, config.slice_pattern)

    names: list[str] = []
    features: list[dict[str, float]] = []
    logits: list[np.ndarray] = []
    embeddings: list[np.ndarray] = []
    for batch in _batches(images.read(), config.batch_size):
        pixels = [image for _, image in batch]
        batch_logits, batch_embeddings = _classify(network, pixels, config.precision)

        names += [name for name, _ in batch]
        features.extend(map(describe_image, pixels))
        logits.append(batch_logits)
        embeddings.append(batch_embeddings)
        progress(len(names), len(images.names), "describing and classifying images")

    if not names:
        raise InputError(
            f"none of the {len(images.names)} images under {images.uri} can be read; open one of them in an image "
            "viewer, and check the program that wrote the images"
        )
    all_logits = np.concatenate(logits)
    if not np.isfinite(all_logits).all():
        raise InputError(
            "the champion gives answers that are not finite (its logits are NaN or infinite); return to the previous "
            "champion with `crack-pipeline rollback --by NAME --why REASON`"
        )

    uncalibrated = Calibration()
    return make_profile(
        groups=photos[names].to_numpy(),
        image_features=pd.DataFrame(features, columns=list(FEATURES)),
        p_crack=uncalibrated.p_crack(all_logits[:, 0], all_logits[:, 1]),
        embeddings=np.concatenate(embeddings),
        slices=slices.loc[names].reset_index(drop=True),
        model=weights,
    )


def photos_of(names: list[str], pattern: str | None) -> pd.Series:
    """Return, for each path of an image, the name of the photo that the image was cut from. Warn of paths without one.

    The name is the part of the path that the pattern's first capturing group matches. Without a pattern or a match, it
    is the whole path.
    """
    photos = pd.Series(names, index=names, dtype=object)
    if pattern is None:
        return photos

    found = pd.Series(first_groups(pattern, names), index=names, dtype=object)
    photos = found.where(found.astype(bool), photos)
    unmatched = np.count_nonzero(photos == photos.index)
    if unmatched:
        warn(
            f"the paths of {unmatched} of {len(names)} images do not match collect.group_pattern {pattern!r}, so each "
            "of these images counts as a separate photo. If some of these images are tiles of one photo, correct the "
            "pattern"
        )
    return photos


def slices_of(names: list[str], pattern: str) -> pd.DataFrame:
    """Return the slices of images: one row for each path, and one column for each named capturing group of the pattern.

    A cell has the text that the group matched in the path, and "" if the group does not match.
    """
    found = groups_of(pattern, names)
    slices = pd.DataFrame(index=names)
    for name, number in re.compile(pattern).groupindex.items():
        slices[name] = [(groups and groups[number - 1]) or "" for groups in found]
    return slices


def _batches(images: Iterator[NamedImage], size: int) -> Iterator[list[NamedImage]]:
    while batch := list(islice(images, size)):
        yield batch


def _classify(network: Network, images: list[np.ndarray], precision: Precision) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits of images, float64 (n, 2), and their embeddings, float32 (n, d)."""
    device = network.mean.device
    bf16 = pick_precision(precision, device.type) == "bf16"

    tiles = np.stack([network.resize(image) for image in images])
    channels_first = np.ascontiguousarray(tiles.transpose(0, 3, 1, 2))
    batch = torch.from_numpy(channels_first).to(device)

    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        logits, embeddings = network.logits_and_embeddings(batch)
    return logits.double().cpu().numpy(), embeddings.float().cpu().numpy()
