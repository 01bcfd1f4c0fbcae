"""Make the S3 client that reaches a bucket, and explain its errors to the user.

Endpoint and credentials come only from the standard AWS_* environment. A local run has its own storage for the bucket
LOCAL_BUCKET. All other buckets are reached with the user's own AWS_* variables. The local run gives them to the steps
under the names OUTSIDE_AWS_*.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from components.shared.errors import InputError

# Threads that share one client.
THREADS = 8
# Number of attempts of one request, including the first attempt.
ATTEMPTS = 4
# A local run stores the AWS_* environment of its user under names with this prefix.
OUTSIDE = "OUTSIDE_"
CREDENTIALS = {
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
}
OBJECT_IS_MISSING = ("404", "NoSuchKey", "NotFound")
BUCKET_IS_MISSING = ("404", "NoSuchBucket", "NotFound")
ACCESS_IS_REFUSED = ("401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")
CREDENTIALS_HAVE_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired")
CLOCK_IS_WRONG = ("RequestTimeTooSkewed", "RequestExpired")
BUCKET_IS_ELSEWHERE = ("301", "307", "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed")
# The answer to a HEAD request has no body, and so only its HTTP status as a code.
CODES_WITHOUT_A_BODY = ("400", "401", "403")


class MissingObjectError(InputError):
    """The error if no object has the key."""


class DamagedObjectError(InputError):
    """An object was read twice, and its content was wrong both times."""


def connect(uri: str, bucket: str) -> Any:
    """Return the boto3 client that reaches a bucket.

    Raises:
        InputError: The environment does not name an endpoint, or it has no credentials for a bucket outside the local
            run.
    """
    import boto3
    import botocore.session

    settings = _settings(bucket)
    endpoint = settings.get("AWS_ENDPOINT_URL_S3") or settings.get("AWS_ENDPOINT_URL")
    region = settings.get("AWS_REGION") or settings.get("AWS_DEFAULT_REGION")
    if not endpoint and not region:
        raise InputError(
            f"there is no storage endpoint for {uri}: set AWS_ENDPOINT_URL_S3 (for AWS itself, set AWS_REGION)"
        )

    credentials: dict[str, str | None] = {}
    if settings is not os.environ:
        # The credentials are passed explicitly. Otherwise boto3 would use the environment of the local run itself.
        credentials = {argument: settings.get(variable) for argument, variable in CREDENTIALS.items()}
        endpoint = endpoint or f"https://s3.{region}.amazonaws.com"
        if not credentials["aws_access_key_id"] or not credentials["aws_secret_access_key"]:
            raise InputError(f"there are no credentials for {uri}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")

    session = botocore.session.get_session()
    session.register_component("data_loader", _loader())
    return boto3.session.Session(botocore_session=session).client(
        "s3",
        region_name=region or "us-east-1",
        endpoint_url=endpoint,
        verify=settings.get("AWS_CA_BUNDLE"),
        config=_client_config(),
        **credentials,
    )


def _client_config() -> Any:
    from botocore.config import Config

    return Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        # By default, boto3 adds checksum trailers, and some S3-compatible servers store the trailers as content.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=2 * THREADS,
    )


def _settings(bucket: str) -> Mapping[str, str]:
    """Return the AWS_* environment that reaches a bucket."""
    if os.environ.get("LOCAL_BUCKET", bucket) == bucket:
        return os.environ

    outside = {}
    for name, value in os.environ.items():
        if name.startswith(OUTSIDE):
            outside[name.removeprefix(OUTSIDE)] = value
    return outside


@cache
def _loader() -> Any:
    """Return botocore's loader of service descriptions. They are large, so a process reads them only once."""
    from botocore.loaders import create_loader

    return create_loader()


@contextmanager
def explained(client: Any, uri: str, key: str) -> Iterator[None]:
    """Turn the errors that a user can fix into `InputError`."""
    from botocore import exceptions
    from s3transfer.exceptions import RetriesExceededError

    endpoint = client.meta.endpoint_url
    try:
        yield
    except exceptions.ClientError as error:
        raise _explain(client, error, uri, key) from error
    except RecursionError as error:
        # If a redirection names no region, botocore follows it again and again without end.
        raise _elsewhere(client, uri, "PermanentRedirect") from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise InputError(
            f"there are no credentials for the store {uri}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except (RetriesExceededError, exceptions.IncompleteReadError, exceptions.ResponseStreamingError) as error:
        cause = getattr(error, "last_exception", error)
        raise InputError(
            f"the connection to {endpoint} was lost in every attempt to fetch {uri}/{key}: "
            f"{cause}; check the network and the storage server"
        ) from error
    except (exceptions.HTTPClientError, exceptions.ConnectionError) as error:
        raise InputError(
            f"the storage endpoint {endpoint} (AWS_ENDPOINT_URL_S3) cannot be reached: {error}; check the address, and "
            "check that the server runs"
        ) from error


def _explain(client: Any, error: Any, uri: str, key: str) -> Exception:
    """Return an `InputError` that says what to do, or the given error if the user cannot fix it."""
    bucket = uri.split("/")[2]
    endpoint = client.meta.endpoint_url
    code = _code(error)
    if code in CODES_WITHOUT_A_BODY:
        code = _code_of_a_listing(client, bucket) or code

    if code in OBJECT_IS_MISSING and _has_bucket(client, bucket):
        return MissingObjectError(f"there is no object {uri}/{key}")
    if code in BUCKET_IS_MISSING:
        return InputError(
            f"the bucket {bucket!r} of {uri} does not exist at {endpoint}; create it, or correct its name"
        )
    if code in CREDENTIALS_HAVE_EXPIRED:
        return InputError(
            f"{endpoint} refuses access to {uri}/{key} ({code}): the credentials have expired; get new ones, and set "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
        )
    if code in CLOCK_IS_WRONG:
        return InputError(
            f"{endpoint} refuses access to {uri}/{key} ({code}): the clocks of this machine and of the server differ "
            "too much; set this machine's clock, or the server's"
        )
    if code in BUCKET_IS_ELSEWHERE:
        return _elsewhere(client, uri, code)
    if code in ACCESS_IS_REFUSED:
        return InputError(
            f"{endpoint} refuses access to {uri}/{key} ({code}): check AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and the rights of this access key"
        )
    if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        message = error.response["Error"].get("Message") or code
        return InputError(
            f"the storage server {endpoint} failed at {error.operation_name} of {uri}/{key} in every "
            f"attempt: {message}; check the server's log and its free disk space"
        )
    return error


def _elsewhere(client: Any, uri: str, code: str) -> InputError:
    bucket = uri.split("/")[2]
    return InputError(
        f"the bucket {bucket!r} of {uri} is not at {client.meta.endpoint_url} in the region "
        f"{client.meta.region_name} ({code}); set AWS_REGION and AWS_ENDPOINT_URL_S3 to those of the bucket"
    )


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _code_of_a_listing(client: Any, bucket: str) -> str:
    """Return the code with which the server refuses to list a bucket; "" if it lists the bucket."""
    from botocore.exceptions import ClientError

    try:
        client.list_objects_v2(Bucket=bucket, MaxKeys=1)
    except ClientError as error:
        return _code(error)
    return ""


def _has_bucket(client: Any, bucket: str) -> bool:
    """Return whether a bucket exists. If the server does not let this user ask for the bucket, the bucket exists."""
    from botocore.exceptions import ClientError

    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        return _code(error) not in BUCKET_IS_MISSING
    return True
