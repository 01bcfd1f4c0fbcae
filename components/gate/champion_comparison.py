"""The candidate against today's champion: both as they are deployed, on today's test split, image by image.

The champion was scored anew on today's test split; images that it was trained on are absent from its table, and so
take no part. As deployed means: P(crack) calibrated, and a crack from each network's own operating threshold.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import bdtr

from components.gate.config import ChampionConfig, Limit
from components.shared.results.calibration import Calibration
from components.shared.results.intervals import draw_groups, group_codes, interval, one_twice
from components.shared.results.measurements import FEW_PHOTOS, Measurement, spoken
from components.shared.results.metrics import (
    LOSSES,
    METRICS,
    NLL_MOST,
    compute_metrics,
    few_photos,
    resampled_metrics,
)
from components.shared.results.predictions import Predictions
from components.shared.results.slices import WHOLE, Slice

MINIMUM, FEWEST_GROUPS = 20, 5  # images and photos to compare on; of fewer photos an interval says nothing
RANGES = {"mcc": (-2.0, 2.0), "nll": (-NLL_MOST, NLL_MOST)}  # of a difference; of the other metrics -1 to 1


@dataclass(frozen=True)
class Deployed:
    """A network's answers, and how its logits become decisions."""

    predictions: Predictions
    calibration: Calibration

    def answers(self) -> pd.DataFrame:
        """The clean test images: sample_id, group_id, source, surface, label, p_crack (calibrated), crack (bool)."""
        table = self.predictions.clean("test")
        p_crack = self.calibration.p_crack(table["logit_0"].to_numpy(), table["logit_1"].to_numpy())
        columns = ["sample_id", "group_id", "source", "surface", "label"]
        return table[columns].assign(p_crack=p_crack, crack=p_crack >= self.calibration.threshold)


@dataclass(frozen=True)
class Difference:
    """One metric of both on the same images.

    Attributes:
        metric: Of METRICS.
        slice: The part of the test split.
        candidate, champion: The metric of each; NaN where undefined.
        low, high: 95 % interval of candidate minus champion; NaN where that is.
        n: Number of images.
        photos: Number of groups.
        few: Whether the wrong answers of either, on average, do not fill one photo.
    """

    metric: str
    slice: Slice
    candidate: float
    champion: float
    low: float
    high: float
    n: int
    photos: int
    few: bool

    @property
    def value(self) -> float:
        """Candidate minus champion."""
        return self.candidate - self.champion

    def measurement(self) -> Measurement:
        """The difference as gate and MLflow take it."""
        name, part = f"{self.metric}_minus_champion", self.slice
        if np.isnan(self.value):
            return Measurement(name, self.value, slice=part, n=self.n, note="undefined for one of the two")
        note = FEW_PHOTOS if self.few else ""
        return Measurement(name, self.value, slice=part, low=self.low, high=self.high, n=self.n, note=note)

    def photos_needed(self, bound: float) -> int | None:
        """About how many photos would lift the low end to a bound, if the value stayed; None where none would."""
        if self.value <= bound:
            return None
        return round(float(f"{self.photos * ((self.value - self.low) / (self.value - bound)) ** 2:.1e}"))


@dataclass(frozen=True)
class Comparison:
    """How the candidate stands to the champion.

    Attributes:
        verdict: "better", "not worse", "worse", "no champion" or "not comparable".
        text: One sentence for people.
        left_out: Test images that the champion knew or was not scored on.
        differences: Every metric on all images, then on each source and surface that is large enough.
        measurements: The differences, and McNemar's p value.
        thresholds: From which calibrated P(crack) candidate and champion call an image a crack.
        limits: What the gate asks of them; none where there is no champion.
        pairs: The images both were scored on: sample_id, group_id, source, surface, label, p_crack and crack of the
            candidate, p_crack_champion and crack_champion.
    """

    verdict: str
    text: str
    left_out: int = 0
    differences: tuple[Difference, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    thresholds: tuple[float, float] = (0.5, 0.5)
    limits: tuple[Limit, ...] = ()
    pairs: pd.DataFrame | None = None


def compare(candidate: Deployed, champion: Deployed, version: str, config: ChampionConfig) -> Comparison:
    """Compare candidate and champion on the clean test images that both were scored on.

    The interval of a difference is by bootstrap over groups, the same groups drawn for both. McNemar's test, exact,
    asks whether either is right more often where their decisions differ; it takes images as independent, so it informs
    and decides nothing.

    Args:
        candidate: Its answers.
        champion: The champion's; none where it knew every test image.
        version: The champion's version, "" where there is none.
        config: Metric, margin and what is asked of the difference.

    Source: McNemar 1947; non-inferiority by the lower end of the interval, as in Piaggio et al. 2012 (CONSORT).
    """
    if not version:
        return Comparison("no champion", "There is no champion yet, so only the absolute limits were asked.")
    mine, theirs = candidate.answers(), champion.answers()
    pairs = mine.merge(theirs[["sample_id", "p_crack", "crack"]], on="sample_id", suffixes=("", "_champion"))
    left_out, name = len(mine) - len(pairs), f"{config.metric}_minus_champion"
    limit = Limit(name=name, op=">=", limit=-config.margin, on="low")
    if config.require == "better":
        limit = Limit(name=name, op=">", limit=0.0, on="low")
    if not _comparable(pairs):
        note = (
            f"only {len(pairs)} of {len(mine)} test images are unknown to the champion ({int(pairs['label'].sum())} "
            f"cracks, {pairs['group_id'].nunique()} groups), too few to compare"
        )
        missing = Measurement(name, float("nan"), n=len(pairs), note=note)
        text = f"Of the champion: {note}."
        return Comparison("not comparable", text, left_out, measurements=(missing,), limits=(limit,), pairs=pairs)
    thresholds = candidate.calibration.threshold, champion.calibration.threshold
    found = [
        difference
        for part, rows in _slices(pairs).items()
        for difference in _differences(part, rows, thresholds, config)
    ]
    decisive = next(one for one in found if one.metric == config.metric and one.slice == WHOLE)
    verdict, text = _verdict(decisive, config, left_out)
    p_value = mcnemar(*(pairs[name].to_numpy() for name in ("label", "crack", "crack_champion")))
    measured = [one.measurement() for one in found]
    measured.append(Measurement("mcnemar_p", p_value, n=len(pairs), note="images taken as independent"))
    return Comparison(verdict, text, left_out, tuple(found), tuple(measured), thresholds, (limit,), pairs)


def mcnemar(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided exact p value that two classifiers err equally often where one errs and the other does not.

    Args:
        labels: int (n,).
        first: bool (n,), whether one classifier says crack.
        second: bool (n,), the same of the other.
    """
    right, other = first == labels, second == labels
    only_first, only_second = int((right & ~other).sum()), int((~right & other).sum())
    return float(min(1.0, 2 * bdtr(min(only_first, only_second), only_first + only_second, 0.5)))


def _comparable(pairs: pd.DataFrame) -> bool:
    groups = pairs["group_id"].nunique()
    return len(pairs) >= MINIMUM and groups >= FEWEST_GROUPS and set(pairs["label"]) == {0, 1}


def _slices(pairs: pd.DataFrame) -> dict[Slice, pd.DataFrame]:
    """All pairs, then those of each source and surface where there are several, as far as they can be compared."""
    parts = {WHOLE: pairs}
    for column in ("source", "surface"):
        if pairs[column].nunique() > 1:
            for value, rows in pairs.groupby(column):
                if _comparable(rows):
                    parts[Slice.of(**{column: value})] = rows
    return parts


def _differences(
    part: Slice, pairs: pd.DataFrame, thresholds: tuple[float, float], config: ChampionConfig
) -> list[Difference]:
    labels, (codes, count) = pairs["label"].to_numpy(), group_codes(pairs["group_id"].to_numpy())
    sides = [
        (labels, pairs[name].to_numpy(), threshold)
        for name, threshold in zip(("p_crack", "p_crack_champion"), thresholds, strict=True)
    ]
    values = [compute_metrics(*side) for side in sides]
    draws, twice = (
        [resampled_metrics(labels, p_crack, codes, times, threshold) for _, p_crack, threshold in sides]
        for times in (draw_groups(count, config.resamples, config.bootstrap_seed), one_twice(count))
    )
    wrong = (pairs["crack"] != labels).sum() + (pairs["crack_champion"] != labels).sum()
    few = few_photos(wrong / 2, len(pairs), count)
    found = []
    for metric in METRICS:
        mine, theirs = (value[metric] for value in values)
        low = high = float("nan")
        if not np.isnan(mine - theirs):
            drawn, again = (first[metric] - second[metric] for first, second in (draws, twice))
            losses = mine + theirs if metric in LOSSES else 2 - mine - theirs
            ends = interval(mine - theirs, drawn, again, count, "difference", losses)
            low, high = np.clip(ends, *RANGES.get(metric, (-1, 1)))
        found.append(Difference(metric, part, mine, theirs, float(low), float(high), len(pairs), count, few))
    return found


def _verdict(difference: Difference, config: ChampionConfig, left_out: int) -> tuple[str, str]:
    if difference.low > 0:
        verdict, words = "better", "better than the champion"
    elif difference.low >= -config.margin:
        verdict, words = "not worse", f"not worse than the champion by more than {config.margin:g}"
    elif difference.high < 0:
        verdict, words = "worse", "worse than the champion"
    else:  # refused as if it were worse: a promotion must be earned
        verdict = "worse"
        needed = difference.photos_needed(-config.margin)
        photos = f"about {needed:,} photos like these {difference.photos}" if needed else "more test photos"
        words = f"not shown to be within {config.margin:g} of the champion; {photos} would tell"
    few = " Few photos bear this: the wrong answers do not fill one, so it may be too sure." if difference.few else ""
    return verdict, (
        f"The candidate is {words}: {spoken(difference.metric)} differs by {difference.value:+.4f} "
        f"[{difference.low:+.4f}, {difference.high:+.4f}] on {difference.n} test images of {difference.photos} photos; "
        f"{left_out} were left out.{few}"
    )
