"""Make, write and read drift profiles. A drift profile describes a set of images, so that sets can be compared.

A profile is one parquet file. The drift step writes the profile of a sample of the training images. This profile is
stored with the registered model version. The collect step writes the profile of production images. The same code
computes both profiles, and each file contains the version of the features.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.shared.data.image_features import FEATURES, VERSION
from components.shared.errors import InputError
from components.shared.hashing import bytes_digest, digest

COLUMNS = (*FEATURES, "p_crack", "confidence")
SLICE_PREFIX = "slice."  # in the file, the names of the columns with slices start with this prefix
_FEATURE_VERSION_KEY = b"crack.feature_version"
_MODEL_KEY = b"crack.model_sha256"


@dataclass(frozen=True)
class Profile:
    """A drift profile: it describes n images, with one row for each image.

    Attributes:
        groups: str (n,), group (photo) of each image.
        features: Table of float64 with n rows and the columns COLUMNS. They are the image features, the network's
            P(crack), and the network's confidence, which is the larger of P(crack) and 1 - P(crack).
        embeddings: float32 (n, d), the network's embeddings.
        slices: Table of str with n rows and any number of columns. Each column, such as "surface", has a value for each
            image, or "" if the value is not known.
        model: sha256 of the network's model.safetensors.
    """

    groups: np.ndarray
    features: pd.DataFrame
    embeddings: np.ndarray
    slices: pd.DataFrame
    model: str

    def sample_digest(self) -> str:
        """Return a digest of the described images and of the network's embeddings.

        The digest does not contain the image features, because their last bits differ between processors.
        """
        embeddings = bytes_digest(np.ascontiguousarray(self.embeddings).data)
        return digest(VERSION, self.groups.tolist(), self.slices.to_dict("list"), embeddings, self.model)

    def rows(self, chosen: np.ndarray) -> "Profile":
        """Return the profile of the images with these row numbers."""
        return Profile(
            groups=self.groups[chosen],
            features=self.features.iloc[chosen].reset_index(drop=True),
            embeddings=self.embeddings[chosen],
            slices=self.slices.iloc[chosen].reset_index(drop=True),
            model=self.model,
        )


def make_profile(
    groups: np.ndarray,
    image_features: pd.DataFrame,
    p_crack: np.ndarray,
    embeddings: np.ndarray,
    slices: pd.DataFrame,
    model: str,
) -> Profile:
    """Make the profile of n images.

    Args:
        groups: (n,), group (photo) of each image.
        image_features: float (n, FEATURES), from `describe_images`.
        p_crack: float (n,), the network's P(crack).
        embeddings: float (n, d), the network's embeddings.
        slices: Table with n rows, as in `Profile`.
        model: sha256 of the network's model.safetensors.
    """
    confidence = np.maximum(p_crack, 1 - p_crack)
    features = image_features.assign(p_crack=p_crack, confidence=confidence)
    return Profile(
        groups=np.asarray(groups, str),
        features=features[list(COLUMNS)],
        embeddings=np.asarray(embeddings, np.float32),
        slices=slices.reset_index(drop=True).astype(str),
        model=model,
    )


def write_profile(profile: Profile, path: str | Path) -> None:
    """Write a profile. The same profile gives the same bytes."""
    columns: dict[str, pa.Array] = {"group_id": pa.array(profile.groups.tolist(), pa.string())}
    for name in COLUMNS:
        columns[name] = pa.array(profile.features[name].to_numpy(float))
    for name in profile.slices:
        columns[f"{SLICE_PREFIX}{name}"] = pa.array(profile.slices[name].tolist(), pa.string())

    width = profile.embeddings.shape[1]
    flat_embeddings = pa.array(profile.embeddings.ravel(), pa.float32())
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat_embeddings, width)

    metadata = {_FEATURE_VERSION_KEY: str(VERSION).encode(), _MODEL_KEY: profile.model.encode()}
    table = pa.table(columns).replace_schema_metadata(metadata)
    pq.write_table(table, path)


def read_profile(path: str | Path) -> Profile:
    """Read a profile.

    Raises:
        InputError: The file is not a drift profile, or it has another version of the features than this code.
    """
    try:
        table = pq.read_table(path)
        metadata = table.schema.metadata or {}
        version = metadata[_FEATURE_VERSION_KEY].decode()
        model = metadata[_MODEL_KEY].decode()
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise InputError(f"{path} is not a drift profile ({error}); run crack-training again") from error

    if version != str(VERSION):
        raise InputError(
            f"the drift profile {path} has image features of version {version}, but this code computes version "
            f"{VERSION}. Profiles with different versions cannot be compared; run crack-training with this code, and "
            "promote the model version that it registers"
        )

    width = table.schema.field("embedding").type.list_size
    flat_embeddings = table.column("embedding").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    slices = {}
    for name in table.column_names:
        if name.startswith(SLICE_PREFIX):
            slices[name.removeprefix(SLICE_PREFIX)] = table[name].to_pylist()
    return Profile(
        groups=table.column("group_id").to_numpy().astype(str),
        features=table.select(list(COLUMNS)).to_pandas(),
        embeddings=flat_embeddings.reshape(table.num_rows, width).astype(np.float32),
        slices=pd.DataFrame(slices, index=range(table.num_rows), dtype=str),
        model=model,
    )
