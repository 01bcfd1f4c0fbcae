"""Overlay panels, and the page that shows them beside the measures."""

import base64
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from jinja2 import Environment
from matplotlib import colormaps

from components.explain.measures import BASELINES, FAITHFULNESS, GRAD_CAM, LOCALISATION, LOWER_IS_BETTER, METHODS, SHAP
from components.shared.measurements import Measurement
from components.shared.page import Page

NAMES = {0: "no crack", 1: "crack"}
TITLES = {GRAD_CAM: "Grad-CAM", SHAP: "SHAP", "random_map": "random map", "edge_filter": "edge filter"}
JUDGED = ("pointing_game", "insertion_auc", "deletion_auc", "road")  # what a method must win by, and not lose by
OUTLINE = (64, 255, 64)  # RGB
INTRODUCTION = (
    "Each panel shows, from left to right: the image; Grad-CAM's evidence for the answer given and, where that was "
    "wrong, for the true class; KernelSHAP's signed evidence, red where a region speaks for a crack, blue where it "
    "speaks for no crack, so that one map tells of both classes; and the mask, where one is known, whose outline is "
    "green on every map. "
    "The gallery is chosen by rule from the robustness split: a third each confidently wrong, near the threshold and "
    "confidently right, alternating between surfaces and classes. *Score* is the calibrated P(crack)."
)
MEASURED = (
    "Measured for the class crack on {n} cracked images of the robustness split, drawn at random. *Pointing game*: "
    "the map's peak, or the share of its highest region, hits the crack. *Energy*: share of the map on the crack, and "
    "its ratio to the crack's area. *IoU*: best overlap at any cut of the map. *Deletion* (lower is better) and "
    "*insertion* (higher is better): area under P(crack) while the marked pixels are hidden or shown first. *ROAD*: "
    "how much more P(crack) falls when the marked pixels are painted over than when the least marked are; 0 is chance. "
    "Brackets are 95 % intervals by bootstrap over groups."
)


@dataclass(frozen=True)
class Panel:
    """Image and maps side by side, uint8 (H, k H, 3) RGB, and what they are, from left to right."""

    picture: np.ndarray
    caption: str


def draw_panel(image: np.ndarray, maps: dict[int, np.ndarray], signed: np.ndarray, mask: np.ndarray | None) -> Panel:
    """Draw an image and, beside it, each map over it, and the mask.

    Args:
        image: uint8 (H, H, 3) RGB.
        maps: Class (0 or 1) -> Grad-CAM, float (H, H) in [0, 1]. A map of zeros is not drawn but told: a plain image in
            its place would be taken for a map.
        signed: KernelSHAP, float (H, H), above 0 for crack.
        mask: bool (H, H); its outline is drawn on the maps.
    """
    drawn = {name: _outlined(_blend(image, single), mask) for name, single in maps.items() if single.any()}
    parts = ["image", *(f"for {NAMES[name]}" if name in drawn else f"nothing for {NAMES[name]}" for name in maps)]
    pictures = [image, *drawn.values()]
    if signed.any():
        pictures.append(_outlined(_blend_signed(image, signed), mask))
    parts.append("SHAP" if signed.any() else "no region matters to SHAP")
    if mask is not None:
        pictures.append(np.repeat(255 * mask.astype(np.uint8)[..., None], 3, axis=2))
        parts.append("mask")
    return Panel(np.concatenate(pictures, axis=1), ", ".join(parts))


def _blend(image: np.ndarray, single: np.ndarray) -> np.ndarray:
    colours = cv2.cvtColor(cv2.applyColorMap((255 * single).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    strength = 0.65 * single[..., None] ** 0.5
    return np.rint((1 - strength) * image + strength * colours).astype(np.uint8)


def _blend_signed(image: np.ndarray, signed: np.ndarray) -> np.ndarray:
    """Lay the diverging colours over the grey image: a colour of the image's own would be read as evidence."""
    share = signed / np.abs(signed).max()
    colours = 255 * colormaps["RdBu_r"](0.5 + share / 2)[..., :3]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    strength = 0.8 * np.abs(share)[..., None] ** 0.5
    return np.rint((1 - strength) * grey + strength * colours).astype(np.uint8)


def _outlined(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    if mask is None:
        return image
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(image.copy(), contours, -1, OUTLINE, 1)


def write_panels(rows: pd.DataFrame, panels: list[Panel], folder: Path) -> list[str]:
    """Write panels as PNG, named by place and verdict; return the names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, (row, panel) in enumerate(zip(rows.itertuples(), panels, strict=True)):
        verdict = "right" if row.right else "wrong"
        names.append(f"{number:03d}_{verdict}_{row.surface}_{NAMES[row.label].replace(' ', '_')}.png")
        cv2.imwrite(str(folder / names[-1]), cv2.cvtColor(panel.picture, cv2.COLOR_RGB2BGR))
    return names


def write_page(
    path: Path, candidate: str, rows: pd.DataFrame, panels: list[Panel], measured: list[Measurement], layer: str
) -> None:
    """Write the explanation page: verdict, measures, gallery."""
    page = Page(f"Explanations of {candidate or 'the candidate'}")
    page.text(INTRODUCTION)
    found = {row.name: row for row in measured}
    for method in METHODS:
        page.callout(*conclusion(found, method))
    page.heading("Measures")
    page.text(MEASURED.format(n=max((row.n for row in measured), default=0)))
    page.table(["measure", *TITLES.values()], _measure_rows(found))
    headers = [f"{TITLES[method]} vs {TITLES[baseline]}" for method in METHODS for baseline in BASELINES]
    page.table(["gain (positive: better)", *headers], _gain_rows(found))
    shown = {name for name in found if name.split(".")[1] in (*LOCALISATION, *FAITHFULNESS) or "_over_" in name}
    checks = [row for row in measured if row.name not in shown]
    page.table(["check", "value", "meaning"], [[_words(row.name), _show(row), row.note] for row in checks])
    page.heading("Gallery")
    page.text(f"{len(rows)} images; Grad-CAM of the layer `{layer}`." + _absences(rows))
    page.html(_gallery(rows, panels, candidate))
    page.write(path)


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
            verdicts[f"{_words(measure)} {values[0]:.3f} against {values[1]:.3f} ({verdict})"] = verdict
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
    details = "; ".join(verdicts)
    return f"{TITLES[method]} {claim}.\n\n{details[0].upper()}{details[1:]}.", better and not worse


def _verdict(gain: Measurement) -> str:
    if gain.low is None or gain.high is None:
        return "not measurably different"
    return "better" if gain.low > 0 else "worse" if gain.high < 0 else "not measurably different"


def _measure_rows(found: dict[str, Measurement]) -> list[list[str]]:
    rows = []
    for name in (*LOCALISATION, *FAITHFULNESS):
        label = _words(name) + (" (lower is better)" if name in LOWER_IS_BETTER else "")
        rows.append([label, *(_show(found.get(f"{map_name}.{name}")) for map_name in TITLES)])
    return rows


def _gain_rows(found: dict[str, Measurement]) -> list[list[str]]:
    rows = []
    for name in (*LOCALISATION, *FAITHFULNESS):
        gains = [found.get(f"{method}.{name}_over_{baseline}") for method in METHODS for baseline in BASELINES]
        rows.append([_words(name), *map(_show, gains)])
    return rows


def _show(row: Measurement | None) -> str:
    if row is None or np.isnan(row.value):
        return "-"
    interval = f" [{row.low:.3f}, {row.high:.3f}]" if row.low is not None else ""
    return f"{row.value:.3f}{interval}"


def _words(name: str) -> str:
    method, _, measure = name.rpartition(".")
    words = measure.replace("_", " ").replace("auc", "AUC").replace("iou", "IoU").replace("road", "ROAD")
    return f"{TITLES[method]}: {words}" if method else words


def _absences(rows: pd.DataFrame) -> str:
    if rows["right"].all():
        return " No image of the robustness split outside the middle of the scores was judged wrongly."
    return ""


def _gallery(rows: pd.DataFrame, panels: list[Panel], candidate: str) -> str:
    cards = [
        {
            "classes": f"{'right' if row.right else 'wrong'} surface-{row.surface} score-{_band(row.score)}",
            "uri": _jpeg(panel),
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
    return template.render(cards=cards, filters=filters, nothing=nothing, name=candidate or "gallery")


def _without_a_card(filters: list[list[str]], cards: list[set[str]]) -> list[list[str]]:
    """The choices, one or none of each filter, that no card meets; none that another one is part of."""
    empty: list[set[str]] = []
    for choice in sorted((set(chosen) - {""} for chosen in product(*(["", *names] for names in filters))), key=len):
        if not any(choice <= card for card in cards) and not any(part <= choice for part in empty):
            empty.append(choice)
    return [sorted(choice) for choice in empty]


def _band(score: float) -> str:
    return "low" if score < 0.2 else "high" if score > 0.8 else "middle"


def _jpeg(panel: Panel) -> str:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(panel.picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


# Filters are radio buttons read by CSS: the page needs no script, so it works in KFP's sandboxed frame.
_GALLERY = """
<style>
.gallery .cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(30rem,100%),1fr));gap:1.4rem 1rem}
.gallery figure{margin:0}
.gallery img{width:100%;height:7.4rem;object-fit:contain;object-position:left}
.gallery fieldset{border:0;padding:0;margin:.3rem 0}
.gallery label{margin-right:1rem}
{% for options in filters.values() %}
{% for option in options %}
.gallery:has(input[value="{{ option }}"]:checked) figure:not(.{{ option }}){display:none}
{% endfor %}
{% endfor %}
.gallery .nothing{display:none}
{% for choice in nothing %}
.gallery{% for option in choice %}:has(input[value="{{ option }}"]:checked){% endfor %} .nothing{display:block}
{% endfor %}
</style>
<div class="gallery">
{% for filter, options in filters.items() %}
<fieldset>
<label><input type="radio" name="{{ name }}-{{ filter }}" value="" checked> any {{ filter }}</label>
{% for option in options %}
<label><input type="radio" name="{{ name }}-{{ filter }}" value="{{ option }}"> {{ option.split("-")[-1] }}</label>
{% endfor %}
</fieldset>
{% endfor %}
<p class="nothing">No image of the gallery is of this kind.</p>
<div class="cards">
{% for card in cards %}
<figure class="{{ card.classes }}">
<img src="{{ card.uri }}" alt="{{ card.parts }}: {{ card.text }}" loading="lazy">
<figcaption>{{ card.reason }}: {{ card.text }}<br>{{ card.parts }}</figcaption>
</figure>
{% endfor %}
</div>
</div>
"""
