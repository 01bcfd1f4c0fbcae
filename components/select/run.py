"""Select the winner among the candidates, and write the reasons."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.select.config import SelectConfig
from components.shared.errors import InputError
from components.shared.results.dossier import measurements_of, read_verdict
from components.shared.results.measurements import spoken
from components.shared.services.records import write_record
from components.shared.services.store import Store


@dataclass(frozen=True)
class Score:
    """One candidate's numbers. The rule compares them with the numbers of the other candidates.

    Attributes:
        score: The number that decides. `SelectConfig.on` says whether it is the metric's value or the lower end of the
            metric's interval.
        value: The metric's value.
        gigaflops: 10^9 floating-point operations for one image. It is infinite if it is unknown.
    """

    score: float
    value: float
    gigaflops: float


def choose(dossiers: Sequence[str | Path], choice_path: str | Path, config: SelectConfig, job: str) -> str:
    """Select the winner, write choice.json, and store it also as `runs/<job>/choice.json`.

    Args:
        dossiers: The folders that the gate step wrote, in the order of the candidates in the parameter file.
        choice_path: File to write: choice.json. It contains `winner` (null if no candidate passed), `rule`, `reasoning`
            and `candidates` (name -> passed).
        config: The rule.
        job: The pipeline job's id.

    Returns:
        The winner's name, or "" if no candidate passed.

    Raises:
        InputError: A candidate that passed does not have the measurement that the rule compares.
    """
    passed: dict[str, bool] = {}
    scores: dict[str, Score] = {}
    for folder in dossiers:
        verdict = read_verdict(folder)
        name = verdict["candidate"]
        passed[name] = verdict["passed"]
        if passed[name]:
            scores[name] = _score(folder, name, config)

    winner = _pick(scores, config.tie)
    choice = {
        "winner": winner,
        "rule": _rule(config),
        "reasoning": _reasoning(winner, scores, passed, config),
        "candidates": passed,
    }

    text = json.dumps(choice, indent=2) + "\n"
    Path(choice_path).write_text(text, encoding="utf-8")
    write_record(Store(config.store), f"runs/{job}/choice.json", choice)
    return winner or ""


def _score(folder: str | Path, candidate: str, config: SelectConfig) -> Score:
    measurements = measurements_of(folder)
    row = measurements.find(config.metric, config.split)
    score = getattr(row, config.on, None)
    if row is None or score is None or not math.isfinite(score):
        raise InputError(
            f'candidate "{candidate}" has no {_subject(config)}, so select cannot compare it with others; '
            "change select.metric, or set evaluate.resamples above 0 to get intervals"
        )

    cost = measurements.find("inference_gigaflops")
    gigaflops = math.inf
    if cost is not None and math.isfinite(cost.value):
        gigaflops = cost.value
    return Score(score, row.value, gigaflops)


def _pick(scores: dict[str, Score], tie: float) -> str | None:
    """Return the winner's name. Return None if there are no candidates.

    Among the tied candidates, the cheapest network wins. Among equally cheap networks, the highest value wins. Among
    equal values, the first candidate in the parameter file wins.
    """
    if not scores:
        return None
    tied = _tied(scores, tie)
    return min(tied, key=lambda name: (tied[name].gigaflops, -tied[name].value))


def _tied(scores: dict[str, Score], tie: float) -> dict[str, Score]:
    """Return the candidates whose score is at least the best score minus `tie`. The best candidate is included."""
    best = max(found.score for found in scores.values())
    return {name: found for name, found in scores.items() if found.score >= best - tie}


def _subject(config: SelectConfig) -> str:
    end = "lower end of the 95 % interval of " if config.on == "low" else ""
    return f"{end}{spoken(config.metric)} on {config.split}"


def _rule(config: SelectConfig) -> str:
    metric = spoken(config.metric)
    rule = f"Only candidates that passed the gate can win. The one with the highest {config.split} {metric} wins."
    if config.on == "low":
        rule = (
            "Only candidates that passed the gate can win. They are compared by the lower end of the 95 % interval of "
            f"{config.split} {metric}. The highest wins."
        )
    if config.tie:
        rule += f" Differences up to {config.tie:g} are a tie."
    return (
        f"{rule} In a tie, the cheapest network wins. If the cost is equal too, the highest {metric} wins. If "
        "this is equal too, the first candidate in the parameter file wins."
    )


def _reasoning(winner: str | None, scores: dict[str, Score], passed: dict[str, bool], config: SelectConfig) -> str:
    refused = ", ".join(name for name in passed if not passed[name])
    refusals = f" The gate refused {refused}." if refused else ""
    if winner is None:
        return f"No candidate passed the gate.{refusals}"

    metric = f"{config.split} {spoken(config.metric)}"
    chosen = f"{winner} was chosen by {metric}."
    subject = f"For {winner}, the value"
    if config.on == "low":
        subject = f"For {winner}, this lower end"
        chosen += " Candidates are compared by the lower end of the 95 % interval."
    if refused and len(scores) == 1:
        chosen = f"{winner} was chosen, because no other candidate passed the gate."
        subject = f"The lower end of the 95 % interval of its {metric}" if config.on == "low" else f"Its {metric}"
    numbers = f" {subject} is {_shown(scores[winner], config)}."
    for name, score in scores.items():
        if name != winner:
            numbers += f" For {name}, it is {_shown(score, config)}."
    return f"{chosen}{numbers}{_tie_in_words(winner, scores, config)}{refusals}"


def _tie_in_words(winner: str, scores: dict[str, Score], config: SelectConfig) -> str:
    """Return a sentence that says what decided a tie. Return "" if there was no tie."""
    won = scores[winner]
    tied = _tied(scores, config.tie)
    del tied[winner]
    if not tied:
        return ""

    as_cheap = [score for score in tied.values() if score.gigaflops == won.gigaflops]
    if not as_cheap:
        decided = "so the cheaper network won"
    elif won.value > max(score.value for score in as_cheap):
        decided = f"and no tied network is cheaper, so the higher {spoken(config.metric)} won"
    else:
        decided = (
            f"and no tied network is cheaper or has a higher {spoken(config.metric)}, so the first candidate in the "
            "parameter file won"
        )
    return f" The difference is a tie (at most {config.tie:g}), {decided}."


def _shown(found: Score, config: SelectConfig) -> str:
    details = []
    if config.on == "low":
        details.append(f"{spoken(config.metric)} {found.value:.4f}")
    if math.isfinite(found.gigaflops):
        details.append(f"{found.gigaflops:.3g} gigaflops per tile")
    remark = f" ({', '.join(details)})" if details else ""
    return f"{found.score:.4f}{remark}"
