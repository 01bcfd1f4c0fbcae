"""Tools for all acts: the cluster, the commands of this project, and the results of earlier acts."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipelines.local.embedded_stack import LOOPBACK, free_port

ROOT = Path(__file__).parents[2]
KIND_PARAMS = ROOT / "pipelines" / "params" / "kind.yaml"
COMMAND = (sys.executable, "-c", "from pipelines.cli.main import app; app()")
MODEL = "crack-classifier"


class FailedError(Exception):
    """An act did not show what it should; the message says what was seen."""


@dataclass
class Proof:
    """The cluster of the current KUBECONFIG, and a namespace that belongs to this proof alone.

    Attributes:
        namespace: The namespace of all objects: a new one, or KFP's own in single-user mode.
        single_user: Whether KFP runs in single-user mode.
        folder: For files of this proof.
        environment: Variables with which a command reaches KFP, MLflow and S3 through port-forwards.
        passwords: Made for this proof, by name.
        made: Secrets that were made one by one, as KIND/NAME.
        forwards: The running port-forwards.
        mlflow_port: The port of this machine at which MLflow answers.
    """

    namespace: str
    single_user: bool
    folder: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    passwords: dict[str, str] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    forwards: list[subprocess.Popen] = field(default_factory=list)
    mlflow_port: int = field(default_factory=free_port)

    def kubectl(self, *arguments: str, given: str | None = None, check: bool = True, seconds: float = 120) -> str:
        """Run kubectl in the namespace; return its output.

        Raises:
            FailedError: The command failed, and `check` is true.
        """
        command = ["kubectl", "--namespace", self.namespace, *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=seconds, check=False)
        if check and done.returncode:
            raise FailedError(f"kubectl {' '.join(arguments[:4])} failed: {done.stderr.strip()[-400:]}")
        return done.stdout

    def objects(self, kind: str, labels: str = "") -> list[dict[str, Any]]:
        """Return the namespace's objects of a kind."""
        return json.loads(self.kubectl("get", kind, "--selector", labels, "--output", "json"))["items"]

    def crack(self, *arguments: str, seconds: float = 300, **environment: str) -> "Ended":
        """Run a command of this project; return its exit status and its output."""
        settings = {**self.environment, "COLUMNS": "200", **environment}
        done = subprocess.run(
            [*COMMAND, *arguments], env=settings, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
        )
        return Ended(done.returncode, done.stdout + done.stderr)

    def python(self, code: str) -> str:
        """Run Python that reaches the services; return its output. MLflow keeps its settings for a whole process."""
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise FailedError(last_lines(done.stderr))
        return done.stdout

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        """Start a command of this project, with its output in a pipe."""
        settings = {**self.environment, "COLUMNS": "200", **environment}
        return subprocess.Popen(
            [*COMMAND, *arguments],
            env=settings,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def params(self, name: str, change: Callable[[dict], None] | None = None) -> str:
        """Write a changed copy of kind.yaml into the folder of this proof; return the path of the copy."""
        parameters = yaml.safe_load(KIND_PARAMS.read_text())
        if change:
            change(parameters)
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(parameters))
        return str(file)

    def password(self, name: str) -> str:
        """Return a password of this proof."""
        return self.passwords.setdefault(name, secrets.token_urlsafe(24))

    def forward(self, service: str, port: int, namespace: str = "", local: int = 0) -> str:
        """Forward a Service's port to a port of this machine until the proof ends; return HOST:PORT."""
        local = local or free_port()
        command = ["kubectl", "--namespace", namespace or self.namespace, "port-forward", f"service/{service}"]
        log = open(self.folder / f"forward-{service}.log", "a")  # noqa: SIM115 (the process writes to it)
        self.forwards.append(subprocess.Popen([*command, f"{local}:{port}"], stdout=log, stderr=log))
        time.sleep(3)
        return f"{LOOPBACK}:{local}"

    def stop_forwards(self) -> None:
        """End the port-forwards of this proof."""
        for process in self.forwards:
            process.terminate()

    def wait_for(self, what: str, seconds: float, look: Callable[[], Any]) -> Any:
        """Call `look` until it returns something true; return that.

        Raises:
            FailedError: `look` returned nothing true within the time.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = look()
            if found:
                return found
            time.sleep(3)
        raise FailedError(f"{what}: not within {seconds:g} s")


@dataclass(frozen=True)
class Ended:
    """A command's exit status and output."""

    status: int
    output: str

    def must(self, status: int, *words: str) -> str:
        """Return the output's last line. Raise `FailedError` if the status or the output is not the expected one.

        Args:
            status: The expected exit status.
            words: Texts that the output must contain.
        """
        missing = [word for word in words if word not in self.output]
        if self.status != status or missing:
            problem = f"exit status {self.status} instead of {status}" if self.status != status else f"no {missing}"
            raise FailedError(f"{problem}: {last_lines(self.output)}")
        return last_lines(self.output, 1)


def last_lines(text: str, number: int = 6) -> str:
    """Return the last lines of a text that are not empty."""
    lines: Sequence[str] = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-number:])
