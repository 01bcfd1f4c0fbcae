"""Count false alarms per photo and per square metre, on sources in which no tile has a crack."""

import math

import pandas as pd

from components.shared.data.manifest import CRACK
from components.shared.results.measurements import Measurement, Measurements, shown_row, spoken

PER_PHOTO = "false_alarms_per_photo"
PER_M2 = "false_alarms_per_m2"
SHOWN_SPLITS = ("test", "robustness")


def sound_sources(tiles: pd.DataFrame) -> list[str]:
    """Return the sources of sound concrete, in order. In such a source, no tile has the label crack.

    Args:
        tiles: The columns source and label, and any other columns.
    """
    has_crack = tiles["label"].eq(CRACK).groupby(tiles["source"]).any()
    return sorted(has_crack.index[~has_crack])


def rows_of_false_alarms(rows: Measurements) -> list[Measurement]:
    """Return the measurements of false alarms on sound concrete in the test and robustness splits, in order."""
    found = []
    for row in rows:
        if row.name in (PER_PHOTO, PER_M2) and row.split in SHOWN_SPLITS:
            found.append(row)
    return found


def false_alarms_in_words(rows: Measurements) -> str:
    """Return the false alarms on sound concrete as a list in Markdown. Return "" if no source is sound concrete.

    The list can contain daggers. `measurements.footnote` gives the sentence that explains them.
    """
    lines = []
    for row in rows_of_false_alarms(rows):
        number = f"not measured, because {row.note}" if math.isnan(row.value) else shown_row(row)
        lines.append(f"- {row.slice.get('source')}, {row.split}, {row.n:,} tiles: {spoken(row.name)} {number}")
    if not lines:
        return ""
    return "False alarms on sound concrete, which are the sources without any crack:\n\n" + "\n".join(lines)
