"""A drift profile: what is kept of a set of images so that others can be held against it later, in one parquet file.

drift writes the profile of the training sample, which stays with the registered version; collect writes that of
production images. Both are described by the same code, and the file says by which version of it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.shared.data.image_features import FEATURES, VERSION
from components.shared.errors import InputError

COLUMNS = (*FEATURES, "p_crack", "confidence")
SLICE = "slice."  # begins the names of the file's columns of slices
_FEATURE_VERSION, _MODEL = b"crack.feature_version", b"crack.model_sha256"


@dataclass(frozen=True)
class Profile:
    """A set of images, row by row.

    Attributes:
        groups: str (n,), group (photo) of each image.
        features: float64 (n, COLUMNS): the image features, the network's P(crack), and how sure it was of its answer.
        embeddings: float32 (n, d), the network's.
        slices: str (n, any): what each image belongs to, such as a column "surface"; "" where that is not known.
        model: sha256 of the network's model.safetensors.
    """

    groups: np.ndarray
    features: pd.DataFrame
    embeddings: np.ndarray
    slices: pd.DataFrame
    model: str

    def rows(self, chosen: np.ndarray) -> "Profile":
        """The profile of some of the images, by index."""
        features, slices = (table.iloc[chosen].reset_index(drop=True) for table in (self.features, self.slices))
        return Profile(self.groups[chosen], features, self.embeddings[chosen], slices, self.model)


def make_profile(
    groups: np.ndarray,
    image_features: pd.DataFrame,
    p_crack: np.ndarray,
    embeddings: np.ndarray,
    slices: pd.DataFrame,
    model: str,
) -> Profile:
    """Profile images by their features (n, FEATURES), the network's P(crack) (n,) and embeddings (n, d), and slices."""
    features = image_features.assign(p_crack=p_crack, confidence=np.maximum(p_crack, 1 - p_crack))
    slices = slices.reset_index(drop=True).astype(str)
    return Profile(np.asarray(groups, str), features[list(COLUMNS)], np.asarray(embeddings, np.float32), slices, model)


def write_profile(profile: Profile, path: str | Path) -> None:
    """Write a profile; the same profile gives the same bytes."""
    width = profile.embeddings.shape[1]
    embeddings = pa.FixedSizeListArray.from_arrays(pa.array(profile.embeddings.ravel(), pa.float32()), width)
    columns = {name: pa.array(profile.features[name].to_numpy(float)) for name in COLUMNS}
    slices = {f"{SLICE}{name}": pa.array(profile.slices[name].tolist(), pa.string()) for name in profile.slices}
    groups = pa.array(profile.groups.tolist(), pa.string())
    table = pa.table({"group_id": groups, **columns, **slices, "embedding": embeddings})
    facts = {_FEATURE_VERSION: str(VERSION).encode(), _MODEL: profile.model.encode()}
    pq.write_table(table.replace_schema_metadata(facts), path)


def read_profile(path: str | Path) -> Profile:
    """Read a profile.

    Raises:
        InputError: It is no profile, or its features are of another version than this code computes.
    """
    try:
        table = pq.read_table(path)
        facts = table.schema.metadata or {}
        version, model = facts[_FEATURE_VERSION].decode(), facts[_MODEL].decode()
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise InputError(f"{path} is no drift profile ({error}); run crack-training again") from error
    if version != str(VERSION):
        raise InputError(
            f"the drift profile {path} holds image features of version {version}, and this code computes version "
            f"{VERSION}, so the two cannot be compared; run crack-training with this code and promote its model"
        )
    width = table.schema.field("embedding").type.list_size
    flat = table.column("embedding").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    slices = {name.removeprefix(SLICE): table[name].to_pylist() for name in table.column_names if SLICE in name}
    return Profile(
        groups=table.column("group_id").to_numpy().astype(str),
        features=table.select(list(COLUMNS)).to_pandas(),
        embeddings=flat.reshape(table.num_rows, width).astype(np.float32),
        slices=pd.DataFrame(slices, index=range(table.num_rows), dtype=str),
        model=model,
    )
