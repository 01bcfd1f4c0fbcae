"""Deliver a message to a Slack-compatible webhook."""

import json
import os
import time
import urllib.error
import urllib.request

from components.notify.config import NotifyConfig
from components.shared.events import log

VARIABLE = "NOTIFY_WEBHOOK_URL"  # the address lets anyone post: it is never logged


def deliver(message: str, config: NotifyConfig) -> bool:
    """Post the message to the webhook named by the environment, or print it where none is set.

    A webhook that is down or refuses never raises: the run has ended as it has ended.

    Returns:
        Whether the message was delivered or printed.
    """
    address = os.environ.get(VARIABLE, "").strip()
    if not address:
        print(message, flush=True)
        return True
    if not address.startswith(("https://", "http://")):
        log.warning("%s is not an http(s) address; the message is: %s", VARIABLE, message)
        return False
    for attempt in range(config.attempts):
        if attempt:
            time.sleep(config.backoff * 2 ** (attempt - 1))
        outcome = _post(address, message, config.timeout)
        if outcome == "delivered":
            return True
        log.warning("webhook, attempt %d of %d: %s", attempt + 1, config.attempts, outcome)
        if outcome.startswith("refused"):
            break
    log.warning("not delivered: %s", message)
    return False


def _post(address: str, message: str, timeout: float) -> str:
    """One attempt; returns "delivered", "refused …" (trying again is useless) or "failed …"."""
    # Slack reads &, < and > as markup
    text = message.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    try:
        request = urllib.request.Request(
            address, json.dumps({"text": text}).encode(), {"Content-Type": "application/json; charset=utf-8"}
        )
        with urllib.request.urlopen(request, timeout=timeout):
            return "delivered"
    except urllib.error.HTTPError as error:
        error.close()
        return f"{'failed' if error.code == 429 or error.code >= 500 else 'refused'} with status {error.code}"
    except Exception as error:  # by its type only: the message may hold the address
        return f"failed with {type(getattr(error, 'reason', error)).__name__}"
