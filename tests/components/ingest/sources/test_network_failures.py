"""If a connection is cut, we repeat the transfer. If all attempts fail, the error says why. No partial file is left."""

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.shared.data.manifest import Manifest, read_manifest
from components.shared.data.versions import fetch
from components.shared.errors import InputError
from components.shared.services.store import Store
from tests.faulty_s3 import FaultyS3, once


class Proxy:
    """A proxy before the tests' S3 server. It cuts connections inside bodies larger than `SMALL` bytes."""

    SMALL = 10_000

    def __init__(self, server: str, direction: str, times: int):
        self.address, self.direction, self.left, self.cuts = urlsplit(server), direction, times, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # the connection is closed already
            while True:
                client = self.listener.accept()[0]
                server = socket.create_connection((self.address.hostname, self.address.port))
                for way, source, target in (("up", client, server), ("down", server, client)):
                    threading.Thread(target=self._pass_on, args=(way, source, target), daemon=True).start()

    def _pass_on(self, way: str, source: socket.socket, target: socket.socket) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(4096):
                passed = passed + len(data) if len(data) == 4096 else 0  # a short piece is the last piece of a message
                if way == self.direction and passed > self.SMALL and self.left > 0:
                    self.left, self.cuts = self.left - 1, self.cuts + 1
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of temporary files."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


@pytest.fixture
def cutting(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, int], Proxy]]:
    """Return a function that puts a proxy before the store. The proxy cuts `times` uploads or downloads."""
    proxies = []

    def put(direction: str, times: int) -> Proxy:
        proxies.append(Proxy(os.environ["AWS_ENDPOINT_URL_S3"], direction, times))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxies[-1].endpoint)
        return proxies[-1]

    yield put
    for proxy in proxies:
        proxy.listener.close()


def ingest(data: Path | str, store: Store, folder: Path) -> Manifest:
    config = IngestConfig(store=store.uri, min_images=5)
    ingest_dataset(str(data), folder / "manifest", folder / "page.html", config)
    return read_manifest(folder / "manifest")


def test_upload_that_is_cut_twice_succeeds(
    tiles: Path, store: Store, tmp_path: Path, cutting: Callable[[str, int], Proxy], scratch: Path
) -> None:
    proxy = cutting("up", 2)
    manifest = ingest(tiles, store, tmp_path)
    assert proxy.cuts == 2
    fetch(store, manifest, tmp_path / "cache")
    assert len(manifest.table) == 24
    assert list(scratch.iterdir()) == []


def test_download_that_is_cut_twice_succeeds(
    tiles: Path, store: Store, tmp_path: Path, cutting: Callable[[str, int], Proxy]
) -> None:
    manifest = ingest(tiles, store, tmp_path)
    proxy = cutting("down", 2)
    folder = fetch(Store(store.uri), manifest, tmp_path / "cache")
    assert proxy.cuts == 2
    assert sum(path.stat().st_size for path in (folder / "shards").iterdir()) > proxy.SMALL


def test_upload_that_is_always_cut_leaves_no_version(
    tiles: Path, store: Store, tmp_path: Path, cutting: Callable[[str, int], Proxy], scratch: Path
) -> None:
    proxy = cutting("up", 1000)
    with pytest.raises(InputError, match=rf"the storage endpoint {proxy.endpoint} .*cannot be reached"):
        ingest(tiles, store, tmp_path)
    assert 2 < proxy.cuts < 100
    assert not [key for key, _ in store.list() if key.endswith("dataset.json")]
    assert not (tmp_path / "manifest").exists()
    assert list(scratch.iterdir()) == []
    proxy.left = 0
    fetch(store, ingest(tiles, store, tmp_path), tmp_path / "cache")


def test_download_that_is_always_cut_leaves_no_version_in_the_cache(
    tiles: Path, store: Store, tmp_path: Path, cutting: Callable[[str, int], Proxy]
) -> None:
    manifest = ingest(tiles, store, tmp_path)
    proxy = cutting("down", 1000)
    with pytest.raises(InputError, match=r"was lost in every attempt to fetch .*shards/"):
        fetch(Store(store.uri), manifest, tmp_path / "cache")
    assert not (tmp_path / "cache" / manifest.digest).exists()
    proxy.left = 0
    fetch(Store(store.uri), manifest, tmp_path / "cache")


@pytest.mark.parametrize(("key", "other"), [("p0_1.jpg", "p0_1.jph"), ("p0_1.jpg", "p0_3.jpg"), ("/crack/", "/.rack/")])
def test_a_wrong_key_in_a_listing_loses_no_tile(
    key: str, other: str, tiles: Path, store: Store, tmp_path: Path, s3_environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(f"{store.uri}/raw").put_folder("walls", tiles)
    with FaultyS3(s3_environment["AWS_ENDPOINT_URL_S3"], once("wrong key", "GET", "walls")).serving() as server:
        server.with_a_wrong_key = lambda data: data.replace(key.encode(), other.encode(), 1)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
        monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda _: None))
        manifest = ingest(f"{store.uri}/raw/walls", store, tmp_path)
    assert server.happened["wrong key"] == 1
    assert len(manifest.table) == len(list(tiles.rglob("*.jpg")))
