"""Roll out the versions that the registry's aliases name: a new champion, or a trial of the challenger.

Everything is checked before anything is changed, and the cluster is asked whether it would accept each change. New pods
must be ready before old ones end, and before the route sends requests to them.
"""

from collections.abc import Callable
from functools import partial

from components.shared.errors import InputError
from components.shared.services import mlflow_runs
from pipelines.cluster.serving import CHALLENGER, CHAMPION, Serving, State
from pipelines.cluster.serving_objects import Rules, with_traffic
from pipelines.registry.served_files import require_servable

Say = Callable[[str], None]


def roll_out_champion(serving: Serving, name: str, seconds: float, say: Say) -> None:
    """Let the champion's server serve the version that has the alias `champion`.

    Args:
        serving: The servers.
        name: Name of the registered model.
        seconds: How long to wait for the pods.
        say: Called with each piece of news.

    Raises:
        InputError: No version has the alias, the version cannot be served, or its pods do not get ready. In the last
            case, the server is told to serve the version from before, whose pods have answered all the time.
    """
    model = _model(name, mlflow_runs.CHAMPION)
    before = serving.state(CHAMPION)
    after = State(model, before.replicas)
    serving.set_state(CHAMPION, after, dry_run=True)
    _serve(serving, CHAMPION, before, after, seconds, say)


def try_challenger(serving: Serving, name: str, weight: int, seconds: float, say: Say) -> None:
    """Send requests to the version that has the alias `challenger`.

    Args:
        serving: The servers.
        name: Name of the registered model.
        weight: Percentage of the requests that the challenger answers, 1 to 99. 0: it gets a copy of every request, and
            nobody sees its answers.
        seconds: How long to wait for the pods.
        say: Called with each piece of news.

    Raises:
        InputError: No version has the alias, the version cannot be served or is the champion, no Gateway uses the
            route, or the pods do not get ready. Then the route is not changed.
    """
    model = _model(name, mlflow_runs.CHALLENGER)
    champion = serving.state(CHAMPION)
    if model == champion.model or model.endswith(f"/{mlflow_runs.version_by_alias(name, mlflow_runs.CHAMPION)}"):
        raise InputError(f"{model} is champion and challenger, so there is nothing to try; train a new challenger")
    serving.require_route()

    before = serving.state(CHALLENGER)
    after = State(model, champion.replicas)
    traffic = _traffic(serving, weight, mirror=not weight)
    serving.set_state(CHALLENGER, after, dry_run=True)
    serving.set_rules(traffic, dry_run=True)

    _serve(serving, CHALLENGER, before, after, seconds, say)
    _send(serving, traffic)
    say(f"{model} answers {weight} % of the requests" if weight else f"{model} gets a copy of every request")


def stop_trial(serving: Serving, say: Say) -> None:
    """Send all requests to the champion only, and end the challenger's pods.

    Raises:
        InputError: No Gateway uses the route.
    """
    serving.require_route()
    challenger = serving.state(CHALLENGER)
    stopped = State(challenger.model, 0)
    traffic = _traffic(serving, 0, mirror=False)
    serving.set_rules(traffic, dry_run=True)
    serving.set_state(CHALLENGER, stopped, dry_run=True)

    _send(serving, traffic)
    serving.set_state(CHALLENGER, stopped)
    say("the champion answers all requests, and the challenger has no pods")


def _model(name: str, alias: str) -> str:
    """Return the URI of the version that has an alias. Raise InputError if there is none, or if it cannot be served."""
    number = mlflow_runs.version_by_alias(name, alias)
    if number is None:
        raise InputError(
            f"no version of {name} has the alias {alias}; `crack-pipeline status` shows the versions. A training "
            "registers a challenger, and `crack-pipeline promote` makes it champion"
        )
    require_servable(name, number)
    return f"models:/{name}/{number}"


def _serve(serving: Serving, server: str, before: State, after: State, seconds: float, say: Say) -> None:
    """Tell a server what to serve, and wait for its pods. If they fail, tell it to serve what it served before."""
    if before == after:
        say(f"{server} is told to serve {after.model} already")
    else:
        say(f"{server}: {after.replicas} pods with {after.model}, instead of {before.replicas} with {before.model}")
        serving.set_state(server, after)
    try:
        serving.wait(server, after, seconds)
    except (InputError, KeyboardInterrupt):
        serving.set_state(server, before)
        say(f"{server}: back to {before.replicas} pods with {before.model}")
        raise
    say(f"{server}: all pods are ready and serve {after.model}")


def _traffic(serving: Serving, weight: int, mirror: bool) -> Callable[[Rules], Rules]:
    form = serving.form
    return partial(
        with_traffic,
        champion=f"{CHAMPION}{form.suffix}",
        challenger=f"{CHALLENGER}{form.suffix}",
        port=form.port,
        weight=weight,
        mirror=mirror,
    )


def _send(serving: Serving, traffic: Callable[[Rules], Rules]) -> None:
    """Change the route. If a Gateway does not use it then, change it back."""
    rules = serving.rules()
    serving.set_rules(traffic)
    problem = serving.wait_for_route()
    if problem:
        serving.set_rules(lambda _: rules)
        raise InputError(f"the route was changed back, because requests would not reach the servers: {problem}")
