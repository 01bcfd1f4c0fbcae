"""Check that the token for KFP lasts as long as a run."""

import datetime
import os

from components.shared.errors import InputError
from components.shared.services.kfp_endpoint import Endpoint, token_claims
from pipelines.cluster.kubernetes_view import WarnedError

HOW_TO_RENEW = (
    "let KFP_TOKEN_FILE name a file that is renewed, or get a token that lasts longer (kubectl create token "
    "crack-submit --audience=pipelines.kubeflow.org --duration=…)"
)


def check_token(endpoint: Endpoint, run_seconds: float) -> str:
    """Check that the token lasts until the end of a run that starts now.

    Raises:
        InputError: The token has already ended.
        WarnedError: The token ends in less than `run_seconds`, the longest time of a run.
    """
    if not endpoint.token():
        return "no token is set"
    end = _end_of(endpoint)
    if end is None:
        return "the token does not say when it ends"

    now = datetime.datetime.now(datetime.UTC)
    if end < now:
        raise InputError(f"the token for KFP ended at {end:%Y-%m-%d %H:%M} UTC; {HOW_TO_RENEW}")
    warning = early_end(endpoint, run_seconds)
    if warning:
        raise WarnedError(warning)
    return f"it ends at {end:%Y-%m-%d %H:%M} UTC"


def early_end(endpoint: Endpoint, seconds: float) -> str:
    """Return a warning if the token ends within `seconds`, and otherwise "".

    If the token is in a file, there is no warning, because the file is read before each request and may be renewed.
    """
    end = _end_of(endpoint)
    left = datetime.timedelta(seconds=seconds)
    if end is None or not os.environ.get("KFP_TOKEN") or end > datetime.datetime.now(datetime.UTC) + left:
        return ""
    return (
        f"KFP_TOKEN ends at {end:%Y-%m-%d %H:%M} UTC, but a run may take {seconds / 3600:.3g} hours. The run then "
        f"continues, but `--wait` cannot see its end; {HOW_TO_RENEW}"
    )


def _end_of(endpoint: Endpoint) -> datetime.datetime | None:
    """Return the time when the token ends. Return None if the token does not contain this time."""
    end = token_claims(endpoint.token()).get("exp")
    return datetime.datetime.fromtimestamp(end, datetime.UTC) if isinstance(end, int | float) else None
