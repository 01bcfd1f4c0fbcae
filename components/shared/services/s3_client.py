"""The S3 client: how a bucket is reached, and what its errors mean for the user.

Endpoint and credentials come from the standard AWS_* environment and nowhere else. A local run has a storage of its
own, the bucket LOCAL_BUCKET; it hands on the AWS_* environment of its user, for all other buckets, as OUTSIDE_AWS_*.
Checksums are sent only where the protocol requires them: the trailers that boto3 adds by default corrupt contents on
some S3-compatible servers.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from components.shared.errors import InputError

THREADS = 8  # that use one client at once
ATTEMPTS = 4
OUTSIDE = "OUTSIDE_"
KEYS = {
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
}


class MissingObjectError(InputError):
    """No object has this key."""


def connect(uri: str, bucket: str) -> Any:
    """The boto3 client that reaches a bucket. Raises `InputError` where the environment does not say how."""
    import boto3
    import botocore.session
    from botocore.config import Config

    settings = _settings(bucket)
    endpoint = settings.get("AWS_ENDPOINT_URL_S3") or settings.get("AWS_ENDPOINT_URL")
    region = settings.get("AWS_REGION") or settings.get("AWS_DEFAULT_REGION")
    if not endpoint and not region:
        raise InputError(f"no storage endpoint for {uri}: set AWS_ENDPOINT_URL_S3 (for AWS itself, AWS_REGION)")
    keys: dict[str, str | None] = {}
    if settings is not os.environ:  # what boto3 is not told, it would take from the local run's own environment
        keys = {argument: settings.get(name) for argument, name in KEYS.items()}
        endpoint = endpoint or f"https://s3.{region}.amazonaws.com"
        if not keys["aws_access_key_id"] or not keys["aws_secret_access_key"]:
            raise InputError(f"no credentials for {uri}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=2 * THREADS,
    )
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader())
    return boto3.session.Session(botocore_session=session).client(
        "s3",
        region_name=region or "us-east-1",
        endpoint_url=endpoint,
        verify=settings.get("AWS_CA_BUNDLE"),
        config=config,
        **keys,
    )


def _settings(bucket: str) -> Mapping[str, str]:
    """The AWS_* environment that a bucket is reached with."""
    if os.environ.get("LOCAL_BUCKET", bucket) == bucket:
        return os.environ
    names = [name for name in os.environ if name.startswith(OUTSIDE)]
    return {name.removeprefix(OUTSIDE): os.environ[name] for name in names}


@cache
def _loader() -> Any:
    """What botocore knows of its services, read once in a process: it is much."""
    from botocore.loaders import create_loader

    return create_loader()


@contextmanager
def explained(client: Any, uri: str, key: str) -> Iterator[None]:
    """Turn the errors that a user can mend into `InputError`."""
    from botocore import exceptions
    from s3transfer.exceptions import RetriesExceededError

    endpoint = client.meta.endpoint_url
    try:
        yield
    except exceptions.ClientError as error:
        raise _explain(client, error, uri, key) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise InputError(
            f"no credentials for the store {uri}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except (RetriesExceededError, exceptions.IncompleteReadError, exceptions.ResponseStreamingError) as error:
        raise InputError(
            f"the connection to {endpoint} was cut again and again while {uri}/{key} was fetched: "
            f"{getattr(error, 'last_exception', error)}; look at the network and the storage server"
        ) from error
    except (exceptions.HTTPClientError, exceptions.ConnectionError) as error:
        raise InputError(
            f"cannot reach the storage endpoint {endpoint} (AWS_ENDPOINT_URL_S3): {error}; is it up, and is the "
            "address right?"
        ) from error


def _explain(client: Any, error: Any, uri: str, key: str) -> Exception:
    bucket = uri.split("/")[2]
    code, endpoint = str(error.response.get("Error", {}).get("Code", "")), client.meta.endpoint_url
    if code in ("404", "NoSuchKey", "NotFound") and _has_bucket(client, bucket):
        return MissingObjectError(f"there is no object {uri}/{key}")
    if code in ("404", "NoSuchBucket", "NotFound"):
        return InputError(
            f"the bucket {bucket!r} of {uri} does not exist at {endpoint}; create it, or correct its name"
        )
    if code in ("401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
        return InputError(
            f"{endpoint} refuses access to {uri}/{key} ({code}): check AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and the rights of that key"
        )
    if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        return InputError(
            f"the storage server {endpoint} fails at {error.operation_name} of {uri}/{key}, also when asked "
            f"again: {error.response['Error'].get('Message') or code}; is its disk full? Look at its log"
        )
    return error


def _has_bucket(client: Any, bucket: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        client.head_bucket(Bucket=bucket)
    except ClientError:
        return False
    return True
