"""Connect to a bucket with the settings in the environment. Repeat failed requests that may succeed the next time.

All settings are AWS_* environment variables; docs/storage.md lists them. A local run has its own storage with one
bucket. The environment variable LOCAL_BUCKET contains the name of this bucket. All other buckets are reached with the
user's own AWS_* variables. The local run passes these variables to the steps under the names OUTSIDE_AWS_*.
"""

import base64
import hashlib
import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from components.shared.errors import InputError
from components.shared.events import log
from components.shared.services.s3_failures import (
    ExpiredCredentialsError,
    UnsoundAnswerError,
    code_of,
    explained,
    lost_connections,
    no_credentials,
)

# Number of threads that share one client.
THREADS = 8
# Number of attempts of one request, including the first attempt.
ATTEMPTS = 4
# A local run stores the AWS_* environment of its user under names with this prefix.
OUTSIDE = "OUTSIDE_"
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
# Settings that have only a few possible values. The first value is the default.
CHOICES = {
    "AWS_S3_ADDRESSING_STYLE": ("path", "virtual", "auto"),
    # By default, boto3 adds checksum trailers, and some S3-compatible servers store the trailers as content.
    "AWS_REQUEST_CHECKSUM_CALCULATION": ("when_required", "when_supported"),
    "AWS_RESPONSE_CHECKSUM_VALIDATION": ("when_required", "when_supported"),
}
CREDENTIALS = {
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
}
# Settings that name other sources of credentials: botocore's name -> environment variable.
CREDENTIAL_SOURCES = {
    "profile": "AWS_PROFILE",
    "credentials_file": "AWS_SHARED_CREDENTIALS_FILE",
    "config_file": "AWS_CONFIG_FILE",
}
# With these error codes, the server says that a request or a part of it was damaged on the way.
ARRIVED_DAMAGED = (
    "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "InvalidPart", "InvalidPartOrder",
    "NoSuchUpload", "EntityTooSmall", "MalformedXML",
)  # fmt: skip

Answer = TypeVar("Answer")


class Connection:
    """The connection to one bucket. Threads can share it."""

    def __init__(self, uri: str, bucket: str):
        self.uri = uri
        self.bucket = bucket
        self.client = connect(uri, bucket)

    def ask(self, key: str, request: Callable[[Any], Answer]) -> Answer:
        """Send a request and return its result. Repeat the request if it fails in a way that may be temporary.

        The request is repeated if the answer is incomplete, cannot be read or contradicts itself. boto3 itself repeats
        only requests that fail before an answer begins. The request is also repeated if the credentials have expired.
        Then we make a new client, which reads renewed credentials, for example from a file.

        Args:
            key: The object that the request is about, for messages.
            request: Function that sends the request with the given boto3 client.

        Raises:
            InputError: Every attempt failed.
        """
        try:
            return self._repeat(key, request)
        except ExpiredCredentialsError as error:
            log.warning("%s. Looking for new credentials", error)
            self.client = connect(self.uri, self.bucket)
            return self._repeat(key, request)

    def _repeat(self, key: str, request: Callable[[Any], Answer]) -> Answer:
        from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        def warn(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            log.warning("%s/%s: %s; trying again", self.uri, key, error)

        attempts = Retrying(
            retry=retry_if_exception(_may_succeed),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(),
            before_sleep=warn,
            reraise=True,
        )
        with explained(self.client, self.uri, key):
            return attempts(request, self.client)


def _may_succeed(error: BaseException) -> bool:
    """Return whether the same request may succeed in the next attempt.

    botocore raises ValueError if a number in the answer is damaged.
    """
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    if isinstance(error, InputError):
        return False
    if isinstance(error, exceptions.ClientError):
        return code_of(error) in ARRIVED_DAMAGED
    wrong_answers = (ResponseParserError, UnsoundAnswerError, ValueError, exceptions.FlexibleChecksumError)
    return isinstance(error, (*lost_connections(), *wrong_answers))


def connect(uri: str, bucket: str) -> Any:
    """Return the boto3 client that reaches a bucket.

    Raises:
        InputError: The environment does not name an endpoint, a setting has an unknown value, or there are no
            credentials for a bucket outside the local run.
    """
    import boto3
    import botocore.session
    from botocore.exceptions import BotoCoreError

    settings = _settings(bucket)
    endpoint = _first(settings, ENDPOINTS)
    region = _first(settings, REGIONS)
    if not endpoint and not region:
        raise InputError(
            f"there is no storage endpoint for {uri}: set AWS_ENDPOINT_URL_S3 (for AWS itself, set AWS_REGION)"
        )

    config = _client_config(settings)
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader())
    credentials: dict[str, str | None] = {}
    if settings is not os.environ:
        endpoint = endpoint or f"https://s3.{region}.amazonaws.com"
        credentials = _outside_credentials(session, settings, uri)

    try:
        client = boto3.session.Session(botocore_session=session).client(
            "s3",
            region_name=region or "us-east-1",
            endpoint_url=endpoint,
            verify=settings.get("AWS_CA_BUNDLE"),
            config=config,
            **credentials,
        )
    except BotoCoreError as error:
        raise no_credentials(uri, error) from error
    except ValueError as error:
        raise InputError(
            f"AWS_ENDPOINT_URL_S3 is {endpoint!r} ({error}); write it as https://host or https://host:port"
        ) from error
    for operation in ("PutObject", "UploadPart", "DeleteObjects"):
        client.meta.events.register_last(f"before-call.s3.{operation}", _add_md5)
    return client


def _settings(bucket: str) -> Mapping[str, str]:
    """Return the AWS_* variables with which a bucket can be reached."""
    if os.environ.get("LOCAL_BUCKET", bucket) == bucket:
        return os.environ

    outside = {}
    for name, value in os.environ.items():
        if name.startswith(OUTSIDE):
            outside[name.removeprefix(OUTSIDE)] = value
    return outside


def _first(settings: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    """Search the settings in the order of `names`, and return the first value that is not empty, or None."""
    values = [settings[name] for name in names if settings.get(name)]
    return values[0] if values else None


def _outside_credentials(session: Any, settings: Mapping[str, str], uri: str) -> dict[str, str | None]:
    """Return the credentials for a bucket outside the local run.

    If the settings contain an access key and a secret key, return these credentials. Otherwise, botocore looks
    for credentials, for example in a profile, and the result is {}.

    Without this function, boto3 would use the credentials in the environment. The credentials in the environment are
    for the local run's own storage.
    """
    credentials = {argument: settings.get(variable) for argument, variable in CREDENTIALS.items()}
    if credentials["aws_access_key_id"] and credentials["aws_secret_access_key"]:
        return credentials

    for name, variable in CREDENTIAL_SOURCES.items():
        if settings.get(variable):
            session.set_config_variable(name, settings[variable])
    try:
        session.get_component("credential_provider").remove("env")
        found = session.get_credentials()
    except Exception as error:  # an error of botocore, or of the program that prints the credentials
        raise no_credentials(uri, error) from error
    if found is None:
        raise InputError(f"there are no credentials for {uri}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    return {}


def _client_config(settings: Mapping[str, str]) -> Any:
    from botocore.config import Config

    chosen = {}
    for name, values in CHOICES.items():
        chosen[name] = (settings.get(name) or values[0]).lower()
        if chosen[name] not in values:
            raise InputError(f"{name} is {settings[name]!r}; set it to one of {', '.join(values)}")

    return Config(
        signature_version="s3v4",
        s3={"addressing_style": chosen["AWS_S3_ADDRESSING_STYLE"]},
        request_checksum_calculation=chosen["AWS_REQUEST_CHECKSUM_CALCULATION"],
        response_checksum_validation=chosen["AWS_RESPONSE_CHECKSUM_VALIDATION"],
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=2 * THREADS,
    )


def _add_md5(params: dict[str, Any], **_: Any) -> None:
    """Add the MD5 of the body to a request. Every S3 server checks the MD5, and Object Lock requires it."""
    other_checksum = params["context"].get("checksum", {}).get("request_algorithm", {})
    if other_checksum.get("in") == "trailer":
        return

    body = params["body"]
    found = hashlib.md5(usedforsecurity=False)
    if isinstance(body, bytes | bytearray):
        found.update(body)
    else:
        start = body.tell()
        while chunk := body.read(2**20):
            found.update(chunk)
        body.seek(start)
    params["headers"]["Content-MD5"] = base64.b64encode(found.digest()).decode()


@cache
def _loader() -> Any:
    """Return botocore's loader of service descriptions. The descriptions are large, so they are read only once."""
    from botocore.loaders import create_loader

    return create_loader()
