"""Read and write manifests and splits, the two tables that steps pass to each other.

A manifest has one row for each tile of a data set version. A splits table assigns each tile to a split. Both are
parquet files. The metadata of a file contains the digest of the content, and readers verify this digest.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from components.shared.errors import InputError
from components.shared.hashing import bytes_digest

CLASSES = ("no_crack", "crack")
NO_CRACK, CRACK = range(len(CLASSES))
SPLITS = ("train", "val", "test", "robustness")

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),  # sha256 of the file's bytes
        pa.field("path", pa.string(), nullable=False),  # name in the source
        pa.field("source", pa.string(), nullable=False),
        pa.field("label", pa.int64(), nullable=False),  # index into CLASSES
        pa.field("surface", pa.string(), nullable=False),  # deck, pavement, wall, unknown
        pa.field("group_id", pa.string(), nullable=False),  # all tiles of a group stay in the same split
        pa.field("width", pa.int64(), nullable=False),  # pixels
        pa.field("height", pa.int64(), nullable=False),
        pa.field("phash", pa.string(), nullable=False),  # 64-bit perceptual hash, 16 hex characters
        pa.field("mask_id", pa.string()),  # sha256 of the mask's bytes
        pa.field("shard", pa.string(), nullable=False),  # file under shards/
        pa.field("offset", pa.int64(), nullable=False),  # bytes
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mask_offset", pa.int64()),
        pa.field("mask_size", pa.int64()),
    ]
)
# The columns that are the content of the data set. The path and the place in the store are not part of the content.
CONTENT = ["sample_id", "source", "label", "surface", "group_id", "width", "height", "phash", "mask_id"]
SPLITS_SCHEMA = pa.schema(
    [pa.field("sample_id", pa.string(), nullable=False), pa.field("split", pa.string(), nullable=False)]
)


@dataclass(frozen=True)
class Manifest:
    """A data set version: the table (`MANIFEST_SCHEMA`, ordered by sample_id) and its `content_digest`."""

    table: pd.DataFrame
    digest: str


@dataclass(frozen=True)
class Splits:
    """The splits of a data set version: the table (sample_id, split; ordered by sample_id) and its `content_digest`."""

    table: pd.DataFrame
    digest: str


Table = TypeVar("Table", Manifest, Splits)


def make_manifest(table: pd.DataFrame, digest: str | None = None) -> Manifest:
    """Order and check a table with the columns of `MANIFEST_SCHEMA`, and compute its digest.

    Args:
        table: One row for each tile.
        digest: The table's `content_digest`, if the caller knows it. Readers of the manifest verify the digest.

    Raises:
        InputError: A value is not allowed in its column. The message names the row and the value.
    """
    table = _typed(table, MANIFEST_SCHEMA)
    _check_manifest(table)
    return Manifest(table, digest or content_digest(table))


def make_splits(table: pd.DataFrame) -> Splits:
    """Order and check a table (sample_id, split), and compute its digest.

    Raises:
        InputError: A value is not allowed in its column. The message names the row and the value.
    """
    table = _typed(table, SPLITS_SCHEMA)
    _refuse(table, table["sample_id"].duplicated(), "sample_id", "is in the table twice")
    _refuse(table, ~table["split"].isin(SPLITS), "split", f"is not one of {', '.join(SPLITS)}")
    return Splits(table, content_digest(table))


def content_digest(table: pd.DataFrame) -> str:
    """Return the sha256 (64 hex characters) of the content of a manifest or a splits table.

    The digest is the `table_digest` of the rows, ordered by sample_id. For a manifest, only the columns `CONTENT` are
    used. For a splits table, both columns are used.
    """
    schema = pa.schema([MANIFEST_SCHEMA.field(name) for name in CONTENT])
    if "split" in table.columns:
        schema = SPLITS_SCHEMA

    ordered = table.sort_values("sample_id")[schema.names]
    return table_digest(pa.Table.from_pandas(ordered, schema=schema, preserve_index=False))


def table_digest(table: pa.Table) -> str:
    """Convert a table to CSV, and return the sha256 of the CSV text (64 hex characters).

    All values are quoted. Missing values are empty.
    """
    sink = pa.BufferOutputStream()
    csv.write_csv(table, sink, csv.WriteOptions(quoting_style="all_valid"))
    return bytes_digest(sink.getvalue())


def plain(column: pd.Series) -> list:
    """Return the values of a column as Python objects. A missing value is None."""
    return column.astype(object).where(column.notna(), None).tolist()


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write a manifest as parquet. Equal manifests give equal bytes."""
    _write(manifest.table, MANIFEST_SCHEMA, manifest.digest, path)


def read_manifest(path: str | Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        InputError: The file is not a manifest, or its content does not have the recorded digest.
    """
    table, recorded_digest = _read(path)
    return _verified(make_manifest(table), recorded_digest, path)


def write_splits(splits: Splits, path: str | Path) -> None:
    """Write a splits table as parquet. Equal splits give equal bytes."""
    _write(splits.table, SPLITS_SCHEMA, splits.digest, path)


def read_splits(path: str | Path) -> Splits:
    """Read and check a splits table.

    Raises:
        InputError: The file is not a splits table, or its content does not have the recorded digest.
    """
    table, recorded_digest = _read(path)
    return _verified(make_splits(table), recorded_digest, path)


def rows_of(manifest: Manifest, splits: Splits, split: str) -> pd.DataFrame:
    """Return the manifest's rows of one split, ordered by sample_id. The index starts at 0.

    Raises:
        InputError: The splits belong to another manifest.
    """
    if not splits.table["sample_id"].equals(manifest.table["sample_id"]):
        raise InputError(
            f"the splits {splits.digest[:12]} do not belong to the data set {manifest.digest[:12]}; run the step split "
            "again"
        )

    return manifest.table[splits.table["split"] == split].reset_index(drop=True)


def _typed(table: pd.DataFrame, schema: pa.Schema) -> pd.DataFrame:
    """Return the table with exactly the schema's columns and types, ordered by sample_id."""
    missing = [name for name in schema.names if name not in table.columns]
    if missing:
        raise InputError(
            f"the table lacks the columns {', '.join(missing)}; it has {', '.join(map(str, table.columns))}; repeat "
            "the step that wrote the table"
        )

    for field in schema:
        if not field.nullable:
            values = table[field.name]
            _refuse(table, values.isna() | (values == ""), field.name, "is missing")

    try:
        arrow = pa.Table.from_pandas(table[schema.names], schema=schema, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
        raise InputError(
            f"a value of the table has the wrong type: {error}; repeat the step that wrote the table"
        ) from error
    return _to_pandas(arrow.sort_by("sample_id"))


def _to_pandas(arrow: pa.Table) -> pd.DataFrame:
    table = arrow.to_pandas(ignore_metadata=True)
    for field in arrow.schema:
        if field.nullable and pa.types.is_integer(field.type):
            # Without this, pandas would turn integers with missing values into floats.
            integers = arrow.column(field.name).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
            table[field.name] = integers
    return table


def _check_manifest(table: pd.DataFrame) -> None:
    _refuse(table, ~table["sample_id"].str.fullmatch("[0-9a-f]{64}"), "sample_id", "is not a sha256")
    _refuse(table, table["sample_id"].duplicated(), "sample_id", "is in the table twice")
    _refuse(table, ~table["label"].isin(range(len(CLASSES))), "label", "is not 0 (no_crack) or 1 (crack)")
    _refuse(table, ~table["phash"].str.fullmatch("[0-9a-f]{16}"), "phash", "is not 16 hex characters")

    for name in ("width", "height", "size"):
        _refuse(table, table[name] <= 0, name, "is not positive")
    _refuse(table, table["offset"] < 0, "offset", "is negative")

    has_mask = table["mask_id"].notna()
    for name in ("mask_offset", "mask_size"):
        _refuse(table, table[name].notna() != has_mask, name, "and mask_id must be given together or not at all")


def _refuse(table: pd.DataFrame, bad: pd.Series, column: str, why: str) -> None:
    """Raise `InputError` if `bad` is true for any row. The message names the first bad row and says `why`."""
    count = int(bad.sum())
    if count == 0:
        return

    row = int(bad.to_numpy().argmax())
    name_column = "path" if "path" in table.columns else "sample_id"
    name = table[name_column].iloc[row]
    value = table[column].astype(object).iloc[row]
    more = f" (and {count - 1} more rows)" if count > 1 else ""
    raise InputError(f"row {row} ({name}): {column} {value!r} {why}{more}; repeat the step that wrote the table")


def _write(table: pd.DataFrame, schema: pa.Schema, digest: str, path: str | Path) -> None:
    arrow = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    arrow = arrow.replace_schema_metadata({"digest": digest})
    pq.write_table(arrow, path, compression="zstd", write_page_checksum=True)


def _read(path: str | Path) -> tuple[pd.DataFrame, str]:
    """Read a table and the digest in the file's metadata. The digest is "" if the metadata does not have it."""
    try:
        # The page checksums also protect the columns that are not part of the digest.
        arrow = pq.read_table(path, page_checksum_verification=True)
        metadata = arrow.schema.metadata or {}
        return _to_pandas(arrow), metadata.get(b"digest", b"").decode()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as a parquet table: {error}; repeat the step that wrote the file"
        ) from error


def _verified(made: Table, recorded_digest: str, path: str | Path) -> Table:
    if made.digest != recorded_digest:
        raise InputError(
            f"{path} was changed after it was written, or another release wrote it: its content has the digest "
            f"{made.digest[:12]}, but its metadata says {recorded_digest[:12] or 'none'}; repeat the step that "
            "wrote the file"
        )
    return made
