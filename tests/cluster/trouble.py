"""Acts: pods that are deleted, evicted, cannot be scheduled or have no container image."""

import json
import re
import subprocess
from collections.abc import Callable

from tests.cluster.proof import FailedError, Proof, last_lines

RUN_SECONDS = 1500
WAITING_SECONDS = 480
STARTED_STEPS = 5
NODE = "workflows.argoproj.io/node-name"
# The parts of a training's pod by its candidate: KFP numbers the tasks in the parameter file's order.
TASKS = {"cnn": "train", "vit": "train-2"}
AGAIN = "s3://crack/again"


def interrupt(proof: Proof) -> str:
    """The pods of two trainings are deleted and evicted. The weights equal those of an undisturbed run.

    The run uses another storage root, so that it cannot reuse results.
    """

    def elsewhere(parameters: dict) -> None:
        parameters["store"] = AGAIN
        parameters["cluster"]["retries"] = 3

    command = ("--params", proof.params("interrupted", elsewhere), "--allow-tags", "--again", "--interval", "5")
    run = proof.start("submit", *command, "--wait", "--timeout", str(RUN_SECONDS))
    try:
        _remove_once_training(proof, run, "cnn", _delete)
        _remove_once_training(proof, run, "vit", _evict)
        output, _ = run.communicate(timeout=RUN_SECONDS)
    finally:
        run.kill()
    if "registered" not in output:
        raise FailedError(f"the run did not register a version: {last_lines(output)}")

    undisturbed, interrupted = _weights(proof, "s3://crack/store"), _weights(proof, AGAIN)
    if not interrupted or not interrupted <= undisturbed:
        raise FailedError(f"the weights are {interrupted}, those of the undisturbed runs {undisturbed}")
    return f"deleted and evicted; {len(interrupted)} networks with the same weights as without"


def _remove_once_training(proof: Proof, run: subprocess.Popen, candidate: str, take: Callable) -> None:
    """Wait until a candidate has trained some steps, then take its pod away."""

    def training_pod() -> str:
        if run.poll() is not None:
            raise FailedError(f"the run has ended before {candidate} was interrupted: {last_lines(run.stdout.read())}")
        for pod in proof.objects("pod"):
            node = pod["metadata"].get("annotations", {}).get(NODE, "")
            parts = [part.partition("(")[0] for part in node.split(".")]  # without the numbers of attempts
            is_training = parts[-2:] == [TASKS[candidate], "executor"] and pod["status"]["phase"] == "Running"
            if is_training and _steps_done(proof, pod["metadata"]["name"]) >= STARTED_STEPS:
                return pod["metadata"]["name"]
        return ""

    take(proof, proof.wait_for(f"training of {candidate}", 900, training_pod))


def _steps_done(proof: Proof, pod: str) -> int:
    """Return the highest step number in a training's log, or 0. Lines about validations and checkpoints have one."""
    log = proof.kubectl("logs", pod, "--container", "main", "--tail", "50", check=False)
    return max(map(int, re.findall(r"\bstep (\d+)", log)), default=0)


def _delete(proof: Proof, pod: str) -> None:
    proof.kubectl("delete", "pod", pod, "--wait=false")


def _evict(proof: Proof, pod: str) -> None:
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": proof.namespace},
    }
    path = f"/api/v1/namespaces/{proof.namespace}/pods/{pod}/eviction"
    proof.kubectl("create", "--raw", path, "--filename", "-", given=json.dumps(eviction))


def _weights(proof: Proof, root: str) -> set[str]:
    """Return the sha256 of every finished network under a storage root."""
    code = (
        "import json\nfrom components.shared.services.store import Store\n"
        f"store = Store({root!r})\n"
        "for key, _ in store.list('runs/'):\n"
        "    if key.endswith('/done.json'):\n"
        "        for name, digest in json.loads(store.get_bytes(key))['files'].items():\n"
        "            if name.endswith('model.safetensors'): print(digest)"
    )
    return set(proof.python(code).split())


def no_container_image(proof: Proof) -> str:
    """`--wait` names a container image that no registry has."""
    file = proof.folder / "digests.json"
    reference = f"localhost:9/nowhere@sha256:{'0' * 64}"
    file.write_text(json.dumps({"cpu": reference, "gpu": reference}))
    return _waits(proof, "kind", "ErrImagePull|ImagePullBackOff", IMAGE_DIGESTS=str(file))


def no_node(proof: Proof) -> str:
    """`--wait` names a pod that fits on no node."""

    def nowhere(parameters: dict) -> None:
        for candidate in parameters["candidates"].values():
            candidate["resources"]["predict"]["node_selector"] = {"kubernetes.io/hostname": "nowhere"}

    return _waits(proof, proof.params("nowhere", nowhere), "Unschedulable")


def _waits(proof: Proof, parameters: str, reason: str, **environment: str) -> str:
    """Start a run, return the line by which `--wait` explains why a pod does not start, and stop the run."""
    chosen = [parameters] if parameters == "kind" else ["--params", parameters]
    command = ["submit", *chosen, "--allow-tags", "--again", "--interval", "5", "--wait", "--stop-with-me"]
    run = proof.start(*command, "--timeout", str(WAITING_SECONDS), **environment)
    lines = []
    try:
        for line in run.stdout or []:
            lines.append(line)
            found = re.search(rf"waits: ({reason}).*", line)
            if found:
                return found[0][:100]
    finally:
        run.terminate()  # the run is stopped with the command
        run.wait(60)
    raise FailedError(f"no reason within {WAITING_SECONDS} s: {last_lines(''.join(lines))}")
