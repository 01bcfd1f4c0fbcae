"""The winner among the candidates, and the reasoning behind the choice."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.select.config import SelectConfig
from components.shared.errors import InputError
from components.shared.results.dossier import measurements_of, read_verdict
from components.shared.results.measurements import spoken
from components.shared.services.store import Store


def choose(dossiers: Sequence[str | Path], choice_path: str | Path, config: SelectConfig, job: str) -> str:
    """Pick the winner, write choice.json and keep a copy in the store as `runs/<job>/choice.json`.

    Args:
        dossiers: Folders from gate, in the order of the candidates in the parameter file.
        choice_path: Written: winner (null where none passed), rule, reasoning, candidates (name -> passed).
        config: The rule.
        job: The pipeline job's id.

    Returns:
        The winner's name, "" where none passed.

    Raises:
        InputError: A candidate that passed lacks the measurement that the rule asks for.
    """
    verdicts = [read_verdict(folder) for folder in dossiers]
    passed = {verdict["candidate"]: verdict["passed"] for verdict in verdicts}
    scores = {
        verdict["candidate"]: _score(folder, verdict["candidate"], config)
        for folder, verdict in zip(dossiers, verdicts, strict=True)
        if verdict["passed"]
    }
    winner = _pick(scores, config.tie)
    choice = {
        "winner": winner,
        "rule": _rule(config),
        "reasoning": _reasoning(winner, scores, passed, config),
        "candidates": passed,
    }
    text = json.dumps(choice, indent=2) + "\n"
    Path(choice_path).write_text(text, encoding="utf-8")
    Store(config.store).put_bytes(f"runs/{job}/choice.json", text.encode())
    return winner or ""


@dataclass(frozen=True)
class Score:
    """What the rule compares of a candidate: the score, the metric's value, and 10^9 operations on an image."""

    score: float
    value: float
    cost: float


def _pick(scores: dict[str, Score], tie: float) -> str | None:
    if not scores:
        return None
    tied = _tied(scores, tie)
    return min(tied, key=lambda name: (tied[name].cost, -tied[name].value))  # of equals min takes the first


def _tied(scores: dict[str, Score], tie: float) -> dict[str, Score]:
    best = max(found.score for found in scores.values())
    return {name: found for name, found in scores.items() if found.score >= best - tie}


def _score(folder: str | Path, candidate: str, config: SelectConfig) -> Score:
    measurements = measurements_of(folder)
    row = measurements.find(config.metric, config.split)
    score = getattr(row, config.on, None)
    if row is None or score is None or not math.isfinite(score):
        raise InputError(
            f'candidate "{candidate}" has no {_subject(config)}, by which the winner is selected; '
            "change the selection's metric, or measure intervals (resamples above 0)"
        )

    gigaflops = measurements.find("inference_gigaflops")
    known = gigaflops is not None and math.isfinite(gigaflops.value)
    return Score(score, row.value, gigaflops.value if gigaflops and known else math.inf)


def _subject(config: SelectConfig) -> str:
    end = "lower end of the 95 % interval of " if config.on == "low" else ""
    return f"{end}{spoken(config.metric)} on {config.split}"


def _rule(config: SelectConfig) -> str:
    tie = f"; differences up to {config.tie:g} are ties" if config.tie else ""
    of_ties = f"of ties, the cheapest on an image, then the highest {spoken(config.metric)}, then the one listed first"
    return f"Of the candidates that passed, the highest {_subject(config)}{tie}; {of_ties}."


def _reasoning(winner: str | None, scores: dict[str, Score], passed: dict[str, bool], config: SelectConfig) -> str:
    refused = [name for name, verdict in passed.items() if not verdict]
    left = f" Refused by the gate: {', '.join(refused)}." if refused else ""
    if winner is None:
        return f"No candidate passed its gate.{left}"
    shown = {name: _shown(found) for name, found in scores.items()}
    others = ", ".join(f"{name} {text}" for name, text in shown.items() if name != winner)
    against = f", against {others}" if others else ", the only one that passed" if refused else ""
    rivals = [found.cost for name, found in _tied(scores, config.tie).items() if name != winner]
    tie = (
        f" A tie, up to {config.tie:g}, won by the cheaper network."
        if scores[winner].cost < min(rivals, default=0)
        else ""
    )
    return f"{winner} was chosen: {_subject(config)} {shown[winner]}{against}.{tie}{left}"


def _shown(found: Score) -> str:
    cost = f", {found.cost:.3g} gigaflops an image" if math.isfinite(found.cost) else ""
    return f"{found.score:.4f} (value {found.value:.4f}{cost})"
