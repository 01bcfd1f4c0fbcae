"""Run a registered model in a separate process. The process loads the model as a serving host does.

A registered model version contains its own copy of this project's code, with the same package names. The process must
import this copy, not the project. So this file imports nothing from the project. The process runs it as a script:
`python -I served_process.py MODEL_URI`.

Every line of standard input and standard output is one JSON value. The first line on standard output is "ready", or the
reason why the model cannot be loaded. Then each line of standard input is a list of image files in base64, and the
process writes one line with the list of the answers to these images.
"""

import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

READY = "ready"
SECONDS_TO_END = 10


class ModelLoadError(RuntimeError):
    """The model cannot be loaded. The message gives the model and the cause."""


class ModelProcess:
    """A model in a separate process. Call `ask` inside a `with` block. The process ends when the block ends."""

    def __init__(self, model_uri: str, name: str = ""):
        """Choose the model. The `with` statement starts the process, which loads the model.

        Args:
            model_uri: The model's folder, or its URI in MLflow, such as `models:/crack-classifier@champion`.
            name: Name of the model in messages. If it is empty, messages give the URI.
        """
        self.uri = model_uri
        self.name = name or model_uri

    def __enter__(self) -> "ModelProcess":
        """Start the process, and wait until it has loaded the model.

        Raises:
            ModelLoadError: The process cannot load the model.
        """
        # MLflow leaves its downloads in the folder for temporary files. So we use a folder that is deleted at the end
        # of the block.
        self._folder = tempfile.TemporaryDirectory()
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            # With -I, the working directory and PYTHONPATH cannot add modules that the model itself does not contain.
            [sys.executable, "-I", __file__, self.uri],
            env={**os.environ, "TMPDIR": self._folder.name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
        )

        try:
            first_line = self._receive()
            if first_line != READY:
                raise ModelLoadError(f"the model {self.name} cannot be loaded: {first_line}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close the input of the process, so that the process ends. If it does not end, kill it."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._process.communicate(timeout=SECONDS_TO_END)
        self._process.kill()
        self._process.wait()

        self._log.close()
        self._folder.cleanup()

    def ask(self, images: list[str]) -> list[dict[str, Any]]:
        """Return one answer per image.

        Args:
            images: Image files in base64.

        Returns:
            One dict per image: {"p_crack": 0 to 1, "label": "crack" or "no_crack", "threshold": 0 to 1, "novelty": 0
            or more, "needs_review": true or false}. If the model refuses an image, its dict is {"error": cause}. If the
            model was registered without a review band, "needs_review" is None or missing.

        Raises:
            RuntimeError: The process ended. The message gives its signal or exit status.
        """
        if not images:
            return []

        assert self._process.stdin
        # If the process has ended, `_receive` reports how.
        with contextlib.suppress(BrokenPipeError):
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
                f"the process of the model {self.name} was ended by signal {-status}; if memory ran out, use a "
                "smaller batch"
            )
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        last_line = lines[-1] if lines else "it printed nothing"
        raise RuntimeError(f"the process of the model {self.name} ended with exit status {status}: {last_line}")


def _serve(model_uri: str) -> None:
    """Load the model, and answer requests until standard input is closed."""
    # Libraries print to standard output. Send that to standard error, and keep the original for the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(value: Any) -> None:
        print(json.dumps(value), file=answers, flush=True)

    gc.disable()  # while the libraries load, there is no garbage, and the search for it would take seconds
    try:
        import mlflow

        model = mlflow.pyfunc.load_model(model_uri)
    except Exception as error:  # the model version's own code can raise any error
        send(f"{error} ({type(error).__name__})")
        return

    gc.freeze()
    gc.enable()
    send(READY)
    for line in sys.stdin:
        send(_answers(model, json.loads(line)))
    os._exit(0)  # Python would take seconds to unload the libraries


def _answers(model: Any, images: list[str]) -> list[dict[str, Any]]:
    """Return the model's answers. If the model refuses the list of images, ask it about each image separately."""
    import pandas as pd

    try:
        return model.predict(pd.DataFrame({"image": images})).to_dict("records")
    except Exception as error:
        if len(images) == 1:
            return [{"error": str(error)}]

    answers = []
    for image in images:
        answers += _answers(model, [image])
    return answers


if __name__ == "__main__":
    _serve(sys.argv[1])
