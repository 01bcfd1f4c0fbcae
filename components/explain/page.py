"""The page that shows the panels beside the measures."""

from itertools import product
from pathlib import Path

import pandas as pd
from jinja2 import Environment

from components.explain.config import ShapConfig
from components.explain.maps import BASELINES, GRAD_CAM, METHODS, SHAP
from components.explain.measures import CHECKS, FAITHFULNESS, LOCALISATION, LOWER_IS_BETTER
from components.explain.panels import NAMES, Panel
from components.shared.page import Page
from components.shared.results.measurements import Measurement, shown_row, spoken

TITLES = {GRAD_CAM: "Grad-CAM", SHAP: "SHAP", "random_map": "random map", "edge_filter": "edge filter"}
JUDGED = ("pointing_game", "insertion_auc", "deletion_auc", "road")  # what a method must win by, and not lose by
SETTLED = 0.8  # rank correlation from which two draws of coalitions tell the same
INTRODUCTION = (
    "Each panel shows, from left to right: the image; Grad-CAM's evidence for the answer given and, where that was "
    "wrong, for the true class; KernelSHAP's signed evidence, red where a region speaks for a crack, blue where it "
    "speaks for no crack, so that one map tells of both classes; and the mask, where one is known, whose outline is "
    "green on every map. "
    "The gallery is chosen by rule from the robustness split: a third each confidently wrong, near the threshold and "
    "confidently right, alternating between surfaces and classes. *Score* is the calibrated P(crack)."
)
ADVICE = (
    "What to look for: on a crack that was found, the bright and the red parts should lie along it. On a false alarm "
    "they show what was taken for a crack: a joint, a shadow, a stain, a mark of the formwork. Where they lie on plain "
    "concrete or at the image's rim, the answer rests on something else than a crack, even if it is right. "
    "Click a panel, or reach it with the Tab key, to enlarge it."
)
MEASURED = (
    "Measured for the class crack on {n} cracked images of the robustness split, drawn at random. *Pointing game*: "
    "the map's peak, or the share of its highest region, hits the crack. *Energy*: share of the map on the crack, and "
    "its ratio to the crack's area. *IoU*: best overlap at any cut of the map. *Deletion* (lower is better) and "
    "*insertion* (higher is better): area under P(crack) while the marked pixels are hidden or shown first. *ROAD*: "
    "how much more P(crack) falls when the marked pixels are painted over than when the least marked are; 0 is chance. "
    "Brackets are 95 % intervals by bootstrap over groups."
)


def write_page(
    path: Path, candidate: str, rows: pd.DataFrame, panels: list[Panel], measured: list[Measurement], remark: str
) -> None:
    """Write the explanation page: verdict, measures, gallery; `remark` tells what the gallery was drawn of."""
    page = Page(f"Explanations of {candidate}")
    page.text(INTRODUCTION)
    found = {row.name: row for row in measured}
    for method in METHODS:
        page.callout(*conclusion(found, method))
    if any(row.n for row in measured):
        _add_measures(page, found)
    page.heading("Gallery")
    page.text(ADVICE)
    page.text(remark + _absences(rows))
    page.html(_gallery(rows, panels, candidate))
    page.write(path)


def told_of_shap(shap: ShapConfig, measured: list[Measurement]) -> str:
    """On how much the SHAP maps rest, and how far they would be others if they rested on half of it."""
    text = f"Each SHAP map rests on {shap.coalitions} coalitions, sets of its about {shap.regions} regions."
    agreement = next((row for row in measured if row.name == f"{SHAP}.coalitions_similarity"), None)
    if agreement is None:
        return text
    text += (
        f" Maps of {shap.coalitions // 2} other ones agree with them at a rank correlation of {shown_row(agreement)} "
        f"(1 is the same order of regions; {agreement.n} cracked images)"
    )
    if agreement.value >= SETTLED:
        return f"{text}: enough were scored."
    return f"{text}: **too few were scored to trust single regions**; raise explain.shap.coalitions."


def _add_measures(page: Page, found: dict[str, Measurement]) -> None:
    page.heading("Measures")
    page.text(MEASURED.format(n=max(row.n for row in found.values())))
    page.table(["measure", *TITLES.values()], _measure_rows(found))
    headers = [f"{TITLES[method]} vs {TITLES[baseline]}" for method in METHODS for baseline in BASELINES]
    page.table(["gain (positive: better)", *headers], _gain_rows(found))
    checks = {name: [found.get(f"{map_name}.{name}") for map_name in TITLES] for name in CHECKS}
    page.table(["check", *TITLES.values()], [[spoken(name), *map(shown_row, rows)] for name, rows in checks.items()])
    notes = {name: next((row.note for row in rows if row is not None), "") for name, rows in checks.items()}
    page.text("\n".join(f"- *{spoken(name)}*: {note}" for name, note in notes.items()))


def conclusion(found: dict[str, Measurement], method: str) -> tuple[str, bool]:
    """Say in one sentence whether a method explains more than an edge filter does, and whether that is well.

    Judged by deletion, insertion, ROAD and, where masks exist, the pointing game: better where the whole interval of
    the difference lies above 0, worse where it lies below. It is well if one is better and none is worse.
    """
    verdicts = {}
    for measure in JUDGED:
        gain = found.get(f"{method}.{measure}_over_edge_filter")
        if gain is not None:
            values = [found[f"{name}.{measure}"].value for name in (method, "edge_filter")]
            verdict = _verdict(gain)
            verdicts[f"{spoken(measure)} {values[0]:.3f} against {values[1]:.3f} ({verdict})"] = verdict
    if not verdicts:
        return f"{TITLES[method]} **could not be measured**: {next(iter(found.values())).note}.", False
    better, worse = ("better" in verdicts.values()), ("worse" in verdicts.values())
    claim = "explains **no more than a plain edge filter**"
    if better:
        claim = "explains **more than a plain edge filter**"
        if worse:
            claim = "is **in part better, in part worse than a plain edge filter**, so it is not to be relied on"
    elif worse:
        claim = "explains **less than a plain edge filter**"
    details = "; ".join(verdicts) + _caveats(found, method)
    return f"{TITLES[method]} {claim}.\n\n{details[0].upper()}{details[1:]}.", better and not worse


def _caveats(found: dict[str, Measurement], method: str) -> str:
    text, empty, hidden = "", found.get(f"{method}.empty"), found.get(f"{SHAP}.hidden_p_crack")
    if empty is not None and empty.value > 0:
        text += f"; on {empty.value:.0%} of the cracks it marks nothing"
    if hidden is not None and hidden.value >= 0.5:
        text += (
            f". The network calls even blurred images, where all is hidden, a crack (P(crack) {hidden.value:.2f}), so "
            "deletion, insertion and SHAP can say little of it"
        )
    return text


def _verdict(gain: Measurement) -> str:
    if gain.low is None or gain.high is None:
        return "not measurably different"
    return "better" if gain.low > 0 else "worse" if gain.high < 0 else "not measurably different"


def _measure_rows(found: dict[str, Measurement]) -> list[list[str]]:
    rows = []
    for name in (*LOCALISATION, *FAITHFULNESS):
        label = spoken(name) + (" (lower is better)" if name in LOWER_IS_BETTER else "")
        rows.append([label, *(shown_row(found.get(f"{map_name}.{name}")) for map_name in TITLES)])
    return rows


def _gain_rows(found: dict[str, Measurement]) -> list[list[str]]:
    rows = []
    for name in (*LOCALISATION, *FAITHFULNESS):
        gains = [found.get(f"{method}.{name}_over_{baseline}") for method in METHODS for baseline in BASELINES]
        rows.append([spoken(name), *map(shown_row, gains)])
    return rows


def _absences(rows: pd.DataFrame) -> str:
    if rows["right"].all():
        return " No image of the robustness split outside the middle of the scores was judged wrongly."
    return ""


def _gallery(rows: pd.DataFrame, panels: list[Panel], candidate: str) -> str:
    cards = [
        {
            "classes": f"{'right' if row.right else 'wrong'} surface-{row.surface} score-{_band(row.score)}",
            "uri": panel.uri(),
            "reason": row.reason,
            "parts": panel.caption,
            "text": f"{row.surface}, truth {NAMES[row.label]}, answer {NAMES[row.decision]}, score {row.score:.3f}",
        }
        for row, panel in zip(rows.itertuples(), panels, strict=True)
    ]
    filters = {
        "verdict": ["right", "wrong"],
        "surface": [f"surface-{name}" for name in sorted(rows["surface"].unique())],
        "score": ["score-low", "score-middle", "score-high"],
    }
    nothing = _without_a_card(list(filters.values()), [set(card["classes"].split()) for card in cards])
    template = Environment(autoescape=True, trim_blocks=True).from_string(_GALLERY)
    return template.render(cards=cards, filters=filters, nothing=nothing, name=candidate)


def _without_a_card(filters: list[list[str]], cards: list[set[str]]) -> list[list[str]]:
    """The choices, one or none of each filter, that no card meets; none that another one is part of."""
    empty: list[set[str]] = []
    for choice in sorted((set(chosen) - {""} for chosen in product(*(["", *names] for names in filters))), key=len):
        if not any(choice <= card for card in cards) and not any(part <= choice for part in empty):
            empty.append(choice)
    return [sorted(choice) for choice in empty]


def _band(score: float) -> str:
    return "low" if score < 0.2 else "high" if score > 0.8 else "middle"


# Filters are radio buttons read by CSS: the page needs no script, so it works in KFP's sandboxed frame.
_GALLERY = """
<style>
.gallery .cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(30rem,100%),1fr));gap:1.4rem 1rem}
.gallery figure{margin:0}
.gallery img{width:100%;height:7.4rem;object-fit:contain;object-position:left}
.gallery figure:focus{grid-column:1/-1}
.gallery figure:focus img{height:auto;image-rendering:pixelated}
.gallery fieldset{border:0;padding:0;margin:.3rem 0}
.gallery label{margin-right:1rem}
{% for options in filters.values() %}
{% for option in options %}
.gallery:has(input[value="{{ option }}"]:checked) figure:not(.{{ option }}){display:none}
{% endfor %}
{% endfor %}
.gallery .nothing{display:none}
{% for choice in nothing %}
.gallery-{{ name }}{% for option in choice %}:has(input[value="{{ option }}"]:checked){% endfor %} .nothing
{display:block}
{% endfor %}
</style>
<div class="gallery gallery-{{ name }}">
{% for filter, options in filters.items() %}
<fieldset aria-label="{{ filter }}">
<label><input type="radio" name="{{ name }}-{{ filter }}" value="" checked> any {{ filter }}</label>
{% for option in options %}
<label><input type="radio" name="{{ name }}-{{ filter }}" value="{{ option }}"> {{ option.split("-")[-1] }}</label>
{% endfor %}
</fieldset>
{% endfor %}
<p class="nothing">No image of the gallery is of this kind.</p>
<div class="cards">
{% for card in cards %}
<figure class="{{ card.classes }}" tabindex="0">
<img src="{{ card.uri }}" alt="{{ card.parts }}: {{ card.text }}" loading="lazy">
<figcaption>{{ card.reason }}: {{ card.text }}<br>{{ card.parts }}</figcaption>
</figure>
{% endfor %}
</div>
</div>
"""
