"""A server that answers the part of KFP's v2beta1 REST API that this project uses, over HTTP.

`kfp-server-api` is the client generated from KFP's published API. Paths, verbs, query parameters and types are read
from its methods, and every request and answer is checked with its models. Differences are kept in `violations`; the
fixture `kfp` fails if there are any.
"""

import contextlib
import email.parser
import email.policy
import json
import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml

from tests.pipelines.kfp_contract import Operation, violations_of

PAGE_SIZE = 2  # small, so that a client fails if it does not ask for the next page


class ApiError(Exception):
    """An error answer, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Fault:
    """A fault in the next `times` requests whose verb and path match `where`.

    status: the answer is an error, at once. reset: the connection is cut before anything is done. lost: the work is
    done, then the connection is cut before the answer. slow: the work is done, and the answer comes after `seconds`.
    """

    where: str
    kind: Literal["status", "reset", "lost", "slow"]
    times: int = 1
    status: int = 503
    seconds: float = 0.0


@dataclass
class KfpServer:
    """The server's state and its answers: one method for each operation, named as in the generated client."""

    token: str = "secret-token"
    multi_user: bool = True
    namespaces: tuple[str, ...] = ("team",)
    version: str = "2.17.0"
    url: str = ""
    pipelines: list[dict] = field(default_factory=list)
    versions: list[dict] = field(default_factory=list)
    experiments: list[dict] = field(default_factory=list)
    runs: list[dict] = field(default_factory=list)
    recurring_runs: list[dict] = field(default_factory=list)
    scenes: list[dict] = field(default_factory=list)
    frozen_after: int | None = None
    logs: dict[str, str] = field(default_factory=dict)
    workflow: dict = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def fail(self, where: str, kind: Literal["status", "reset", "lost", "slow"], **options: Any) -> None:
        """Let the next requests fail whose "VERB /path" matches the pattern `where`."""
        self.faults.append(Fault(where, kind, **options))

    def asked(self, where: str) -> int:
        """Return the number of requests so far whose "VERB /path" matches the pattern."""
        return len([request for request in self.requests if re.search(where, request)])

    def play(self, *scenes: tuple[str, dict[str, str]]) -> None:
        """Let every run go through scenes. A scene is the state of the run, and the state of each task by name.

        Each request for the run shows the next scene; the last one stays. With `frozen_after`, the tasks no longer
        change after that number of scenes. KFP does this once Argo compresses the status of the nodes.
        """
        self.scenes = []
        details: list[dict] = []
        for number, (state, tasks) in enumerate(scenes):
            if self.frozen_after is None or number < self.frozen_after:
                details = [{"display_name": name, "state": task_state} for name, task_state in tasks.items()]
            self.scenes.append({"state": state, "run_details": {"task_details": details}})

    def healthz_service_get_healthz(self, **_: Any) -> dict:
        return {"multi_user": self.multi_user, "pipeline_store": "database"}

    def pipeline_service_list_pipelines(self, **query: str) -> dict:
        self._allow(query.get("namespace"))
        return self._page("pipelines", self.pipelines, query, "namespace")

    def pipeline_service_create_pipeline(self, body: dict) -> dict:
        self._allow(body.get("namespace"))
        self._unique(self.pipelines, body, "display_name", "namespace")
        return self._add(self.pipelines, "pipeline_id", body)

    def pipeline_service_list_pipeline_versions(self, pipeline_id: str, **query: str) -> dict:
        return self._page("pipeline_versions", self.versions, {**query, "pipeline_id": pipeline_id}, "pipeline_id")

    def upload_pipeline_version(self, name: str, pipelineid: str, file: bytes, description: str = "") -> dict:
        self._get(self.pipelines, "pipeline_id", pipelineid)
        spec, *platform = list(yaml.load_all(file, yaml.CSafeLoader))
        if "root" not in spec:
            raise ApiError(400, "not a pipeline")
        record = {"pipeline_id": pipelineid, "display_name": name, "name": name, "description": description}
        self._unique(self.versions, record, "display_name", "pipeline_id")
        whole = {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec
        return self._add(self.versions, "pipeline_version_id", {**record, "pipeline_spec": whole})

    def experiment_service_list_experiments(self, **query: str) -> dict:
        self._allow(query.get("namespace"))
        return self._page("experiments", self.experiments, query, "namespace")

    def experiment_service_create_experiment(self, body: dict) -> dict:
        self._allow(body.get("namespace"))
        self._unique(self.experiments, body, "display_name", "namespace")
        return self._add(self.experiments, "experiment_id", {**body, "storage_state": "AVAILABLE"})

    def run_service_list_runs(self, **query: str) -> dict:
        return self._page("runs", self.runs, query, "experiment_id")

    def run_service_create_run(self, body: dict, **_: str) -> dict:
        self._check_job(body)
        return self._add(self.runs, "run_id", {**body, "state": "PENDING"})

    def run_service_get_run(self, run_id: str, **_: str) -> dict:
        run = self._get(self.runs, "run_id", run_id)
        run.update(self.scenes.pop(0) if len(self.scenes) > 1 else self.scenes[0] if self.scenes else {})
        return run

    def run_service_terminate_run(self, run_id: str, **_: str) -> dict:
        run = self._get(self.runs, "run_id", run_id)
        run["state"] = "CANCELING"
        run["state_history"] = [*run.get("state_history", []), {"state": "CANCELING"}]
        return {}

    def recurring_run_service_list_recurring_runs(self, **query: str) -> dict:
        return self._page("recurringRuns", self.recurring_runs, query, "experiment_id")

    def recurring_run_service_create_recurring_run(self, body: dict) -> dict:
        self._check_job(body)
        if len(body["trigger"]["cron_schedule"]["cron"].split()) != 6:
            raise ApiError(400, "this test server accepts only cron with seconds; KFP itself would misread other cron")
        status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[body["mode"]]
        return self._add(self.recurring_runs, "recurring_run_id", {**body, "status": status})

    def recurring_run_service_delete_recurring_run(self, recurring_run_id: str) -> dict:
        self.recurring_runs.remove(self._get(self.recurring_runs, "recurring_run_id", recurring_run_id))
        return {}

    def recurring_run_service_enable_recurring_run(self, recurring_run_id: str) -> dict:
        self._get(self.recurring_runs, "recurring_run_id", recurring_run_id).update(mode="ENABLE", status="ENABLED")
        return {}

    def recurring_run_service_disable_recurring_run(self, recurring_run_id: str) -> dict:
        self._get(self.recurring_runs, "recurring_run_id", recurring_run_id).update(mode="DISABLE", status="DISABLED")
        return {}

    def _allow(self, namespace: str | None) -> None:
        if self.multi_user and namespace not in self.namespaces:
            raise ApiError(403, f"the account may not do this in namespace {namespace!r}")
        if not self.multi_user and namespace:
            raise ApiError(400, "in single-user mode, namespace must be empty")

    def _check_job(self, body: dict) -> None:
        """Check a run or a recurring run as KFP does: what it refers to exists, and its parameters are known."""
        self._get(self.experiments, "experiment_id", body["experiment_id"])
        reference = body["pipeline_version_reference"]
        version = self._get(self.versions, "pipeline_version_id", reference["pipeline_version_id"])
        spec = version["pipeline_spec"].get("pipeline_spec", version["pipeline_spec"])
        unknown = set(body["runtime_config"]["parameters"]) - set(spec["root"]["inputDefinitions"]["parameters"])
        if unknown:
            raise ApiError(400, f"unknown parameters {sorted(unknown)}")

    def _page(self, name: str, records: list[dict], query: dict[str, str], key: str) -> dict:
        if query.get("filter"):
            condition = json.loads(query["filter"])
            self.violations += violations_of(condition, "V2beta1Filter", "filter")
            for predicate in condition["predicates"]:
                assert predicate["operation"] == "EQUALS", predicate
                records = [record for record in records if record[predicate["key"]] == predicate["string_value"]]
        if query.get(key):
            records = [record for record in records if record.get(key) == query[key]]
        if query.get("sort_by"):
            by, _, direction = query["sort_by"].partition(" ")
            records = sorted(records, key=lambda record: record[by], reverse=direction == "desc")
        start = int(query.get("page_token") or 0)
        size = min(int(query.get("page_size") or PAGE_SIZE), PAGE_SIZE)
        rest = {"next_page_token": str(start + size)} if len(records) > start + size else {}
        return {name: records[start : start + size], "total_size": len(records), **rest}

    def _add(self, records: list[dict], key: str, record: dict) -> dict:
        record = {**record, key: str(uuid.uuid4()), "created_at": datetime.now(UTC).isoformat()}
        records.append(record)
        return record

    def _get(self, records: list[dict], key: str, value: str) -> dict:
        for record in records:
            if record[key] == value:
                return record
        raise ApiError(404, f"no {key} {value}")

    def _unique(self, records: list[dict], record: dict, *keys: str) -> None:
        if any(all(other.get(key) == record.get(key) for key in keys) for other in records):
            raise ApiError(409, f'the name "{record["display_name"]}" exists already')


OPERATIONS = [Operation.of(name) for name in vars(KfpServer) if "_service_" in name or name.startswith("upload_")]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: KfpServer

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing; the tests read `requests`."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        what = f"{self.command} {self.path}"
        self.state.requests.append(what)
        fault = next((fault for fault in self.state.faults if fault.times and re.search(fault.where, what)), None)
        if fault:
            fault.times -= 1
        if fault and fault.kind == "reset":
            return self._cut()
        try:
            if fault and fault.kind == "status":
                raise ApiError(fault.status, "a fault that the test asked for")
            status, answer = 200, self._answer(url.path, dict(parse_qsl(url.query)), body)
        except ApiError as error:
            status, answer = error.status, {"error": str(error), "code": error.status, "message": str(error)}
        except Exception as error:  # a request that the server cannot read does not follow the published API
            self.state.violations.append(f"{what}: {error!r}")
            status, answer = 500, {"error": repr(error)}
        if fault and fault.kind == "lost":
            return self._cut()
        if fault and fault.kind == "slow":
            time.sleep(fault.seconds)
        return self._send(status, answer)

    def _answer(self, path: str, query: dict[str, str], body: bytes) -> dict | str:
        if path == "/apis/v1beta1/healthz":  # of the old API, which has no generated client any more
            return {"tag_name": self.state.version, "multi_user": self.state.multi_user}
        log = re.fullmatch(r"/apis/v1alpha1/runs/[^/]+/nodes/([^/]+)/log", path)  # not in the published API
        if log:
            if log[1] not in self.state.logs:
                raise ApiError(500, "failed to read the log")
            return self.state.logs[log[1]]
        if self.state.token and self.headers.get("authorization") != f"Bearer {self.state.token}":
            raise ApiError(401, "Request header error: there is no valid token")
        old_run = re.fullmatch(r"/apis/v1beta1/runs/([^/]+)", path)  # only the old API shows the workflow
        if old_run:
            manifest = {"workflow_manifest": json.dumps(self.state.workflow)} if self.state.workflow else {}
            return {"run": {"id": old_run[1]}, "pipeline_runtime": manifest}
        for operation in OPERATIONS:
            found = operation.path.match(path)
            if found and operation.verb == self.command:
                break
        else:
            raise ApiError(404, f"{self.command} {path} is not in the API")
        arguments: dict[str, Any] = {**{key: unquote(value) for key, value in found.groupdict().items()}, **query}
        self.state.violations += [f"{operation.name}: query {name}" for name in set(query) - operation.queries]
        if operation.body:
            arguments["body"] = json.loads(body)
            self.state.violations += violations_of(arguments["body"], operation.body, operation.name)
        elif "multipart" in (self.headers.get("Content-Type") or ""):
            arguments["file"] = self._uploaded(body)
        answer = getattr(self.state, operation.name)(**arguments)
        self.state.violations += violations_of(answer, operation.response, f"answer of {operation.name}")
        return answer

    def _uploaded(self, body: bytes) -> bytes:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
        (part,) = message.iter_parts()
        assert part.get_param("name", header="content-disposition") == "uploadfile"
        return part.get_payload(decode=True)

    def _send(self, status: int, answer: dict | str) -> None:
        is_text = isinstance(answer, str)
        content = answer.encode() if is_text else json.dumps(answer).encode()
        with contextlib.suppress(OSError):  # the client has closed the connection
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if is_text else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def serving(state: KfpServer, tls: ssl.SSLContext | None = None) -> Iterator[KfpServer]:
    """Serve the state on a free loopback port, over TLS if a context is given; `state.url` is the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    state.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
