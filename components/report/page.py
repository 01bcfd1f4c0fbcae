"""The report: the outcome first, then each candidate's dossier, then the data it all rests on."""

import datetime
import json
import math
import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

from components.report.findings import Candidate, Findings, outcome, summarise
from components.shared.page import Badge, Page, main_of
from components.shared.results.dossier import DRIFT, EVALUATION, EXPLANATION, PROMOTION, TRAINING
from components.shared.results.measurements import Measurement, footnote, shown_row

COLUMNS = (
    ("test accuracy", "accuracy", "test"),
    ("test F1", "f1", "test"),
    ("test AUROC", "auroc", "test"),
    ("robustness accuracy", "accuracy", "robustness"),
)
DEPLOYED = "As they would be deployed, each at its own threshold, on tiles of test photos that no network learnt from:"
SECTIONS = {
    PROMOTION: "Should {} be promoted?",
    TRAINING: "Training of {}",
    EVALUATION: "Evaluation of {}",
    EXPLANATION: "Explanation of {}",
    DRIFT: "Drift of {}",
}


def write_report(
    findings: Findings, pages: Mapping[str, str | Path], title: str, page_path: str | Path, summary_path: str | Path
) -> dict[str, str]:
    """Write the page and the summary, and return them as `report.html` and `summary.json`.

    Args:
        findings: What the run found.
        pages: Heading -> page of a step that concerns all candidates, in the order to show them.
        title: The report's heading.
        page_path: Written: one self-contained HTML document.
        summary_path: Written: JSON, see `findings.summarise`.
    """
    page = Page(title)
    _outcome(page, findings)
    page.contents()
    for candidate in findings.candidates:
        _candidate(page, candidate, candidate.name == findings.choice["winner"])
    for heading, path in pages.items():
        _embed(page, heading, path, level=2)
    _facts(page, findings)
    page.write(page_path)
    summary = json.dumps(summarise(findings), indent=2, allow_nan=False) + "\n"
    Path(summary_path).write_text(summary, encoding="utf-8")
    return {"report.html": Path(page_path).read_text(encoding="utf-8"), "summary.json": summary}


def _outcome(page: Page, findings: Findings) -> None:
    page.callout(outcome(findings), passed=findings.registration["registered"])
    measured = [[found.measured(name, split) for _, name, split in COLUMNS] for found in findings.candidates]
    rows = [
        [candidate.name, *map(shown_row, numbers), _badge(candidate)]
        for candidate, numbers in zip(findings.candidates, measured, strict=True)
    ]
    caption = "Candidates after fine-tuning; brackets are 95 % intervals"
    page.table(["candidate", *(title for title, _, _ in COLUMNS), "gate"], rows, caption)
    page.text(footnote(chain.from_iterable(measured)))
    words = [sentence for candidate in findings.candidates if (sentence := _in_words(candidate))]
    if words:
        page.text(f"{DEPLOYED}\n\n" + "\n".join(f"- {sentence}" for sentence in words))
    reasons = [
        f"- **{candidate.name}**: {row['why']}"
        for candidate in findings.candidates
        for row in candidate.verdict["rows"]
        if not row["passed"]
    ]
    if reasons:
        page.text("Why the gate refused:\n\n" + "\n".join(reasons))


def _in_words(candidate: Candidate) -> str:
    """What its errors mean to those who act on its answers; empty where they were not measured."""
    measured = (candidate.measured(f"{name}_at_threshold", "test") for name in ("recall", "specificity"))
    rows = [row for row in measured if row and math.isfinite(row.value)]
    if len(rows) < 2:
        return ""
    missed, alarms = map(_shortfall, rows)
    return f"**{candidate.name}** misses {missed} of the cracked tiles and calls {alarms} of the sound ones cracked."


def _shortfall(row: Measurement) -> str:
    """What a share lacks to the whole, in percent, with its interval."""
    text = f"{100 - 100 * row.value:.1f} %"
    if row.low is None or row.high is None:
        return text
    return f"{text} [{100 - 100 * row.high:.1f}, {100 - 100 * row.low:.1f}]"


def _candidate(page: Page, candidate: Candidate, won: bool) -> None:
    page.heading(f"{'Winner' if won else 'Candidate'} {candidate.name}")
    for file, heading in SECTIONS.items():
        path = candidate.folder / file
        if path.exists():
            _embed(page, heading.format(candidate.name), path, level=3)


def _facts(page: Page, findings: Findings) -> None:
    run = findings.run
    facts = {
        "Job": run.job,
        "Written": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "Data": run.data_uri,
        "Data set version": run.dataset_digest,
        "Images": f"{run.images:,}",
        "Seed": str(run.seed),
        "Run note": run.note or "none",
        "Rule of selection": findings.choice["rule"],
    }
    page.heading("The run")
    page.table(["fact", "value"], list(facts.items()))


def _embed(page: Page, heading: str, path: str | Path, level: int) -> None:
    """Show another page's main part under a heading: its headings below this one, its anchors kept apart."""
    prefix = page.heading(heading, level)
    inside = main_of(path)
    inside = re.sub(r"<(/?)h([2-6])\b", lambda m: f"<{m[1]}h{min(int(m[2]) + level - 1, 6)}", inside)
    inside = re.sub(r'(<[^>]*\sid=")', rf"\g<1>{prefix}-", inside)
    page.html(re.sub(r'(<a\s[^>]*href="#)', rf"\g<1>{prefix}-", inside))


def _badge(candidate: Candidate) -> Badge:
    return Badge(candidate.verdict["passed"], "passed" if candidate.verdict["passed"] else "refused")
