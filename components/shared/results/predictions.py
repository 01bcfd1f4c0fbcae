"""Write and read a predictions folder, which contains a network's answers to all images, before and after fine-tuning.

The predict step writes the folder. The evaluate, explain, drift and gate steps read it, so they get the answers without
running the network. The folder contains:

- `predictions.parquet`: one row per image and view (the clean image, or the image with a corruption);
- `embeddings.npy`: one row per clean image, after fine-tuning, in the order of `predictions.parquet`;
- `views.jpg`: one image in all views; only if the network also answered corrupted images;
- `calibration.json`: only in the champion's folder.

The predict step also writes such a folder for the champion. The champion answers only the test tiles that it does not
know. It knows a tile if it was trained or validated on this tile or on another tile of the same group. If the champion
knows every test tile, `predictions.parquet` in this folder has no rows. If there is no champion, it has no rows either.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.shared.data.manifest import CLASSES, SPLITS
from components.shared.errors import InputError
from components.shared.results.calibration import Calibration

SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("split", pa.string()),
        ("group_id", pa.string()),
        ("source", pa.string()),
        ("surface", pa.string()),
        ("label", pa.int64()),
        ("condition", pa.string()),
        ("corruption", pa.string()),
        ("severity", pa.int64()),
        ("logit_0", pa.float64()),
        ("logit_1", pa.float64()),
        ("p_crack", pa.float64()),
    ]
)
VIEWS = "views.jpg"
KEY = ["sample_id", "condition", "corruption", "severity"]
ALLOWED: dict[str, set] = {
    "split": set(SPLITS),
    "condition": {"before", "after"},
    "label": set(range(len(CLASSES))),
    "severity": set(range(6)),
}
_GIGAFLOPS_KEY = b"crack.gigaflops"


@dataclass(frozen=True)
class Predictions:
    """A network's answers.

    Attributes:
        table: One row per image and view, with the columns in SCHEMA. `label` is 1 for a crack; `logit_1` and `p_crack`
            belong to the class crack. `condition` is "before" or "after" fine-tuning. `corruption` is "clean"
            (severity 0) or a corruption family (severity 1 to 5).
        embeddings: float32 (rows, features): the network's features before its last layer. There is one row for each
            row of `table` that is clean and has the condition "after", in the same order.
        gigaflops: 10^9 floating-point operations that the network needs for one image; NaN if unknown.
    """

    table: pd.DataFrame
    embeddings: np.ndarray
    gigaflops: float = float("nan")

    def clean(self, split: str, condition: str = "after") -> pd.DataFrame:
        """Return the clean rows of one split, before or after fine-tuning, in the order of the table; may be empty."""
        table = self.table
        return table[_is_clean(table, condition) & (table["split"] == split)]

    def embedded(self) -> pd.DataFrame:
        """Return the clean rows of all splits after fine-tuning, in the order of `embeddings`."""
        return self.table[_is_clean(self.table, "after")]

    def embeddings_of(self, split: str) -> np.ndarray:
        """Return the embeddings of one split, float32 (rows, features), in the order of the rows of `clean(split)`."""
        splits = self.embedded()["split"].to_numpy()
        return self.embeddings[splits == split]


def empty_predictions() -> Predictions:
    """Return predictions without rows, for example if there is no champion."""
    return Predictions(SCHEMA.empty_table().to_pandas(), np.zeros((0, 0), np.float32))


def write_predictions(
    table: pd.DataFrame, embeddings: np.ndarray, folder: str | Path, gigaflops: float = float("nan")
) -> None:
    """Check predictions and write a predictions folder. `p_crack` is computed here, as the softmax of the two logits.

    Args:
        table: Has the columns in SCHEMA; `p_crack` may be missing.
        embeddings: float32 (rows, features), one row for each row of `table` that is clean and has the condition
            "after", in the same order.
        folder: The folder; it is created if it does not exist.
        gigaflops: 10^9 floating-point operations that the network needs for one image; NaN if unknown.

    Raises:
        InputError: A logit is not finite, a row is a duplicate, a value is not in ALLOWED, or the number of embeddings
            does not match the table.
    """
    p_crack = Calibration().p_crack(table["logit_0"].to_numpy(), table["logit_1"].to_numpy())
    table = table.assign(p_crack=p_crack)[SCHEMA.names]
    embeddings = np.asarray(embeddings, dtype=np.float32)
    _check(Predictions(table, embeddings), "the predictions to write")

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    columns = pa.Table.from_pandas(table, SCHEMA, preserve_index=False)
    columns = columns.replace_schema_metadata({_GIGAFLOPS_KEY: repr(float(gigaflops))})
    pq.write_table(columns, folder / "predictions.parquet")
    np.save(folder / "embeddings.npy", embeddings)


def read_predictions(folder: str | Path) -> Predictions:
    """Read and check a predictions folder.

    Raises:
        InputError: The folder is incomplete, or its content is not valid (see `write_predictions`).
    """
    folder = Path(folder)
    try:
        table = pq.read_table(folder / "predictions.parquet")
        embeddings = np.load(folder / "embeddings.npy", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} is not a predictions folder ({error}); run the step predict again") from error

    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise InputError(
            f"{folder}/predictions.parquet lacks the columns {', '.join(missing)}; run the step predict again"
        )

    metadata = table.schema.metadata or {}
    gigaflops = float(metadata.get(_GIGAFLOPS_KEY, b"nan"))
    rows = table.select(SCHEMA.names).cast(SCHEMA).to_pandas()
    predictions = Predictions(rows, embeddings, gigaflops)
    _check(predictions, str(folder))
    return predictions


def _is_clean(table: pd.DataFrame, condition: str) -> pd.Series:
    return (table["corruption"] == "clean") & (table["condition"] == condition)


def _check(predictions: Predictions, where: str) -> None:
    """Raise InputError if predictions are not valid. `where` names the predictions in the message."""
    table = predictions.table
    numbers = table[["logit_0", "logit_1", "p_crack"]].to_numpy(float)
    broken = ~np.isfinite(numbers).all(axis=1)
    if broken.any():
        raise InputError(
            f"{where}: {int(broken.sum())} of {len(table)} rows have logits that are not finite; the first of these "
            f"rows is for image {table['sample_id'][broken].iloc[0]}. The training diverged; lower learning_rate"
        )

    duplicate = table.duplicated(KEY)
    if duplicate.any():
        row = table.loc[duplicate, KEY].iloc[0].to_dict()
        raise InputError(
            f"{where}: {int(duplicate.sum())} rows are duplicates; the first is {row}; run the step predict again"
        )

    for column, allowed in ALLOWED.items():
        wrong = set(table[column].unique().tolist()) - allowed
        if wrong:
            raise InputError(
                f"{where}: column {column} contains {sorted(wrong)}; allowed values are {sorted(allowed)}; run the "
                "step predict again"
            )

    clean = int(_is_clean(table, "after").sum())
    if len(predictions.embeddings) != clean:
        raise InputError(
            f"{where}: there are {len(predictions.embeddings)} embeddings for {clean} rows. Each row of an uncorrupted "
            "image after fine-tuning must have one embedding; run the step predict again"
        )
