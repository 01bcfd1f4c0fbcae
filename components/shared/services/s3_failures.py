"""Explain to the user why a request failed. The request goes to an S3 server, or to a server that gives credentials."""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

from components.shared.errors import InputError

OBJECT_IS_MISSING = ("404", "NoSuchKey", "NotFound")
BUCKET_IS_MISSING = ("404", "NoSuchBucket", "NotFound")
REQUEST_IS_UNKNOWN = ("501", "NotImplemented", "405", "MethodNotAllowed")
ACCESS_IS_REFUSED = ("401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")
CREDENTIALS_HAVE_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired")
CLOCK_IS_WRONG = ("RequestTimeTooSkewed", "RequestExpired")
BUCKET_IS_ELSEWHERE = (
    "301", "307", "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
)  # fmt: skip
# The answer to a HEAD request has no body, so its only code is the HTTP status.
CODES_WITHOUT_A_BODY = ("400", "401", "403")
# The errors that botocore raises if a source of credentials fails. Sources are files, programs, web identity, and the
# metadata services of a pod or a machine.
CREDENTIAL_ERRORS = (
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "MetadataRetrievalError",
    "TokenRetrievalError", "SSOError", "ProfileNotFound", "InvalidConfigError", "InfiniteLoopConfigError",
    "ConfigParseError", "ConfigNotFound", "UnknownCredentialError",
)  # fmt: skip
LEAST_MINUTES_TOLD = 1
# MLflow's error message begins like this if one of several files of an artifact cannot be transferred.
TRANSFER_FAILED = "The following failures occurred while"
STS = ("AssumeRole", "AssumeRoleWithWebIdentity", "GetFederationToken", "GetSessionToken")


class MissingObjectError(InputError):
    """The store does not have the object."""


class DamagedObjectError(InputError):
    """An object was read several times, and its content was wrong each time."""


class UnknownRequestError(InputError):
    """The server does not support a request of the S3 protocol."""


class ExpiredCredentialsError(InputError):
    """The server refuses credentials that it accepted before."""


class UnsoundAnswerError(Exception):
    """The server's answer contradicts itself, or does not fit the request."""


@contextmanager
def explained(client: Any, uri: str, key: str) -> Iterator[None]:
    """Turn every failure of a request into `InputError`."""
    from boto3.exceptions import Boto3Error
    from botocore import exceptions
    from botocore.parsers import ResponseParserError
    from s3transfer.exceptions import RetriesExceededError

    endpoint = client.meta.endpoint_url
    try:
        yield
    except InputError:
        raise
    except exceptions.ClientError as error:
        raise _explain(client, error, uri, key) from error
    except RecursionError as error:
        # If a redirection does not name a region, botocore follows it again and again.
        raise _elsewhere(client, uri, "PermanentRedirect") from error
    except (RetriesExceededError, *lost_connections()) as error:
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
    except (ResponseParserError, UnsoundAnswerError, ValueError) as error:
        cause = " ".join(str(error).split())[:200]
        raise InputError(
            f"{endpoint} gave a wrong answer about {uri}/{key} in every attempt: {cause}; check the server, "
            "and any proxy between the server and this machine"
        ) from error
    except exceptions.FlexibleChecksumError as error:
        raise DamagedObjectError(
            f"every read of {uri}/{key} returned damaged data: {error}; check the network and the storage server"
        ) from error
    except tuple(getattr(exceptions, name) for name in CREDENTIAL_ERRORS) as error:
        raise no_credentials(uri, error) from error
    except (exceptions.BotoCoreError, Boto3Error) as error:
        raise InputError(
            f"the request for {uri}/{key} failed at {endpoint}: {error}; check the AWS_* settings"
        ) from error


@contextmanager
def s3_errors_explained() -> Iterator[None]:
    """Turn the errors of other S3 clients into `InputError`. MLflow has its own S3 client for artifacts."""
    try:
        yield
    except Exception as error:
        package = type(error).__module__.partition(".")[0]
        if package in ("boto3", "botocore", "s3transfer") or TRANSFER_FAILED in str(error):
            cause = " ".join(str(error).split())
            raise InputError(
                f"MLflow could not use its artifact store: {cause}; check the storage server and the AWS_* settings, "
                "and run again"
            ) from error
        raise


def lost_connections() -> tuple[type[Exception], ...]:
    """Return botocore's and urllib3's errors for a connection that was lost in the middle of a response."""
    from botocore import exceptions
    from urllib3.exceptions import HTTPError

    return exceptions.IncompleteReadError, exceptions.ResponseStreamingError, HTTPError


def no_credentials(uri: str, error: Exception) -> InputError:
    """Return an error for missing credentials, or for a wrong source of credentials. Its message says what to do."""
    cause = " ".join(str(error).split())
    return InputError(
        f"there are no credentials for the store {uri} ({cause}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
        "correct the profile or file that AWS_PROFILE, AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE or "
        "AWS_WEB_IDENTITY_TOKEN_FILE names"
    )


def code_of(error: Any) -> str:
    """Return the code of a botocore ClientError. If the server gave no code, botocore uses the HTTP status as code."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _explain(client: Any, error: Any, uri: str, key: str) -> InputError:
    """Return an `InputError` that says what to do."""
    bucket = uri.split("/")[2]
    endpoint = client.meta.endpoint_url
    if error.operation_name in STS:
        return no_credentials(uri, error)

    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in CODES_WITHOUT_A_BODY:
        code = _code_of_a_listing(client, bucket) or code

    refused = f"{endpoint} refuses access to {uri}/{key} ({code})"
    if code in OBJECT_IS_MISSING and _has_bucket(client, bucket):
        return MissingObjectError(f"there is no object {uri}/{key}")
    if code in BUCKET_IS_MISSING:
        return InputError(
            f"the bucket {bucket!r} of {uri} does not exist at {endpoint}; create it, or correct its name"
        )
    if code in CREDENTIALS_HAVE_EXPIRED:
        return ExpiredCredentialsError(
            f"{refused}: the credentials have expired; get new ones, and set "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. docs/storage.md lists credentials that "
            "are renewed automatically"
        )
    if code in CLOCK_IS_WRONG:
        return InputError(
            f"{refused}: the clocks of this machine and of the server differ too much{_difference(error)}; correct the "
            "clock that is wrong"
        )
    if code in BUCKET_IS_ELSEWHERE:
        return _elsewhere(client, uri, code, _region(error))
    if code in ACCESS_IS_REFUSED:
        return InputError(
            f"{refused}: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the rights of this access key"
        )

    message = error.response["Error"].get("Message") or code
    if code in REQUEST_IS_UNKNOWN:
        return UnknownRequestError(
            f"{endpoint} does not support {error.operation_name} of {uri}/{key} ({code}); check that "
            "AWS_ENDPOINT_URL_S3 is the address of an S3 server"
        )
    if status >= 500:
        return InputError(
            f"the storage server {endpoint} failed at {error.operation_name} of {uri}/{key} in every "
            f"attempt: {message}; check the server's log and its free disk space"
        )
    return InputError(
        f"{endpoint} refuses {error.operation_name} of {uri}/{key} ({code}): {message}; check the settings of the "
        "bucket and the server's log"
    )


def _difference(error: Any) -> str:
    """Return how much the clocks differ, in words. Return "" if the server did not give its time."""
    try:
        server = parsedate_to_datetime(error.response["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, TypeError, ValueError):
        return ""
    minutes = (datetime.datetime.now(datetime.UTC) - server).total_seconds() / 60
    if abs(minutes) < LEAST_MINUTES_TOLD:
        return ""
    side = "ahead of" if minutes > 0 else "behind"
    return f": this machine is {abs(minutes):.0f} minutes {side} the server, which says {server:%Y-%m-%d %H:%M} UTC"


def _region(error: Any) -> str:
    """Return the region of the bucket according to the server. Return "" if the server does not give the region."""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers.get("x-amz-bucket-region") or error.response.get("Error", {}).get("Region") or ""


def _elsewhere(client: Any, uri: str, code: str, region: str = "") -> InputError:
    bucket = uri.split("/")[2]
    where = f"; it is in {region}" if region else ""
    return InputError(
        f"the bucket {bucket!r} of {uri} is not at {client.meta.endpoint_url} in the region "
        f"{client.meta.region_name} ({code}){where}; set AWS_REGION and AWS_ENDPOINT_URL_S3 for this bucket"
    )


def _code_of_a_listing(client: Any, bucket: str) -> str:
    """Try to list a bucket, and return the error code of the server. Return "" if there is no error code."""
    from botocore.exceptions import ClientError

    try:
        client.list_objects_v2(Bucket=bucket, MaxKeys=1)
    except ClientError as error:
        return code_of(error)
    except Exception:  # the user must see the first error, not this one
        return ""
    return ""


def _has_bucket(client: Any, bucket: str) -> bool:
    """Return whether a bucket exists. If the server gives no clear answer, we assume that the bucket exists."""
    from botocore.exceptions import ClientError

    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        return code_of(error) not in BUCKET_IS_MISSING
    except Exception:  # the user must see the first error, not this one
        return True
    return True
