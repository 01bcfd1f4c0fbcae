"""The store, and doctor's check of the store, with a real SeaweedFS, the S3 server of the dev overlay.

Needs `weed`: on PATH, or named by the environment variable WEED.
"""

import contextlib
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from pipelines.cluster.service_checks import check_store
from pipelines.local.embedded_stack import LOOPBACK, free_port

WEED = os.environ.get("WEED") or shutil.which("weed")
START_SECONDS = 60
KEYS = {"AWS_ACCESS_KEY_ID": "crack", "AWS_SECRET_ACCESS_KEY": "a-secret-key", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A SeaweedFS server with a bucket; yields its address."""
    if not WEED:
        pytest.skip("needs SeaweedFS: put weed on PATH, or name it in WEED")
    folder = tmp_path_factory.mktemp("seaweedfs")
    credentials = {"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}
    identity = {"name": "crack", "credentials": [credentials], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))

    s3 = free_port()
    # SeaweedFS opens a second port for gRPC beside each of these: 10,000 above it, unless it is named.
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    ports = [f"-{name}={free_port()}" for name in (*names, "s3.port.grpc")]
    command = [WEED, "server", "-filer", "-s3", f"-s3.port={s3}", f"-s3.config={folder / 's3.json'}", *ports]
    command += [f"-dir={folder}", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", "-volume.max=5"]
    with open(folder / "log", "w") as log, subprocess.Popen(command, stdout=log, stderr=log, cwd=folder) as server:
        try:
            address = f"http://{LOOPBACK}:{s3}"
            _make_bucket(address, folder / "log")
            yield address
        finally:
            server.kill()


def _make_bucket(address: str, log: Path) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(BotoCoreError, ClientError):
            client.create_bucket(Bucket="crack")
            return
        time.sleep(0.5)
    raise AssertionError(f"SeaweedFS is not ready within {START_SECONDS} s: {log.read_text()[-2000:]}")


def test_large_objects_and_difficult_keys_come_back(seaweedfs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", seaweedfs)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    found = check_store(f"s3://crack/{uuid.uuid4().hex[:12]}")
    assert "20 MiB whole and in parts, and a key with special characters" in found
