"""False alarms on sound concrete: their number per photo and per square metre, and where it is shown."""

import math

import numpy as np
import pandas as pd
import pytest

from components.evaluate.config import EvaluateConfig
from components.evaluate.false_alarms import measure_false_alarms
from components.shared.results.calibration import Calibration
from components.shared.results.false_alarms import false_alarms_in_words
from components.shared.results.measurements import Measurement, Measurements
from components.shared.results.predictions import Predictions
from components.shared.results.slices import Slice

CONFIG = EvaluateConfig(resamples=200, tile_mm=250)
WALLS = Slice.of(source="walls")
TILES, PHOTOS = 120, 12


def answers(alarms: int, named_photos: bool = True, cracks_in_training: int = 0) -> Predictions:
    """Return answers to tiles of two sources. "walls" has no cracks, and "decks" has some.

    The first `alarms` test tiles of "walls" are answered "crack". `cracks_in_training` gives training tiles of "walls"
    the label crack.
    """
    tables = []
    for split, source in (("train", "walls"), ("test", "walls"), ("test", "decks")):
        number = np.arange(TILES)
        photo = number % PHOTOS
        label = (number % 2) * (source == "decks")
        if split == "train":
            label[:cracks_in_training] = 1
        margin = np.where(label, 2.0, -2.0) - number / 1000
        if (split, source) == ("test", "walls"):
            margin[:alarms] = 2.0
        columns = {
            "sample_id": [f"{split}{source}{n}" for n in number], "split": split, "label": label, "source": source,
            "group_id": [f"{source}:{split}{n}" if named_photos else f"{n:064x}" for n in photo], "surface": "wall",
            "condition": "after", "corruption": "clean", "severity": 0, "logit_0": 0.0, "logit_1": margin,
        }  # fmt: skip
        tables.append(pd.DataFrame(columns))
    table = pd.concat(tables, ignore_index=True)
    return Predictions(table, np.zeros((len(table), 1), np.float32))


def measured(predictions: Predictions, config: EvaluateConfig = CONFIG) -> Measurements:
    return Measurements(measure_false_alarms(predictions, Calibration(threshold=0.4), config))


def numbers(rows: Measurements) -> tuple[Measurement, Measurement]:
    found = rows.find("false_alarms_per_photo", slice=WALLS), rows.find("false_alarms_per_m2", slice=WALLS)
    assert found[0] is not None
    assert found[1] is not None
    return found


def test_alarms_are_counted_per_photo_and_per_square_metre():
    rows = measured(answers(alarms=18))
    assert {str(row.slice) for row in rows} == {"source=walls"}
    assert {row.split for row in rows} == {"test"}
    per_photo, per_m2 = numbers(rows)
    assert (per_photo.n, per_m2.n) == (TILES, TILES)
    assert per_photo.value == pytest.approx(18 / PHOTOS)
    assert per_m2.value == pytest.approx(18 / (TILES * 0.25**2))
    assert 0 < per_photo.low < per_photo.value < per_photo.high < TILES / PHOTOS
    assert per_m2.high / per_photo.high == pytest.approx(per_m2.value / per_photo.value)

    text = false_alarms_in_words(rows)
    assert "- walls, test, 120 tiles: false alarms per photo 1.5000 [" in text
    assert "- walls, test, 120 tiles: false alarms per m² 2.4000 [" in text


def test_no_alarm_on_few_tiles_does_not_promise_that_there_never_is_one():
    per_photo, per_m2 = numbers(measured(answers(alarms=0)))
    assert per_photo.value == per_photo.low == per_m2.value == 0
    assert per_photo.high > 1 / PHOTOS  # the upper end is above one alarm on these photos


def test_unknown_photos_and_sizes_give_a_reason_instead_of_a_number():
    rows = measured(answers(alarms=3, named_photos=False), CONFIG.model_copy(update={"tile_mm": None}))
    per_photo, per_m2 = numbers(rows)
    assert math.isnan(per_photo.value)
    assert per_photo.note == "the photos of 12 of 12 groups are not known"
    assert math.isnan(per_m2.value)
    assert "per photo not measured, because the photos of 12 of 12 groups" in false_alarms_in_words(rows)
    assert "per m² not measured, because train.tile_mm, the side of a tile" in false_alarms_in_words(rows)


def test_a_source_with_one_crack_is_not_sound_concrete():
    assert len(measured(answers(alarms=3, cracks_in_training=1))) == 0
    assert false_alarms_in_words(Measurements()) == ""
