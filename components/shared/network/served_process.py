"""A registered model in a process of its own, which loads it as a serving host would and answers batches of images.

A version brings its own code, of the same package names as this project's; only a process that has imported nothing
runs the version's. That process is this file run as a script, `python -I served_process.py MODEL_URI`, so nothing of
this project is imported here. Its first line on standard output is "ready" or what went wrong; then each line of
standard input is a JSON list of base64 of image files, and each line out the list of its answers.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from typing import Any


class ModelLoadError(RuntimeError):
    """The model could not be loaded; the message says which one and why."""


class ModelProcess:
    """A model behind `ask`, inside a `with` block; the process ends with the block."""

    def __init__(self, model_uri: str):
        """Name the model as MLflow writes it, such as `models:/crack-classifier@champion`."""
        self.uri = model_uri

    def __enter__(self) -> "ModelProcess":
        """Start the process. Raises `ModelLoadError` where it cannot load the model."""
        self._folder = tempfile.TemporaryDirectory()  # MLflow leaves what it downloads where temporary files go
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            # -I: neither the working directory nor PYTHONPATH may lend the model what it lacks
            [sys.executable, "-I", __file__, self.uri], env={**os.environ, "TMPDIR": self._folder.name},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, encoding="utf-8",
        )  # fmt: skip
        try:
            said = self._receive()
            if said != "ready":
                raise ModelLoadError(f"{self.uri} cannot be loaded: {said}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the process; one that does not end by itself when nothing more is asked is killed."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._process.communicate(timeout=10)
        self._process.kill()
        self._process.wait()
        self._log.close()
        self._folder.cleanup()

    def ask(self, images: list[str]) -> list[dict[str, Any]]:
        """Return one answer per image.

        Args:
            images: base64 of image files.

        Returns:
            {"p_crack": 0 to 1, "label": "crack" or "no_crack", "threshold"}; {"error": why} for an image that the
            model refuses.

        Raises:
            RuntimeError: The process ended; the message says how.
        """
        if not images:
            return []
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # it has ended; what follows says so
            self._process.stdin.write(json.dumps(images) + "\n")
            self._process.stdin.flush()
        return self._receive()

    def _receive(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        status = self._process.wait()
        if status < 0:
            raise RuntimeError(
                f"the process of {self.uri} was ended by signal {-status}; where memory ran out, a smaller batch needs "
                "less"
            )
        self._log.seek(0)
        last = (self._log.read().strip().splitlines() or ["it said nothing"])[-1]
        raise RuntimeError(f"the process of {self.uri} ended with exit status {status}: {last}")


def _serve(model_uri: str) -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print is no answer

    def say(value: Any) -> None:
        print(json.dumps(value), file=answers, flush=True)

    try:
        import mlflow

        model = mlflow.pyfunc.load_model(model_uri)
    except Exception as error:  # whatever the version's own code raises
        say(f"{error} ({type(error).__name__})")
        return
    say("ready")
    for line in sys.stdin:
        say(_answers(model, json.loads(line)))


def _answers(model: Any, images: list[str]) -> list[dict[str, Any]]:
    """Ask the model; image by image where it refuses them together."""
    import pandas as pd

    try:
        return model.predict(pd.DataFrame({"image": images})).to_dict("records")
    except Exception as error:
        if len(images) == 1:
            return [{"error": str(error)}]
        return [answer for image in images for answer in _answers(model, [image])]


if __name__ == "__main__":
    _serve(sys.argv[1])
