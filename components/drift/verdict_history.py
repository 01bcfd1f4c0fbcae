"""The verdicts of drift checks: stored one by one, and drawn as a trend."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure

from components.shared.page import Badge, Page
from components.shared.results.measurements import spoken
from components.shared.services.store import Store

CHECKS_IN_TREND = 30
TESTS_IN_FIGURE = 6
FALSE_ALARMS = (
    "{found} of {compared} checks found drift. Chance alone finds it in {alpha:.0%} of checks, here in about "
    "{expected:.1f}. A single alarm among many checks may be chance; one that the next check repeats hardly is."
)


@dataclass(frozen=True)
class Verdict:
    """What a check of production images found.

    Attributes:
        verdict: steady; drift (a test found it); retrain (so many tests found it that a retraining is needed); skipped.
        reason: One sentence.
        model: Name of the registered model.
        version: Its version, the champion at the time of the check.
        images: Folder or prefix of the images.
        count: Number of production images.
        checked: Time of the check, ISO 8601, UTC.
        effects: Test -> its effect, as in `Shift`; empty if the check was skipped.
        chances: Test -> the effect that chance reaches, as in `Shift`.
        drifted: Names of the tests that drifted.
        slices: Slice -> names of the tests that drifted in it.
        since: Time of the first check of this version that asked for the retraining, as its `checked`. A steady check
            ends the wait, and `since` is then empty; it is also empty if no check has asked, or this one was skipped.
    """

    verdict: Literal["steady", "drift", "retrain", "skipped"]
    reason: str
    model: str
    version: str
    images: str
    count: int
    checked: str
    effects: dict[str, float] = field(default_factory=dict)
    chances: dict[str, float] = field(default_factory=dict)
    drifted: list[str] = field(default_factory=list)
    slices: dict[str, list[str]] = field(default_factory=dict)
    since: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the registered version."""
        return {
            "crack.drift": self.verdict,
            "crack.drift.reason": self.reason,
            "crack.drift.checked": self.checked,
            "crack.drift.images": self.images,
        }


def as_json(verdict: Verdict) -> str:
    """The verdict as JSON for people and programs."""
    return json.dumps(asdict(verdict), indent=2, allow_nan=False) + "\n"


def keep(store: Store, verdict: Verdict, job: str) -> None:
    """Store a verdict with those of earlier checks, and where notify finds it. A repeated call replaces it."""
    data = as_json(verdict).encode()
    store.put_bytes(_key(verdict.model, job), data)
    store.put_bytes(f"runs/{job}/drift.json", data)


def _key(model: str, job: str) -> str:
    return f"drift-checks/{model}/{job}.json"


def earlier(store: Store, model: str, job: str) -> list[Verdict]:
    """The latest verdicts on a registered model, oldest first; an earlier attempt of this job does not count."""
    verdicts = []
    for key, _ in store.list(f"drift-checks/{model}/"):
        if key != _key(model, job):
            verdicts.append(Verdict(**json.loads(store.get_bytes(key))))

    verdicts.sort(key=lambda verdict: verdict.checked)
    return verdicts[-CHECKS_IN_TREND:]


def lasts_since(verdicts: list[Verdict]) -> str:
    """`since` of the latest verdict that was not skipped; empty if there is none. `verdicts` has the oldest first."""
    for verdict in reversed(verdicts):
        if verdict.effects:
            return verdict.since
    return ""


def add_trend(page: Page, verdicts: list[Verdict], alpha: float) -> None:
    """Append how drift changed over the checks: effects as lines, then all verdicts as a table, the latest first.

    Args:
        page: Page to append to.
        verdicts: Oldest first, the check of this page last.
        alpha: Chance of a false alarm in each check.
    """
    page.heading("Trend")
    page.text(f"Checks of this model, this one included, at most the last {CHECKS_IN_TREND}: {len(verdicts)}.")

    compared = [verdict for verdict in verdicts if verdict.effects]
    if len(compared) > 1:
        found = sum(bool(verdict.drifted) for verdict in compared)
        expected = alpha * len(compared)
        page.text(FALSE_ALARMS.format(found=found, compared=len(compared), expected=expected, alpha=alpha))
        page.figure(_draw_effects(compared), "The tests that moved most", "lines of effects over the checks")
    _add_slices(page, compared)

    headers = ["checked (UTC)", "version", "images", "number", "verdict", "drifted"]
    page.table(headers, list(map(_verdict_row, reversed(verdicts))))


def _verdict_row(verdict: Verdict) -> list[Any]:
    badge = Badge(verdict.verdict == "steady", verdict.verdict)
    return [
        minute(verdict.checked),
        verdict.version,
        verdict.images,
        verdict.count,
        badge,
        _names_or_dash(verdict.drifted),
    ]


def _add_slices(page: Page, verdicts: list[Verdict]) -> None:
    names: set[str] = set()
    for verdict in verdicts:
        names.update(verdict.slices)
    if not names:
        return

    rows = []
    for name in sorted(names):
        compared = [verdict for verdict in verdicts if name in verdict.slices]
        drifted = [verdict for verdict in compared if verdict.slices[name]]
        last_found = minute(drifted[-1].checked) if drifted else "-"
        latest_tests = _names_or_dash(compared[-1].slices[name])
        rows.append([name, len(compared), len(drifted), last_found, latest_tests])

    headers = ["slice", "checks", "found drift", "last found (UTC)", "in the latest of these checks"]
    page.table(headers, rows, caption="Slices over the checks that could compare them")


def minute(checked: str) -> str:
    """A time in ISO 8601 as people read it, to the minute: "2026-01-31 05:00"."""
    return checked[:16].replace("T", " ")


def _names_or_dash(tests: list[str]) -> str:
    return ", ".join(map(spoken, tests)) or "-"


def _draw_effects(verdicts: list[Verdict]) -> Figure:
    """Effect over chance of the tests that moved most, one line per test."""
    ratios = []
    for verdict in verdicts:
        ratio = {}
        for name, effect in verdict.effects.items():
            chance = verdict.chances.get(name, np.nan)
            ratio[name] = effect / max(chance, 1e-9)
        ratios.append(ratio)

    largest = {name: max(ratio.get(name, 0) for ratio in ratios) for name in ratios[-1]}
    names = sorted(largest, key=lambda name: -largest[name])[:TESTS_IN_FIGURE]

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(verdicts))
    for name in names:
        axis.plot(places, [ratio.get(name, np.nan) for ratio in ratios], marker="o", label=spoken(name))

    axis.axhline(1, color="grey", linestyle="--", linewidth=1)
    days = [minute(verdict.checked)[5:] for verdict in verdicts]
    axis.set_xticks(places, days, rotation=45, ha="right", fontsize=8)
    axis.set_ylabel("effect / what chance reaches")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
