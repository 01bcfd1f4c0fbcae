"""Does the registered version answer as the network that was measured? Asked in a process of its own.

The version is fetched from the registry and loaded as a serving host would: in a fresh process, with the code that was
logged with it. Run as a script: `infra_check.py MODEL_URI IMAGES ANSWERS`.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def served_answers(model_uri: str, images: list[str]) -> np.ndarray:
    """Ask a logged model in a fresh process.

    Args:
        model_uri: As MLflow writes it, such as `models:/crack-classifier/3`.
        images: base64 of image files.

    Returns:
        float64 (images,): P(crack).

    Raises:
        RuntimeError: The model could not be loaded or did not answer; the message holds the process's last words.
    """
    with tempfile.TemporaryDirectory() as scratch:
        asked, answered = Path(scratch) / "images.json", Path(scratch) / "answers.json"
        asked.write_text(json.dumps(images))
        # -I: neither the working directory nor PYTHONPATH may lend the model what it lacks
        command = [sys.executable, "-I", __file__, model_uri, str(asked), str(answered)]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}, no word"])[-1]
            raise RuntimeError(f"{model_uri} cannot be loaded and asked in a fresh process: {last}")
        return np.array(json.loads(answered.read_text()), dtype=np.float64)


def _answer(model_uri: str, asked: str, answered: str) -> None:
    import mlflow
    import pandas as pd

    model = mlflow.pyfunc.load_model(model_uri)
    answers = model.predict(pd.DataFrame({"image": json.loads(Path(asked).read_text())}))
    Path(answered).write_text(json.dumps(answers["p_crack"].tolist()))


if __name__ == "__main__":
    _answer(*sys.argv[1:])
