"""Random manifests: they are read as they were written, the digest depends on the content, all changes are noticed."""

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.data.manifest import (
    CONTENT,
    MANIFEST_SCHEMA,
    content_digest,
    make_manifest,
    read_manifest,
    write_manifest,
)
from components.shared.errors import InputError

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
SHA256 = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
LENGTHS = st.integers(1, 2**62)


@st.composite
def row(draw: st.DrawFn) -> dict:
    masked = draw(st.booleans())
    return {
        "sample_id": draw(SHA256),
        "path": draw(NAMES),
        "source": draw(NAMES),
        "label": draw(st.integers(0, 1)),
        "surface": draw(NAMES),
        "group_id": draw(NAMES),
        "width": draw(LENGTHS),
        "height": draw(LENGTHS),
        "phash": f"{draw(st.integers(0, 2**64 - 1)):016x}",
        "mask_id": draw(SHA256) if masked else None,
        "shard": draw(NAMES),
        "offset": draw(st.integers(0, 2**62)),
        "size": draw(LENGTHS),
        "mask_offset": draw(LENGTHS) if masked else None,
        "mask_size": draw(LENGTHS) if masked else None,
    }


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    rows = draw(st.lists(row(), min_size=1, max_size=4, unique_by=lambda one: one["sample_id"]))
    numbers = dict.fromkeys(["mask_offset", "mask_size"], "Int64")
    return pd.DataFrame({name: [one[name] for one in rows] for name in MANIFEST_SCHEMA.names}, dtype=object).astype(
        numbers
    )


@settings(deadline=None, max_examples=20)
@given(tables(), st.randoms(use_true_random=False))
def test_order_and_packing_do_not_change_what_is_read(table: pd.DataFrame, random) -> None:
    manifest = make_manifest(table)
    order = random.sample(range(len(table)), len(table))
    elsewhere = table.iloc[order].assign(shard="other", offset=7, path="elsewhere")
    assert make_manifest(elsewhere).digest == manifest.digest == content_digest(table)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in "ab"]
        write_manifest(manifest, paths[0])
        write_manifest(make_manifest(table.iloc[order]), paths[1])
        assert paths[0].read_bytes() == paths[1].read_bytes()
        again = read_manifest(paths[0])
    pd.testing.assert_frame_equal(again.table, manifest.table)
    given_rows = table.set_index("sample_id").loc[again.table["sample_id"]]
    for name in ("width", "size", "mask_size"):  # exact, not through floats
        assert again.table[name].astype(object).tolist() == given_rows[name].tolist()


@settings(deadline=None, max_examples=30)
@given(tables(), st.data())
def test_any_other_content_is_another_version(table: pd.DataFrame, data: st.DataObject) -> None:
    before = make_manifest(table).digest
    name, index = data.draw(st.sampled_from(CONTENT)), data.draw(st.integers(0, len(table) - 1))
    others = set(table["sample_id"].drop(index))
    sample_ids = SHA256.filter(lambda sample_id: sample_id not in others)  # a manifest has each one once
    values = {"label": st.just(1 - table["label"][index]), "mask_id": SHA256, "sample_id": sample_ids}
    values |= {"phash": SHA256.map(lambda text: text[:16]), "width": LENGTHS, "height": LENGTHS}
    value = data.draw(values.get(name, NAMES))
    changed = table.copy()
    changed.loc[index, name] = value
    if name == "mask_id":
        changed.loc[index, ["mask_offset", "mask_size"]] = 1
    if value == table[name][index]:
        assert content_digest(changed) == before
    else:
        assert content_digest(changed) != before
        with tempfile.TemporaryDirectory() as folder:
            write_manifest(make_manifest(changed), Path(folder, "m"))
            forged = pq.read_table(Path(folder, "m")).replace_schema_metadata({"digest": before})
            pq.write_table(forged, Path(folder, "m"))
            with pytest.raises(InputError, match="was changed after it was written"):
                read_manifest(Path(folder, "m"))


@settings(deadline=None, max_examples=20)
@given(st.binary(max_size=400), st.integers(0, 2**32))
def test_no_bytes_crash_the_reader(noise: bytes, seed: int) -> None:
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m")
        path.write_bytes(noise)
        with pytest.raises(InputError, match="cannot be read as a parquet table"):
            read_manifest(path)
        write_manifest(make_manifest(ROWS), path)
        data = bytearray(path.read_bytes())
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        with contextlib.suppress(InputError):  # a bit without meaning may pass unnoticed
            pd.testing.assert_frame_equal(read_manifest(path).table, make_manifest(ROWS).table)


ROWS = pd.DataFrame(
    {
        "sample_id": [f"{number:064x}" for number in range(20)],
        "path": [f"{number}.jpg" for number in range(20)],
        "source": "walls",
        "label": [number % 2 for number in range(20)],
        "surface": "wall",
        "group_id": [f"g{number // 2}" for number in range(20)],
        "width": 64,
        "height": 64,
        "phash": "0" * 16,
        "mask_id": None,
        "shard": "a.tar",
        "offset": 512,
        "size": 100,
        "mask_offset": pd.array([None] * 20, "Int64"),
        "mask_size": pd.array([None] * 20, "Int64"),
    }
)
