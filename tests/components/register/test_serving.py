"""The registered version served over HTTP, in an environment without this project."""

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from components.register.run import register_winner
from components.shared.network import served_http
from components.shared.services.version_files import version_files, version_folder
from tests.components.register.hostile_requests import requests
from tests.tiny_version import tile

# The editable installation gives every process this project's code. A serving host does not have it.
WITHOUT_PROJECT = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
sys.path[:] = [path for path in sys.path if "__editable__" not in path and path != {root!r}]
"""
# What the server opens and starts while the file `watched` exists. Only os.write causes no event of its own.
WATCHED = """
import os
log = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
STARTS = ("subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system")
KINDS = ("open", "socket.connect", *STARTS)
def watch(event, arguments):
    if event in KINDS and os.path.exists({watched!r}):
        os.write(log, (event + " " + str(arguments[0] if arguments else "")[:200] + chr(10)).encode())
sys.addaudithook(watch)
"""
BYTES_A_REQUEST_MAY_TAKE = 10**9


@pytest.fixture
def server(winner, unchecked, tmp_path):
    """The server's address, tiles as base64, the model's answers in this process, and the server's process id."""
    register_winner(*winner, job="job-1")
    tiles = [base64.b64encode(tile(label, 0, size=32)).decode() for label in (0, 1)]
    expected = mlflow.pyfunc.load_model("models:/crack-classifier/1").predict(pd.DataFrame({"image": tiles}))
    elsewhere, blocker = tmp_path / "elsewhere", tmp_path / "blocker"
    elsewhere.mkdir()
    blocker.mkdir()
    watching = WATCHED.format(log=str(tmp_path / "events"), watched=str(tmp_path / "watched"))
    (blocker / "sitecustomize.py").write_text(WITHOUT_PROJECT.format(root=str(Path(__file__).parents[3])) + watching)
    environment = {**os.environ, "PYTHONPATH": str(blocker)}
    without = subprocess.run([sys.executable, "-c", "import components"], cwd=elsewhere, env=environment, check=False)
    assert without.returncode != 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        version_folder("crack-classifier", "1") as folder,
        (tmp_path / "serve.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-P", served_http.__file__, str(folder), "127.0.0.1", str(port)],
            cwd=elsewhere, env=environment, stdout=log, stderr=log,
        ) as process,
    ):  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        try:
            _wait(address, process, tmp_path / "serve.log")
            yield address, tiles, expected, process.pid
        finally:
            process.terminate()


def _wait(address: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


def post(address: str, body: bytes, kind: str = "application/json") -> tuple[int, str]:
    request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_version_has_only_the_code_that_it_needs(winner, unchecked):
    register_winner(*winner, job="job-1")
    with version_files("crack-classifier", "1") as artifacts:
        shipped = list((artifacts.parent / "code").rglob("*.py"))
        shipped_lines = sum(len(file.read_text().splitlines()) for file in shipped)
    shared = (Path(__file__).parents[3] / "components" / "shared").rglob("*.py")
    assert shipped_lines < sum(len(file.read_text().splitlines()) for file in shared) / 2
    names = {file.name for file in shipped}
    assert {"saved_network.py", "calibration.py", "image.py", "__init__.py"} <= names
    assert not {"page.py", "mlflow_runs.py", "kfp_api.py", "metrics.py"} & names


def test_every_form_of_request_gets_the_same_answer_and_a_wrong_one_gets_400(server, tmp_path):
    address, tiles, expected, pid = server
    rows = [{"image": text} for text in tiles]
    cells = [[text] for text in tiles]
    forms = [
        {"dataframe_split": {"columns": ["image"], "data": cells}},
        {"dataframe_records": rows},
        *({name: form} for name in ("inputs", "instances") for form in (rows, {"image": tiles}, cells, tiles)),
    ]
    bodies = [(str(form)[:40], json.dumps(form).encode(), "application/json") for form in forms]
    bodies.append(("csv", pd.DataFrame(rows).to_csv(index=False).encode(), "text/csv"))
    for name, body, kind in bodies:
        status, text = post(address, body, kind)
        assert status == 200, f"{name}: {text}"
        found = pd.DataFrame(json.loads(text)["predictions"])
        assert found["label"].tolist() == expected["label"].tolist(), name
        assert found["p_crack"].tolist() == pytest.approx(expected["p_crack"].tolist(), abs=1e-5), name
        assert found["threshold"].tolist() == [0.4, 0.4], name
        assert found["needs_review"].tolist() == expected["needs_review"].tolist(), name
        assert found["novelty"].tolist() == pytest.approx(expected["novelty"].tolist(), abs=1e-3), name
        assert found[["model", "version"]].to_numpy().tolist() == [["crack-classifier", "1"]] * 2, name
    red = np.full((32, 32, 3), (0, 0, 255), np.uint8)
    images = [base64.b64encode(image).decode() for image in (tile(0, 0), cv2.imencode(".png", red)[1])]
    status, text = post(address, json.dumps({"inputs": {"image": images}}).encode())
    known, unknown = (answer["novelty"] for answer in json.loads(text)["predictions"])
    assert known <= 1 < unknown

    secret = tmp_path / "secret.png"
    secret.write_bytes(base64.b64decode(tiles[0]))
    for wrong in (str(secret), secret.as_uri(), f"{address}/ping", tiles[0][:80], "", None):
        status, text = post(address, json.dumps({"inputs": {"image": [tiles[0], wrong]}}).encode())
        assert status == 400, wrong
        assert "row 1 of the column image must be base64 of an image file" in text
    for body, cause in (
        ({"inputs": {"picture": tiles}}, "image"),
        ({"inputs": {"image": [1, 2]}}, "row 0 of the column image must be base64"),
        ({"dataframe_records": [{"image": tiles[0]}, {}]}, "row 1 of the column image must be base64"),
        ({"inputs": {"image": []}}, "the column image is empty; send at least one image"),
        ({"nothing": []}, "dataframe_split"),
    ):
        status, text = post(address, json.dumps(body).encode())
        assert (status, cause in text) == (400, True), text
    _check_hostile_requests(address, tiles[0], pid, tmp_path)
    _check_metrics_and_log(address, tiles, expected, tmp_path)


def _check_metrics_and_log(address, tiles, expected, tmp_path):
    """Prometheus can read the metrics; the log has the sample_id and the P(crack) of each image, and no image."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        families = {family.name: family for family in text_string_to_metric_families(response.read().decode())}
    logged = (tmp_path / "serve.log").read_text()
    lines = [json.loads(line) for line in logged.splitlines() if line.startswith("{")]

    samples = {sample.name: sample.value for sample in families["crack_p_crack"].samples}
    assert samples["crack_p_crack_count"] == len(lines)
    statuses = {sample.labels["status"]: sample.value for sample in families["crack_requests"].samples}
    assert statuses["200"] >= 12
    assert statuses["400"] >= 100
    (model,) = families["crack_model_info"].samples
    assert model.labels == {"model": "crack-classifier", "version": "1"}

    p_crack = dict(zip(map(sample_id, tiles), expected["p_crack"], strict=True))
    assert [line["sha256"] for line in lines[:2]] == list(p_crack)
    for line in lines:
        if line["sha256"] in p_crack:
            assert line["p_crack"] == pytest.approx(p_crack[line["sha256"]], abs=1e-5)
    for image in tiles:
        assert image[:40] not in logged


def sample_id(image: str) -> str:
    """The name that ingestion gives to an image file."""
    return hashlib.sha256(base64.b64decode(image)).hexdigest()


def _check_hostile_requests(address, good, pid, tmp_path):
    """Each answer is a 4xx with a sentence. No process is started, no file or connection opened; memory is bounded."""
    (tmp_path / "watched").touch()
    before = _memory(pid, "VmHWM")
    count = 0
    for name, body, kind in requests(good):
        status, text = post(address, body, kind)
        assert 400 <= status < 500, f"{name}: {status} {text[:300]}"
        message = json.loads(text)["message"]
        assert 10 < len(message) <= 500, f"{name}: {message}"
        assert "Traceback" not in message, f"{name}: {message}"
        count += 1
    assert count >= 200

    (tmp_path / "watched").unlink()
    assert post(address, json.dumps({"inputs": [good]}).encode())[0] == 200
    assert _memory(pid, "VmHWM") - before < BYTES_A_REQUEST_MAY_TAKE
    # Tracebacks and late imports read source files of Python and of the packages.
    known = (sys.prefix, sys.base_prefix, *sys.path[1:], "<")
    events = (tmp_path / "events").read_text().splitlines()
    assert [event for event in events if not event.startswith(tuple(f"open {place}" for place in known if place))] == []


def _memory(pid: int, field: str) -> int:
    """A field of a process's status, in bytes."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024
