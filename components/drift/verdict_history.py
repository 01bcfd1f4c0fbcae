"""The verdicts of drift checks: kept in the store one by one, told to the registry, shown as a trend."""

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from components.shared.page import Badge, Page
from components.shared.results.measurements import spoken
from components.shared.services.store import Store

SHOWN = 30  # checks on the trend page
LINES = 6  # tests in its figure, those of the largest effects
REPEATED = (
    "{found} of {compared} checks found drift; chance alone finds it in {alpha:.0%} of checks, here about "
    "{expected:.1f}. One alarm among many checks may be chance, one that the next check repeats hardly is."
)


@dataclass(frozen=True)
class Verdict:
    """What a check of production images found.

    Attributes:
        verdict: steady, drift (some test), retrain (at least the share of tests that asks for it), or skipped.
        reason: One sentence.
        model: Registered model.
        version: Its version, the champion of the day.
        images: Where the images are.
        count: Number of images compared.
        checked: When, ISO 8601, UTC.
        effects: Effect of every test, as `Shift` has it; empty where skipped.
        chances: What chance reaches in each, likewise.
        drifted: Names of the tests that drifted.
        slices: Names of the tests that drifted in each slice by itself.
        since: When the check was that first asked for the retraining, `checked` of this one or of an earlier one of the
            same version; empty unless one has asked, and none since was steady.
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
    """Keep a verdict among those of earlier checks, and where notify finds it; doing so again replaces it."""
    data = as_json(verdict).encode()
    store.put_bytes(_key(verdict.model, job), data)
    store.put_bytes(f"runs/{job}/drift.json", data)


def _key(model: str, job: str) -> str:
    return f"drift-checks/{model}/{job}.json"


def lasts_since(verdicts: list[Verdict]) -> str:
    """`since` of the latest of these verdicts, oldest first, that knew anything; empty where there is none."""
    known = [verdict for verdict in verdicts if verdict.effects]
    return known[-1].since if known else ""


def earlier(store: Store, model: str, job: str) -> list[Verdict]:
    """Verdicts on a registered model, but that of an earlier attempt of this job; the latest `SHOWN`, oldest first."""
    keys = [key for key, _ in store.list(f"drift-checks/{model}/") if key != _key(model, job)]
    found = [Verdict(**json.loads(store.get_bytes(key))) for key in keys]
    return sorted(found, key=lambda verdict: verdict.checked)[-SHOWN:]


def add_trend(page: Page, verdicts: list[Verdict], alpha: float) -> None:
    """Append how drift went over the checks: effects as lines, verdicts as a table, the latest first.

    Args:
        page: Is appended to.
        verdicts: Oldest first.
        alpha: Chance of a false alarm in each.
    """
    page.heading("Trend")
    page.text(f"Checks of this model, this one included, at most the last {SHOWN}: {len(verdicts)}.")
    compared = [verdict for verdict in verdicts if verdict.effects]
    if len(compared) > 1:
        found = sum(bool(verdict.drifted) for verdict in compared)
        page.text(REPEATED.format(found=found, compared=len(compared), expected=alpha * len(compared), alpha=alpha))
        page.figure(_draw(compared), "The tests that moved most", "lines of effects over the checks")
    _add_slices(page, compared)
    rows = [
        [
            verdict.checked[:16].replace("T", " "),
            verdict.version,
            verdict.images,
            verdict.count,
            Badge(verdict.verdict == "steady", verdict.verdict),
            ", ".join(map(spoken, verdict.drifted)) or "-",
        ]
        for verdict in reversed(verdicts)
    ]
    page.table(["checked (UTC)", "version", "images", "number", "verdict", "drifted"], rows)


def _add_slices(page: Page, verdicts: list[Verdict]) -> None:
    names = sorted({name for verdict in verdicts for name in verdict.slices})
    rows = []
    for name in names:
        found = [verdict.slices[name] for verdict in verdicts if name in verdict.slices]
        when = [v.checked[:16].replace("T", " ") for v in verdicts if v.slices.get(name)]
        rows.append([name, len(found), len(when), when[-1] if when else "-", ", ".join(map(spoken, found[-1])) or "-"])
    if rows:
        headers = ["slice", "checks", "found drift", "last found (UTC)", "in the latest of these checks"]
        page.table(headers, rows, caption="Slices over the checks that could compare them")


def _draw(verdicts: list[Verdict]) -> Figure:
    ratios = [
        {name: effect / max(verdict.chances.get(name, np.nan), 1e-9) for name, effect in verdict.effects.items()}
        for verdict in verdicts
    ]
    names = sorted(ratios[-1], key=lambda name: -max(ratio.get(name, 0) for ratio in ratios))[:LINES]
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(verdicts))
    for name in names:
        axis.plot(places, [ratio.get(name, np.nan) for ratio in ratios], marker="o", label=spoken(name))
    axis.axhline(1, color="grey", linestyle="--", linewidth=1)
    axis.set_xticks(places, [v.checked[5:16].replace("T", " ") for v in verdicts], rotation=45, ha="right", fontsize=8)
    axis.set_ylabel("effect / what chance reaches")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
