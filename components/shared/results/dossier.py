"""A candidate's dossier: the files of the folder that gate writes, and that select, register and report read."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from components.shared.results.measurements import Measurements, read_measurements

VERDICT = "verdict.json"
MEASUREMENTS = "measurements.parquet"
CALIBRATION = "calibration.json"
PROFILE = "reference_profile.parquet"
PANELS = "panels"
TEST_ANSWERS = "test_answers.parquet"

# Only where there is a champion.
PAIRS = "champion_pairs.parquet"

PROMOTION = "promotion.html"
TRAINING = "training.html"
EVALUATION = "evaluation.html"
EXPLANATION = "explanation.html"
DRIFT = "drift.html"


def read_verdict(folder: str | Path) -> dict[str, Any]:
    """Read verdict.json: candidate, whether it passed, a row for each limit, and the comparison with the champion."""
    return json.loads((Path(folder) / VERDICT).read_text(encoding="utf-8"))


def measurements_of(folder: str | Path) -> Measurements:
    """Read everything that was measured of the candidate."""
    return read_measurements(Path(folder) / MEASUREMENTS)


def read_test_answers(folder: str | Path) -> pd.DataFrame:
    """Read the candidate's answer to every clean test tile, as it would be deployed.

    Returns:
        Columns sample_id, group_id, source, surface, path, label, p_crack (calibrated), crack (bool: the answer) and
        image: a JPEG file's bytes of the wrongly answered tiles that people look at first, missing for the others.
    """
    return pd.read_parquet(Path(folder) / TEST_ANSWERS)
