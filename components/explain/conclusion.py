"""Decide whether the maps of a method explain the network, and write a text that says why."""

from typing import Literal

from components.explain.cam_choice import CamChoice
from components.explain.maps import EDGES, GRAD_CAM, RANDOM, SHAP
from components.explain.measures import LOWER_IS_BETTER
from components.shared.results.measurements import Measurement, spoken

TITLES = {GRAD_CAM: "Grad-CAM", SHAP: "SHAP", RANDOM: "random map", EDGES: "edge filter"}
# A method is good if it is better than the edge filter in at least one of these measures, and worse in none.
DECIDING_MEASURES = ("pointing_game", "insertion_auc", "deletion_auc", "road")
# These measures hide pixels with a blur. They mean little if the network calls even a blurred tile a crack.
MEASURED_WITH_BLUR = {"insertion_auc", "deletion_auc"}
# Two SHAP maps from different random coalitions (sets of regions) agree if their rank correlation reaches this value.
AGREEMENT = 0.8
NOT_RELIABLE = "**do not rely on its maps**"
Gain = Literal["better", "worse", "not measurably different"]
Found = dict[str, Measurement]  # name -> measurement


def conclusion(found: Found, method: str, choice: CamChoice) -> tuple[str, bool]:
    """Decide whether people can trust the maps of a method, and whether the maps are better than an edge filter.

    Args:
        found: Name of a measurement -> the measurement.
        method: A name in METHODS.
        choice: The layer and the method of the Grad-CAM maps.

    Returns:
        Text in Markdown, and whether the result is good. The result is good if three conditions are true: the
        method is better than the edge filter in at least one of DECIDING_MEASURES; the method is worse in none of these
        measures; and there is no reason to doubt the maps. "Better" means that the whole 95 % interval of the
        difference is above 0, and "worse" means that the whole interval is below 0.
    """
    gains: dict[str, Gain] = {}
    for measured in DECIDING_MEASURES:
        difference = found.get(f"{method}.{measured}_over_{EDGES}")
        if difference is not None:
            gains[measured] = _gain(difference)
    if not gains:
        why = next(iter(found.values())).note
        return f"{TITLES[method]} **could not be measured**: {why}.", False

    doubts = _doubts(found, method, choice, gains)
    comparisons = [f"- {_comparison(found, method, measured, gain)}" for measured, gain in gains.items()]
    paragraphs = [f"{TITLES[method]} {_claim(gains, doubts)}", "\n".join(comparisons), *doubts]
    blur = _blur_warning(found)
    if blur and blur not in doubts:
        paragraphs.append(blur)
    empty = found.get(f"{method}.empty")
    if empty is not None and empty.value > 0:
        paragraphs.append(f"On {empty.value:.0%} of the cracked tiles, the map is empty.")

    verdicts = set(gains.values())
    return "\n\n".join(paragraphs), "better" in verdicts and "worse" not in verdicts and not doubts


def _gain(difference: Measurement) -> Gain:
    if difference.low is not None and difference.low > 0:
        return "better"
    if difference.high is not None and difference.high < 0:
        return "worse"
    return "not measurably different"


def _claim(gains: dict[str, Gain], doubts: list[str]) -> str:
    """Return the text after the method's name, such as "is not measurably better than a plain edge filter"."""
    better = [spoken(name) for name, gain in gains.items() if gain == "better"]
    worse = [spoken(name) for name, gain in gains.items() if gain == "worse"]
    rest = " In the other measures, no difference could be measured."
    if len(better) + len(worse) == len(gains):
        rest = ""

    if better and worse:
        both = f"better than a plain edge filter in {_listed(better)}, but worse in {_listed(worse)}"
        return f"is {both}, so {NOT_RELIABLE}.{rest}"
    if better and doubts:
        return f"is measurably better than a plain edge filter in {_listed(better)}, but {NOT_RELIABLE}.{rest}"
    if better:
        return f"is **measurably better than a plain edge filter** in {_listed(better)}.{rest}"
    if worse:
        return f"is **worse than a plain edge filter** in {_listed(worse)}.{rest}"
    return "is **not measurably better than a plain edge filter**."


def _listed(names: list[str]) -> str:
    """Return names as a list in a sentence, such as "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _comparison(found: Found, method: str, measured: str, gain: Gain) -> str:
    """Return a sentence that compares a method with the edge filter in one measure."""
    relation = {"better": "better than", "worse": "worse than"}.get(gain, "not measurably different from")
    name = spoken(measured)
    remark = "; lower is better" if measured in LOWER_IS_BETTER else ""
    of_method, of_edges = found[f"{method}.{measured}"].value, found[f"{EDGES}.{measured}"].value
    return f"{name[0].upper()}{name[1:]}: {of_method:.3f}, {relation} the edge filter ({of_edges:.3f}{remark})."


def _doubts(found: Found, method: str, choice: CamChoice, gains: dict[str, Gain]) -> list[str]:
    """Return one paragraph for each reason not to trust the maps of a method."""
    doubts = []
    if method == GRAD_CAM and choice.gain is not None and not choice.is_faithful:
        doubts.append(
            "No Grad-CAM map of this network is measurably more faithful than a random map. A map is faithful if the "
            "answer depends on the pixels that the map marks."
        )

    agreement = found.get(f"{SHAP}.coalitions_similarity")
    if method == SHAP and agreement is not None and agreement.value < AGREEMENT:
        doubts.append(
            "There are too few coalitions to trust single regions: the rank correlation of two maps from different "
            f"coalitions is only {agreement.value:.2f}, and it should be at least {AGREEMENT}."
        )

    better_without_blur = any(gain == "better" and name not in MEASURED_WITH_BLUR for name, gain in gains.items())
    blur = _blur_warning(found)
    if blur and (method == SHAP or not better_without_blur):
        doubts.append(blur)
    return doubts


def _blur_warning(found: Found) -> str:
    """Return a warning if the network calls completely blurred tiles a crack. Return "" otherwise."""
    hidden = found.get(f"{SHAP}.hidden_p_crack")
    if hidden is None or hidden.value < 0.5:
        return ""
    return (
        f"The network calls even completely blurred tiles a crack (mean P(crack) {hidden.value:.2f}), so deletion AUC, "
        "insertion AUC and SHAP mean little for this network."
    )
