"""Store the result of each check of production images, and show how the results changed from check to check."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure

from components.shared.events import warn
from components.shared.page import Badge, Page
from components.shared.results.measurements import spoken
from components.shared.services.records import read_record, write_record
from components.shared.services.store import DamagedObjectError, Store

CHECKS_IN_TREND = 30
TESTS_IN_FIGURE = 6
FALSE_ALARMS = (
    "{found} of {compared} checks found drift. If nothing has changed, at most {alpha:.0%} of all checks still find "
    "drift by chance. For {compared} checks, this is about {expected:.1f}. So a single alarm among many checks may be "
    "due to chance. If the next check finds the same drift, chance is an unlikely reason."
)


@dataclass(frozen=True)
class Verdict:
    """The result of a check of production images.

    Attributes:
        verdict: "steady": no test found drift. "drift": a test found drift. "retrain": so many tests found drift that a
            retraining is needed. "skipped": the images could not be compared.
        reason: The reason in words.
        model: Name of the registered model.
        version: The model version that was the champion at the time of the check.
        images: Folder or prefix of the images.
        count: Number of production images.
        checked: Time of the check, ISO 8601, UTC.
        effects: Name of each test -> its effect (`Shift.effect`). It is empty if the check was skipped.
        chances: Name of each test -> its limit by chance (`Shift.chance`). It is empty if the check was skipped.
        drifted: Names of the tests that found drift.
        slices: Each slice that was compared -> names of the tests that found drift in this slice.
        since: Start of the period in which a retraining is needed: the time of the first "retrain" check after the last
            "steady" check of this model version. It is empty if there was no such "retrain" check, or if the result of
            this check is "steady" or "skipped".
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
        """Return the tags that the model version gets in MLflow."""
        return {
            "crack.drift": self.verdict,
            "crack.drift.reason": self.reason,
            "crack.drift.checked": self.checked,
            "crack.drift.images": self.images,
        }


def as_json(verdict: Verdict) -> str:
    """Return the result as JSON for people and programs."""
    return json.dumps(asdict(verdict), indent=2, allow_nan=False) + "\n"


def keep(store: Store, verdict: Verdict, job: str) -> None:
    """Store the result of a check twice: in the folder with the results of all checks, and in the run's folder.

    The notify step reads the result from the run's folder. A second call for the same job replaces the result of the
    first call.
    """
    write_record(store, _key(verdict.model, job), verdict)
    write_record(store, f"runs/{job}/drift.json", verdict)


def _key(model: str, job: str) -> str:
    return f"drift-checks/{model}/{job}.json"


def earlier(store: Store, model: str, job: str) -> list[Verdict]:
    """Return the last results for a registered model, the oldest first. There are at most CHECKS_IN_TREND results.

    The result of an earlier attempt of the same job is not included.
    """
    verdicts = []
    for key, _ in store.list(f"drift-checks/{model}/"):
        if key != _key(model, job):
            try:
                verdicts.append(read_record(store, key, Verdict, "the trend lacks this check"))
            except DamagedObjectError as error:
                warn(str(error))

    verdicts.sort(key=lambda verdict: verdict.checked)
    return verdicts[-CHECKS_IN_TREND:]


def lasts_since(verdicts: list[Verdict]) -> str:
    """Return the value of `since` in the latest check that was not skipped. Return "" if all checks were skipped.

    `verdicts` has the oldest check first.
    """
    for verdict in reversed(verdicts):
        if verdict.effects:
            return verdict.since
    return ""


def add_trend(page: Page, verdicts: list[Verdict], alpha: float) -> None:
    """Append a part about the last checks. It has a figure of the effects, and tables of the slices and the checks.

    Args:
        page: The page to append to.
        verdicts: The results, the oldest first and the result of this check last.
        alpha: Probability of a false alarm in each check.
    """
    page.heading("Trend")
    page.text(f"This part shows the last {len(verdicts)} checks of this model (at most {CHECKS_IN_TREND}).")

    compared = [verdict for verdict in verdicts if verdict.effects]
    if len(compared) > 1:
        found = sum(bool(verdict.drifted) for verdict in compared)
        expected = alpha * len(compared)
        page.text(FALSE_ALARMS.format(found=found, compared=len(compared), expected=expected, alpha=alpha))
        page.figure(
            _draw_effects(compared),
            "The tests with the largest effects. Each line shows the effect divided by its limit by chance: without "
            "drift, this number is below 1 in 95 of 100 checks.",
            "lines of effects over the checks",
        )
    _add_slices(page, compared)

    headers = ["checked (UTC)", "model version", "folder", "images", "result", "tests that found drift"]
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

    headers = ["slice", "checks", "found drift", "last found (UTC)", "tests that found drift in the latest check"]
    page.table(headers, rows, caption="In how many checks each slice was compared, and in how many drift was found")


def minute(checked: str) -> str:
    """Return an ISO 8601 time as people write it, without seconds, such as "2026-01-31 05:00"."""
    return checked[:16].replace("T", " ")


def _names_or_dash(tests: list[str]) -> str:
    return ", ".join(map(spoken, tests)) or "-"


def _draw_effects(verdicts: list[Verdict]) -> Figure:
    """Draw one line for each of the tests with the largest effects, at most TESTS_IN_FIGURE lines.

    The line has a point for every check. The height of the point is effect / chance (see `Shift`).
    """
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
    axis.set_ylabel("effect / limit by chance")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
