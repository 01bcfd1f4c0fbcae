"""Compose the message that says how a run ended."""

from components.notify.config import NotifyConfig
from components.notify.ended_run import EndedRun, Ending
from components.shared.events import log

MAX_CAUSE_CHARACTERS = 600  # a webhook refuses long texts
MARKS = {
    Ending.SUCCEEDED: "✅",
    Ending.REFUSED: "🚫",
    Ending.FAILED: "❌",
    Ending.STOPPED: "⏹️",
    Ending.UNKNOWN: "❔",
}
WITHOUT_CAUSE = (
    "No step recorded an error. Either a step failed before our code ran (its container image or an import), or its "
    "pod was killed (out of memory, evicted, over its time limit). The run's page in KFP shows the failed step and its "
    "log."
)
STOPPED = "A person or the run's time limit stopped the run, or Kubernetes ended its pods."


def compose(run: EndedRun, config: NotifyConfig) -> str:
    """Return the message: how the run ended, the failed steps with their errors, the results, and the link.

    Args:
        run: The run and what its steps left in the store.
        config: Gives the name of the experiment and the link.
    """
    lines = [f"{MARKS[run.ending]} {config.experiment}, job {run.job}: {run.ending}"]
    if not run.is_known:
        lines.append(f'KFP gives the final state "{run.state}", which the step notify does not know.')

    if run.unreadable:
        lines.append(f"The records of the steps in the store could not be read: {run.unreadable}")
    elif run.ending == Ending.FAILED:
        lines += _causes(run)
    elif run.ending == Ending.STOPPED:
        lines.append(STOPPED)
    lines += _results(run)

    if config.link:
        lines.append(config.link.replace("{job}", run.job))
    return "\n".join(lines)


def _causes(run: EndedRun) -> list[str]:
    log.info("%d steps recorded an error", len(run.causes))
    if not run.causes:
        return [WITHOUT_CAUSE]

    lines = []
    for cause in run.causes:
        message = cause["message"]
        if cause["kind"] != "input":  # the message of an InputError is clear without the type
            message = f"{cause['type']}: {message}"
        if len(message) > MAX_CAUSE_CHARACTERS:
            message = message[: MAX_CAUSE_CHARACTERS - 1] + "…"
        lines.append(f"Step {cause['step']}: {message}")
    return lines


def _results(run: EndedRun) -> list[str]:
    """Return lines that say what the run found or registered before it ended."""
    if run.drift:
        lines = [f"Drift check of {run.drift['images']}: {run.drift['verdict']}. {run.drift['reason']}."]
        if run.training:
            lines.append(run.training["said"])
        return lines

    if not run.choice:
        return []
    if not run.choice["winner"]:
        result = "Nothing was registered."
    elif run.registration:
        registered = run.registration
        result = f"Registered {registered['name']} version {registered['version']} as {registered['alias']}."
    else:
        result = f"Winner: {run.choice['winner']}."
    return [f"{result} {run.choice['reasoning']}"]
