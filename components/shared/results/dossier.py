"""A candidate's dossier: the files of the folder that gate writes, and that select, register and report read."""

import json
from pathlib import Path
from typing import Any

from components.shared.results.measurements import Measurements, read_measurements

VERDICT, MEASUREMENTS = "verdict.json", "measurements.parquet"
CALIBRATION, PROFILE, PANELS = "calibration.json", "reference_profile.parquet", "panels"
PAIRS = "champion_pairs.parquet"  # beside a champion only
PROMOTION, TRAINING, EVALUATION = "promotion.html", "training.html", "evaluation.html"
EXPLANATION, DRIFT = "explanation.html", "drift.html"


def read_verdict(folder: str | Path) -> dict[str, Any]:
    """Read who was judged, whether it passed, a row for each limit, and how it stands to the champion."""
    return json.loads((Path(folder) / VERDICT).read_text(encoding="utf-8"))


def measurements_of(folder: str | Path) -> Measurements:
    """Read everything that was measured of the candidate."""
    return read_measurements(Path(folder) / MEASUREMENTS)
