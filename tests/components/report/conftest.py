"""Write reports from the dossiers of drawn_dossier.py."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from components.report.findings import Run, headline, read_findings, summarise
from components.report.page import write_report
from tests.browser import browser as browser
from tests.components.report.drawn_dossier import dossier, write_step_page

RUN = Run("job-1", "synthetic://?images=600&seed=1", 1, "after the <spring> inspection", "d" * 64, 600)
REGISTERED = {"registered": True, "name": "crack-classifier", "version": "3", "alias": "challenger", "reasons": []}
REFUSED = {"registered": False, "reasons": ["No candidate passed its gate."]}


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., tuple[str, dict]]:
    """Return a function that writes report.html and summary.json, and returns their contents.

    Its arguments are the verdict of each candidate, the winner, and for each candidate further arguments of `dossier`.
    If the winner is None, nothing is registered.
    """

    def write(passed: dict[str, bool], winner: str | None, **drawn: dict) -> tuple[str, dict]:
        folders = [dossier(tmp_path / name, name, verdict, **drawn.get(name, {})) for name, verdict in passed.items()]
        choice = {"winner": winner, "rule": "The highest AUROC.", "reasoning": "Because of this.", "candidates": passed}
        (tmp_path / "choice.json").write_text(json.dumps(choice))
        registration = json.dumps(REGISTERED if winner else REFUSED)
        findings = read_findings(RUN, folders, tmp_path / "choice.json", registration)
        pages = {name: write_step_page(tmp_path / f"{name}.html", f"about the {name}") for name in ("Data", "Split")}
        write_report(findings, pages, "Training", tmp_path / "report.html", tmp_path / "summary.json")
        summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
        assert summary == summarise(findings)
        assert headline(findings) == summary["outcome"]
        return (tmp_path / "report.html").read_text(encoding="utf-8"), summary

    return write
