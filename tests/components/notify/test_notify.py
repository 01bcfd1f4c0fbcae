import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from components.notify.component import notify
from components.notify.config import NotifyConfig
from components.notify.ended_run import inspect_run
from components.notify.message import compose
from components.notify.webhook import deliver
from components.register.record import keep_record
from components.shared.errors import InputError
from components.shared.services.records import write_record
from components.shared.services.store import Store
from components.shared.step import step


class PreemptedError(Exception):
    """An error with the name of the train step's error. Importing the real one takes seconds."""


SECRET = "/services/T0/B0/very-secret"


class Webhook:
    """An HTTP server that answers with the given statuses, and then always with the last of them."""

    def __init__(self, *statuses: int, delay: float = 0):
        self.bodies: list[dict] = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                webhook.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                time.sleep(delay)
                self.send_response(statuses[min(len(webhook.bodies), len(statuses)) - 1])
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}{SECRET}"


@pytest.fixture
def webhook(monkeypatch) -> Iterator:
    running = []

    def start(*statuses: int, delay: float = 0) -> Webhook:
        running.append(Webhook(*statuses, delay=delay))
        monkeypatch.setenv("NOTIFY_WEBHOOK_URL", running[0].address)
        return running[0]

    yield start
    for each in running:
        each.server.shutdown()
        each.server.server_close()


def test_a_message_is_escaped_for_slack(webhook):
    server = webhook(200)
    assert deliver("recall < 0.9 & falling\nhttps://kfp.example/?a=1&b=2", NotifyConfig())
    assert server.bodies == [{"text": "recall &lt; 0.9 &amp; falling\nhttps://kfp.example/?a=1&amp;b=2"}]


def test_a_failing_server_is_tried_again(webhook):
    server = webhook(503, 429, 200)
    started = time.perf_counter()
    assert deliver("hello", NotifyConfig(backoff=0.1))
    assert len(server.bodies) == 3
    assert 0.3 <= time.perf_counter() - started < 2


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (500, 3)])
def test_a_failed_post_is_logged_without_the_address_and_raises_nothing(webhook, caplog, status, attempts):
    server = webhook(status)
    with caplog.at_level(logging.DEBUG):
        assert not deliver("hello", NotifyConfig(backoff=0))
    assert len(server.bodies) == attempts
    assert str(status) in caplog.text
    assert "hello" in caplog.text
    assert "secret" not in caplog.text


def test_a_message_that_nobody_got_is_a_warning_of_the_run_and_a_record(webhook, store, tmp_path, monkeypatch):
    webhook(503)
    monkeypatch.setenv("CRACK_EVENTS", str(tmp_path / "events"))
    config = NotifyConfig(store=store.uri, backoff=0).model_dump_json()
    notify.python_func(SimpleNamespace(state="SUCCEEDED"), config, "7")
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    (warning,) = (event["message"] for event in events if event["event"] == "warning")
    assert "was not delivered; the log of the step notify says why. Check NOTIFY_WEBHOOK_URL" in warning
    assert inspect_run("SUCCEEDED", "7", store.uri).undelivered == warning
    assert inspect_run("SUCCEEDED", "8", store.uri).undelivered == ""


def test_the_step_does_not_wait_longer_than_the_timeout(webhook):
    webhook(200, delay=1)
    started = time.perf_counter()
    assert not deliver("hello", NotifyConfig(timeout=0.1, attempts=2, backoff=0))
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/very-secret", "http://[very-secret", "file:///very-secret", "x"]
)
def test_a_wrong_address_is_not_shown(monkeypatch, caplog, capfd, address):
    monkeypatch.setenv("NOTIFY_WEBHOOK_URL", address)
    with caplog.at_level(logging.DEBUG):
        assert not deliver("hello", NotifyConfig(backoff=0))
    assert "hello" in caplog.text
    assert "very-secret" not in caplog.text + "".join(capfd.readouterr())


def test_without_a_webhook_the_message_is_printed(monkeypatch, capsys):
    monkeypatch.delenv("NOTIFY_WEBHOOK_URL", raising=False)
    assert deliver("job 7: failed", NotifyConfig())
    assert capsys.readouterr().out == "job 7: failed\n"


def message(state: str, store: str, link: str = "") -> list[str]:
    """Return the lines of the message about job 7."""
    return compose(inspect_run(state, "7", store), NotifyConfig(store=store, link=link)).splitlines()


def fail(error: type[BaseException], text: str, name: str, job: str, store: Store) -> None:
    """Run a step that fails with this error."""
    with pytest.raises(error), step(name, job, store.uri):
        raise error(text)


def choose(store: Store, winner: str | None) -> None:
    """Write the records of the steps select and register. If there is no winner, register has refused to register."""
    choice = {"winner": winner, "rule": "r", "reasoning": "It was best.", "candidates": {}}
    write_record(store, "runs/7/choice.json", choice)
    record = {"registered": False, "reasons": []}
    if winner:
        record = {"registered": True, "name": "crack-classifier", "version": "3", "alias": "challenger"}
    keep_record(record, store.uri, "7")


@pytest.mark.parametrize("state", ["FAILED", "Error", "RUNNING"])
def test_a_failure_names_the_steps_their_causes_and_the_link(store, state):
    fail(InputError, "no_crack has one photo; add photos", "ingest", "7", store)
    fail(ZeroDivisionError, "division by zero", "train cnn", "other-job", store)
    fail(ZeroDivisionError, "division by zero", "drift cnn", "7", store)
    assert message(state, store.uri, "https://kfp.example/#/runs/details/{job}") == [
        "❌ crack-training, job 7: failed",
        "Step drift cnn: ZeroDivisionError: division by zero",
        "Step ingest: no_crack has one photo; add photos",
        "https://kfp.example/#/runs/details/7",
    ]


def test_a_failure_without_a_recorded_error_says_what_may_have_happened(store):
    text = "\n".join(message("FAILED", store.uri))
    assert "No step recorded an error. Either a step failed before our code ran" in text
    assert "The run's page in KFP shows the failed step and its log" in text
    assert "cancelled" not in text


@pytest.mark.parametrize("state", ["SUCCEEDED", "COMPLETE", "CACHED", "Succeeded"])
def test_a_success_of_every_backend_says_what_was_registered(store, state):
    choose(store, "vit")
    assert message(state, store.uri) == [
        "✅ crack-training, job 7: succeeded",
        "Registered crack-classifier version 3 as challenger. It was best.",
    ]


@pytest.mark.parametrize("state", ["SUCCEEDED", "COMPLETE"])
def test_a_refusal_is_neither_a_success_nor_a_failure(store, state):
    choose(store, None)
    assert message(state, store.uri) == [
        "🚫 crack-training, job 7: refused",
        "Nothing was registered. It was best.",
    ]


@pytest.mark.parametrize("state", ["RUNNING", "CANCELED", "CANCELLED", "CANCELING"])
def test_the_message_about_a_stopped_run_says_who_may_have_stopped_it(store, state):
    fail(PreemptedError, "told to end", "train vit", "7", store)
    assert message(state, store.uri) == [
        "⏹️ crack-training, job 7: stopped",
        "A person or the run's time limit stopped the run, or Kubernetes ended its pods.",
    ]


@pytest.mark.parametrize(
    ("done", "ending"), [("registered", "✅"), ("refused", "🚫"), ("failed", "❌"), ("nothing", "❔")]
)
def test_after_an_unknown_state_the_records_decide_how_the_run_ended(store, done, ending):
    if done in ("registered", "refused"):
        choose(store, "vit" if done == "registered" else None)
    if done == "failed":
        fail(ValueError, "broken", "gate vit", "7", store)
    first, second, *_ = message("LIMBO", store.uri)
    assert first.startswith(ending)
    assert second == 'KFP gives the final state "LIMBO", which the step notify does not know.'


def test_the_error_of_a_step_that_succeeded_afterwards_is_not_in_the_message(store):
    fail(PreemptedError, "told to end", "train vit", "7", store)
    with step("train vit", "7", store.uri):
        pass
    fail(ValueError, "broken", "gate vit", "7", store)
    assert message("FAILED", store.uri)[1:] == ["Step gate vit: ValueError: broken"]


def test_the_message_is_sent_even_if_the_store_cannot_be_read(s3, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-wrong-wrong")
    first, second, *_ = message("FAILED", s3)
    assert first == "❌ crack-training, job 7: failed"
    assert "could not be read" in second
