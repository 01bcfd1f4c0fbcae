"""Report the effects of people's answers about tiles. This is a part of report.json and of the data set report."""

from typing import Any

import pandas as pd

from components.ingest.corrected_labels import Corrected, outcomes
from components.shared.data.corrections import BAD_IMAGE, SHOWN_ID
from components.shared.page import Page

ROWS_SHOWN = 200  # in each table; report.json has all rows


def corrections_content(corrected: Corrected, chosen: pd.Series, quarantined: pd.DataFrame) -> dict[str, Any]:
    """Return the part of report.json about people's answers.

    Args:
        corrected: The result of applying the answers.
        chosen: sample_ids of the data set version's images.
        quarantined: Table (source, path, reason) of all files in quarantine.
    """
    changed = corrected.changed.assign(outcome=outcomes(corrected.changed, chosen, quarantined))
    bad = int((changed["answer"] == BAD_IMAGE).sum())
    return {
        "corrected": len(changed) - bad,
        "bad_images": bad,
        "confirmed": corrected.confirmed,
        "disputed": len(corrected.disputed),
        "masks_dropped": corrected.masks_dropped,
        "corrections": changed.to_dict("records"),
        "disputes": corrected.disputed.to_dict("records"),
    }


def show_corrections(page: Page, report: dict[str, Any]) -> None:
    """Append the section about people's answers. If there are no answers, append nothing."""
    if not report["corrections"] and not report["disputes"] and not report["confirmed"]:
        return
    page.heading("Corrections by people")
    page.text(
        f"People looked at tiles again. {report['corrected']} tiles have another label than in their source, "
        f"{report['bad_images']} are in quarantine as bad images, and {report['confirmed']} labels were confirmed. "
        "`crack-pipeline review list` shows the imports of answers, and `crack-pipeline review rollback` undoes an "
        "import. A corrected tile keeps its group, so it stays in its split."
    )
    if report["masks_dropped"]:
        page.text(
            f"{report['masks_dropped']} masks contradict the label that a person gave. The tiles are used without "
            "these masks."
        )

    rows = []
    for one in report["corrections"][:ROWS_SHOWN]:
        who = f"{one['by']}, {one['at'][:10]}"
        rows.append([one["path"], one["was"], one["answer"], who, one["why"], one["entry"][:SHOWN_ID], one["outcome"]])
    if rows:
        headers = ["file", "in the source", "answer", "who", "why", "import", "now"]
        page.table(headers, rows, _caption("Changes by people's answers, the latest first", report["corrections"]))

    disputes = []
    for one in report["disputes"][:ROWS_SHOWN]:
        disputes.append([one["path"], one["label"], one["answers"]])
    if disputes:
        caption = _caption("People disagree about these tiles, so no answer is applied", report["disputes"])
        page.table(["file", "label, from the source", "answers"], disputes, caption)


def _caption(text: str, rows: list[Any]) -> str:
    return f"{text} (first {ROWS_SHOWN} of {len(rows)})" if len(rows) > ROWS_SHOWN else text
