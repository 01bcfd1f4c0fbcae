"""Every kind of source gives the same tiles, sources can be combined, and each error is explained and cleaned up."""

import hashlib
import io
import json
import os
import stat
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.ingest.sources import download
from components.shared.data.manifest import Manifest, read_manifest
from components.shared.errors import InputError
from components.shared.services.store import Store, StoredObject
from tests.components.ingest.version_files import kept, written

Write = Callable[..., Path]
Serve = Callable[..., str]


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files, which must be empty at the end of every test."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def ingest(data: str | Path, store: Store, tmp_path: Path, **config: object) -> tuple[Manifest, dict]:
    parsed = IngestConfig.model_validate({"store": store.uri, "min_images": 5, "max_refused": 0.4, **config})
    result = ingest_dataset(str(data), tmp_path / "manifest", tmp_path / "page.html", parsed)
    return read_manifest(tmp_path / "manifest"), json.loads(kept(store, result.digest, "report.json"))


def contents(folder: Path) -> list[str]:
    return sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.jpg"))


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.jpg")):
            archive.write(file, file.relative_to(folder.parent))
    return path


def tarred(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    return path


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve bytes over HTTP. `answers` are (status, body, number of bytes sent), one for each request; the last one
    also answers all later requests."""
    servers: list[ThreadingHTTPServer] = []

    def start(*answers: tuple[int, bytes, int]) -> str:
        left = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body, sent = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:sent])

            def log_message(self, *arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/walls.zip"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_folder_archives_and_prefix_give_the_same_data(tiles: Path, store: Store, tmp_path: Path) -> None:
    Store(f"{store.uri}/raw").put_folder("walls", tiles)
    sources = [
        str(tiles),
        str(zipped(tiles, tmp_path / "walls.zip")),
        str(tarred(tiles, tmp_path / "walls.tar.gz")),
        f"{store.uri}/raw/walls",
    ]
    manifests = [ingest(source, store, tmp_path)[0] for source in sources]

    assert len({manifest.digest for manifest in manifests}) == 1
    assert sorted(manifests[0].table["sample_id"]) == contents(tiles)


def test_web_archive_is_downloaded_again_after_a_cut_and_a_server_error(
    tiles: Path, store: Store, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "FIRST_PAUSE_SECONDS", 0.01)
    body = zipped(tiles, tmp_path / "walls.zip").read_bytes()
    address = serve((503, b"", 0), (200, body, len(body) // 2), (200, body, len(body)))
    manifest, _ = ingest(f"{address}?layout=folders#sha256={hashlib.sha256(body).hexdigest()}", store, tmp_path)
    assert sorted(manifest.table["sample_id"]) == contents(tiles)
    assert set(manifest.table["source"]) == {"walls"}


def test_known_web_archive_is_not_downloaded_again(tiles: Path, store: Store, tmp_path: Path, serve: Serve) -> None:
    body = zipped(tiles, tmp_path / "walls.zip").read_bytes()
    source = f"{serve((200, body, len(body)), (404, b'', 0))}#sha256={hashlib.sha256(body).hexdigest()}"
    first, _ = ingest(source, store, tmp_path)
    assert ingest(source, store, tmp_path)[0].digest == first.digest
    with pytest.raises(InputError, match="the server answers 404"):
        ingest(source, store, tmp_path, min_images=6)


@pytest.mark.parametrize("make", [zipped, tarred])
def test_known_local_archive_is_not_unpacked_again(
    make: Callable, tiles: Path, store: Store, tmp_path: Path, write_tile: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make(tiles, tmp_path / "walls.archive")
    first, _ = ingest(archive, store, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("components.ingest.sources.open_sources.unpack", None)
        assert ingest(archive, store, tmp_path)[0].digest == first.digest
    write_tile(tiles / "crack" / "new.jpg", seed=99)
    make(tiles, archive)

    assert len(ingest(archive, store, tmp_path)[0].table) == len(first.table) + 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            (200, b"other", 5),
            "has the sha256 d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa, not 0000",
        ),
        ((404, b"", 0), "the server answers 404"),
        ((200, b"cut short", 3), r"could not be downloaded in 4 attempts: .*cut after 3 of 9 bytes"),
        ((500, b"", 0), "could not be downloaded in 4 attempts"),
    ],
    ids=["checksum", "missing", "cut", "server error"],
)
def test_web_archive_that_cannot_be_downloaded(
    answer: tuple, message: str, store: Store, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "FIRST_PAUSE_SECONDS", 0.01)
    with pytest.raises(InputError, match=message):
        ingest(f"{serve(answer)}#sha256={'0' * 64}", store, tmp_path)
    assert written(store) == []


def test_combined_sources_keep_their_names_photos_and_options(
    tiles: Path, store: Store, tmp_path: Path, write_tile: Write
) -> None:
    for index in range(12):
        part = ("D/CD", "D/UD")[index % 2]
        write_tile(tmp_path / "spans" / part / f"70{index // 4}-{index}.jpg", seed=100 + index)
    write_tile(tiles / "crack" / "p0_like_span.jpg", seed=100)
    uri = f"{tmp_path / 'spans'}, {tiles}?group_pattern=^(p\\d)_&source=river\nsynthetic://?images=20&size=64"
    manifest, report = ingest(uri, store, tmp_path)
    table = manifest.table

    assert table["source"].value_counts().to_dict() == {"river": 24, "synthetic": 20, "sdnet2018": 12}
    groups = table.groupby("source")["group_id"].unique()
    assert set(groups["sdnet2018"]) == {
        "river:p0",
        "sdnet2018:deck/701",
        "sdnet2018:deck/702",
    }  # a near duplicate joins two photos to one group
    assert [entry["source"] for entry in report["sources"]] == ["sdnet2018", "river", "synthetic"]
    assert [entry["files"] for entry in report["sources"]] == [12, 25, 20]
    page = (tmp_path / "page.html").read_text()
    assert "river" in page
    assert "sdnet2018" in page


def test_one_bad_source_is_not_hidden_by_a_good_large_one(
    tiles: Path, store: Store, tmp_path: Path, write_tile: Write
) -> None:
    for index in range(4):
        write_tile(tmp_path / "bad" / ("crack", "no_crack")[index % 2] / f"{index}.jpg", seed=50 + index)
    (tmp_path / "bad" / "crack" / "0.jpg").write_bytes(b"text")
    with pytest.raises(InputError, match="1 of the 4 files of the source bad are refused"):
        ingest(f"{tiles},{tmp_path / 'bad'}", store, tmp_path, max_refused=0.1)


def test_two_sources_of_one_name_are_refused(tiles: Path, store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 sources have the name walls; .*\?source=NAME"):
        ingest(f"{tiles},{zipped(tiles, tmp_path / 'walls.zip')}", store, tmp_path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_table_gives_images_labels_photos_and_surfaces(
    suffix: str, store: Store, tmp_path: Path, write_tile: Write
) -> None:
    rows = []
    for index in range(12):
        path = write_tile(tmp_path / "all" / f"{index}.jpg", seed=index).relative_to(tmp_path)
        label = ("no_crack", "crack", "0", "1")[index % 4]
        rows.append(
            {"path": str(path), "label": label, "group": f"g{index // 3}", "surface": ("wall", None)[index % 2]}
        )
    table, path = pd.DataFrame(rows), tmp_path / f"span{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    found = ingest(path, store, tmp_path)[0].table.set_index("path")
    for index, row in enumerate(rows):
        image = found.loc[row["path"]]
        expected = (index % 2, f"span:g{index // 3}", row["surface"] or "unknown", "span")
        assert (image["label"], image["group_id"], image["surface"], image["source"]) == expected


def test_table_with_absolute_paths_works_also_through_a_link(store: Store, tmp_path: Path, write_tile: Write) -> None:
    lines = ["path,label,mask"]
    mask = tmp_path / "masks" / "0.png"
    mask.parent.mkdir()
    cv2.imwrite(str(mask), np.full((64, 64), 255, np.uint8))
    for index in range(12):
        path = write_tile(tmp_path / "all" / f"{index}.jpg", seed=index)
        lines.append(f"{path},{index % 2},{mask if index == 1 else ''}")
    table = tmp_path / "deep" / "inside" / "span.csv"
    table.parent.mkdir(parents=True)
    table.write_text("\n".join(lines))
    (tmp_path / "link").symlink_to(table.parent)

    manifest = ingest(table, store, tmp_path)[0]
    assert sorted(manifest.table["path"]) == sorted(f"../../all/{index}.jpg" for index in range(12))
    assert manifest.table["mask_id"].notna().sum() == 1
    assert ingest(tmp_path / "link" / "span.csv", store, tmp_path)[0].digest == manifest.digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.jpg,2\n", r"row 1 \(a.jpg\): the label is '2'; it must be one of 0, 1, no_crack, crack, or"),
        ("path,label\na.jpg,\n", r"row 1 \(a.jpg\): the label is None"),
        ("path,label\na.jpg,1\na.jpg,1\n", "row 2: the path a.jpg occurs twice"),
        ("path,label\na.jpg,1\n./a.jpg,0\n", "row 2: the path a.jpg occurs twice"),
        ("path,label\na.jpg,1\ngone.jpg,0\n", "row 2: there is no file .*gone.jpg"),
        ("path,label,mask\na.jpg,1,gone.png\n", "row 1: there is no file .*gone.png"),
        ("path,label\n,1\n", "row 1: the path is missing"),
        (
            "place,label\na.jpg,1\n",
            "lacks the columns path; has the unknown columns place; the columns path and label",
        ),
        ("path,label\n", "has no rows"),
        ("", "cannot be read as a table"),
    ],
)
def test_wrong_tables_are_explained(text: str, message: str, store: Store, tmp_path: Path, write_tile: Write) -> None:
    write_tile(tmp_path / "a.jpg", seed=1)
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        ingest(tmp_path / "table.csv", store, tmp_path)


def tar_with(path: Path, name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Path:
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, target, 3 if kind == tarfile.REGTYPE else 0
        archive.addfile(member, io.BytesIO(b"bad"))
    return path


def zip_with(path: Path, name: str, mode: int = 0, content: bytes = b"bad") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        archive.writestr(member, content, zipfile.ZIP_DEFLATED)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: tar_with(p / "a.tar", "../escaped.jpg"), "'../escaped.jpg' leads out of"),
        (lambda p: tar_with(p / "a.tar", "/escaped.jpg"), "'/escaped.jpg' leads out of"),
        (lambda p: tar_with(p / "a.tar", "crack/x", tarfile.SYMTYPE, "/etc/passwd"), "is a link or a device"),
        (lambda p: tar_with(p / "a.tar", "crack/x", tarfile.LNKTYPE, "../x"), "is a link or a device"),
        (lambda p: tar_with(p / "a.tar", "crack/x", tarfile.FIFOTYPE), "is a link or a device"),
        (lambda p: zip_with(p / "a.zip", "..\\escaped.jpg"), "leads out of"),
        (lambda p: zip_with(p / "a.zip", "a/../../escaped.jpg"), "leads out of"),
        (lambda p: zip_with(p / "a.zip", "crack/x", stat.S_IFLNK | 0o777), "is a link or a device"),
        (lambda p: zip_with(p / "a.zip", "."), r"its member '\.' has no name; pack it again"),
        (lambda p: zip_with(p / "a.zip", f"crack/{'x' * 300}.jpg"), "too long for this file system; rename"),
        (
            lambda p: zip_with(p / "a.zip", "crack/x.jpg", content=bytes(5_000_000)),
            "more than 1000000 bytes, the limit ingest.max_unpacked",
        ),
    ],
)
def test_malicious_archives_are_refused(make: Callable, message: str, store: Store, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match=message):
        ingest(make(tmp_path / "in"), store, tmp_path, max_unpacked=1_000_000)
    assert not list(tmp_path.rglob("*escaped*"))
    assert written(store) == []


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_damaged_archives_are_explained(kind: str, tiles: Path, store: Store, tmp_path: Path) -> None:
    archive = (zipped if kind == "zip" else tarred)(tiles, tmp_path / f"walls.{kind}")
    data = bytearray(archive.read_bytes())
    if kind == "zip":
        data[len(data) // 2] ^= 0xFF  # the checksum of a member is now wrong
    archive.write_bytes(data if kind == "zip" else data[: len(data) // 2])

    with pytest.raises(InputError, match=rf"the archive .*walls.{kind} is damaged"):
        ingest(archive, store, tmp_path)


def test_full_disk_is_explained(tiles: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("components.shared.data.versions.write_shards", full)
    with pytest.raises(InputError, match=r"the disk is full: \d+ bytes are free at .*, and \d+ bytes at .*; free some"):
        ingest(tiles, store, tmp_path)


def test_storage_that_cannot_be_used_names_the_source(tiles: Path, store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data is 's3://nowhere/x': the bucket 'nowhere' .* does not exist"):
        ingest("s3://nowhere/x", store, tmp_path)
    with pytest.raises(InputError, match=r"data is '.*/empty': there is no object under"):
        ingest(f"{store.uri}/empty", store, tmp_path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["../up.jpg"], r"the object s3://a/b/../up.jpg is refused: its key leads out of the prefix"),
        (["crack//1.jpg"], r"the object s3://a/b/crack//1.jpg is refused: its key cannot be the name of a file"),
        (["crack", "crack/1.jpg"], r"the objects of s3://a/b cannot all be stored as files on this machine: .*crack"),
        (["crack/" + "n" * 256], r"cannot all be stored as files on this machine: .*File name too long"),
    ],
)
def test_objects_that_cannot_be_files_are_refused(
    keys: list[str], message: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [StoredObject(key, 9, "tag", datetime.now(UTC)) for key in keys]  # some servers refuse such keys
    monkeypatch.setattr(Store, "objects", lambda self, prefix="": listed if self.uri == "s3://a/b" else [])
    with pytest.raises(InputError, match=message):
        ingest("s3://a/b", store, tmp_path)


@pytest.mark.parametrize("images", ["99999999999", "0", "100001"])
def test_the_number_of_synthetic_tiles_is_bounded(images: str, store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="images must be a number from 1 to 100000, and size from 32 to 1024"):
        ingest(f"synthetic://?images={images}", store, tmp_path)


def test_a_number_of_thousands_of_digits_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it must not contain seed=111"):
        ingest(f"synthetic://?seed={'1' * 5000}", store, tmp_path)
