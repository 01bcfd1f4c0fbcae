"""Name and read the files of a candidate's dossier.

The dossier is a folder. The gate step writes it, and the select, register and report steps read it.
"""

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

# This file exists only if there was a champion to compare with.
PAIRS = "champion_pairs.parquet"

PROMOTION = "promotion.html"
TRAINING = "training.html"
EVALUATION = "evaluation.html"
EXPLANATION = "explanation.html"
DRIFT = "drift.html"


def read_verdict(folder: str | Path) -> dict[str, Any]:
    """Read verdict.json. Its keys include `candidate`, `passed`, `rows` (one for each limit) and `champion`."""
    return json.loads((Path(folder) / VERDICT).read_text(encoding="utf-8"))


def measurements_of(folder: str | Path) -> Measurements:
    """Read all measurements in a dossier."""
    return read_measurements(Path(folder) / MEASUREMENTS)


def read_test_answers(folder: str | Path) -> pd.DataFrame:
    """Read the candidate's answers to all test tiles. No corruption was applied to these tiles.

    Returns:
        The columns sample_id, group_id, source, surface, path, label, p_crack (calibrated), crack (bool, true if the
        candidate calls the tile a crack) and image. `image` contains the bytes of a JPEG file for the wrongly answered
        tiles that the report shows. For all other tiles it is missing.
    """
    return pd.read_parquet(Path(folder) / TEST_ANSWERS)
