"""How often does the acceptance of a site err, and how many labels does it need?

A site has photos that differ in their share of cracks, in darkness and in difficulty, so tiles of one photo resemble
each other. A model answers, and a person labels the drawn tiles one by one. The verdict is computed after each label.
Each limit is exactly what the model truly reaches, because errors are most likely there. With such limits, every
acceptance is an error, and every refusal is an error. Acceptances must happen in at most 5 % of the draws, up to
chance, and so must refusals.

    make simulate
"""

import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy.special import expit
from scipy.stats import binom, binomtest

from components.shared.results.sequential_test import evidence_above, evidence_below
from pipelines.sites.plan import Claim, Limits, Plan, make_plan

DRAWS = 500
RISK = 0.05
TILES = 40
SPREAD = 1.1
CRACKED = 0.2
MOST_DRAWS = 1500
TRUTH_PHOTOS = 20_000
PHOTOS = {"images": (10, 60), "photos": (60, 200)}
SKILL = 2.5
POWER_DRAWS = 100
POWER = 0.9
LOOK_EVERY = 20


@dataclass(frozen=True)
class Site:
    """The tiles of a site (see `make_plan`), and their labels, int (n,)."""

    tiles: pd.DataFrame
    labels: np.ndarray

    def truth(self) -> Limits:
        """Return limits that are exactly what the model reaches here."""
        called = self.tiles["called"].to_numpy()
        recall, false_alarms = called[self.labels == 1].mean(), called[self.labels == 0].mean()
        return Limits(*np.clip([recall, false_alarms], 0.001, 0.999), RISK)


def draw_site(photos: int, skill: float, rng: np.random.Generator, spread: float = SPREAD) -> Site:
    """Draw a site, and what a model with this skill answers there."""
    share = rng.beta(2 * CRACKED, 2 * (1 - CRACKED), (photos, 1)).clip(0.02, 0.98)
    labels = (rng.random((photos, TILES)) < share).astype(int)
    darker, harder = spread * rng.normal(size=(2, photos, 1))
    scores = (2 * labels - 1) * (skill + harder) + darker + rng.normal(size=labels.shape)
    p_crack = expit(2 * scores).ravel()
    tiles = pd.DataFrame({"photo": np.repeat(np.arange(photos), TILES), "p_crack": p_crack, "called": p_crack >= 0.5})
    return Site(tiles, labels.ravel())


def evidence(site: Site, plan: Plan, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Return the evidence for acceptance and for refusal after each bet. Evidence of 1 / risk or more decides."""
    drawn = site.labels[plan.draws["tile"].to_numpy()]
    if plan.claim == "images":
        drawn = drawn[:MOST_DRAWS]
    recall, specificity = plan.recall_bets(drawn), plan.specificity_bets(drawn)

    above = np.maximum.accumulate(evidence_above(recall, limits.recall))
    above_too = np.maximum.accumulate(evidence_above(specificity, 1 - limits.false_alarms))
    against = evidence_below(recall, limits.recall) + evidence_below(specificity, 1 - limits.false_alarms)
    return np.minimum(above, above_too), against / 2


def error_rates(claim: Claim, photos: int, of_photos: bool, seed: int) -> tuple[float, float, float]:
    """Return the share of wrong acceptances because of recall and because of false alarms, and of wrong refusals.

    Args:
        claim: The claim of the plan.
        photos: Photos of the site.
        of_photos: If true, take the truth of all photos like these. If false, take the truth of the site's tiles.
        seed: Decides the draws.
    """
    rng = np.random.default_rng(seed)
    everywhere = draw_site(TRUTH_PHOTOS, SKILL, rng).truth()
    wrong = np.zeros(3)
    for number in range(DRAWS):
        site = draw_site(photos, SKILL, rng)
        truth = everywhere if of_photos else site.truth()
        plan = make_plan(site.tiles, claim, Limits(0.9, 0.1, RISK), number)

        only_recall = Limits(truth.recall, 0.999, RISK)
        only_alarms = Limits(0.001, truth.false_alarms, RISK)
        wrong[0] += evidence(site, plan, only_recall)[0].max() >= 1 / RISK
        wrong[1] += evidence(site, plan, only_alarms)[0].max() >= 1 / RISK
        wrong[2] += evidence(site, plan, truth)[1].max() >= 1 / RISK
    return tuple(wrong / DRAWS)


def naive_rate(photos: int, seed: int) -> float:
    """Return the share of wrong acceptances of a binomial test that is repeated after every LOOK_EVERY tiles."""
    rng = np.random.default_rng(seed)
    wrong = 0
    for _ in range(DRAWS):
        site = draw_site(photos, SKILL, rng)
        drawn = rng.integers(len(site.labels), size=MOST_DRAWS)
        cracks = np.cumsum(site.labels[drawn] == 1)
        hits = np.cumsum((site.labels[drawn] == 1) & site.tiles["called"].to_numpy()[drawn])
        looks = slice(LOOK_EVERY, None, LOOK_EVERY)
        wrong += bool((binom.sf(hits[looks] - 1, cracks[looks], site.truth().recall) <= RISK).any())
    return wrong / DRAWS


def fixed_size(recall: float, crack_share: float) -> int:
    """Return how many tiles one exact test of recall > 0.9 needs for POWER, if recall and crack share are known."""
    for cracks in range(10, 5000):
        fewest = int(binom.ppf(1 - RISK, cracks, 0.9)) + 1
        if fewest <= cracks and binom.sf(fewest - 1, cracks, recall) >= POWER:
            assert binomtest(fewest, cracks, 0.9, "greater").pvalue <= RISK
            return round(cracks / crack_share)
    raise AssertionError(f"no size has power {POWER} at recall {recall}")


def labels_needed(skill: float, seed: int, uniform: bool) -> tuple[float, float, float, float, float]:
    """Return median and 90 % quantile of the labels until acceptance, the share accepted, mean recall, crack share.

    If `uniform` is true, every tile has the same chance to be drawn. Otherwise, the plan gives the chances.
    """
    rng = np.random.default_rng(seed)
    limits = Limits(0.9, 0.1, RISK)
    needed, recalls, shares = [], [], []
    while len(needed) < POWER_DRAWS:
        site = draw_site(60, skill, rng, spread=0.5)
        truth = site.truth()
        if truth.recall <= limits.recall or truth.false_alarms >= limits.false_alarms:
            continue
        plan = make_plan(site.tiles, "images", limits, len(needed))
        if uniform:
            plan = uniform_plan(plan, rng)
        decided = np.flatnonzero(evidence(site, plan, limits)[0] >= 1 / RISK)
        bets = decided[0] + 1 if len(decided) else MOST_DRAWS
        labels = plan.draws["tile"].head(bets).nunique()
        needed.append(labels if len(decided) else np.inf)
        recalls.append(truth.recall)
        shares.append(site.labels.mean())
    accepted = float(np.isfinite(needed).mean())
    median, most = np.quantile(needed, (0.5, 0.9), method="inverted_cdf")
    return median, most, accepted, float(np.mean(recalls)), float(np.mean(shares))


def uniform_plan(plan: Plan, rng: np.random.Generator) -> Plan:
    """Return the plan with other draws: every tile has the same chance."""
    tile = rng.integers(len(plan.tiles), size=len(plan.draws))
    return Plan("images", plan.tiles.assign(weight=1.0), plan.draws.assign(tile=tile))


def main() -> int:
    """Print the tables; return the exit status."""
    console = Console(width=130)
    allowed = binom.ppf(0.999, DRAWS, RISK) / DRAWS  # what chance allows a procedure with exactly this risk
    failed = False

    table = Table(title=f"Share of {DRAWS} draws, the limits are the truth, a look after every bet, risk {RISK:g}")
    for title in ("claim", "truth of", "photos", "accepted: recall", "accepted: false alarms", "refused", ""):
        table.add_column(title)
    for claim, of_photos, promised in (("images", False, True), ("photos", True, True), ("images", True, False)):
        for photos in PHOTOS[claim]:
            rates = error_rates(claim, photos, of_photos, seed=photos)
            kept = max(rates) <= allowed
            failed = failed or (promised and not kept)
            mark = ("✓" if kept else "✗") if promised else "not promised"
            truth = "all photos" if of_photos else "the site's tiles"
            table.add_row(claim, truth, str(photos), *(f"{rate:.3f}" for rate in rates), mark)
    console.print(table)
    console.print(
        f"a binomial test of recall, repeated after every {LOOK_EVERY} of {MOST_DRAWS} tiles: "
        f"{naive_rate(60, 1):.3f} wrong acceptances"
    )

    table = Table(title="Labels until acceptance, limits 0.9 and 0.1, 60 photos of 40 tiles")
    for title in (
        "recall",
        "crack share",
        "planned: median",
        "90 %",
        "accepted",
        "uniform: median",
        "90 %",
        "fixed size",
    ):
        table.add_column(title)
    for skill in (2.2, 3.0, 4.0):
        median, most, accepted, recall, share = labels_needed(skill, 7, uniform=False)
        other, other_most, *_ = labels_needed(skill, 7, uniform=True)
        numbers = [f"{recall:.3f}", f"{share:.2f}", f"{median:.0f}", f"{most:.0f}", f"{accepted:.2f}"]
        fixed = fixed_size(recall, share)
        table.add_row(*numbers, f"{other:.0f}", f"{other_most:.0f}", str(fixed))
    console.print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
