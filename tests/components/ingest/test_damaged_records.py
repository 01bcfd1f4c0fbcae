"""Empty and cut objects in the store are made again if this is safe. If not, the error names the key and the fix."""

import re
from pathlib import Path

import pytest

from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.shared.errors import InputError
from components.shared.services.store import Store
from tests.components.ingest.version_files import keys


def ingest(data: Path, store: Store, tmp_path: Path) -> str:
    config = IngestConfig.model_validate({"store": store.uri, "min_images": 5, "max_refused": 0.4})
    return ingest_dataset(str(data), tmp_path / "manifest", tmp_path / "page.html", config).digest


@pytest.mark.parametrize("length", [0, 20])
@pytest.mark.parametrize(
    ("prefix", "ending"),
    [("datasets/", "/dataset.json"), ("sources/", "/report.json"), ("sources/", "/report.html")],
)
def test_a_damaged_object_is_made_again(
    prefix: str, ending: str, length: int, tiles: Path, store: Store, tmp_path: Path
) -> None:
    digest = ingest(tiles, store, tmp_path)
    (key,) = keys(store, prefix, ending)
    whole, page = store.get_bytes(key), (tmp_path / "page.html").read_bytes()

    store.put_bytes(key, whole[:length])
    assert ingest(tiles, store, tmp_path) == digest
    assert store.get_bytes(key) == whole
    assert (tmp_path / "page.html").read_bytes() == page


@pytest.mark.parametrize("length", [0, 20])
@pytest.mark.parametrize(("prefix", "ending"), [("sources/", "/latest.json"), ("datasets/", "/manifest.parquet")])
def test_a_damaged_object_that_cannot_be_made_again_is_named(
    prefix: str, ending: str, length: int, tiles: Path, store: Store, tmp_path: Path
) -> None:
    ingest(tiles, store, tmp_path)
    (key,) = keys(store, prefix, ending)
    damaged = store.get_bytes(key)[:length]
    store.put_bytes(key, damaged)

    named = rf"{re.escape(f'{store.uri}/{key}')} is damaged.*; restore it from a backup of the store"
    with pytest.raises(InputError, match=named):
        ingest(tiles, store, tmp_path)
    assert store.get_bytes(key) == damaged
