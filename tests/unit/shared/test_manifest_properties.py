"""What holds for every manifest, not only for those that one thinks of."""

import tempfile
from pathlib import Path

import pandas as pd
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from components.shared.manifest import CONTENT, Manifest, make_manifest, read_manifest, write_manifest
from components.shared.runtime import InputError

COUNT = st.integers(1, 2**62)
NAME = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12)  # in any script


def hexadecimal(length: int) -> st.SearchStrategy[str]:
    return st.binary(min_size=length // 2, max_size=length // 2).map(bytes.hex)


VALUES: dict[str, st.SearchStrategy] = {
    "sample_id": hexadecimal(64),
    "path": NAME,
    "source": NAME,
    "label": st.integers(0, 1),
    "surface": st.sampled_from(["deck", "pavement", "wall", "unknown"]),
    "group_id": NAME,
    "width": COUNT,
    "height": COUNT,
    "phash": hexadecimal(16),
    "mask_id": st.none() | hexadecimal(64),
    "shard": NAME,
    "offset": st.integers(0, 2**62),
    "size": COUNT,
    "mask_offset": COUNT,
    "mask_size": COUNT,
}
ROWS = st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=6, unique_by=lambda row: row["sample_id"])


def frame(rows: list[dict]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    for name in ("mask_offset", "mask_size"):
        table[name] = table[name].astype("Int64").where(table["mask_id"].notna())
    return table


def written(manifest: Manifest, folder: str) -> Path:
    path = Path(folder, "manifest.parquet")
    write_manifest(manifest, path)
    return path


@settings(max_examples=40, deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_it_comes_back_whole_and_the_order_of_its_rows_means_nothing(rows, random) -> None:
    manifest = make_manifest(frame(rows))
    shuffled = list(rows)
    random.shuffle(shuffled)
    with tempfile.TemporaryDirectory() as folder:
        first = written(manifest, folder).read_bytes()
        again = read_manifest(Path(folder, "manifest.parquet"))
        assert written(make_manifest(frame(shuffled)), folder).read_bytes() == first
    pd.testing.assert_frame_equal(again.table, manifest.table)
    assert again.digest == manifest.digest
    for row in rows:
        found = again.table.set_index("sample_id").loc[row["sample_id"]]
        plain = [name for name in row if name != "sample_id" and not name.startswith("mask")]
        assert {name: found[name] for name in plain} == {name: row[name] for name in plain}


@settings(max_examples=60, deadline=None)
@given(ROWS, st.data())
def test_its_digest_tells_every_change_of_content_and_none_of_place(rows, data) -> None:
    before = make_manifest(frame(rows)).digest
    row = data.draw(st.sampled_from(rows))
    column = data.draw(st.sampled_from([*CONTENT, "path", "shard", "offset"]))
    value, row[column] = row[column], data.draw(VALUES[column])
    if column == "sample_id":
        assume([other["sample_id"] for other in rows].count(row["sample_id"]) == 1)
    after = make_manifest(frame(rows)).digest
    assert (after == before) == (column not in CONTENT or row[column] == value)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.data())
def test_a_damaged_file_is_refused_or_says_what_it_said(rows, data) -> None:
    manifest = make_manifest(frame(rows))
    with tempfile.TemporaryDirectory() as folder:
        path = written(manifest, folder)
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[place] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del content[place:]
        path.write_bytes(content)
        try:
            found = read_manifest(path)
        except InputError:
            return
    pd.testing.assert_frame_equal(found.table, manifest.table)
