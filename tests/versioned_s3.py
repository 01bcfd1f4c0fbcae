"""An S3 server whose bucket keeps versions, with Object Lock. It keeps everything in memory."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.answering_server import serving

DENIED = 403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
MISSING = 404, b"<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>"
WITHOUT_CHECKSUM = 400, b"<Error><Code>InvalidRequest</Code><Message>Content-MD5 is required</Message></Error>"
STAMP = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Version:
    """A version of an object. A version without content marks a deletion."""

    id: str
    content: bytes | None
    modified: datetime


class VersionedS3:
    """The server of one bucket.

    Attributes:
        versions: Key -> the versions of the object, the oldest first.
        locked: Keys whose versions with content cannot be removed.
        now: Time of the next writes and deletions.
        may_ask: If false, the access key must not ask whether the bucket keeps versions.
    """

    def __init__(self) -> None:
        self.versions: dict[str, list[Version]] = {}
        self.locked: set[str] = set()
        self.now = datetime.now(UTC)
        self.may_ask = True
        self._written = 0

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on the loopback interface; yield the address."""
        state = self

        class Bound(_Handler):
            bucket = state

        with serving(Bound) as address:
            yield address

    def add(self, key: str, content: bytes | None) -> None:
        self._written += 1
        self.versions.setdefault(key, []).append(Version(str(self._written), content, self.now))

    def content(self, key: str) -> bytes | None:
        """Return the content of an object, or None if it is deleted or never existed."""
        own = self.versions.get(key, [])
        return own[-1].content if own else None

    def remove(self, key: str, version: str | None) -> str:
        """Delete an object, or remove one of its versions. Return the XML of the error, or ""."""
        if version is None:
            self.add(key, None)
            return ""
        [wanted] = [one for one in self.versions[key] if one.id == version]
        if wanted.content is not None and key in self.locked:
            return f"<Error><Key>{key}</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.versions[key].remove(wanted)
        if not self.versions[key]:
            del self.versions[key]
        return ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: VersionedS3

    def do_PUT(self) -> None:
        body = self._body()
        if "Content-MD5" not in self.headers and "x-amz-checksum-crc32" not in self.headers:
            self._answer(*WITHOUT_CHECKSUM)
            return
        self.bucket.add(self._key(), body)
        self._answer(200, b"", ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def do_POST(self) -> None:
        errors = ""
        for wanted in ElementTree.fromstring(self._body()).findall("{*}Object"):
            errors += self.bucket.remove(wanted.findtext("{*}Key") or "", wanted.findtext("{*}VersionId"))
        self._answer(200, f"<DeleteResult>{errors}</DeleteResult>".encode())

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if not self._key():
            self._answer(*self._about_bucket(query))
            return
        content = self.bucket.content(self._key())
        self._answer(*(MISSING if content is None else (200, content)))

    def _about_bucket(self, query: dict[str, list[str]]) -> tuple[int, bytes]:
        if "versioning" in query:
            status = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
            return (200, status) if self.bucket.may_ask else DENIED
        prefix, after = query.get("prefix", [""])[0], query.get("start-after", [""])[0]
        keys = sorted(key for key in self.bucket.versions if key.startswith(prefix) and key > after)
        if "versions" in query:
            entries = "".join(_entry(key, one, self.bucket) for key in keys for one in self.bucket.versions[key])
            return 200, f"<ListVersionsResult><IsTruncated>false</IsTruncated>{entries}</ListVersionsResult>".encode()

        present = [key for key in keys if self.bucket.content(key) is not None]
        entries = "".join(_content(key, self.bucket) for key in present)
        count = f"<KeyCount>{len(present)}</KeyCount><IsTruncated>false</IsTruncated>"
        return 200, f"<ListBucketResult>{count}{entries}</ListBucketResult>".encode()

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def _entry(key: str, version: Version, bucket: VersionedS3) -> str:
    kind = "DeleteMarker" if version.content is None else "Version"
    size = "" if version.content is None else f"<Size>{len(version.content)}</Size>"
    latest = str(version == bucket.versions[key][-1]).lower()
    return (
        f"<{kind}><Key>{escape(key)}</Key><VersionId>{version.id}</VersionId><IsLatest>{latest}</IsLatest>"
        f"<LastModified>{version.modified:{STAMP}}</LastModified>{size}</{kind}>"
    )


def _content(key: str, bucket: VersionedS3) -> str:
    latest = bucket.versions[key][-1]
    return (
        f"<Contents><Key>{escape(key)}</Key><Size>{len(latest.content or b'')}</Size>"
        f"<LastModified>{latest.modified:{STAMP}}</LastModified></Contents>"
    )
