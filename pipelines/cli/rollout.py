"""The command that rolls out model versions to the servers on a cluster."""

from enum import StrEnum
from typing import Annotated

import typer

from pipelines.cli.options import MODEL, MOST_SECONDS, Debug, Name, reporting_errors

commands = typer.Typer()


class Act(StrEnum):
    """What `rollout` does."""

    CHAMPION = "champion"
    SHADOW = "shadow"
    CANARY = "canary"
    STOP = "stop"


@commands.command()
def rollout(
    act: Annotated[
        Act,
        typer.Argument(
            help="champion: serve the version that is champion now. shadow: the challenger gets a copy of every "
            "request, and nobody sees its answers. canary: it answers a part of the requests. stop: it gets none."
        ),
    ],
    weight: Annotated[
        int, typer.Option(help="canary: percentage of the requests that the challenger answers.", min=1, max=99)
    ] = 10,
    namespace: Annotated[str, typer.Option(help="Namespace of the servers.")] = "crack",
    timeout: Annotated[
        int, typer.Option(help="Seconds until the new pods must be ready.", min=1, max=MOST_SECONDS)
    ] = 1800,
    name: Name = MODEL,
    debug: Debug = False,
) -> None:
    """Serve a new champion on the cluster, or try the challenger there, without downtime.

    The servers are those of manifests/components/serving. The versions come from the aliases in the registry of
    MLFLOW_TRACKING_URI. Everything is checked before anything is changed. If the new pods do not get ready, the old
    ones keep answering.
    """
    with reporting_errors(debug):
        from pipelines.cluster.rollout import roll_out_champion, stop_trial, try_challenger
        from pipelines.cluster.serving import Serving
        from pipelines.registry.access import reached

        def say(news: str) -> None:
            print(news, flush=True)

        with reached(None):
            serving = Serving(namespace)
            if act is Act.CHAMPION:
                roll_out_champion(serving, name, timeout, say)
            elif act is Act.STOP:
                stop_trial(serving, say)
            else:
                try_challenger(serving, name, weight if act is Act.CANARY else 0, timeout, say)
