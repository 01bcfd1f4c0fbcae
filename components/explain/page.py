"""Write the page of explanations. It shows a conclusion on each method, the measures, and a gallery of panels."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader

from components.explain.cam_choice import CamChoice
from components.explain.conclusion import AGREEMENT, TITLES, Found, conclusion
from components.explain.config import ShapConfig
from components.explain.maps import BASELINES, METHODS, SHAP
from components.explain.measures import CHECKS, FAITHFULNESS, LOCALISATION, LOWER_IS_BETTER
from components.explain.panels import NAMES, Panel
from components.explain.shortcut_page import add_shortcuts
from components.shared.page import Page
from components.shared.results.measurements import Measurement, shown_row, spoken, with_interval

LOW_SCORE, HIGH_SCORE = 0.2, 0.8
INTRODUCTION = (
    "An explanation is a map over a tile. It shows which parts of the tile led to the network's answer. Two methods "
    "compute such maps: Grad-CAM and KernelSHAP (SHAP). For comparison, we also compute maps with a plain edge filter, "
    "which does not use the network. An explanation is useful only if it is better than the map of the edge filter.\n\n"
    "The gallery at the end of this page shows panels of tiles from the robustness split. Each panel shows, from left "
    "to right:\n\n"
    "- The tile.\n"
    "- Grad-CAM's map for the network's answer. Bright parts led to this answer. If the answer is wrong, the map for "
    "the labelled class follows.\n"
    "- SHAP's map. Red regions make P(crack) higher, and blue regions make it lower.\n"
    "- The mask, if there is one. It shows where a person has marked the crack. A green line on every map shows the "
    "outline of the mask.\n\n"
    "About a third of the answers in the gallery are confidently wrong, a third are near the threshold, and a third "
    "are confidently right. If there are not enough wrong answers, right answers take their place. *Score* is the "
    "calibrated P(crack), from 0 to 1. The answer is a crack if the score is at least the threshold."
)
ADVICE = (
    "If the network found a crack, the bright and the red parts should be along the crack. On a false alarm, these "
    "parts show what the network took for a crack: a joint, a shadow, a stain, or a mark of the formwork. If the "
    "bright and red parts are on plain concrete or at the border of the tile, the answer does not depend on a crack, "
    "even if the answer is right. To enlarge a panel, click it or select it with the Tab key. In the filters, a low "
    f"score is below {LOW_SCORE}, and a high score is above {HIGH_SCORE}."
)
CHOICE = (
    "All Grad-CAM maps on this page come from the method **{method}** and the network's layer **`{layer}`**. The table "
    "shows all layers and methods that we tried on {tiles} cracked tiles of the validation split. We chose the layer "
    "and the method with the most faithful maps. A map is faithful if the answer depends on the pixels that the map "
    "marks. *Faithfulness* is insertion AUC minus deletion AUC. We also computed random maps with the same grid. The "
    "faithfulness of the chosen maps minus the faithfulness of the random maps is {gain}."
)
NOT_FAITHFUL = (
    "\n\n**No Grad-CAM map is measurably more faithful than a random map.** So the Grad-CAM maps do not show why the "
    "network gives its answers."
)
NOT_CHOSEN = (
    "All Grad-CAM maps on this page come from the method {method} and the network's layer `{layer}`. The layer was "
    "chosen only by the size of its grid, because the validation split has no cracked tile."
)
MEASURED = (
    "We measured the maps for the class crack on {n} cracked tiles, chosen at random from the robustness split:\n\n"
    "- *Pointing game*: of the pixels with the highest value in a map, the share that is on the crack or close to "
    "it.\n"
    "- *Energy inside* is the share of the map that is on the crack. *Energy ratio* is this share divided by the share "
    "of the tile that the crack covers.\n"
    "- *Best IoU* (intersection over union) is the overlap of the crack with the part of the map above a limit. We use "
    "the limit with the largest overlap.\n"
    "- *Deletion AUC*: we blur the pixels of a tile step by step, the most marked pixels first, and plot P(crack) at "
    "each step. Deletion AUC is the area under this curve. Lower is better.\n"
    "- *Insertion AUC*: we start with a blurred tile, and show its pixels step by step, the most marked pixels first. "
    "Insertion AUC is the area under the curve of P(crack). Higher is better.\n"
    "- *ROAD*: we remove the most marked pixels from one copy of a tile, and the least marked pixels from a second "
    "copy. We fill the holes from the pixels around them. ROAD is above 0 if P(crack) falls more on the first copy. A "
    "random map has about 0.\n\n"
    "Brackets are 95 % intervals. They are computed from many random draws of the photos, with replacement (bootstrap)."
)

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True
)


@dataclass(frozen=True)
class Card:
    """One panel of the gallery.

    Attributes:
        classes: CSS class names, one for each filter option that shows this panel.
        uri: The panel as a data URI.
        reason: The reason why the image was chosen, such as "confidently wrong".
        parts: The names of the panel's parts, from left to right.
        answer: Surface, label, answer and score.
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
        path: The HTML file to write.
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
        page.callout(*conclusion(found, method, choice))
    if any(row.n for row in measured):
        _add_measures(page, found)
    _add_choice(page, choice)
    add_shortcuts(page, shortcuts)

    page.heading("Gallery")
    page.text(ADVICE)
    if rows["right"].all():
        remark += " The network answered all tiles of the gallery correctly."
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
        f" To test this number, we computed a second map from {shap.coalitions // 2} new coalitions (number of "
        f"cracked tiles: {agreement.n}). The rank correlation of the two maps is {shown_row(agreement)} (1 means the "
        "same order of regions)."
    )
    if agreement.value >= AGREEMENT:
        return f"{text} So there are enough coalitions."
    return f"{text} **So there are too few coalitions to trust single regions.** Raise explain.shap.coalitions."


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
    page.table(["difference (above 0: better)", *headers], rows)

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
        "answer": ["right", "wrong"],
        "surface": [f"surface-{name}" for name in sorted(rows["surface"].unique())],
        "score": ["score-low", "score-middle", "score-high"],
    }
    cards = []
    classes_of_cards = []
    for row, panel in zip(rows.itertuples(), panels, strict=True):
        verdict = "right" if row.right else "wrong"
        label, answer = NAMES[row.label], NAMES[row.decision]
        card = Card(
            classes=[verdict, f"surface-{row.surface}", f"score-{_band(row.score)}"],
            uri=panel.uri(),
            reason=row.reason,
            parts=panel.caption,
            answer=f"{row.surface}, label {label}, answer {answer}, score {row.score:.3f}",
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

    A combination is left out if a part of it already matches no card. For example, if "wrong" matches no card, the
    combination of "wrong" and a surface is left out.
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
