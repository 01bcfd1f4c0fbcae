"""Run containers with the restrictions of a cluster: another user, a read-only root, no network except loopback.

A container runs in the background and is removed only after its logs were read. Engines that remove it by themselves
sometimes lose the exit code.
"""

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
USER = "54321:54321"  # in no image's /etc/passwd
HARDENED = ["--user", USER, "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
WRITABLE = ["--tmpfs", "/tmp:rw,mode=1777,size=1g"]


@dataclass(frozen=True)
class Ended:
    """A container's exit code and output."""

    code: int
    output: str


@dataclass(frozen=True)
class Engine:
    """Docker or podman, and the image under test."""

    command: str
    image: str

    def run(self, arguments: list[str], network: str, environment: Mapping[str, str], mounts: list[str]) -> Ended:
        """Run a container to its end; `mounts` are HOST:CONTAINER[:ro]."""
        name = self._start(arguments, network, environment, mounts)
        try:
            code = int(self._call("wait", name).stdout.split()[-1])
            logs = self._call("logs", name)
            return Ended(code, logs.stdout + logs.stderr)
        finally:
            self._call("rm", "--force", name)

    @contextmanager
    def serving(
        self, arguments: list[str], network: str, environment: Mapping[str, str], mounts: list[str], ready: str
    ) -> Iterator[str]:
        """Run a container until the block ends; yield its name as soon as `ready` is in its log."""
        name = self._start(arguments, network, environment, mounts)
        try:
            for _ in range(240):
                logs = self._call("logs", name)
                if ready in logs.stdout + logs.stderr:
                    break
                assert "true" in self._call("inspect", "--format", "{{.State.Running}}", name).stdout, logs
                time.sleep(0.5)
            else:
                raise AssertionError(f"not ready within 120 s: {logs}")
            yield name
        finally:
            self._call("rm", "--force", name)

    def inspect(self, template: str) -> str:
        """Return what the engine says about the container image. `template` is a Go template for the wanted field."""
        return self._call("image", "inspect", "--format", template, self.image).stdout.strip()

    def _start(self, arguments: list[str], network: str, environment: Mapping[str, str], mounts: list[str]) -> str:
        name = f"crack-test-{secrets.token_hex(4)}"
        variables = [part for key, value in environment.items() for part in ("--env", f"{key}={value}")]
        volumes = [part for mount in mounts for part in ("--volume", mount)]
        if self.command.endswith("podman"):  # without this option, podman leaves /var/tmp and /run writable
            volumes += ["--read-only-tmpfs=false"]
        options = ["--detach", "--pull", "never", "--name", name, "--network", network, *HARDENED, *WRITABLE]
        self._call("run", *options, *variables, *volumes, self.image, *arguments)
        return name

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        result = subprocess.run([self.command, *arguments], capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{self.command} {' '.join(arguments[:6])} …: {result.stderr}"
        return result


def rclone() -> Path:
    """Return the S3 server's program, which is one static file."""
    return Path(sys.executable).with_name("rclone")
