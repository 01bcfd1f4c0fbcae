"""Dossiers for the report's tests, with only what the report reads."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from components.shared.data.image import thumbnail
from components.shared.page import Page
from components.shared.results.calibration import Calibration, ReviewBand, write_calibration
from components.shared.results.measurements import FEW_ERRORS, Measurement, write_measurements
from components.shared.results.slices import Slice

TEST_TILES_OF_EACH_LABEL = 20
WALLS = Slice.of(source="walls")


def limit(passed: bool) -> dict:
    place = {"name": "recall", "split": "test", "slice": "all", "condition": "after"}
    why = f"Recall on test is {'0.97, and must be' if passed else '0.61, but must be'} at least 0.9."
    value = {"value": 0.97 if passed else 0.61, "low": None, "high": None}
    return {**place, **value, "op": ">=", "limit": 0.9, "passed": passed, "why": why}


def dossier(
    folder: Path, name: str, passed: bool, missed: int = 3, alarms: int = 2, shown: int = 12, auroc: float = math.nan
) -> Path:
    """Write a dossier whose candidate misses some cracks and raises some false alarms.

    Args:
        folder: The dossier's folder, which is created.
        name: The candidate's name.
        passed: Whether the candidate passed the gate.
        missed: Number of missed cracks, at most TEST_TILES_OF_EACH_LABEL.
        alarms: Number of false alarms, at most TEST_TILES_OF_EACH_LABEL.
        shown: Limit for the missed cracks that have an image, and for the false alarms that have an image.
        auroc: The AUROC on the test split; NaN if it is undefined.
    """
    folder.mkdir()
    verdict = {"candidate": name, "passed": passed, "rows": [limit(passed)], "champion": {"text": "No champion yet."}}
    (folder / "verdict.json").write_text(json.dumps(verdict))
    rows = [
        Measurement("accuracy", 0.31, condition="before"),
        Measurement("accuracy", 0.9625, low=0.93, high=0.98, n=60),
        Measurement("f1", 0.95),
        Measurement("auroc", auroc, note="one class only"),
        Measurement("review_share", 0.25 if passed else math.nan, low=0.2, high=0.3),
        Measurement("accuracy", 0.8125, split="robustness"),
        Measurement("recall_at_threshold", 0.9625, low=0.91, high=0.99),
        Measurement("specificity_at_threshold", 0.85 if passed else math.nan),
        Measurement("false_alarms_per_photo", 1.5, slice=WALLS, low=0.9, high=2.4, n=20, note=FEW_ERRORS),
        Measurement("false_alarms_per_m2", math.nan, slice=WALLS, n=20, note="the scale is not known"),
    ]
    write_measurements(rows, folder / "measurements.parquet")
    band = ReviewBand(0.05, 0.4, 0.02, 0.95, 300, 171, 5) if passed else None
    write_calibration(Calibration(threshold=0.4, band=band), folder / "calibration.json")
    answers = pd.concat([_answers(1, missed, shown), _answers(0, alarms, shown)])
    answers.to_parquet(folder / "test_answers.parquet", index=False)
    for section in ("evaluation", "explanation", "drift"):
        write_step_page(folder / f"{section}.html", f"the {section} text of {name}")
    return folder


def _answers(label: int, wrong: int, shown: int) -> pd.DataFrame:
    """Return answers to tiles with one label, in random order. If `wrong` is 3, the 3 most certain ones are wrong."""
    rows = []
    for number in range(TEST_TILES_OF_EACH_LABEL):
        is_wrong = number < wrong
        says_crack = bool(label) != is_wrong
        certainty = 0.01 * number
        image = None
        if is_wrong and number < shown:
            image = thumbnail(np.full((64, 64, 3), 40 + 10 * number, np.uint8), 64)
        rows.append(
            {
                "sample_id": f"{label}{number:063x}",
                "group_id": f"walls:{label}-{number}" if number else "a" * 64,
                "source": "walls",
                "surface": "wall",
                "path": f"{label}/{number}.jpg",
                "label": label,
                "p_crack": 0.9 - certainty if says_crack else 0.1 + certainty,
                "crack": says_crack,
                "image": image,
            }
        )
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def write_step_page(path: Path, text: str) -> Path:
    """Write a step's page with anchors, a wide table and a large image."""
    page = Page(f"Page {path.stem}")
    page.contents()
    page.heading("Details")
    page.text(text)
    page.heading("Deeper", 3)
    page.table([f"column {number}" for number in range(12)], [["0.9000 [0.850, 0.950]"] * 12] * 60)
    noise = np.random.default_rng(0).integers(0, 255, (1600, 400, 3)).astype(np.uint8)
    page.image(cv2.imencode(".jpg", noise)[1].tobytes(), "A tall image", "noise")
    page.write(path)
    return path
