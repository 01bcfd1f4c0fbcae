"""Decide from a site's labels: accept, refuse, or label more tiles."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from components.shared.results.sequential_test import Bets, ends, evidence_above, evidence_below
from pipelines.sites.plan import Limits, Plan
from pipelines.sites.site_threshold import SiteThreshold

UNKNOWN = -1
FEWEST_MORE, MOST_MORE = 20, 200

Decision = Literal["accept", "refuse", "label more"]


@dataclass(frozen=True)
class Judged:
    """What the labels say about one share: recall or specificity.

    Attributes:
        name: "recall" or "specificity".
        limit: The share must be above this limit.
        value: The estimated share. NaN if no labelled tile counts for this share.
        low, high: Ends of the share's interval after each bet, float64 (bets,); see `sequential_test.ends`.
        above: Evidence that the share is above the limit: the largest value after any bet. 1 if there are no bets.
        below: Evidence that the share is below the limit, after each bet, float64 (bets,).
    """

    name: str
    limit: float
    value: float
    low: np.ndarray
    high: np.ndarray
    above: float
    below: np.ndarray

    @property
    def interval(self) -> tuple[float, float]:
        """Return the ends of the interval after the last bet."""
        return (float(self.low[-1]), float(self.high[-1])) if len(self.low) else (0.0, 1.0)


@dataclass(frozen=True)
class Verdict:
    """The verdict on a model version at a site.

    Attributes:
        decision: "accept", "refuse" or "label more".
        more: Number of tiles to label next. 0 if the decision is "accept" or "refuse", or if every drawn tile
            has a label.
        why: The reason, one or more sentences.
        recall, specificity: What the labels say about the two shares.
        bets: Number of bets that the verdict is based on.
        labelled: Number of different tiles in the bets that the verdict is based on.
    """

    decision: Decision
    more: int
    why: str
    recall: Judged
    specificity: Judged
    bets: int
    labelled: int


@dataclass(frozen=True)
class Acceptance:
    """The result of one call of `accept_site`.

    Attributes:
        verdict: The verdict.
        next_tiles: Paths of the tiles that a person labels next.
        threshold: The site's calibration and threshold, or the reason why there is none.
    """

    verdict: Verdict
    next_tiles: list[str]
    threshold: SiteThreshold | str


def decide(plan: Plan, labels: np.ndarray, limits: Limits) -> Verdict:
    """Decide from the labels whether to accept or to refuse a model version, or to label more tiles.

    Args:
        plan: The draws.
        labels: int (tiles,), the label of each tile of the plan: 1 for crack, 0 for no_crack, UNKNOWN without a label.
        limits: The limits that must be reached, and the risk.
    """
    drawn = labels[plan.draws["tile"].to_numpy()]
    used = drawn[: _whole_bets(plan, drawn)]
    judged = {
        "recall": _judge("recall", plan.recall_bets(used), limits.recall, limits.risk),
        "specificity": _judge("specificity", plan.specificity_bets(used), 1 - limits.false_alarms, limits.risk),
    }
    bets = len(judged["recall"].low)
    labelled = int(plan.draws["tile"].head(len(used)).nunique())

    decision, why = _decision(plan, labels, judged["recall"], judged["specificity"], limits)
    more = 0
    if decision == "label more":
        more = min(_more(judged, limits, labelled), len(unlabelled(plan, labels)))
    return Verdict(decision, more, why, **judged, bets=bets, labelled=labelled)


def unlabelled(plan: Plan, labels: np.ndarray) -> list[int]:
    """Return the drawn tiles that have no label, each tile once, in the order of the draws."""
    tiles = dict.fromkeys(plan.draws["tile"].tolist())
    return [tile for tile in tiles if labels[tile] == UNKNOWN]


def _whole_bets(plan: Plan, drawn: np.ndarray) -> int:
    """Return the number of draws before the first bet that lacks a label.

    Labels of later draws do not count yet. Otherwise, a person could change the verdict by skipping a difficult tile.
    """
    missing = np.flatnonzero(drawn == UNKNOWN)
    if not len(missing):
        return len(drawn)
    bet = plan.draws["bet"].to_numpy()
    return int(np.searchsorted(bet, bet[missing[0]]))


def _judge(name: str, bets: Bets, limit: float, risk: float) -> Judged:
    low, high = ends(bets, risk)
    above = np.maximum.accumulate(evidence_above(bets, limit))
    below = evidence_below(bets, limit)
    return Judged(name, limit, bets.share(), low, high, float(above[-1]) if len(above) else 1.0, below)


def _decision(
    plan: Plan, labels: np.ndarray, recall: Judged, specificity: Judged, limits: Limits
) -> tuple[Decision, str]:
    known = labels != UNKNOWN
    if plan.claim == "images" and known.all():
        return _exact(plan, labels, limits)

    enough = 1 / limits.risk
    if recall.above >= enough and specificity.above >= enough:
        return "accept", "The labels show that both limits are reached."

    # One player bets that recall misses its limit, and another player bets that the false-alarm rate misses its limit.
    # If both limits are reached, neither player can expect to win. So the mean wealth of the two players is not
    # expected to grow either, and we can compare this mean with `enough`.
    against = (recall.below + specificity.below) / 2
    if len(against) and against.max() >= enough:
        missed = "recall" if recall.below[np.argmax(against)] > specificity.below[np.argmax(against)] else "specificity"
        name = "recall is below its limit" if missed == "recall" else "there are more false alarms than allowed"
        return "refuse", f"The labels show that {name}."

    return "label more", _what_is_missing(plan, labels, recall, specificity, enough)


def _exact(plan: Plan, labels: np.ndarray, limits: Limits) -> tuple[Decision, str]:
    """Decide from the exact recall and false-alarm rate. They are known if every tile of the site has a label."""
    called = plan.tiles["called"].to_numpy()
    cracks = labels == 1
    if not cracks.any() or cracks.all():
        missing = "no tile has a crack" if not cracks.any() else "every tile has a crack"
        return (
            "label more",
            f"All tiles have a label, and {missing}. Add images of this site that show the other class, and give the "
            "site a new name with --site.",
        )

    recall = called[cracks].mean()
    false_alarms = called[~cracks].mean()
    numbers = f"All tiles have a label: recall is {recall:.4f}, and the false-alarm rate is {false_alarms:.4f}."
    reached = recall > limits.recall and false_alarms < limits.false_alarms
    return ("accept" if reached else "refuse"), numbers


def _what_is_missing(plan: Plan, labels: np.ndarray, recall: Judged, specificity: Judged, enough: float) -> str:
    if not (labels != UNKNOWN).any():
        return "No tile has a label yet."
    if not unlabelled(plan, labels):
        return (
            "All chosen tiles have a label, but these labels are too few to decide. Add images of this site, and give "
            "the site a new name with --site."
        )

    sentences = []
    if np.isnan(recall.value):
        sentences.append("No labelled tile has a crack, so nothing is known about recall.")
    elif recall.above < enough:
        sentences.append(f"Recall is not yet shown to be above {recall.limit:g}.")
    if np.isnan(specificity.value):
        sentences.append("Every labelled tile has a crack, so nothing is known about false alarms.")
    elif specificity.above < enough:
        sentences.append(f"The false-alarm rate is not yet shown to be below {1 - specificity.limit:g}.")
    return " ".join(sentences) or "The first labels in the order of the draws are missing."


def _more(judged: dict[str, Judged], limits: Limits, labelled: int) -> int:
    """Estimate how many more labels are needed, if the evidence keeps growing as fast as before.

    The result is at least FEWEST_MORE and at most MOST_MORE.
    """
    needed = np.log(1 / limits.risk)
    so_far = min(np.log(one.above) for one in judged.values())
    if labelled == 0 or so_far <= 0:
        return 2 * FEWEST_MORE
    return int(np.clip(labelled * (needed / so_far - 1), FEWEST_MORE, MOST_MORE))
