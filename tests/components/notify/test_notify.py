import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from components.notify.config import NotifyConfig
from components.notify.message import compose
from components.notify.webhook import deliver
from components.shared.errors import InputError
from components.shared.step import step

SECRET = "/services/T0/B0/very-secret"


class Webhook:
    """A real HTTP server that answers with the statuses it is given, the last one again and again."""

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


def test_a_message_arrives_escaped_as_slack_wants_it(webhook):
    server = webhook(200)
    assert deliver("recall < 0.9 & falling\nhttps://kfp.example/?a=1&b=2", NotifyConfig())
    assert server.bodies == [{"text": "recall &lt; 0.9 &amp; falling\nhttps://kfp.example/?a=1&amp;b=2"}]


def test_a_server_in_trouble_is_tried_again(webhook):
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


def test_a_server_that_hangs_is_given_up(webhook):
    webhook(200, delay=1)
    started = time.perf_counter()
    assert not deliver("hello", NotifyConfig(timeout=0.1, attempts=2, backoff=0))
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/very-secret", "http://[very-secret", "file:///very-secret", "x"]
)
def test_an_address_that_leads_nowhere_is_not_shown(monkeypatch, caplog, capfd, address):
    monkeypatch.setenv("NOTIFY_WEBHOOK_URL", address)
    with caplog.at_level(logging.DEBUG):
        assert not deliver("hello", NotifyConfig(backoff=0))
    assert "hello" in caplog.text
    assert "very-secret" not in caplog.text + "".join(capfd.readouterr())


def test_without_a_webhook_the_message_is_printed(monkeypatch, capsys):
    monkeypatch.delenv("NOTIFY_WEBHOOK_URL", raising=False)
    assert deliver("job 7: failed", NotifyConfig())
    assert capsys.readouterr().out == "job 7: failed\n"


def test_a_failure_names_the_step_its_cause_and_the_link(store):
    config = NotifyConfig(store=store.uri, link="https://kfp.example/#/runs/details/{job}")
    with pytest.raises(InputError), step("ingest", "7", store.uri):
        raise InputError("no_crack has one photo; add photos")
    with pytest.raises(ZeroDivisionError), step("train cnn", "other-job", store.uri):
        print(1 / 0)
    with pytest.raises(ZeroDivisionError), step("drift cnn", "7", store.uri):
        print(1 / 0)
    assert compose("FAILED", "7", config).splitlines() == [
        "❌ crack-training, job 7: failed",
        "Step drift cnn: ZeroDivisionError: division by zero",
        "Step ingest: no_crack has one photo; add photos",
        "https://kfp.example/#/runs/details/7",
    ]


def test_a_failure_without_a_cause_says_so(store):
    assert "No step left a cause" in compose("FAILED", "7", NotifyConfig(store=store.uri))


@pytest.mark.parametrize(
    ("winner", "told"), [("vit", "Winner: vit. It was best."), (None, "Nothing was registered. It")]
)
def test_a_success_tells_the_choice_and_no_cause_of_a_repeated_step(store, winner, told):
    choice = {"winner": winner, "rule": "r", "reasoning": "It was best.", "candidates": {}}
    store.put_bytes("runs/7/choice.json", json.dumps(choice).encode())
    with pytest.raises(ValueError), step("train cnn", "7", store.uri):
        raise ValueError("evicted")
    message = compose("SUCCEEDED", "7", NotifyConfig(store=store.uri))
    assert message.startswith("✅ crack-training, job 7: succeeded")
    assert told in message
    assert "evicted" not in message


def test_a_store_out_of_reach_does_not_stop_the_message(s3, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-wrong-wrong")
    message = compose("FAILED", "7", NotifyConfig(store=s3))
    assert message.startswith("❌ crack-training, job 7: failed")
    assert "could not be read" in message
