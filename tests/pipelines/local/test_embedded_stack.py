"""The workdir's S3 server: what killed uploads left is removed, what may still be written is not."""

import os
import time
from pathlib import Path

import pytest

from components.shared.errors import InputError
from components.shared.services.store import Store
from pipelines.local.embedded_stack import embedded_stack


def test_temporary_files_of_killed_uploads_are_removed_after_a_day(tmp_path: Path, monkeypatch) -> None:
    with embedded_stack(tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        store = Store("s3://crack/store")
        full, killed = {"Bucket": "crack", "Key": "store/shards/x"}, []
        for _ in range(2):
            upload = store._client.create_multipart_upload(**full)["UploadId"]
            store._client.upload_part(**full, UploadId=upload, PartNumber=1, Body=bytes(6_000_000))
        assert store.list() == []
        killed = list(tmp_path.rglob(".rclone_temp_multipart_*"))
        assert killed
    yesterday = time.time() - 90_000
    os.utime(killed[0], (yesterday, yesterday))
    with embedded_stack(tmp_path):
        assert set(tmp_path.rglob(".rclone_temp_multipart_*")) == set(killed[1:])


def test_a_local_run_reaches_its_own_bucket_and_those_of_its_user(store: Store, tmp_path: Path, monkeypatch) -> None:
    store._client.create_bucket(Bucket="raw")
    theirs = Store("s3://raw/tiles")
    theirs.put_bytes("name", b"theirs")
    with embedded_stack(tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        Store(store.uri).put_bytes("name", b"own")
        assert store.list() == []
        assert Store(theirs.uri).get_bytes("name") == b"theirs"
        monkeypatch.delenv("OUTSIDE_AWS_SECRET_ACCESS_KEY")
        with pytest.raises(InputError, match="no credentials for s3://raw/tiles: set AWS_ACCESS_KEY_ID"):
            Store(theirs.uri)
        monkeypatch.delenv("OUTSIDE_AWS_ENDPOINT_URL_S3")
        monkeypatch.delenv("OUTSIDE_AWS_DEFAULT_REGION")
        with pytest.raises(InputError, match="no storage endpoint for s3://raw/tiles: set AWS_ENDPOINT_URL_S3"):
            Store(theirs.uri)
