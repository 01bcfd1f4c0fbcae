"""The candidate against today's champion: both on today's test split, paired image by image.

The champion was scored anew on today's test split; images that it was trained on are absent from its table, and so
take no part.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import bdtr

from components.gate.config import ChampionConfig, Limit
from components.shared.intervals import draw_groups, group_codes, interval, leave_one_out
from components.shared.measurements import Measurement
from components.shared.metrics import compute_metrics, resampled_metrics
from components.shared.predictions import Predictions

MINIMUM = 20


@dataclass(frozen=True)
class Comparison:
    """How the candidate stands to the champion.

    Attributes:
        verdict: "better", "not worse", "worse", "no champion" or "not comparable".
        text: One sentence for people.
        left_out: Test images that the champion knew or was not scored on.
        measurements: The difference with its interval, and McNemar's p value.
        limits: What the gate asks of them; none where there is no champion.
        pairs: The images both were scored on: sample_id, label, candidate's and champion's P(crack).
    """

    verdict: str
    text: str
    left_out: int = 0
    measurements: tuple[Measurement, ...] = ()
    limits: tuple[Limit, ...] = ()
    pairs: pd.DataFrame | None = None


def compare(candidate: Predictions, champion: Predictions, version: str, config: ChampionConfig) -> Comparison:
    """Compare candidate and champion on the clean test images that both tables hold.

    The interval of the difference is by bootstrap over groups, the same groups drawn for both. McNemar's test, exact,
    asks whether either is right more often where they disagree at P(crack) >= 0.5; it takes images as independent,
    so it informs and decides nothing.

    Args:
        candidate: Its predictions.
        champion: The champion's; empty where it knew every test image.
        version: The champion's version, "" where there is none.
        config: Metric, margin and what is asked of the difference.

    Source: McNemar 1947; non-inferiority by the lower end of the interval, as in Piaggio et al. 2012 (CONSORT).
    """
    if not version:
        return Comparison("no champion", "There is no champion yet, so only the absolute limits were asked.")
    mine, theirs = candidate.clean("test"), champion.clean("test")
    pairs = mine.merge(theirs[["sample_id", "p_crack"]], on="sample_id", suffixes=("", "_champion"))
    left_out, name = len(mine) - len(pairs), f"{config.metric}_minus_champion"
    limit = Limit(name=name, op=">=", limit=-config.margin, on="low")
    if config.require == "better":
        limit = Limit(name=name, op=">", limit=0.0, on="low")
    labels, codes = pairs["label"].to_numpy(), group_codes(pairs["group_id"].to_numpy())
    if len(pairs) < MINIMUM or set(labels) != {0, 1} or codes[1] < 2:
        note = (
            f"only {len(pairs)} of {len(mine)} test images are unknown to the champion ({int(labels.sum())} cracks, "
            f"{codes[1]} groups), too few to compare"
        )
        missing = Measurement(name, float("nan"), n=len(pairs), note=note)
        return Comparison("not comparable", f"Of the champion: {note}.", left_out, (missing,), (limit,), pairs)
    difference = _difference(pairs, labels, *codes, config)
    p_value = mcnemar(labels, pairs["p_crack"].to_numpy(), pairs["p_crack_champion"].to_numpy())
    verdict, text = _verdict(difference, config, left_out)
    measured = (difference, Measurement("mcnemar_p", p_value, n=len(pairs), note="images taken as independent"))
    return Comparison(verdict, text, left_out, measured, (limit,), pairs)


def mcnemar(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided exact p value that two classifiers err equally often where one errs and the other does not.

    Args:
        labels: int (n,).
        first: float (n,), P(crack) of one classifier; decisions at 0.5.
        second: float (n,), of the other.
    """
    right, other = (first >= 0.5) == labels, (second >= 0.5) == labels
    only_first, only_second = int((right & ~other).sum()), int((~right & other).sum())
    return float(min(1.0, 2 * bdtr(min(only_first, only_second), only_first + only_second, 0.5)))


def _difference(
    pairs: pd.DataFrame, labels: np.ndarray, codes: np.ndarray, count: int, config: ChampionConfig
) -> Measurement:
    mine, theirs = pairs["p_crack"].to_numpy(), pairs["p_crack_champion"].to_numpy()
    value = compute_metrics(labels, mine)[config.metric] - compute_metrics(labels, theirs)[config.metric]
    draws, without = (
        resampled_metrics(labels, mine, codes, times)[config.metric]
        - resampled_metrics(labels, theirs, codes, times)[config.metric]
        for times in (draw_groups(count, config.resamples, config.bootstrap_seed), leave_one_out(count))
    )
    low, high = interval(value, draws, without, count, "difference")
    return Measurement(f"{config.metric}_minus_champion", value, low=low, high=high, n=len(pairs))


def _verdict(difference: Measurement, config: ChampionConfig, left_out: int) -> tuple[str, str]:
    assert difference.low is not None
    if difference.low > 0:
        verdict, words = "better", "better than the champion"
    elif difference.low >= -config.margin:
        verdict, words = "not worse", f"not worse than the champion by more than {config.margin:g}"
    else:
        verdict, words = "worse", f"worse than the champion, or not shown to be within {config.margin:g} of it"
    return verdict, (
        f"The candidate is {words}: {config.metric} differs by {difference.value:+.4f} "
        f"[{difference.low:+.4f}, {difference.high:+.4f}] on {difference.n} test images; {left_out} were left out."
    )
