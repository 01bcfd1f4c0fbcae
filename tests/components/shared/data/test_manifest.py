"""Manifests and splits: which tables are accepted, which are refused, and when a digest changes."""

import csv
import hashlib
import io
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.shared.data.manifest import (
    CONTENT,
    MANIFEST_SCHEMA,
    content_digest,
    make_manifest,
    make_splits,
    read_manifest,
    read_splits,
    rows_of,
    write_manifest,
    write_splits,
)
from components.shared.errors import InputError

MISSING = "missing"


def rows(number: int = 4) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sample_id": [f"{i * 7919 % 1000:064x}" for i in range(number)],
            "path": [f"crack/{i}.jpg" for i in range(number)],
            "source": "walls",
            "label": [i % 2 for i in range(number)],
            "surface": "wall",
            "group_id": [f"g{i // 2}" for i in range(number)],
            "width": 128,
            "height": 96,
            "phash": [f"{i:016x}" for i in range(number)],
            "mask_id": [f"{i:064x}" if i % 2 else None for i in range(number)],
            "shard": "00000.tar",
            "offset": [512 * (2 * i + 1) for i in range(number)],
            "size": 500,
            "mask_offset": pd.array([i * 10 if i % 2 else None for i in range(number)], "Int64"),
            "mask_size": pd.array([2**60 + i if i % 2 else None for i in range(number)], "Int64"),
        }
    )


def splits(number: int = 4) -> pd.DataFrame:
    names = ["train", "val", "test", "robustness"]
    return pd.DataFrame({"sample_id": rows(number)["sample_id"], "split": [names[i % 4] for i in range(number)]})


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = make_manifest(rows())
    write_manifest(manifest, tmp_path / "m.parquet")
    again = read_manifest(tmp_path / "m.parquet")
    pd.testing.assert_frame_equal(again.table, manifest.table)
    assert again.digest == manifest.digest
    assert list(again.table["sample_id"]) == sorted(rows()["sample_id"])
    assert sorted(again.table["mask_size"].dropna()) == [2**60 + 1, 2**60 + 3]  # exact: they were never floats


def test_the_order_of_rows_does_not_change_the_file(tmp_path: Path) -> None:
    write_manifest(make_manifest(rows()), tmp_path / "a")
    write_manifest(make_manifest(rows().iloc[::-1]), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def as_csv(table: pd.DataFrame, columns: list[str]) -> bytes:
    """Rows ordered by sample_id, every value in quotes, missing ones empty."""
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(table.sort_values("sample_id")[columns].astype(object).fillna(MISSING).to_numpy().tolist())
    return written.getvalue().replace(f'"{MISSING}"', "").encode()


def test_the_digests_of_versions_never_change() -> None:
    odd = rows().assign(source='of "walls", and\nmore', group_id="größer")
    for table, columns in ((rows(), CONTENT), (odd, CONTENT), (splits(), ["sample_id", "split"])):
        assert content_digest(table) == hashlib.sha256(as_csv(table, columns)).hexdigest()
    assert content_digest(rows()) == "1c3a56345cfa36be9848d7bf27cffbd35b9cbb4d52f7b203a9851008c18c7b3f"
    assert content_digest(splits()) == "fd6838cf3c8ba117f58f27e94d96915d1cbdbae63304d9e1183d564abe8a640b"


@pytest.mark.parametrize(
    ("column", "value"), [("label", 0), ("group_id", "g9"), ("surface", "deck"), ("mask_id", "f" * 64), ("source", "x")]
)
def test_the_digest_changes_with_the_content(column: str, value: object) -> None:
    changed = rows()
    changed.loc[1, column] = value
    assert content_digest(changed) != content_digest(rows())


@pytest.mark.parametrize(("column", "value"), [("path", "other.jpg"), ("shard", "00007.tar"), ("offset", 9)])
def test_the_digest_does_not_change_with_the_place_of_the_data(column: str, value: object) -> None:
    changed = rows()
    changed.loc[1, column] = value
    assert content_digest(changed) == content_digest(rows())


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("label", 2, r"row 2 \(crack/2.jpg\): label 2 is not 0 \(no_crack\) or 1"),
        ("sample_id", "abc", "sample_id 'abc' is not a sha256"),
        ("sample_id", rows()["sample_id"][1], "is in the table twice"),
        ("group_id", "", "group_id '' is missing"),
        ("source", None, "source (None|nan) is missing"),
        ("width", 0, "width 0 is not positive"),
        ("offset", -1, "offset -1 is negative"),
        ("phash", "xyz", "phash 'xyz' is not 16 hex"),
        ("mask_size", 5, "mask_size 5 and mask_id must be given together"),
    ],
)
def test_broken_rows_are_named_with_their_value(column: str, value: object, message: str) -> None:
    table = rows()
    table.loc[2, column] = value
    with pytest.raises(InputError, match=message):
        make_manifest(table)


def test_missing_columns_and_wrong_types_are_named() -> None:
    with pytest.raises(InputError, match="lacks the columns surface, group_id"):
        make_manifest(rows().drop(columns=["surface", "group_id"]))
    with pytest.raises(InputError, match=r"wrong type: .*many"):
        make_manifest(rows().astype({"width": object}).assign(width="many"))


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    write_manifest(make_manifest(rows()), tmp_path / "m.parquet")
    table = pq.read_table(tmp_path / "m.parquet")
    labels = pa.array([1] * 4, pa.int64())
    pq.write_table(table.set_column(3, MANIFEST_SCHEMA.field("label"), labels), tmp_path / "m.parquet")
    with pytest.raises(InputError, match="was changed after it was written"):
        read_manifest(tmp_path / "m.parquet")


def test_a_file_that_is_not_a_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.parquet").write_text("hello")
    with pytest.raises(InputError, match="cannot be read as a parquet table"):
        read_manifest(tmp_path / "m.parquet")
    with pytest.raises(InputError, match="cannot be read as a parquet table"):
        read_splits(tmp_path / "none.parquet")


def test_splits_are_read_as_they_were_written_and_select_rows(tmp_path: Path) -> None:
    manifest, made = make_manifest(rows(8)), make_splits(splits(8))
    write_splits(made, tmp_path / "s.parquet")
    again = read_splits(tmp_path / "s.parquet")
    pd.testing.assert_frame_equal(again.table, made.table)
    chosen = rows_of(manifest, again, "val")
    assert set(chosen["path"]) == {"crack/1.jpg", "crack/5.jpg"}
    assert list(chosen.index) == [0, 1]


def test_splits_of_another_manifest_are_refused() -> None:
    with pytest.raises(InputError, match="do not belong to the data set"):
        rows_of(make_manifest(rows(5)), make_splits(splits(4)), "val")


def test_unknown_split_is_refused() -> None:
    table = splits()
    table.loc[0, "split"] = "dev"
    with pytest.raises(InputError, match="split 'dev' is not one of train, val, test, robustness"):
        make_splits(table)
