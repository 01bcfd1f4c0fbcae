"""`gc` as a command, in a bucket that keeps versions and has Object Lock."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from components.shared.services.store import Store
from pipelines.cli.main import app
from tests.mlflow_store import new_mlflow_store
from tests.versioned_s3 import VersionedS3

Gc = Callable[..., Result]
URI = "s3://locked/store"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[VersionedS3]:
    """A bucket with two shards that nobody needs, and the environment that reaches it."""
    server = VersionedS3()
    server.now = datetime.now(UTC) - timedelta(days=60)
    with server.serving() as address:
        for name, value in {"ENDPOINT_URL_S3": address, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        for shard in "12":
            Store(URI).put_bytes(f"shards/{shard}", bytes(9))
        yield server


@pytest.fixture
def gc(bucket: VersionedS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gc:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(tmp_path / "mlflow"))
    params = tmp_path / "params.yaml"
    candidates = "candidates: {cnn: {train: {architecture: resnet18, steps: 1}}}"
    params.write_text(f"store: {URI}\n{candidates}\ncluster: {{run_deadline: 1}}\n")
    return lambda *options: CliRunner().invoke(app, ["gc", "--params", str(params), *options])


def text_of(done: Result) -> str:
    return " ".join(done.output.split())


def test_a_deletion_frees_nothing_until_the_versions_are_removed(bucket: VersionedS3, gc: Gc) -> None:
    assert "so a deletion alone frees no space; add --versions" in text_of(gc())
    deleted = gc("--delete")
    assert deleted.exit_code == 0, deleted.output
    assert Store(URI).list() == []
    assert sum(len(one.content or b"") for own in bucket.versions.values() for one in own) == 18

    removed = gc("--delete", "--versions")
    assert removed.exit_code == 0, removed.output
    assert "removed the versions of deleted objects: 18 B in 2" in text_of(removed)
    assert "add --versions" not in text_of(removed)
    assert bucket.versions == {}


def test_a_locked_version_stays_deleted_and_is_removed_after_its_protection(bucket: VersionedS3, gc: Gc) -> None:
    bucket.locked = {"store/shards/2"}
    refused = gc("--delete", "--versions")
    assert refused.exit_code == 2
    words = (
        f"the bucket locked refuses to remove the versions of 1 of 2 deleted objects, such as {URI}/shards/2: Access "
        "Denied. If Object Lock protects these versions, run the command again after the protection ends"
    )
    assert words in text_of(refused)
    assert list(bucket.versions) == ["store/shards/2"]
    assert Store(URI).list() == []

    bucket.locked = set()
    assert gc("--delete", "--versions").exit_code == 0
    assert bucket.versions == {}


def test_a_key_that_may_not_ask_for_versions_is_reported(bucket: VersionedS3, gc: Gc) -> None:
    bucket.may_ask = False
    refused = gc("--delete", "--versions")
    assert refused.exit_code == 2
    assert "The access key needs the right s3:GetBucketVersioning" in text_of(refused)
    assert len(Store(URI).list()) == 2

    deleted = gc("--delete")
    assert deleted.exit_code == 0, deleted.output
    assert "it is unknown whether the bucket locked keeps versions of deleted objects" in text_of(deleted)
    assert "If the bucket keeps versions, a deletion alone frees no space" in text_of(deleted)
    assert Store(URI).list() == []
