"""Write the page of explanations. It shows a conclusion on each method, the measures, and a gallery of panels."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import pandas as pd
from jinja2 import Environment, FileSystemLoader

from components.explain.cam_choice import CamChoice
from components.explain.config import ShapConfig
from components.explain.maps import BASELINES, EDGES, GRAD_CAM, METHODS, RANDOM, SHAP
from components.explain.measures import CHECKS, FAITHFULNESS, LOCALISATION, LOWER_IS_BETTER
from components.explain.panels import NAMES, Panel
from components.explain.shortcut_page import add_shortcuts
from components.shared.page import Page
from components.shared.results.measurements import Measurement, shown_row, spoken, with_interval

TITLES = {GRAD_CAM: "Grad-CAM", SHAP: "SHAP", RANDOM: "random map", EDGES: "edge filter"}
# A method is good if it is better than the edge filter in at least one of these measures, and worse in none.
DECIDING_MEASURES = ("pointing_game", "insertion_auc", "deletion_auc", "road")
# Two SHAP maps from different random coalitions (sets of regions) agree if their rank correlation reaches this value.
AGREEMENT = 0.8
LOW_SCORE, HIGH_SCORE = 0.2, 0.8
INTRODUCTION = (
    "An explanation is a map over a tile that shows which parts of the tile led to the network's answer. Two methods "
    "compute such maps, Grad-CAM and KernelSHAP (SHAP). A map is useful only if it shows more than a plain edge "
    "filter, which does not know the network.\n\n"
    "The gallery shows panels of tiles from the robustness split. Each panel shows, from left to right:\n\n"
    "- The tile.\n"
    "- Grad-CAM's map for the network's answer. Bright parts speak for this answer. If the answer is wrong, the map "
    "for the true class follows.\n"
    "- KernelSHAP's map. Red regions speak for a crack, and blue regions speak for no crack.\n"
    "- The mask, if there is one. It shows where a person has marked the crack. Its outline is green on every map.\n\n"
    "A third of the answers in the gallery is confidently wrong, a third is near the threshold, and a third is "
    "confidently right. Surfaces and classes alternate. *Score* is the calibrated P(crack), from 0 to 1. If the score "
    "is not below the threshold, the answer is a crack."
)
ADVICE = (
    "If the network found a crack, the bright and the red parts should be along the crack. On a false alarm, these "
    "parts show what the network took for a crack: a joint, a shadow, a stain, or a mark of the formwork. If the "
    "bright and red parts are on plain concrete or at the border of the tile, the answer does not depend on a crack, "
    "even if the answer is right. To enlarge a panel, click it or select it with the Tab key."
)
CHOICE = (
    "The map that is called Grad-CAM on this page is **{method} of the layer `{layer}`**. It was chosen on {tiles} "
    "cracked images of the validation split, because it is the most faithful map of the layers and methods in the "
    "table. A map is faithful if the answer depends on the pixels that the map marks. *Faithfulness* is the area under "
    "the insertion curve minus the area under the deletion curve. The faithfulness of the chosen map minus the "
    "faithfulness of a random map with the same grid is {gain}."
)
NOT_FAITHFUL = (
    "\n\n**None of these maps is measurably more faithful than a random map.** So the Grad-CAM maps do not show why "
    "the network gives its answers."
)
NOT_CHOSEN = (
    "The map that is called Grad-CAM on this page is {method} of the layer `{layer}`. The layer was chosen only by the "
    "size of its grid, because the validation split has no cracked image."
)
MEASURED = (
    "The maps for the class crack were measured on {n} cracked images, drawn at random from the robustness split:\n\n"
    "- *Pointing game* is the share of the map's highest pixels that are on the crack.\n"
    "- *Energy inside* is the share of the map that is on the crack. *Energy ratio* is this share divided by the share "
    "of the image that the crack covers.\n"
    "- *Best IoU* is the overlap of the crack with the part of the map above a threshold (intersection over union). "
    "The threshold with the largest overlap counts.\n"
    "- *Deletion AUC* is the area under the curve of P(crack) while pixels are hidden, the most marked pixels first. "
    "Lower is better. *Insertion AUC* is the area under this curve while pixels are shown. Higher is better.\n"
    "- *ROAD* removes pixels and fills them from their neighbours. It is above 0 if P(crack) falls more without the "
    "most marked pixels than without the least marked pixels. A random map has 0.\n\n"
    "Brackets are 95 % intervals. They are computed from many random draws of the photos with replacement (bootstrap)."
)

Gain = Literal["better", "worse", "not measurably different"]
Found = dict[str, Measurement]  # name -> measurement
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True
)


@dataclass(frozen=True)
class Card:
    """One panel of the gallery.

    Attributes:
        classes: The filter options that show this panel, as CSS class names.
        uri: The panel as a data URI.
        reason: The reason why the image was chosen.
        parts: The names of the panel's parts, from left to right.
        answer: Surface, true class, answer and score.
    """

    classes: list[str]
    uri: str
    reason: str
    parts: str
    answer: str


def write_page(
    path: Path,
    candidate: str,
    rows: pd.DataFrame,
    panels: list[Panel],
    measured: list[Measurement],
    choice: CamChoice,
    remark: str,
    shortcuts: list[Measurement],
) -> None:
    """Write the page of explanations.

    Args:
        path: File to write: the page.
        candidate: Name of the candidate.
        rows: Rows from `choose_shown`.
        panels: One panel for each row.
        measured: From `measure`.
        choice: The layer and the method of the Grad-CAM maps.
        remark: Sentences on the gallery's images and maps, as Markdown.
        shortcuts: From `measure_exchanges`.
    """
    found = {row.name: row for row in measured}
    page = Page(f"Explanations of {candidate}")
    page.text(INTRODUCTION)
    for method in METHODS:
        page.callout(*conclusion(found, method))
    if any(row.n for row in measured):
        _add_measures(page, found)
    _add_choice(page, choice)
    add_shortcuts(page, shortcuts)

    page.heading("Gallery")
    page.text(ADVICE)
    if rows["right"].all():
        remark += " The network answered all images of the gallery correctly."
    page.text(remark)
    page.html(_gallery(rows, panels, candidate))
    page.write(path)


def shap_remark(shap: ShapConfig, measured: list[Measurement]) -> str:
    """Return sentences that say how many coalitions a SHAP map uses, and whether there are enough of them."""
    text = f"Each SHAP map has about {shap.regions} regions. It uses {shap.coalitions} coalitions (sets of regions)."
    found = {row.name: row for row in measured}
    agreement = found.get(f"{SHAP}.coalitions_similarity")
    if agreement is None:
        return text

    text += (
        f" On {agreement.n} cracked images, the rank correlation with maps of {shap.coalitions // 2} other coalitions "
        f"is {shown_row(agreement)} (1 means the same order of regions)"
    )
    if agreement.value >= AGREEMENT:
        return f"{text}: there are enough coalitions."
    return f"{text}: **there are too few coalitions to trust single regions**; raise explain.shap.coalitions."


def conclusion(found: Found, method: str) -> tuple[str, bool]:
    """Decide whether a method explains more than an edge filter.

    Args:
        found: Name -> measurement.
        method: A name in METHODS.

    Returns:
        Sentences in Markdown, and whether the result is good. The result is good if the method is better in at least
        one of DECIDING_MEASURES and worse in none. "Better" means that the whole interval of the difference is above 0,
        and "worse" means that the whole interval is below 0.
    """
    gains: list[Gain] = []
    details = []
    for measured in DECIDING_MEASURES:
        difference = found.get(f"{method}.{measured}_over_{EDGES}")
        if difference is None:
            continue
        gain = _gain(difference)
        of_method, of_edges = found[f"{method}.{measured}"].value, found[f"{EDGES}.{measured}"].value
        gains.append(gain)
        details.append(f"{spoken(measured)} {of_method:.3f}, edge filter {of_edges:.3f} ({gain})")

    if not gains:
        why = next(iter(found.values())).note
        return f"{TITLES[method]} **could not be measured**: {why}.", False

    better, worse = "better" in gains, "worse" in gains
    if better and worse:
        claim = "is **better than a plain edge filter in some measures and worse in others**, so do not rely on it"
    elif better:
        claim = "explains **more than a plain edge filter**"
    elif worse:
        claim = "explains **less than a plain edge filter**"
    else:
        claim = "does **not explain measurably more than a plain edge filter**"

    numbers = "; ".join(details)
    numbers = numbers[0].upper() + numbers[1:]
    return f"{TITLES[method]} {claim}.\n\n{numbers}{_caveats(found, method)}.", better and not worse


def _gain(difference: Measurement) -> Gain:
    if difference.low is not None and difference.low > 0:
        return "better"
    if difference.high is not None and difference.high < 0:
        return "worse"
    return "not measurably different"


def _caveats(found: Found, method: str) -> str:
    text = ""
    empty = found.get(f"{method}.empty")
    if empty is not None and empty.value > 0:
        text += f"; on {empty.value:.0%} of the cracks, the map is empty"

    hidden = found.get(f"{SHAP}.hidden_p_crack")
    if hidden is not None and hidden.value >= 0.5:
        text += (
            f". The network calls even completely blurred images a crack (mean P(crack) {hidden.value:.2f}), so "
            "deletion, insertion and SHAP mean little for this network"
        )
    return text


def _add_measures(page: Page, found: Found) -> None:
    measures = (*LOCALISATION, *FAITHFULNESS)
    page.heading("Measures")
    page.text(MEASURED.format(n=max(row.n for row in found.values())))

    rows = []
    for name in measures:
        label = spoken(name)
        if name in LOWER_IS_BETTER:
            label += " (lower is better)"
        rows.append([label, *_shown(found, [f"{title}.{name}" for title in TITLES])])
    page.table(["measure", *TITLES.values()], rows)

    pairs = list(product(METHODS, BASELINES))
    rows = []
    for name in measures:
        gains = [f"{method}.{name}_over_{baseline}" for method, baseline in pairs]
        rows.append([spoken(name), *_shown(found, gains)])
    headers = [f"{TITLES[method]} vs {TITLES[baseline]}" for method, baseline in pairs]
    page.table(["difference (positive: better)", *headers], rows)

    _add_checks(page, found)


def _add_choice(page: Page, choice: CamChoice) -> None:
    page.heading("Choice of the Grad-CAM layer")
    method, layer = choice.cam.method, choice.cam.target.name
    if choice.gain is None:
        page.text(NOT_CHOSEN.format(method=method, layer=layer))
        return

    text = CHOICE.format(method=method, layer=layer, tiles=choice.tiles, gain=with_interval(*choice.gain))
    if not choice.is_faithful:
        text += NOT_FAITHFUL
    page.text(text)

    rows = []
    for candidate in choice.tried:
        height, width = candidate.cam.target.grid
        row = [candidate.cam.target.name, f"{height} x {width}", candidate.cam.method, f"{candidate.faithfulness:.3f}"]
        rows.append(row)
    page.table(["layer", "grid", "method", "faithfulness"], rows)


def _add_checks(page: Page, found: Found) -> None:
    rows, notes = [], []
    for check in CHECKS:
        names = [f"{title}.{check}" for title in TITLES]
        rows.append([spoken(check), *_shown(found, names)])
        note = next((found[name].note for name in names if name in found), "")
        notes.append(f"- *{spoken(check)}*: {note}")
    page.table(["check", *TITLES.values()], rows)
    page.text("\n".join(notes))


def _shown(found: Found, names: list[str]) -> list[str]:
    return list(map(shown_row, map(found.get, names)))


def _gallery(rows: pd.DataFrame, panels: list[Panel], candidate: str) -> str:
    filters = {
        "verdict": ["right", "wrong"],
        "surface": [f"surface-{name}" for name in sorted(rows["surface"].unique())],
        "score": ["score-low", "score-middle", "score-high"],
    }
    cards = []
    classes_of_cards = []
    for row, panel in zip(rows.itertuples(), panels, strict=True):
        verdict = "right" if row.right else "wrong"
        truth, answer = NAMES[row.label], NAMES[row.decision]
        card = Card(
            classes=[verdict, f"surface-{row.surface}", f"score-{_band(row.score)}"],
            uri=panel.uri(),
            reason=row.reason,
            parts=panel.caption,
            answer=f"{row.surface}, truth {truth}, answer {answer}, score {row.score:.3f}",
        )
        cards.append(card)
        classes_of_cards.append(set(card.classes))

    return _TEMPLATES.get_template("gallery.html").render(
        cards=cards,
        filters=filters,
        empty_combinations=_empty_combinations(list(filters.values()), classes_of_cards),
        candidate=candidate,
    )


def _empty_combinations(filters: list[list[str]], cards: list[set[str]]) -> list[list[str]]:
    """Return the combinations of filter options that match no card. A combination has at most one option per filter.

    Only the smallest combinations are in the list. If "wrong" matches no card, "wrong" with a surface is not listed.
    """
    combinations = []
    for chosen in product(*[["", *options] for options in filters]):
        combinations.append(set(chosen) - {""})
    combinations.sort(key=len)

    empty: list[set[str]] = []
    for combination in combinations:
        has_a_card = any(combination <= card for card in cards)
        contains_a_smaller_one = any(smaller <= combination for smaller in empty)
        if not has_a_card and not contains_a_smaller_one:
            empty.append(combination)
    return list(map(sorted, empty))


def _band(score: float) -> str:
    if score < LOW_SCORE:
        return "low"
    return "high" if score > HIGH_SCORE else "middle"
