"""Overlay panels, and the page that shows them beside the measures."""

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from jinja2 import Environment

from components.explain.measures import BASELINES, FAITHFULNESS, GRAD_CAM, LOCALISATION, LOWER_IS_BETTER
from components.shared.measurements import Measurement
from components.shared.page import Page

NAMES = {0: "no crack", 1: "crack"}
OUTLINE = (64, 255, 64)  # RGB
INTRODUCTION = (
    "Grad-CAM marks what speaks for a class. Each panel shows the image, the evidence for the answer given and, where "
    "that was wrong, the evidence for the true class; the crack's outline is drawn in green where a mask is known. "
    "The gallery is chosen by rule from the robustness split: a third each confidently wrong, near the threshold and "
    "confidently right, alternating between surfaces and classes. *Score* is the calibrated P(crack)."
)
MEASURED = (
    "Measured for the class crack on {n} cracked images of the robustness split, drawn at random. *Pointing game*: "
    "the map's peak hits the crack. *Energy*: share of the map on the crack, and its ratio to the crack's area. *IoU*: "
    "best overlap at any cut of the map. *Deletion* (lower is better) and *insertion* (higher is better): area under "
    "P(crack) while the marked pixels are hidden or shown first. Brackets are 95 % intervals by bootstrap over groups."
)


@dataclass(frozen=True)
class Panel:
    """Image and maps side by side, uint8 (H, k H, 3) RGB, and what they are, from left to right."""

    picture: np.ndarray
    caption: str


def draw_panel(image: np.ndarray, maps: dict[int, np.ndarray], mask: np.ndarray | None) -> Panel:
    """Draw an image and, beside it, each map over it.

    Args:
        image: uint8 (H, H, 3) RGB.
        maps: Class (0 or 1) -> float (H, H) in [0, 1]. A map of zeros is not drawn but told: a plain image in its place
            would be taken for a map.
        mask: bool (H, H); its outline is drawn on the maps.
    """
    drawn = {name: _outlined(_blend(image, single), mask) for name, single in maps.items() if single.any()}
    parts = ["image", *(f"for {NAMES[name]}" if name in drawn else f"nothing for {NAMES[name]}" for name in maps)]
    return Panel(np.concatenate([image, *drawn.values()], axis=1), ", ".join(parts))


def _blend(image: np.ndarray, single: np.ndarray) -> np.ndarray:
    colours = cv2.cvtColor(cv2.applyColorMap((255 * single).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    strength = 0.65 * single[..., None] ** 0.5
    return np.rint((1 - strength) * image + strength * colours).astype(np.uint8)


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
    finding, good = conclusion(found)
    page.callout(finding, good)
    page.heading("Measures")
    page.text(MEASURED.format(n=max((row.n for row in measured), default=0)))
    page.table(["measure", "Grad-CAM", "random map", "edge filter", "over the edge filter"], _measure_rows(found))
    shown = {name for name in found if name.split(".")[1] in (*LOCALISATION, *FAITHFULNESS) or "_over_" in name}
    checks = [row for row in measured if row.name not in shown]
    page.table(["check", "value", "meaning"], [[_words(row.name), _show(row), row.note] for row in checks])
    page.heading("Gallery")
    page.text(f"{len(rows)} images; layer `{layer}`." + _absences(rows))
    page.html(_gallery(rows, panels, candidate))
    page.write(path)


def conclusion(found: dict[str, Measurement]) -> tuple[str, bool]:
    """Say in one sentence whether Grad-CAM explains more than an edge filter does, and whether that is well.

    Judged by the insertion area and, where masks exist, the pointing game: better where the whole interval of the
    difference lies above 0. It is well if one is better and none is worse.
    """
    verdicts = {}
    for measure in ("pointing_game", "insertion_auc"):
        gain = found.get(f"{GRAD_CAM}.{measure}_over_edge_filter")
        if gain is not None:
            verdict = (
                "better" if (gain.low or 0) > 0 else "worse" if (gain.high or 0) < 0 else "not measurably different"
            )
            values = [found[f"{name}.{measure}"].value for name in (GRAD_CAM, "edge_filter")]
            verdicts[f"{_words(measure)} {values[0]:.3f} against {values[1]:.3f} ({verdict})"] = verdict
    if not verdicts:
        return "The explanations **could not be measured**: " + next(iter(found.values())).note + ".", False
    good = "better" in verdicts.values() and "worse" not in verdicts.values()
    claim = "explains **more than a plain edge filter**" if good else "explains **no more than a plain edge filter**"
    return f"Grad-CAM {claim}: {'; '.join(verdicts)}.", good


def _measure_rows(found: dict[str, Measurement]) -> list[list[str]]:
    rows = []
    for name in (*LOCALISATION, *FAITHFULNESS):
        label = _words(name) + (" (lower is better)" if name in LOWER_IS_BETTER else "")
        keys = [f"{map_name}.{name}" for map_name in (GRAD_CAM, *BASELINES)] + [f"{GRAD_CAM}.{name}_over_edge_filter"]
        rows.append([label, *(_show(found.get(key)) for key in keys)])
    return rows


def _show(row: Measurement | None) -> str:
    if row is None or np.isnan(row.value):
        return "-"
    interval = f" [{row.low:.3f}, {row.high:.3f}]" if row.low is not None else ""
    return f"{row.value:.3f}{interval}"


def _words(name: str) -> str:
    return name.removeprefix(f"{GRAD_CAM}.").replace("_", " ").replace("auc", "AUC").replace("iou", "IoU")


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
    template = Environment(autoescape=True, trim_blocks=True).from_string(_GALLERY)
    return template.render(cards=cards, filters=filters, name=candidate or "gallery")


def _band(score: float) -> str:
    return "low" if score < 0.2 else "high" if score > 0.8 else "middle"


def _jpeg(panel: Panel) -> str:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(panel.picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


# Filters are radio buttons read by CSS: the page needs no script, so it works in KFP's sandboxed frame.
_GALLERY = """
<style>
.gallery .cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:1rem}
.gallery figure{margin:0}
.gallery img{width:100%;height:10rem;object-fit:contain;object-position:left;image-rendering:auto}
.gallery fieldset{border:0;padding:0;margin:.3rem 0}
.gallery label{margin-right:1rem}
{% for options in filters.values() %}
{% for option in options %}
.gallery:has(input[value="{{ option }}"]:checked) figure:not(.{{ option }}){display:none}
{% endfor %}
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
<div class="cards">
{% for card in cards %}
<figure class="{{ card.classes }}">
<img src="{{ card.uri }}" alt="image and Grad-CAM: {{ card.text }}" loading="lazy">
<figcaption>{{ card.reason }}: {{ card.text }}<br>{{ card.parts }}</figcaption>
</figure>
{% endfor %}
</div>
</div>
"""
