"""Write the report. It begins with the outcome and the wrong answers. A click opens each of the other sections."""

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
from components.shared.results.false_alarms import false_alarms_in_words, rows_of_false_alarms
from components.shared.results.group_kind import interval_note
from components.shared.results.measurements import Measurement, footnote, shown_row, spoken
from components.shared.results.triage import triage_in_words

TEMPLATES = Path(__file__).parent / "templates"
PERCENT = "\N{NO-BREAK SPACE}%"
# Column in the table of candidates -> the measurement that it shows, and the split of this measurement.
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

WORDS = {
    "photo": "A whole image as the camera took it.",
    "tile": "A small square cut from a photo. The networks classify tiles.",
    "label": "What people have said about a tile: crack or no crack.",
    "near duplicates": "Tiles that show the same place almost identically.",
    "group": "Tiles that must stay in the same split: all tiles of one photo, near duplicates, and overlapping tiles.",
    "source": "A place that tiles come from, such as a folder. The data of a run can have several sources.",
    "sound concrete": "Concrete without cracks. A source of sound concrete has no tile with the label crack.",
    "surface": "The kind of structure that a tile shows: deck, pavement, wall or unknown.",
    "training split": "The tiles that a network learns from.",
    "validation split": "The tiles that decide which weights are saved, and which threshold the network gets.",
    "test split": "Tiles of photos that no candidate was trained on. The errors are counted on these tiles.",
    "robustness split": (
        "More test tiles. The networks classify them unchanged, and again with blur, noise, bad light and so on."
    ),
    "fine-tuning": "A network that was trained on other images is trained further on tiles of concrete.",
    "P(crack)": "The probability, 0 to 1, that a tile shows a crack, as a network estimates it.",
    "calibrated P(crack)": (
        "P(crack) after a correction. Of the tiles with the value 0.3, about 30 % should have a crack."
    ),
    "threshold": "The smallest P(crack) at which a network calls a tile a crack.",
    "needs review": "A person must look at the tile, because the network is not sure enough that it has no crack.",
    "accuracy": "The share of right answers.",
    "precision": "Of the tiles that the network calls a crack, the share that really has a crack.",
    "recall": "Of the tiles with a crack, the share that the network calls a crack.",
    "specificity": "Of the tiles without a crack, the share that the network answers with 'no crack'.",
    "F1": "The harmonic mean of precision and recall.",
    "AUROC": (
        "The probability that a cracked tile gets a higher P(crack) than a tile without a crack. Guessing gives 0.5."
    ),
    "95 % interval": "With other photos of the same kind, the number would be different, but probably in this range.",
    "gate": "The step that checks the limits of the parameter file. It refuses a network that does not meet them all.",
    "candidate": "A network that was trained in this run.",
    "challenger": "The best candidate that passed the gate. It is registered and waits for a person's decision.",
    "champion": "The model version that a person promoted. It is in use.",
    "drift": "A difference between new images and the images that a network was trained on.",
}


@dataclass(frozen=True)
class Tile:
    """A tile with a wrong answer. All fields are text for the template, and `uri` is the image as a data URI."""

    uri: str
    p_crack: str
    label: str
    origin: str
    path: str


@dataclass(frozen=True)
class TileGroup:
    """Missed cracks or false alarms. The remark says how many there are and how many of them are shown."""

    title: str
    remark: str
    tiles: list[Tile]


def write_report(
    findings: Findings, pages: Mapping[str, str | Path], title: str, page_path: str | Path, summary_path: str | Path
) -> dict[str, str]:
    """Write the page and the summary. Return both texts, under the keys `report.html` and `summary.json`.

    Args:
        findings: The findings of the run.
        pages: Heading in the report -> path of a page about all candidates. The report shows each page below its
            heading, in the order of this dict.
        title: The report's heading.
        page_path: File for the report, which is one self-contained HTML document.
        summary_path: File for the summary, in JSON. `findings.summarise` describes the summary.
    """
    page = Page(title)
    _first_screen(page, findings)
    page.contents()

    with page.fold("What the words mean"):
        page.table(["word", "meaning"], list(WORDS.items()))
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
        why_this_one = (
            f"This page shows {best.name} first, because it has the highest test AUROC of the refused candidates."
        )
    sentences = (_errors_in_words(best), why_this_one, best.verdict["champion"]["text"])
    page.text(_bullets(sentences))
    page.text(findings.run.note)

    style = (TEMPLATES / "wrong_answers.css").read_text(encoding="utf-8")
    page.html(f"<style>\n{style}</style>")
    _wrong_answers(page, best, level=2)
    page.text(triage_in_words(best.calibration.band, best.measurements))
    page.text(false_alarms_in_words(best.measurements))
    page.text(footnote(rows_of_false_alarms(best.measurements)))


def _bullets(sentences: Iterable[str]) -> str:
    """Return the sentences as a list in Markdown."""
    return "\n".join(map("- {}".format, sentences))


def _errors_in_words(candidate: Candidate) -> str:
    """Return sentences on the candidate's missed cracks and false alarms, as Markdown."""
    threshold = candidate.calibration.threshold
    missed = candidate.missed_cracks
    alarms = candidate.false_alarms
    miss_rate = _error_rate(candidate.measured("recall_at_threshold", "test"))
    alarm_rate = _error_rate(candidate.measured("specificity_at_threshold", "test"))
    return (
        f"**{candidate.name}** calls a tile a crack if the probability P(crack) is at least {threshold:.3g}. "
        f"It misses {missed.wrong:,} of {missed.asked:,} cracked test tiles{miss_rate}. "
        f"It raises a false alarm on {alarms.wrong:,} of {alarms.asked:,} tiles without a crack{alarm_rate}."
    )


def _error_rate(share_right: Measurement | None) -> str:
    """Return the share of wrong answers as text, in percent, with its interval.

    The text is empty if the share was not measured.

    Args:
        share_right: The share of right answers, 0 to 1.
    """
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
    """Append the missed cracks and the false alarms of a candidate as images."""
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
        remark = (
            f"{count}; {shown:,} are shown. These {shown:,} were chosen in rounds: first the most certain wrong answer "
            "of each photo, then the second most certain of each photo, and so on."
        )

    tiles = []
    for row in answers.shown.itertuples():
        label = spoken(CLASSES[row.label])
        origin = _origin(row.group_id, row.source)
        tiles.append(Tile(data_uri(row.image), f"{row.p_crack:.3f}", label, origin, row.path))
    return TileGroup(title, remark, tiles)


def _origin(group_id: str, source: str) -> str:
    """Return the name of the tile's photo. Return the id of its group if the photo is not known."""
    photo = group_id.removeprefix(f"{source}:")
    return f"group {group_id}" if photo == group_id else f"photo {photo}"


def _numbers(page: Page, findings: Findings) -> None:
    """Append the table of the candidates. Then append the errors of each candidate, and the reasons for refusals."""
    rows = []
    shown: list[Measurement | None] = []
    for candidate in findings.candidates:
        numbers = list(starmap(candidate.measured, COLUMNS.values()))
        shown += numbers
        passed = candidate.verdict["passed"]
        badge = Badge(passed, "passed" if passed else "refused")
        rows.append([candidate.name, *map(shown_row, numbers), badge])

    page.table(
        ["candidate", *COLUMNS, "gate"],
        rows,
        "Candidates after fine-tuning, measured on unchanged tiles. Brackets are 95 % intervals",
    )
    page.text(footnote(shown))
    page.text(interval_note(findings.best.test_answers["group_id"]))

    page.text("Each candidate uses its own threshold, as in production. It makes these errors:")
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
    """Show the main part of a page in a section of the report.

    The headings of this main part get a lower level, and its anchors get a prefix.
    """
    inside = re.sub(
        r"<(/?)h([2-6])\b",
        lambda tag: f"<{tag[1]}h{min(int(tag[2]) + level - 1, 6)}",
        main_of(path),
    )
    with page.fold(heading, level) as prefix:
        inside = re.sub(r'(<[^>]*\sid=")', rf"\g<1>{prefix}-", inside)
        page.html(re.sub(r'(<a\s[^>]*href="#)', rf"\g<1>{prefix}-", inside))
