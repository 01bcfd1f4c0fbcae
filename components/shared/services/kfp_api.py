"""Call KFP's REST API to start, schedule and watch runs.

We call the generated client (`kfp_server_api`) directly. `kfp.Client` also calls the generated client, but it has
faults: it waits for an answer without a time limit, searches pipelines without a namespace, ignores proxies, prints,
and writes to the home folder.
"""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import kfp_server_api as api
import urllib3

from components.shared.errors import InputError
from components.shared.services.kfp_endpoint import BUSY, Endpoint

# Older servers ignore the security context and the time limits that compiled pipelines contain.
OLDEST_SERVER = (2, 17)
TIMEOUT = (10.0, 60.0)  # seconds to connect, and seconds to wait for an answer
CONFLICT = 409
ATTEMPTS_TO_CREATE = 5
PAGE_SIZE = 100

Found = TypeVar("Found")


class KfpError(InputError):
    """KFP does not answer, or it refuses a request. The message says what happened and what to do.

    Attributes:
        transient: True if the same request may succeed later, or may have succeeded although its answer was lost.
    """

    def __init__(self, message: str, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class NotFoundError(KfpError):
    """KFP does not have the requested object."""


class KfpApi:
    """The calls of KFP's API that we need, with retries, time limits, and error messages that say what to do."""

    def __init__(self, endpoint: Endpoint, timeout: tuple[float, float] = TIMEOUT, backoff: float = 1.0) -> None:
        """Prepare the client. No request is made yet.

        Args:
            endpoint: The address, the namespace and the token.
            timeout: Seconds to connect, and seconds to wait for an answer.
            backoff: Seconds before the second attempt. The wait doubles with every further attempt.
        """
        self.endpoint = endpoint
        self.namespace = endpoint.namespace
        self._timeout = timeout
        self._backoff = backoff
        self._client = api.ApiClient(endpoint.configuration(backoff))
        self._experiments = api.ExperimentServiceApi(self._client)
        self._pipelines = api.PipelineServiceApi(self._client)
        self._uploads = api.PipelineUploadServiceApi(self._client)
        self._runs = api.RunServiceApi(self._client)
        self._recurring = api.RecurringRunServiceApi(self._client)

    def check(self) -> str:
        """Check that KFP answers, is new enough, and has a namespace for us. Return its version, or "unknown".

        Raises:
            KfpError: KFP does not answer, the server is not KFP or is too old, or it serves many users and
                KFP_NAMESPACE is not set.
        """
        health = self._get("/apis/v2beta1/healthz")
        if not isinstance(health, dict):
            raise KfpError(
                f"KFP_ENDPOINT {self.endpoint.url} answers, but not as Kubeflow Pipelines; perhaps it shows a login "
                "page. Set KFP_TOKEN or KFP_TOKEN_FILE, and add the path of the API to KFP_ENDPOINT (often /pipeline)"
            )

        version = self._version()
        numbers = re.match(r"v?(\d+)\.(\d+)", version)
        # KFP 2.17 added the field pipeline_store. So we recognise older servers even if they do not report a version.
        too_old = "pipeline_store" not in health
        if numbers:
            too_old = (int(numbers[1]), int(numbers[2])) < OLDEST_SERVER
        if too_old:
            oldest = ".".join(map(str, OLDEST_SERVER))
            raise KfpError(
                f"KFP at {self.endpoint.url} has version {version}, but the pipeline needs {oldest} or newer, because "
                "older versions ignore the pods' security context and the runs' time limits; upgrade KFP"
            )

        if health.get("multi_user") and not self.namespace:
            raise KfpError(
                f"KFP at {self.endpoint.url} serves many users; set KFP_NAMESPACE to your profile's namespace"
            )
        if not health.get("multi_user"):
            self.namespace = ""  # KFP in single-user mode refuses requests that name a namespace

        self.find_experiment("any")  # /healthz answers without a token, but this call needs one
        return version

    def find_experiment(self, name: str) -> Any | None:
        """Return the experiment of this name, or None if there is none."""
        query = {"namespace": self.namespace, "filter": _named(name)}
        list_them = self._experiments.experiment_service_list_experiments
        return next(self._pages("list experiments", list_them, "experiments", **query), None)

    def experiment(self, name: str) -> Any:
        """Return the experiment of this name. Create the experiment if it does not exist."""
        body = api.V2beta1Experiment(display_name=name, namespace=self.namespace or None)
        create = self._experiments.experiment_service_create_experiment
        return self._ensure(
            lambda: self.find_experiment(name), lambda: self._call(f'create experiment "{name}"', create, body)
        )

    def pipeline(self, name: str, description: str) -> Any:
        """Return the pipeline of this name. Create the pipeline if it does not exist.

        The pipeline is created without a version. A version uploaded together with the pipeline would get the name of
        the pipeline (kubeflow/pipelines#13753).
        """
        body = api.V2beta1Pipeline(
            name=name, display_name=name, description=description, namespace=self.namespace or None
        )
        create = self._pipelines.pipeline_service_create_pipeline
        return self._ensure(
            lambda: self._find_pipeline(name), lambda: self._call(f'create pipeline "{name}"', create, body)
        )

    def version(self, pipeline_id: str, name: str, file: Path, description: str) -> tuple[Any, bool]:
        """Return the pipeline's version that is called `name`. If it does not exist, upload the file as this version.

        Returns:
            The version, and true if this call uploaded it.
        """
        before = self._find_version(pipeline_id, name)
        if before:
            return before, False
        upload = self._uploads.upload_pipeline_version
        about = {"name": name, "pipelineid": pipeline_id, "description": description}
        return self._ensure(
            lambda: self._find_version(pipeline_id, name),
            lambda: self._call(f'upload version "{name}"', upload, str(file), **about),
        ), True

    def newest_version(self, pipeline: str) -> Any | None:
        """Return the newest version of a pipeline. Return None if the pipeline does not exist or has no version."""
        found = self._find_pipeline(pipeline)
        if found is None:
            return None
        list_them = self._pipelines.pipeline_service_list_pipeline_versions
        query = {"pipeline_id": found.pipeline_id, "sort_by": "created_at desc"}
        return next(self._pages("list versions", list_them, "pipeline_versions", **query), None)

    def runs(self, experiment_id: str) -> Iterator[Any]:
        """Yield the experiment's runs, the newest first."""
        query = {"experiment_id": experiment_id, "sort_by": "created_at desc"}
        yield from self._pages("list runs", self._runs.run_service_list_runs, "runs", **query)

    def find_run(self, experiment_id: str, name: str) -> Any | None:
        """Return the experiment's run that is called `name`. Return None if it does not exist."""
        query = {"experiment_id": experiment_id, "filter": _named(name)}
        return next(self._pages("list runs", self._runs.run_service_list_runs, "runs", **query), None)

    def create_run(self, body: Any) -> Any:
        """Create a run and return it. No other run of its experiment may have the same name.

        If the answer is lost, we wait, search for a run with this name, and create a run only if we find none. Two runs
        are created only if the server is still processing the first request when we search.
        """
        return self._ensure(
            lambda: self.find_run(body.experiment_id, body.display_name),
            lambda: self._call(f'create run "{body.display_name}"', self._runs.run_service_create_run, body),
        )

    def run(self, run_id: str) -> Any:
        """Return a run with its tasks."""
        return self._call("read the run", self._runs.run_service_get_run, run_id)

    def stop_run(self, run_id: str) -> None:
        """Stop a run. Its pods receive SIGTERM, and its exit handler still runs."""
        self._call("stop the run", self._runs.run_service_terminate_run, run_id)

    def workflow(self, run_id: str) -> dict[str, Any]:
        """Return the Argo workflow of a run, as KFP last saw it. Only KFP's old API gives the workflow.

        Raises:
            KfpError: KFP does not show the workflow.
        """
        answer = self._get(f"/apis/v1beta1/runs/{run_id}", "read the run's workflow")
        manifest = answer.get("pipeline_runtime", {}).get("workflow_manifest")
        if not manifest:
            raise KfpError(
                f"KFP at {self.endpoint.url} does not show the workflow of run {run_id}, so its pods cannot be listed; "
                f"look at {self.link(f'runs/details/{run_id}')}"
            )
        return json.loads(manifest)

    def log(self, run_id: str, pod: str) -> str:
        """Return the log of a run's pod, up to now. After the pod is deleted, KFP returns a stored copy of the log."""
        path = f"/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log"
        return str(self._get(path, "read the log", "str"))

    def recurring_runs(self, experiment_id: str) -> list[Any]:
        """Return the experiment's recurring runs."""
        list_them = self._recurring.recurring_run_service_list_recurring_runs
        return list(self._pages("list schedules", list_them, "recurring_runs", experiment_id=experiment_id))

    def create_recurring_run(self, body: Any, find: Callable[[], Any | None]) -> Any:
        """Return the recurring run that `find` finds. If it finds none, create and return the recurring run `body`."""
        create = self._recurring.recurring_run_service_create_recurring_run
        return self._ensure(find, lambda: self._call(f'create schedule "{body.display_name}"', create, body))

    def delete_recurring_run(self, recurring_run_id: str) -> None:
        """Delete a recurring run. A recurring run that does not exist is not an error."""
        delete = self._recurring.recurring_run_service_delete_recurring_run
        with contextlib.suppress(NotFoundError):
            self._call("delete a schedule", delete, recurring_run_id)

    def switch_recurring_run(self, recurring_run_id: str, on: bool) -> None:
        """Enable or disable a recurring run."""
        if on:
            switch = self._recurring.recurring_run_service_enable_recurring_run
        else:
            switch = self._recurring.recurring_run_service_disable_recurring_run
        # Switching twice has the same result as switching once, so we need no search before an attempt.
        self._ensure(lambda: None, lambda: self._call("switch a schedule", switch, recurring_run_id) or True)

    def link(self, path: str) -> str:
        """Return the address of a page of KFP's UI."""
        return f"{self.endpoint.ui}/#/{path}"

    def _find_pipeline(self, name: str) -> Any | None:
        query = {"namespace": self.namespace, "filter": _named(name)}
        list_them = self._pipelines.pipeline_service_list_pipelines
        return next(self._pages("list pipelines", list_them, "pipelines", **query), None)

    def _find_version(self, pipeline_id: str, name: str) -> Any | None:
        list_them = self._pipelines.pipeline_service_list_pipeline_versions
        query = {"pipeline_id": pipeline_id, "filter": _named(name)}
        return next(self._pages("list versions", list_them, "pipeline_versions", **query), None)

    def _version(self) -> str:
        # The v2beta1 API does not report its version. The old path reports the version of the API server or of the UI.
        try:
            health = self._get("/apis/v1beta1/healthz")
        except NotFoundError:
            return "unknown"
        return str(health.get("tag_name") or health.get("apiServerTagName") or "unknown")

    def _get(self, path: str, doing: str = "read its health", kind: str = "object") -> Any:
        """Request a path for which the generated client has no method, and return the answer."""
        options = {"response_type": kind, "auth_settings": ["Bearer"], "_return_http_data_only": True}
        return self._call(doing, self._client.call_api, path, "GET", **options)

    def _pages(self, doing: str, function: Callable, field: str, **query: Any) -> Iterator[Any]:
        token = ""
        while True:
            page = self._call(doing, function, page_token=token, page_size=PAGE_SIZE, **query)
            yield from getattr(page, field) or []
            token = page.next_page_token
            if not token:
                return

    def _ensure(self, find: Callable[[], Found | None], create: Callable[[], Found]) -> Found:
        """Return what `find` finds. If it finds nothing, call `create`.

        We search before every attempt. An answer can be lost, and then the object exists although `create` failed.
        """
        wait = self._backoff
        for remaining in reversed(range(ATTEMPTS_TO_CREATE)):
            found = find()
            if found:
                return found
            try:
                return create()
            except KfpError as error:
                if not error.transient or not remaining:
                    raise
            time.sleep(wait)
            wait *= 2
        raise AssertionError("the last attempt returns or raises")

    def _call(self, doing: str, function: Callable, *arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, _request_timeout=self._timeout, **options)
        except api.ApiException as error:
            raise self._explained(doing, error) from error
        except urllib3.exceptions.HTTPError as error:
            cause = getattr(error, "reason", None) or error
            raise KfpError(
                f"could not {doing}: KFP at {self.endpoint.url} does not answer ({cause}); check KFP_ENDPOINT, the "
                "proxy variables and KFP_CA_CERT",
                transient=True,
            ) from error

    def _explained(self, doing: str, error: api.ApiException) -> KfpError:
        """Turn an error response of KFP into an error whose message says what to do."""
        answer = _message(error)
        place = f"could not {doing}: KFP at {self.endpoint.url}"
        if error.status == 0:  # the generated client gives this status if TLS fails
            return KfpError(
                f"{place} has a certificate that is not trusted; set KFP_CA_CERT to a file with the certificate of "
                f"the authority that signed it. Details: {answer}"
            )
        if error.status == 401:
            problem = "refused the token; get a new one" if self.endpoint.token() else "needs a token; get one"
            return KfpError(f"{place} {problem} and set KFP_TOKEN or KFP_TOKEN_FILE. KFP's answer: {answer}")
        if error.status == 403:
            return KfpError(
                f'{place} does not allow this in namespace "{self.namespace}"; check KFP_NAMESPACE, and check that the '
                f"token's account may edit pipelines there. KFP's answer: {answer}"
            )
        if error.status == 404:
            return NotFoundError(
                f"{place} answers 404 (not found); check the path in KFP_ENDPOINT. KFP's answer: {answer}"
            )
        transient = error.status in (*BUSY, CONFLICT)
        return KfpError(f"{place} answers {error.status}: {answer}; check the log of KFP's API server", transient)


def _named(name: str) -> str:
    predicate = {"operation": "EQUALS", "key": "display_name", "string_value": name}
    return json.dumps({"predicates": [predicate]})


def _message(error: api.ApiException) -> str:
    """Return the first line of an error response, at most 300 characters."""
    try:
        body = json.loads(error.body)
        message = body.get("message") or body.get("error_message") or body.get("error")
    except (TypeError, ValueError, AttributeError):
        message = None
    return str(message or error.reason or error.body).strip().splitlines()[0][:300]
