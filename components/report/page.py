"""Write the report: the outcome and the wrong answers first, then everything else in sections that fold."""

import datetime
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path

from components.report.findings import Candidate, Findings, WrongAnswers, headline, summarise
from components.shared.data.manifest import CLASSES
from components.shared.page import Badge, Page, data_uri, main_of, templates
from components.shared.results.dossier import DRIFT, EVALUATION, EXPLANATION, PROMOTION, TRAINING
from components.shared.results.measurements import Measurement, footnote, shown_row, spoken

TEMPLATES = Path(__file__).parent / "templates"
PERCENT = "\N{NO-BREAK SPACE}%"
# Column in the table of candidates -> measurement and split.
COLUMNS = {
    "test accuracy": ("accuracy", "test"),
    "test F1": ("f1", "test"),
    "test AUROC": ("auroc", "test"),
    "robustness accuracy": ("accuracy", "robustness"),
}
SECTIONS = {
    PROMOTION: "Should {} be promoted?",
    TRAINING: "Training of {}",
    EVALUATION: "Evaluation of {}",
    EXPLANATION: "Explanation of {}",
    DRIFT: "Drift of {}",
}


@dataclass(frozen=True)
class Tile:
    """A wrongly answered tile, as text for the template. `uri` contains the image as a data URI."""

    uri: str
    p_crack: str
    label: str
    origin: str
    path: str


@dataclass(frozen=True)
class TileGroup:
    """Wrong answers of one kind: a title, a remark on how many there are and how many are shown, and the tiles."""

    title: str
    remark: str
    tiles: list[Tile]


def write_report(
    findings: Findings, pages: Mapping[str, str | Path], title: str, page_path: str | Path, summary_path: str | Path
) -> dict[str, str]:
    """Write the page and the summary, and return them as `report.html` and `summary.json`.

    Args:
        findings: The findings of the run.
        pages: Heading -> page of a step that concerns all candidates, in the order in which the report shows them.
        title: The report's heading.
        page_path: A file; the report is written to it as one self-contained HTML document.
        summary_path: A file; the summary is written to it as JSON, see `findings.summarise`.
    """
    page = Page(title)
    _first_screen(page, findings)
    page.contents()

    with page.fold("The candidates in numbers"):
        _numbers(page, findings)
    for candidate in findings.candidates:
        _candidate(page, candidate, findings)
    for heading, path in pages.items():
        _embed(page, heading, path, level=2)
    with page.fold("The run"):
        _facts(page, findings)
    page.write(page_path)

    summary = json.dumps(summarise(findings), indent=2, allow_nan=False) + "\n"
    Path(summary_path).write_text(summary, encoding="utf-8")
    return {"report.html": Path(page_path).read_text(encoding="utf-8"), "summary.json": summary}


def _first_screen(page: Page, findings: Findings) -> None:
    best = findings.best
    registered = findings.registration["registered"]

    verdict = [headline(findings)]
    if registered:
        version = findings.registration["version"]
        verdict.append(f"To promote it: `crack-pipeline promote {version}` `--by NAME` `--why REASON`")
    else:
        verdict += best.reasons_for_refusal()
    page.callout("\n\n".join(verdict), passed=registered)

    why_this_one = findings.choice["reasoning"]
    if findings.choice["winner"] is None:
        why_this_one = f"{best.name} is shown here: of the refused candidates, it has the highest AUROC on test."
    sentences = (_errors_in_words(best), why_this_one, best.verdict["champion"]["text"])
    page.text(_bullets(sentences))
    page.text(findings.run.note)

    style = (TEMPLATES / "wrong_answers.css").read_text(encoding="utf-8")
    page.html(f"<style>\n{style}</style>")
    _wrong_answers(page, best, level=2)


def _bullets(sentences: Iterable[str]) -> str:
    """Return the sentences as a list in Markdown."""
    return "\n".join(map("- {}".format, sentences))


def _errors_in_words(candidate: Candidate) -> str:
    """Return sentences on the candidate's missed cracks and false alarms, as Markdown."""
    missed = candidate.missed_cracks
    alarms = candidate.false_alarms
    miss_rate = _error_rate(candidate.measured("recall_at_threshold", "test"))
    alarm_rate = _error_rate(candidate.measured("specificity_at_threshold", "test"))
    return (
        f"**{candidate.name}** calls a tile a crack if P(crack) is at least {candidate.threshold:.3g}. "
        f"It misses {missed.wrong:,} of {missed.asked:,} cracked test tiles{miss_rate}. "
        f"It raises a false alarm on {alarms.wrong:,} of {alarms.asked:,} tiles without a crack{alarm_rate}."
    )


def _error_rate(share_right: Measurement | None) -> str:
    """Return the share of wrong answers in percent, with its interval; empty if it was not measured."""
    if share_right is None or not math.isfinite(share_right.value):
        return ""

    rate = f", {_complement(share_right.value)}{PERCENT}"
    if share_right.low is None or share_right.high is None:
        return rate
    lowest = _complement(share_right.high)
    highest = _complement(share_right.low)
    return f"{rate} (95{PERCENT} interval {lowest} to {highest}{PERCENT})"


def _complement(share: float) -> str:
    """Return 1 minus a share, in percent."""
    return f"{100 - 100 * share:.1f}"


def _wrong_answers(page: Page, candidate: Candidate, level: int) -> None:
    """Append missed cracks and false alarms as images."""
    groups = [
        _tile_group(f"Cracks that {candidate.name} misses", "cracked test tiles", candidate.missed_cracks),
        _tile_group(f"False alarms of {candidate.name}", "test tiles without a crack", candidate.false_alarms),
    ]
    template = templates(TEMPLATES).get_template("wrong_answers.html")
    page.html(template.render(groups=groups, level=level))


def _tile_group(title: str, asked: str, answers: WrongAnswers) -> TileGroup:
    count = f"{answers.wrong:,} of {answers.asked:,} {asked}"
    shown = len(answers.shown)
    if answers.wrong == 0:
        remark = f"There are none: all {answers.asked:,} {asked} are answered correctly."
    elif shown == 0:
        remark = f"{count}. None is shown, because gate.wrong_tiles is 0."
    elif shown == answers.wrong:
        remark = f"{count}; all are shown."
    else:
        remark = f"{count}; {shown:,} are shown, the most certain wrong answers of each photo first."

    tiles = []
    for row in answers.shown.itertuples():
        label = spoken(CLASSES[row.label])
        origin = _origin(row.group_id, row.source)
        tiles.append(Tile(data_uri(row.image), f"{row.p_crack:.3f}", label, origin, row.path))
    return TileGroup(title, remark, tiles)


def _origin(group_id: str, source: str) -> str:
    """Return the name of the tile's photo, or its group if the photo is not known."""
    photo = group_id.removeprefix(f"{source}:")
    return f"group {group_id}" if photo == group_id else f"photo {photo}"


def _numbers(page: Page, findings: Findings) -> None:
    """Append the table of all candidates, their errors in words, and why the gate refused some of them."""
    rows = []
    shown: list[Measurement | None] = []
    for candidate in findings.candidates:
        numbers = list(starmap(candidate.measured, COLUMNS.values()))
        shown += numbers
        passed = candidate.verdict["passed"]
        badge = Badge(passed, "passed" if passed else "refused")
        rows.append([candidate.name, *map(shown_row, numbers), badge])

    page.table(["candidate", *COLUMNS, "gate"], rows, "Candidates after fine-tuning; brackets are 95 % intervals")
    page.text(footnote(shown))

    page.text("These are each candidate's errors with its own threshold, as it would be deployed:")
    page.text(_bullets(map(_errors_in_words, findings.candidates)))

    reasons = []
    for candidate in findings.candidates:
        for reason in candidate.reasons_for_refusal():
            reasons.append(f"**{candidate.name}**: {reason}")
    if reasons:
        page.text("Why the gate refused a candidate:")
        page.text(_bullets(reasons))


def _candidate(page: Page, candidate: Candidate, findings: Findings) -> None:
    """Append a candidate's section: its pages, and its wrong answers if the first screen does not show them."""
    won = candidate.name == findings.choice["winner"]
    kind = "Winner" if won else "Candidate"
    with page.fold(f"{kind} {candidate.name}"):
        if candidate is not findings.best:
            with page.fold(f"Wrong answers of {candidate.name}", level=3):
                _wrong_answers(page, candidate, level=4)

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
        "Tiles": f"{run.images:,}",
        "Seed": str(run.seed),
        "Run note": run.note or "none",
        "Rule of selection": findings.choice["rule"],
    }
    page.table(["fact", "value"], list(facts.items()))


def _embed(page: Page, heading: str, path: str | Path, level: int) -> None:
    """Show the main part of another page in a section. Its headings get a lower level, and its anchors a prefix."""
    inside = re.sub(
        r"<(/?)h([2-6])\b",
        lambda tag: f"<{tag[1]}h{min(int(tag[2]) + level - 1, 6)}",
        main_of(path),
    )
    with page.fold(heading, level) as prefix:
        inside = re.sub(r'(<[^>]*\sid=")', rf"\g<1>{prefix}-", inside)
        page.html(re.sub(r'(<a\s[^>]*href="#)', rf"\g<1>{prefix}-", inside))
