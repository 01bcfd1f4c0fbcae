"""Name, count and log the answers of a served model. The log has one line of JSON per image, without the image.

The server process loads this file by its path (see served_http.py), so this file imports nothing from the project.
"""

import base64
import hashlib
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

STRANGE = 1.0  # an image with a larger novelty is unlike the training images (components/shared/data/novelty.py)
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
# Networks answer mostly near 0 and near 1, so the steps are smaller there.
P_CRACK = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)
# A grey PNG of 32 x 32 pixels, in base64.
TEST_IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAKElEQVRIx+3NQQEAAAQE"
    "MCS/6Erw2wqsk9SnqWcCgUAgEAgEAoHgygK+PQHA8KPQsQAAAABJRU5ErkJggg=="
)
# The columns that every answer has. NamedModel adds the last three, if the model does not have needs_review.
CONTRACT = ("p_crack", "label", "threshold", "novelty", "needs_review", "model", "version")


def name_and_version(folder: str) -> tuple[str, str]:
    """Return the name and the number of the registered version in a folder. MLflow writes them when it downloads it."""
    text = (Path(folder) / "registered_model_meta").read_text(encoding="utf-8")
    written = yaml.safe_load(text)
    return written["model_name"], str(written["model_version"])


class NamedModel:
    """A model for MLflow's application. Each of its answers names the model and its version."""

    def __init__(self, model: Any, name: str, version: str):
        self.metadata = model.metadata
        self._model = model
        self._names = {"model": name, "version": version}

    def predict(self, data: Any, params: dict | None = None) -> Any:
        """Return the model's answers, a pandas.DataFrame with one row per image.

        `needs_review` is None in all rows if the model was registered without a review band.
        """
        answers = self._model.predict(data, params=params)
        if "needs_review" not in answers:
            answers["needs_review"] = None
        return answers.assign(**self._names)


def require_answer(model: NamedModel) -> None:
    """End the process with a sentence if the model cannot classify the test image, or if its answer is incomplete."""
    try:
        answers = model.predict(pd.DataFrame({"image": [TEST_IMAGE]}))
    except Exception as error:  # the model's own code can raise any error
        sys.exit(
            f"error: the model cannot classify a test image: {type(error).__name__}: {error}; serve another version"
        )

    missing = [name for name in CONTRACT if name not in answers]
    if missing:
        sys.exit(
            f"error: the model's answers have no {', '.join(missing)}, because another release registered it; serve "
            "another version"
        )


class Metrics:
    """The metrics of one served model version. Their names start with `crack_` or, for the process, `process_`."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, name: str, version: str):
        """Start to count.

        Args:
            name: Name of the registered model.
            version: Number of the model version.
        """
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        model = Gauge("crack_model_info", "The served model version.", ("model", "version"), registry=self.registry)
        model.labels(name, version).set(1)

        self._requests = Counter(
            "crack_requests", "Answered requests by HTTP status.", ("status",), registry=self.registry
        )
        self._seconds = Histogram(
            "crack_request_seconds",
            "Seconds from the headers of a request to its answer, with the time that the request waited.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._p_crack = Histogram(
            "crack_p_crack", "P(crack) of the classified images.", buckets=P_CRACK, registry=self.registry
        )
        self._out_of_distribution = Counter(
            "crack_images_out_of_distribution",
            "Classified images that are unlike the training images (novelty above 1).",
            registry=self.registry,
        )
        self._needs_review = Counter(
            "crack_images_needing_review", "Classified images that a person must look at.", registry=self.registry
        )

    def count_request(self, status: int, seconds: float) -> None:
        """Count a request that was answered with an HTTP status after some seconds."""
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def count_answers(self, answers: pd.DataFrame) -> None:
        """Count the answers to images: one row per image, with p_crack, novelty and needs_review."""
        for p_crack in answers["p_crack"]:
            self._p_crack.observe(p_crack)
        self._out_of_distribution.inc(int((answers["novelty"] > STRANGE).sum()))
        self._needs_review.inc(int(answers["needs_review"].eq(True).sum()))

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format, version 0.0.4."""
        return generate_latest(self.registry)


class ObservedModel:
    """A model for MLflow's application that counts and logs its answers."""

    def __init__(self, model: Any, metrics: Metrics):
        """Observe a model whose answers name the model and its version."""
        self.metadata = model.metadata
        self._model = model
        self._metrics = metrics

    def predict(self, data: pd.DataFrame, params: dict | None = None) -> pd.DataFrame:
        """Return the model's answers, one row per image of the column `image` (base64)."""
        answers = self._model.predict(data, params=params)
        self._metrics.count_answers(answers)
        log_answers(data["image"], answers)
        return answers


def log_answers(images: Iterable[str], answers: pd.DataFrame) -> None:
    """Print one line of JSON per image: time, sha256 of the image file, and the scores. The image is not logged.

    The sha256 is the `sample_id` that the image gets if it is ingested later.
    """
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    lines = []
    for image, answer in zip(images, answers[list(CONTRACT)].to_dict("records"), strict=True):
        sha256 = hashlib.sha256(base64.b64decode(image)).hexdigest()
        lines.append(json.dumps({"time": now, "sha256": sha256, **answer}) + "\n")

    # One write, so that the lines of two requests are not mixed.
    sys.stdout.write("".join(lines))
    sys.stdout.flush()
