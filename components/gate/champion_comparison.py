"""Compare the candidate with the current champion, on the same tiles of this run's test split.

The `champion` step computed the champion's answers for this test split. It left out the tiles of all photos that the
champion was trained on, so the comparison excludes these tiles too. Both models are compared as they are deployed:
P(crack) is calibrated, and each model uses its own operating threshold. `docs/statistics.md` derives the comparison.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from components.gate.config import ChampionConfig, Limit
from components.shared.results.calibration import Calibration
from components.shared.results.estimates import few_errors
from components.shared.results.intervals import draw_groups, group_codes, interval, one_twice
from components.shared.results.measurements import FEW_ERRORS, Measurement, spoken
from components.shared.results.metrics import LOSSES, MAX_NLL, METRICS, compute_metrics, resampled_metrics
from components.shared.results.predictions import Predictions
from components.shared.results.slices import WHOLE, Slice

# For a reliable interval, both models must have answered at least this many tiles, from at least this many photos.
MIN_IMAGES = 20
MIN_GROUPS = 5

# The largest possible difference between two models. For a metric that is not in this dict, it is 1.
MAX_DIFFERENCE = {"mcc": 2.0, "nll": MAX_NLL}


@dataclass(frozen=True)
class Deployed:
    """A network's predictions, and the calibration that turns its logits into decisions."""

    predictions: Predictions
    calibration: Calibration

    def answers(self) -> pd.DataFrame:
        """Return the answers to the uncorrupted test tiles.

        The columns are sample_id, group_id, source, surface, label, p_crack (calibrated) and crack (bool, true if the
        model calls the tile a crack).
        """
        table = self.predictions.clean("test")
        p_crack = self.calibration.p_crack(table["logit_0"].to_numpy(), table["logit_1"].to_numpy())
        columns = ["sample_id", "group_id", "source", "surface", "label"]
        return table[columns].assign(p_crack=p_crack, crack=p_crack >= self.calibration.threshold)


@dataclass(frozen=True)
class Difference:
    """One metric of the candidate and of the champion, measured on the same tiles.

    Attributes:
        metric: A name in METRICS.
        slice: The part of the test split on which the metric was measured.
        candidate, champion: The value of the metric for each model. NaN if it is undefined.
        low, high: The ends of the 95 % interval of candidate minus champion. NaN if the difference is NaN.
        n: Number of tiles.
        photos: Number of groups.
        few_errors: True if (errors of the candidate + errors of the champion) / 2 is less than n / photos. The interval
            may then be too narrow.
    """

    metric: str
    slice: Slice
    candidate: float
    champion: float
    low: float
    high: float
    n: int
    photos: int
    few_errors: bool

    @property
    def value(self) -> float:
        """Return the candidate's value minus the champion's value."""
        return self.candidate - self.champion

    def measurement(self) -> Measurement:
        """Return the difference as a measurement, for the gate's limits and for MLflow."""
        name = f"{self.metric}_minus_champion"
        if np.isnan(self.value):
            return Measurement(name, self.value, slice=self.slice, n=self.n, note="undefined for one of the two models")
        note = FEW_ERRORS if self.few_errors else ""
        return Measurement(name, self.value, slice=self.slice, low=self.low, high=self.high, n=self.n, note=note)

    def photos_needed(self, bound: float) -> int | None:
        """Estimate how many photos would raise `low` to `bound`, if `value` stays the same.

        The interval shrinks with the square root of the number of photos. The result is None if `value` is not above
        `bound`, because then more photos do not help.
        """
        if self.value <= bound:
            return None
        times = ((self.value - self.low) / (self.value - bound)) ** 2
        two_digits = f"{self.photos * times:.1e}"
        return round(float(two_digits))


@dataclass(frozen=True)
class Comparison:
    """The result of the comparison with the champion.

    Attributes:
        verdict: "better", "not worse", "worse", "no champion", "not comparable" or "not asked".
        text: The result in a few sentences.
        left_out: Number of test tiles that are not compared, because the champion was trained on tiles of their photos.
        differences: Every metric on all tiles, and then on each source and surface that is large enough.
        measurements: The differences, and the p-value of McNemar's test.
        candidate_threshold, champion_threshold: The operating threshold of each model. A model calls a tile a crack if
            the calibrated P(crack) is at least its threshold.
        limits: The limits on the differences, which the gate must check. The list is empty if `pairs` is None.
        pairs: The tiles with answers of both models. The columns are sample_id, group_id, source, surface, label, the
            candidate's p_crack and crack, and the champion's p_crack_champion and crack_champion. None if there is no
            champion, or if the parameter file switches the comparison off.
    """

    verdict: str
    text: str
    left_out: int = 0
    differences: tuple[Difference, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    candidate_threshold: float = 0.5
    champion_threshold: float = 0.5
    limits: tuple[Limit, ...] = ()
    pairs: pd.DataFrame | None = None


NOT_ASKED = Comparison("not asked", "The parameter file switches the comparison with the champion off.")


def compare(candidate: Deployed, champion: Deployed, version: str, config: ChampionConfig) -> Comparison:
    """Compare candidate and champion on the uncorrupted test tiles that both models answered.

    Each difference gets an interval by bootstrap over groups. Each resample draws the same groups for both models. We
    also report McNemar's test, but the gate does not use its result, because the test treats tiles as independent.

    Args:
        candidate: The candidate's answers.
        champion: The champion's answers. They are empty if the champion was trained on all test tiles or their photos.
        version: The champion's model version; "" if there is no champion.
        config: The metric, the margin, and the result that the gate requires.

    Source: Piaggio et al. 2012 (CONSORT) test non-inferiority in the same way, by the lower end of the interval.
    """
    if not version:
        return Comparison("no champion", "There is no champion yet, so only the limits in the parameter file matter.")

    mine = candidate.answers()
    theirs = champion.answers()[["sample_id", "p_crack", "crack"]]
    pairs = mine.merge(theirs, on="sample_id", suffixes=("", "_champion"))
    limit = _limit(config)
    if not _comparable(pairs):
        return _not_comparable(pairs, len(mine), limit)

    differences = []
    for part, rows in _slices(pairs).items():
        differences += _differences(part, rows, candidate.calibration, champion.calibration, config)

    measurements = []
    for difference in differences:
        measurements.append(difference.measurement())
        if difference.metric == config.metric and difference.slice == WHOLE:
            decisive = difference
    left_out = len(mine) - len(pairs)
    verdict, text = _verdict(decisive, config, left_out)

    p_value = mcnemar(pairs["label"].to_numpy(), pairs["crack"].to_numpy(), pairs["crack_champion"].to_numpy())
    measurements.append(Measurement("mcnemar_p", p_value, n=len(pairs), note="this test treats tiles as independent"))
    return Comparison(
        verdict=verdict,
        text=text,
        left_out=left_out,
        differences=tuple(differences),
        measurements=tuple(measurements),
        candidate_threshold=candidate.calibration.threshold,
        champion_threshold=champion.calibration.threshold,
        limits=(limit,),
        pairs=pairs,
    )


def mcnemar(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Test whether two classifiers make equally many errors. Return the exact two-sided p-value of McNemar's test.

    The test uses only images on which exactly one of the classifiers is right. Without such images, the result is 1.

    Args:
        labels: int (n,), 1 for crack.
        first: bool (n,), whether the first classifier calls the image a crack.
        second: bool (n,), whether the second classifier calls the image a crack.

    Source: McNemar 1947.
    """
    first_is_right = first == labels
    second_is_right = second == labels
    only_first = int((first_is_right & ~second_is_right).sum())
    only_second = int((~first_is_right & second_is_right).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def _limit(config: ChampionConfig) -> Limit:
    name = f"{config.metric}_minus_champion"
    if config.require == "better":
        return Limit(name=name, op=">", limit=0.0, on="low")
    return Limit(name=name, op=">=", limit=-config.margin, on="low")


def _comparable(pairs: pd.DataFrame) -> bool:
    enough = len(pairs) >= MIN_IMAGES and pairs["group_id"].nunique() >= MIN_GROUPS
    return enough and set(pairs["label"]) == {0, 1}


def _not_comparable(pairs: pd.DataFrame, tested: int, limit: Limit) -> Comparison:
    why = (
        f"only {len(pairs)} of {tested} test tiles are new to the champion ({int(pairs['label'].sum())} cracks, "
        f"{pairs['group_id'].nunique()} photos), and these are too few for a comparison"
    )
    missing = Measurement(limit.name, float("nan"), n=len(pairs), note=why)
    text = f"The champion could not be compared: {why}."
    left_out = tested - len(pairs)
    return Comparison("not comparable", text, left_out, measurements=(missing,), limits=(limit,), pairs=pairs)


def _slices(pairs: pd.DataFrame) -> dict[Slice, pd.DataFrame]:
    """Return all compared tiles, and then the compared tiles of each source and surface that has enough tiles.

    If there is only one source, it contains all tiles, so we skip it. If there is only one surface, we skip it too.
    """
    parts = {WHOLE: pairs}
    for column in ("source", "surface"):
        if pairs[column].nunique() < 2:
            continue
        for value, rows in pairs.groupby(column):
            if _comparable(rows):
                parts[Slice.of(**{column: value})] = rows
    return parts


def _differences(
    part: Slice, pairs: pd.DataFrame, candidate: Calibration, champion: Calibration, config: ChampionConfig
) -> list[Difference]:
    """Return the difference in every metric. Each resample draws the same groups for both models."""
    labels = pairs["label"].to_numpy()
    codes, photos = group_codes(pairs["group_id"].to_numpy())
    bootstrap = draw_groups(photos, config.resamples, config.bootstrap_seed)
    mine = _Resampled.of(labels, pairs["p_crack"].to_numpy(), candidate.threshold, codes, bootstrap)
    theirs = _Resampled.of(labels, pairs["p_crack_champion"].to_numpy(), champion.threshold, codes, bootstrap)

    errors = (pairs["crack"] != labels).sum() + (pairs["crack_champion"] != labels).sum()
    few = few_errors(errors / 2, len(pairs), photos)

    differences = []
    for metric in METRICS:
        low, high = _interval(metric, mine, theirs, photos)
        differences.append(
            Difference(
                metric=metric,
                slice=part,
                candidate=mine.values[metric],
                champion=theirs.values[metric],
                low=low,
                high=high,
                n=len(pairs),
                photos=photos,
                few_errors=few,
            )
        )
    return differences


@dataclass(frozen=True)
class _Resampled:
    """Every metric of one model.

    `values` is measured on all tiles, and `draws` is measured in each bootstrap resample. `twice` is measured once for
    each group: this group then counts twice, and all other groups count once.
    """

    values: dict[str, float]
    draws: dict[str, np.ndarray]
    twice: dict[str, np.ndarray]

    @classmethod
    def of(
        cls, labels: np.ndarray, p_crack: np.ndarray, threshold: float, codes: np.ndarray, bootstrap: np.ndarray
    ) -> "_Resampled":
        return cls(
            values=compute_metrics(labels, p_crack, threshold),
            draws=resampled_metrics(labels, p_crack, codes, bootstrap, threshold),
            twice=resampled_metrics(labels, p_crack, codes, one_twice(bootstrap.shape[1]), threshold),
        )


def _interval(metric: str, mine: _Resampled, theirs: _Resampled, photos: int) -> tuple[float, float]:
    """Return the 95 % interval of the difference in one metric. Both ends are NaN if the difference is NaN."""
    value = mine.values[metric] - theirs.values[metric]
    if np.isnan(value):
        return float("nan"), float("nan")

    draws = mine.draws[metric] - theirs.draws[metric]
    twice = mine.twice[metric] - theirs.twice[metric]
    if metric in LOSSES:
        losses = mine.values[metric] + theirs.values[metric]
    else:
        losses = 2 - mine.values[metric] - theirs.values[metric]

    low, high = interval(value, draws, twice, photos, "difference", losses)
    most = MAX_DIFFERENCE.get(metric, 1.0)
    return float(np.clip(low, -most, most)), float(np.clip(high, -most, most))


def _verdict(difference: Difference, config: ChampionConfig, left_out: int) -> tuple[str, str]:
    """Return the verdict and its text.

    The verdict is "worse" if the candidate is measurably worse, or if the data do not show that it is good enough.
    """
    advice = ""
    if difference.low > 0:
        verdict = "better"
        outcome = "The candidate is better than the champion."
    elif difference.low >= -config.margin:
        verdict = "not worse"
        outcome = f"The candidate is better than the champion, or at most {config.margin:g} worse."
    elif difference.high < 0:
        verdict = "worse"
        outcome = "The candidate is worse than the champion."
    else:
        verdict = "worse"
        outcome = f"The test does not show that the candidate is at most {config.margin:g} worse than the champion."
        needed = difference.photos_needed(-config.margin)
        photos = f"About {needed:,} photos of this kind" if needed else "More test photos"
        advice = f" {photos} would decide this; this test has {difference.photos}."

    metric = spoken(difference.metric)
    text = (
        f"{outcome}{advice} On {difference.n} test tiles of {difference.photos} photos, the candidate's {metric} minus "
        f"the champion's {metric} is {difference.value:+.4f}. The 95 % interval is [{difference.low:+.4f}, "
        f"{difference.high:+.4f}]."
    )

    if left_out:
        text += f" The comparison excludes {left_out} tiles, because the champion was trained on them or their photos."
    if difference.few_errors:
        text += " The models make very few errors, so this interval may be too narrow."
    return verdict, text
