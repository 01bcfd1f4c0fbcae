"""The settings of the environment: addressing, regions, checksums, keys, versions, and credentials that are renewed."""

import json
import sys
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from components.shared.errors import InputError
from components.shared.services import bucket_versions
from components.shared.services.store import Store
from tests.answering_server import answering
from tests.faulty_s3 import FaultyS3, nothing


def test_virtual_hosts_and_checksums_are_used_on_request(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        asked.append((method, path, headers))
        return 200, {"ETag": '"x"'}, b"content" if method == "GET" else b""

    # The name of a virtual host does not resolve here, so an HTTP proxy gets the whole address.
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://storage.example")
    with answering(answer) as address:
        monkeypatch.setenv("HTTP_PROXY", address)
        Store("s3://crack/store").put_bytes("x", b"content")
        monkeypatch.setenv("AWS_S3_ADDRESSING_STYLE", "virtual")
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
        Store("s3://crack/store").put_bytes("x", b"content")

    puts = [(path, headers) for method, path, headers in asked if method == "PUT"]
    assert [path for path, _ in puts] == [
        "http://storage.example/crack/store/x",
        "http://crack.storage.example/store/x",
    ]
    assert [headers["content-md5"] for _, headers in puts] == ["mgNkuembtIDdJeHwKEyFVQ=="] * 2  # Object Lock demands it
    assert ["x-amz-checksum-crc32" in headers for _, headers in puts] == [False, True]


@pytest.mark.parametrize(
    "name", ["AWS_S3_ADDRESSING_STYLE", "AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"]
)
def test_an_unknown_value_of_a_setting_is_named(name: str, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "sometimes")
    with pytest.raises(InputError, match=f"{name} is 'sometimes'; set it to one of "):
        Store(s3)


def test_an_endpoint_that_is_no_address_is_named(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "storage.example")
    with pytest.raises(InputError, match=r"AWS_ENDPOINT_URL_S3 is 'storage.example' \(.*\); write it as https://host"):
        Store(s3)


def test_a_bucket_in_another_region_is_found(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = (
        b"<Error><Code>AuthorizationHeaderMalformed</Code><Message>no</Message><Region>eu-central-1</Region></Error>"
    )
    regions = []

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        regions.append(headers["authorization"].split("/")[2])
        return (200, {"ETag": '"x"'}, b"content") if regions[-1] == "eu-central-1" else (400, {}, wrong)

    with answering(answer) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        store = Store(s3)
        assert [store.get_bytes("x") for _ in range(2)] == [b"content"] * 2
    assert regions == ["us-east-1", "eu-central-1", "eu-central-1"]


def test_a_wrong_clock_is_explained_with_the_difference(s3: str, s3_environment, monkeypatch) -> None:
    with FaultyS3(s3_environment["AWS_ENDPOINT_URL_S3"], lambda *_: "skewed").serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
        with pytest.raises(
            InputError, match=r"differ too much: this machine is 20 minutes behind the server, which says"
        ):
            Store(s3).get_bytes("x")


def test_difficult_keys_come_back_in_every_way(store: Store, tmp_path: Path) -> None:
    names = ["a+b", "a b", "a%2Bb", "ü", unicodedata.normalize("NFD", "é"), "日本/1#2?3&4", "'quoted' \"twice\""]
    for name in names:
        store.put_bytes(f"keys/{name}", name.encode())
    assert sorted(key for key, _ in store.list("keys/")) == sorted(f"keys/{name}" for name in names)
    for name in names:
        assert store.get_bytes(f"keys/{name}") == name.encode()
    store.delete([f"keys/{name}" for name in names])
    assert store.list("keys/") == []


def listing(keys: list[str], token: str = "") -> bytes:
    entries = ""
    for key in keys:
        entries += (
            f"<Contents><Key>{key}</Key><Size>1</Size><LastModified>2026-11-30T00:00:00Z</LastModified></Contents>"
        )
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    end = f"<KeyCount>{len(keys)}</KeyCount><IsTruncated>{'true' if token else 'false'}</IsTruncated>{more}"
    return f"<ListBucketResult>{entries}{end}</ListBucketResult>".encode()


@pytest.mark.parametrize("wrong_token", [False, True])
def test_a_listing_that_ends_early_is_an_error(wrong_token: bool, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SeaweedFS can give a token after which nothing follows, although there are more keys."""
    pages = {"first": ["d/1", "d/2"], "second": ["d/3"]}

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        query = parse_qs(urlsplit(path).query)
        if "start-after" in query:
            return 200, {}, listing([key for page in pages.values() for key in page if key > query["start-after"][0]])
        if "continuation-token" in query:
            return 200, {}, listing([] if wrong_token else pages["second"])
        return 200, {}, listing(pages["first"], "a token")

    with answering(answer) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        store = Store("s3://crack")
        if wrong_token:
            with pytest.raises(
                InputError, match=r"listing of s3://crack/d/ is not complete: the server stopped before d/3"
            ):
                store.list("d/")
        else:
            assert [key for key, _ in store.list("d/")] == ["d/1", "d/2", "d/3"]


def test_the_versions_of_deleted_objects_are_found_and_removed(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old, now = datetime(2026, 1, 1, tzinfo=UTC), datetime.now(UTC)
    removed = []

    def entry(kind: str, key: str, version: str, latest: bool, when: datetime) -> str:
        size = "<Size>7</Size>" if kind == "Version" else ""
        return (
            f"<{kind}><Key>store/{key}</Key><VersionId>{version}</VersionId><IsLatest>{str(latest).lower()}</IsLatest>"
            f"<LastModified>{when:%Y-%m-%dT%H:%M:%SZ}</LastModified>{size}</{kind}>"
        )

    entries = [
        entry("Version", "shards/needed", "1", True, old),
        entry("Version", "shards/needed", "0", False, old),
        entry("DeleteMarker", "shards/long-gone", "3", True, old),
        entry("Version", "shards/long-gone", "2", False, old),
        entry("DeleteMarker", "shards/just-now", "5", True, now),
        entry("Version", "shards/just-now", "4", False, old),
        entry("DeleteMarker", "shards/by-mistake-today", "7", True, now),
        entry("Version", "shards/by-mistake-today", "6", False, old),
    ]

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if "versioning" in path:
            status = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
            return 200, {}, status.encode()
        if method == "POST":
            removed.append(path)
            return 200, {}, b"<DeleteResult></DeleteResult>"
        body = "".join(entries) + "<IsTruncated>false</IsTruncated>"
        return 200, {}, f"<ListVersionsResult>{body}</ListVersionsResult>".encode()

    with answering(answer) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        store = Store("s3://crack/store")
        assert bucket_versions.keeps_versions(store)
        since = now - timedelta(days=30)
        found = bucket_versions.deleted_objects(store, ["shards/"], since, {"shards/just-now"})
        assert {one.key: (one.versions, one.marks, one.size) for one in found} == {
            "shards/long-gone": (["2"], ["3"], 7),
            "shards/just-now": (["4"], ["5"], 7),
        }
        bucket_versions.remove_versions(store, found)
    assert len(removed) == 2  # the content first, then the marks of the deletions


def test_a_bucket_without_versions_keeps_none(store: Store) -> None:
    assert not bucket_versions.keeps_versions(store)


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (405, "MethodNotAllowed"), (501, "")])
def test_a_server_that_does_not_know_versions_keeps_none(
    status: int, code: str, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = f"<Error><Code>{code}</Code></Error>".encode() if code else b""
    with answering(lambda *_: (status, {}, body)) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        assert not bucket_versions.keeps_versions(Store(s3))


@pytest.fixture
def expiring(s3: str, s3_environment, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FaultyS3, set[str]]]:
    """Yield a server and a set. The server refuses session tokens that are in the set. The environment has no keys."""
    expired: set[str] = set()
    with FaultyS3(s3_environment["AWS_ENDPOINT_URL_S3"], nothing).serving() as server:
        server.choose = lambda _, __, token: "expired" if token in expired else ""
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        yield server, expired


def keys_of(environment: dict[str, str]) -> tuple[str, str]:
    return environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]


def test_a_credentials_file_that_was_replaced_is_read_again(s3: str, s3_environment, expiring, monkeypatch, tmp_path):
    _, expired = expiring
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))

    def write(token: str) -> None:
        key, secret = keys_of(s3_environment)
        file.write_text(
            f"[default]\naws_access_key_id={key}\naws_secret_access_key={secret}\naws_session_token={token}\n"
        )

    write("first")
    store = Store(s3)
    store.put_bytes("x", b"1")
    expired.add("first")
    with pytest.raises(InputError, match=r"credentials have expired; get new ones, .* docs/storage.md lists"):
        store.get_bytes("x")
    write("second")
    assert store.get_bytes("x") == b"1"
    assert store.exists("x")
    (tmp_path / "file").write_bytes(b"2")
    expired.add("second")
    write("third")
    store.put_file("x", tmp_path / "file")
    assert store.get_bytes("x") == b"2"


def test_a_program_that_gives_credentials_is_asked_again(s3: str, s3_environment, expiring, monkeypatch, tmp_path):
    _, expired = expiring
    key, secret = keys_of(s3_environment)
    program = tmp_path / "give.py"
    program.write_text(
        "import json, pathlib\n"
        f"calls = pathlib.Path({str(tmp_path / 'calls')!r})\n"
        "calls.write_text(calls.read_text() + 'x' if calls.exists() else 'x')\n"
        f"print(json.dumps(dict(Version=1, AccessKeyId={key!r}, SecretAccessKey={secret!r},\n"
        "    SessionToken=calls.read_text(), Expiration='2099-01-01T00:00:00Z')))\n"
    )
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    store = Store(s3)
    store.put_bytes("x", b"1")
    expired.add("x")
    assert store.get_bytes("x") == b"1"
    assert (tmp_path / "calls").read_text() == "xx"

    program.write_text("import sys; sys.exit('the vault is sealed')")
    with pytest.raises(
        InputError, match=r"no credentials for the store .*the vault is sealed.*: set AWS_ACCESS_KEY_ID"
    ):
        Store(s3).get_bytes("x")


def test_a_pods_own_token_gives_credentials_that_are_renewed(
    s3: str, s3_environment, expiring, monkeypatch, tmp_path: Path
) -> None:
    key, secret = keys_of(s3_environment)
    given = []

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        given.append(f"token-{len(given)}")
        soon = datetime.now(UTC) + timedelta(minutes=5)  # botocore renews credentials ten minutes before their end
        body = (
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
            f"<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>"
            f"<SessionToken>{given[-1]}</SessionToken><Expiration>{soon:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
            "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )
        return 200, {"Content-Type": "text/xml"}, body.encode()

    _, expired = expiring
    (tmp_path / "token").write_text("the pod's token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/crack")
    with answering(answer) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", address)
        store = Store(s3)
        store.put_bytes("x", b"1")
        expired.update(given)
        assert store.get_bytes("x") == b"1"
        assert len(given) > 1

    refusal = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>not this role</Message></Error></ErrorResponse>"
    with answering(lambda *_: (403, {"Content-Type": "text/xml"}, refusal)) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", address)
        with pytest.raises(InputError, match=r"no credentials for the store .*not this role"):
            Store(s3).get_bytes("x")


def test_a_local_run_finds_its_users_credentials_in_files(s3: str, s3_environment, monkeypatch, tmp_path: Path) -> None:
    Store("s3://crack").put_bytes("theirs/x", b"1")
    key, secret = keys_of(s3_environment)
    program = f"import json; print(json.dumps(dict(Version=1, AccessKeyId={key!r}, SecretAccessKey={secret!r})))"
    (tmp_path / "give.py").write_text(program)
    (tmp_path / "config").write_text(f"[profile other]\ncredential_process = {sys.executable} {tmp_path / 'give.py'}\n")
    monkeypatch.setenv("LOCAL_BUCKET", "the-local-runs-own")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-local-runs-own-key")
    for name, value in {
        "AWS_ENDPOINT_URL_S3": s3_environment["AWS_ENDPOINT_URL_S3"],
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_PROFILE": "other",
    }.items():
        monkeypatch.setenv(f"OUTSIDE_{name}", value)
    assert Store("s3://crack/theirs").get_bytes("x") == b"1"
    assert json.dumps(Store("s3://crack/theirs").list()) == '[["x", 1]]'
