"""Commands for the weights that trainings start from."""

from typing import Annotated

import typer

from pipelines.cli.options import Debug, reporting_errors

commands = typer.Typer()


@commands.command()
def mirror_weights(
    architectures: Annotated[list[str], typer.Argument(help="timm names, such as resnet50.", metavar="ARCH…")],
    to: Annotated[str, typer.Option(help="Where the copies go, s3://BUCKET/PREFIX.")],
    debug: Debug = False,
) -> None:
    """Copy published weights from timm's hub to S3, for clusters that cannot reach the hub.

    Prints the setting for each: weights: s3://BUCKET/PREFIX/NAME.
    """
    with reporting_errors(debug):
        from components.shared.network.weights import hub_place, mirror
        from components.shared.services.store import Store

        store = Store(to)
        for architecture in architectures:
            hub_place(architecture)  # every name is checked before anything is copied
        for architecture in architectures:
            print(f"{architecture}: weights: {mirror(architecture, store)}")
