"""Profile production images with the registry's champion."""

import re
import shutil
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pandas as pd
import torch

from components.collect.config import CollectConfig
from components.collect.production_images import Pictures
from components.shared.config import Precision
from components.shared.data.drift_profile import make_profile, read_profile, write_profile
from components.shared.data.image_features import FEATURES, describe_image
from components.shared.errors import InputError
from components.shared.events import progress, warn
from components.shared.hashing import file_digest
from components.shared.network.checkpoint import load_network
from components.shared.network.device import pick_device, pick_precision
from components.shared.network.network import Network
from components.shared.network.resize import resize
from components.shared.results.dossier import PROFILE
from components.shared.services import mlflow_runs


def collect_images(uri: str, config: CollectConfig, observed: str, reference: str) -> tuple[str, str]:
    """Write the profiles of the images and of the champion's training sample.

    Of a day without images the profile is empty, and the check then says that it skipped the day.

    Args:
        uri: Folder or s3:// prefix of the images; {date} and {yesterday} become dates (UTC).
        config: Sample, what the names say, batch, and the registered model's name.
        observed: Gets the images' profile.
        reference: Gets the champion's own.

    Returns:
        The champion's version, and where the images are, dates put in.

    Raises:
        InputError: There is no champion; it has no profile, or one of another feature version; or there is no image.
    """
    name = config.model_name
    version = mlflow_runs.version_by_alias(name, mlflow_runs.CHAMPION)
    if version is None:
        raise InputError(f"{name} has no champion to hold the images against; run crack-training, then promote it")
    pictures = Pictures(uri, config.sample)
    with mlflow_runs.version_files(name, version) as fetched:
        profile = fetched / PROFILE
        if not profile.exists():
            raise InputError(
                f"{name} version {version} has no drift profile of its training sample; run crack-training again and "
                "promote the version that it registers"
            )
        digest, trained = file_digest(fetched / "model" / "model.safetensors"), read_profile(profile)
        if trained.model != digest:
            raise InputError(
                f"the drift profile of {name} version {version} is another network's; the version was put together by "
                "hand: run crack-training again and promote the version that it registers"
            )
        shutil.copyfile(profile, reference)
        if pictures.names:
            _profile(pictures, load_network(fetched / "model", pick_device()), digest, config, observed)
        else:
            warn(f"there is no image under {pictures.uri}")
            write_profile(trained.rows(np.arange(0)), observed)
    return version, pictures.uri


def _profile(pictures: Pictures, network: Network, digest: str, config: CollectConfig, path: str) -> None:
    described, answers, names = [], [], []
    for batch in _batches(pictures.read(), config.batch_size):
        described += [describe_image(image) for _, image in batch]
        answers.append(_answer(network, [image for _, image in batch], config.precision))
        names += [name for name, _ in batch]
        progress(len(names), len(pictures.names), "looking at images")
    if not names:
        raise InputError(f"none of the {len(pictures.names)} images under {pictures.uri} can be read")
    logits, embeddings = (np.concatenate(part) for part in zip(*answers, strict=True))
    if not np.isfinite(logits).all():
        raise InputError("the champion answers with logits that are not finite; roll it back")
    p_crack = 1 / (1 + np.exp(np.clip(logits[:, 0] - logits[:, 1], -700, 700)))
    groups = np.array([photo_of(name, config.group_pattern) for name in names])
    alone = np.count_nonzero(groups == np.array(names))
    if config.group_pattern and alone:
        warn(
            f"{alone} of {len(names)} names tell no photo by collect.group_pattern {config.group_pattern!r}; each of "
            "these images was taken for a photo of its own"
        )
    slices = pd.DataFrame([slices_of(name, config.slice_pattern) for name in names])
    features = pd.DataFrame(described, columns=list(FEATURES))
    write_profile(make_profile(groups, features, p_crack, embeddings, slices, digest), path)


def slices_of(name: str, pattern: str) -> dict[str, str]:
    """What an image belongs to by its path: the pattern's named groups, each "" where the path does not tell."""
    match = re.search(pattern, name)
    return match.groupdict(default="") if match else dict.fromkeys(re.compile(pattern).groupindex, "")


def photo_of(name: str, pattern: str | None) -> str:
    """The photo that an image was cut from: what the pattern's first group matches in its path, else the path."""
    match = re.search(pattern, name) if pattern else None
    return match[1] if match and match[1] else name


def _batches(images: Iterator, size: int) -> Iterator[list[tuple[str, np.ndarray]]]:
    while batch := list(islice(images, size)):
        yield batch


def _answer(network: Network, images: list[np.ndarray], precision: Precision) -> tuple[np.ndarray, np.ndarray]:
    device = network.mean.device
    tiles = np.stack([resize(image, network.input_size) for image in images]).transpose(0, 3, 1, 2)
    batch = torch.from_numpy(np.ascontiguousarray(tiles)).to(device)
    bf16 = pick_precision(precision, device.type) == "bf16"
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        logits, embeddings = network.logits_and_embeddings(batch)
    return logits.double().cpu().numpy(), embeddings.float().cpu().numpy()
