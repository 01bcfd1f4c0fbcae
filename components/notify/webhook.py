"""Send a message to a Slack-compatible webhook."""

import json
import os
import time
import urllib.error
import urllib.request

from components.notify.config import NotifyConfig
from components.shared.events import log, warn
from components.shared.services.records import write_record
from components.shared.services.store import Store

# The environment variable with the webhook's address. Everybody who knows the address can post messages. So it is a
# secret, and we never log it.
VARIABLE = "NOTIFY_WEBHOOK_URL"
TOO_MANY_REQUESTS = 429
SERVER_ERROR = 500  # the first status of a server error


class _RefusedError(Exception):
    """The webhook refused the message. Another attempt would be refused too."""


class _FailedError(Exception):
    """The message was not delivered. Another attempt may succeed."""


def deliver(message: str, config: NotifyConfig) -> bool:
    """Send the message to the webhook at NOTIFY_WEBHOOK_URL. If the variable is not set, print the message.

    If the webhook does not answer or refuses the message, we log a warning. We raise no error, because a problem with
    the message must not change the run's result.

    Returns:
        True if the message was delivered or printed.
    """
    address = os.environ.get(VARIABLE, "").strip()
    if not address:
        print(message, flush=True)
        return True
    if not address.startswith(("https://", "http://")):
        log.warning(
            "the environment variable %s does not start with http:// or https://, so the message was not sent; correct "
            "the variable. The message is: %s",
            VARIABLE,
            message,
        )
        return False

    wait = config.backoff
    for attempt in range(1, config.attempts + 1):
        try:
            _post(address, message, config.timeout)
            return True
        except _RefusedError as error:
            log.warning("the webhook refused the message: %s; check %s", error, VARIABLE)
            break
        except _FailedError as error:
            log.warning("attempt %d of %d to reach the webhook failed: %s", attempt, config.attempts, error)
        if attempt < config.attempts:
            time.sleep(wait)
            wait *= 2
    log.warning("the message was not delivered: %s", message)
    return False


def report_undelivered(job: str, store: str) -> None:
    """Report that the message was not delivered. A local run and `submit --wait` show this report at their end.

    Args:
        job: The pipeline job's id. The record is `runs/<job>/notification.json`.
        store: The storage root.
    """
    reason = f"the message about this run was not delivered; the log of the step notify says why. Check {VARIABLE}"
    warn(reason)
    try:
        write_record(Store(store), f"runs/{job}/notification.json", {"undelivered": reason})
    except Exception as error:  # the run's result does not depend on this
        log.warning("could not record in the store that the message was not delivered: %s", error)


def _post(address: str, message: str, timeout: float) -> None:
    """Try once to deliver the message. The text of an error never contains the address."""
    # Slack reads &, < and > as markup.
    text = message.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    body = json.dumps({"text": text}).encode()
    try:
        request = urllib.request.Request(address, body, {"Content-Type": "application/json; charset=utf-8"})
        with urllib.request.urlopen(request, timeout=timeout):
            return
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == TOO_MANY_REQUESTS or error.code >= SERVER_ERROR:
            raise _FailedError(f"status {error.code}") from None
        raise _RefusedError(f"status {error.code}") from None
    except Exception as error:  # its text may contain the address
        raise _FailedError(type(getattr(error, "reason", error)).__name__) from None
