"""Show on the page of explanations whether the network uses side issues of tiles as shortcuts."""

from components.explain.shortcut_exchange import SIDE_ISSUES
from components.shared.page import Page
from components.shared.results.measurements import Measurement, shown_row, spoken

SMALLEST_PULL = 0.02  # of P(crack); a smaller pull hardly changes an answer
ABOUT = (
    "A side issue is a property of a tile that has nothing to do with cracks. We took {n} tiles of the robustness "
    "split. Each tile got, one at a time, the side issues of a tile of the other class from another photo. *Pull* is "
    "the mean change of P(crack) towards the other class. *Changed answers* is the share of answers that change. From "
    "both numbers, we subtract the effect of the same exchange with a tile of the same class. So 0 means that the "
    "network does not use the side issue. *AUROC alone* says how well the side issue alone predicts the label of these "
    "tiles. If it is 0.5, the side issue cannot serve as a shortcut. Brackets are 95 % intervals by bootstrap over "
    "photos."
)


def add_shortcuts(page: Page, measured: list[Measurement]) -> None:
    """Append the section about shortcuts.

    Args:
        page: The page of explanations.
        measured: From `measure_exchanges`.
    """
    page.heading("Shortcuts")
    if not measured:
        page.text("Not measured: the robustness split lacks tiles of both classes from different photos.")
        return

    found = {row.name: row for row in measured}
    used = [name for name in SIDE_ISSUES if _is_used(found[f"shortcut_pull_{name}"])]
    if used:
        names = ", ".join(map(spoken, used))
        page.callout(f"**The network uses a side issue as a shortcut: {names}.**", passed=False)
    else:
        page.callout("No side issue pulls P(crack) towards the other class by more than 0.02.", passed=True)

    page.text(ABOUT.format(n=measured[0].n))
    rows = []
    for name in SIDE_ISSUES:
        numbers = [found[f"shortcut_{kind}_{name}"] for kind in ("pull", "flips", "data")]
        rows.append([spoken(name).replace("jpeg", "JPEG"), *map(shown_row, numbers)])
    page.table(["side issue", "pull", "changed answers", "AUROC alone"], rows)


def _is_used(pull: Measurement) -> bool:
    return pull.low is not None and pull.low > SMALLEST_PULL
