import json
import math
import re
from pathlib import Path

import pytest

from components.report.findings import Run, headline, read_findings, summarise
from components.report.page import write_report
from components.shared.page import Page
from components.shared.results.measurements import Measurement, write_measurements
from components.shared.results.slices import Slice

RUN = Run("job-1", "synthetic://?images=600&seed=1", 1, "after the <spring> inspection", "d" * 64, 600)
REGISTERED = json.dumps(
    {"registered": True, "name": "crack-classifier", "version": "3", "alias": "challenger", "reasons": []}
)
REFUSED = json.dumps({"registered": False, "reasons": ["No candidate passed its gate."]})


def limit(passed: bool) -> dict:
    place = {"name": "recall", "split": "test", "slice": "all", "condition": "after"}
    why = f"Recall on test is {'0.97, as asked' if passed else '0.61, but must be'} at least 0.9."
    value = {"value": 0.97 if passed else 0.61, "low": None, "high": None}
    return {**place, **value, "op": ">=", "limit": 0.9, "passed": passed, "why": why}


def dossier(folder: Path, name: str, passed: bool) -> Path:
    folder.mkdir()
    verdict = {"candidate": name, "passed": passed, "rows": [limit(passed)], "champion": {"text": "No champion yet."}}
    (folder / "verdict.json").write_text(json.dumps(verdict))
    rows = [
        Measurement("accuracy", 0.31, condition="before"),
        Measurement("accuracy", 0.9625, low=0.93, high=0.98, n=60),
        Measurement("accuracy", 0.5, slice=Slice.of(surface="wall")),
        Measurement("f1", 0.95),
        Measurement("auroc", math.nan, note="one class only"),
        Measurement("accuracy", 0.8125, split="robustness"),
        Measurement("recall_at_threshold", 0.9625, low=0.91, high=0.99),
        Measurement("specificity_at_threshold", 0.85 if passed else math.nan),
    ]
    write_measurements(rows, folder / "measurements.parquet")
    for section in ("evaluation", "explanation", "drift"):
        write_step_page(folder / f"{section}.html", f"the {section} text of {name}")
    return folder


def write_step_page(path: Path, text: str) -> Path:
    page = Page(f"Page {path.stem}")
    page.contents()
    page.heading("Details")
    page.text(text)
    page.heading("Deeper", 3)
    page.write(path)
    return path


@pytest.fixture
def report(tmp_path):
    def write(passed: dict[str, bool], winner: str | None, registration: str) -> tuple[str, dict]:
        folders = [dossier(tmp_path / name, name, verdict) for name, verdict in passed.items()]
        choice = {"winner": winner, "rule": "The highest AUROC.", "reasoning": "Because of this.", "candidates": passed}
        (tmp_path / "choice.json").write_text(json.dumps(choice))
        findings = read_findings(RUN, folders, tmp_path / "choice.json", registration)
        pages = {name: write_step_page(tmp_path / f"{name}.html", f"about the {name}") for name in ("Data", "Split")}
        write_report(findings, pages, "Training", tmp_path / "report.html", tmp_path / "summary.json")
        summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
        assert summary == summarise(findings)
        assert headline(findings) == summary["outcome"]
        return (tmp_path / "report.html").read_text(encoding="utf-8"), summary

    return write


def test_the_summary_holds_the_numbers_after_fine_tuning(report):
    _, summary = report({"cnn": False, "vit": True}, "vit", REGISTERED)
    cnn = summary["candidates"]["cnn"]
    deployed = {"recall_at_threshold": 0.9625, "specificity_at_threshold": None}
    assert cnn["test"] == {"accuracy": 0.9625, "f1": 0.95, "auroc": None} | deployed
    assert cnn["robustness"]["accuracy"] == 0.8125
    assert cnn["passed"] is False
    assert cnn["verdict"][0]["why"].startswith("Recall on test is 0.61")
    assert summary["winner"] == "vit"
    assert summary["model"] == {"name": "crack-classifier", "version": "3", "alias": "challenger"}
    assert (summary["dataset_digest"], summary["seed"], summary["images"]) == ("d" * 64, 1, 600)


def test_the_page_opens_with_the_outcome_and_shows_every_part(report):
    page, summary = report({"cnn": False, "vit": True}, "vit", REGISTERED)
    assert summary["outcome"] == "vit registered as crack-classifier version 3, challenger"
    shown = [summary["outcome"], "after the &lt;spring&gt; inspection", "0.9625 [0.930, 0.980]", "✗ refused"]
    shown += ["<strong>cnn</strong>: Recall on test is 0.61", ">Winner vit</h2>", "the evaluation text of vit"]
    shown += ["the drift text of vit", ">Candidate cnn</h2>", "the explanation text of cnn", "about the Data", "d" * 64]
    positions = [page.index(text) for text in shown]
    assert positions == sorted(positions)


def test_the_errors_are_told_in_words_where_they_are_known(report):
    page, _ = report({"cnn": False, "vit": True}, "vit", REGISTERED)
    assert "<strong>vit</strong> misses 3.8 % [1.0, 9.0] of the cracked tiles and calls 15.0 % of the sound" in page
    assert "<strong>cnn</strong> misses" not in page


def test_embedded_pages_keep_their_links_apart_and_their_headings_below(report):
    page, _ = report({"cnn": True, "vit": True}, "cnn", REGISTERED)
    identifiers = re.findall(r'\bid="([^"]*)"', page)
    assert len(identifiers) == len(set(identifiers))
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(identifiers)
    assert page.count("<h1") == 1
    headings = re.findall(r"<h(\d)[^>]*>([^<]*)", page)
    assert ("3", "Evaluation of cnn") in headings
    assert ("4", "Details") in headings
    assert ("2", "Data") in headings
    assert ("3", "Details") in headings
    assert ("2", "Details") not in headings


def test_a_refusal_is_told_with_its_reasons(report):
    page, summary = report({"cnn": False}, None, REFUSED)
    assert summary["outcome"] == "No candidate passed; nothing was registered"
    assert summary["winner"] is None
    assert summary["model"] is None
    assert 'class="callout fail"' in page
    assert "Recall on test is 0.61, but must be at least 0.9." in page


def test_steps_that_wrote_no_page_are_left_out(report, tmp_path):
    page, _ = report({"cnn": True}, "cnn", REGISTERED)
    assert "Training of cnn" not in page
    assert "Explanation of cnn" in page
