"""Show on the page of explanations whether the network uses irrelevant properties of tiles as shortcuts."""

from components.explain.shortcut_exchange import IRRELEVANT_PROPERTIES
from components.shared.page import Page
from components.shared.results.measurements import Measurement, shown_row, spoken

SMALLEST_PULL = 0.02  # of P(crack); a smaller pull hardly changes an answer
ABOUT = (
    "An irrelevant property of a tile has nothing to do with cracks. If a network uses such a property, the property "
    "is a shortcut, and the network's answers may be wrong on other photos. We tested four properties on {n} tiles of "
    "the robustness split, one property at a time:\n\n"
    "- We gave each tile the property of a tile that has the other label and comes from another photo. *Pull* is the "
    "mean change of P(crack) towards the other label. *Changed answers* is the share of the tiles whose answer "
    "changes.\n"
    "- As a control, we gave each tile the property of a tile that has the same label and comes from another photo. We "
    "subtracted the effect of the control from both numbers. So 0 means that the network does not use the property.\n"
    "- *AUROC of the property* shows how well the property alone predicts the labels of these tiles. If it is 0.5, the "
    "property cannot be a shortcut.\n\n"
    "A property counts as a shortcut if the whole 95 % interval (in brackets) of its pull is above {smallest}. The "
    "intervals are computed by bootstrap over groups (photos, if the data name them)."
)


def add_shortcuts(page: Page, measured: list[Measurement]) -> None:
    """Append the section about shortcuts.

    Args:
        page: The page of explanations.
        measured: From `measure_exchanges`.
    """
    page.heading("Shortcuts")
    if not measured:
        page.text(
            "Not measured. Either the parameter `explain.exchanged` (the number of tiles for this test) is below 2, or "
            "the robustness split has too few photos with tiles of each class."
        )
        return

    found = {row.name: row for row in measured}
    used = [name for name in IRRELEVANT_PROPERTIES if _is_used(found[f"shortcut_pull_{name}"])]
    if used:
        page.callout(f"**The network uses an irrelevant property as a shortcut: {_names(used)}.**", passed=False)
    else:
        tested = _names(list(IRRELEVANT_PROPERTIES))
        page.callout(
            f"**No shortcut was found.** We tested four irrelevant properties of tiles: {tested}.", passed=True
        )

    page.text(ABOUT.format(n=measured[0].n, smallest=SMALLEST_PULL))
    rows = []
    for name in IRRELEVANT_PROPERTIES:
        numbers = [found[f"shortcut_{kind}_{name}"] for kind in ("pull", "flips", "data")]
        rows.append([_names([name]), *map(shown_row, numbers)])
    page.table(["irrelevant property", "pull", "changed answers", "AUROC of the property"], rows)


def _is_used(pull: Measurement) -> bool:
    return pull.low is not None and pull.low > SMALLEST_PULL


def _names(properties: list[str]) -> str:
    return ", ".join(spoken(name).replace("jpeg", "JPEG") for name in properties)
