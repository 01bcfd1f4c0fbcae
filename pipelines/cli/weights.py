"""Commands for the weights that trainings start from."""

from pathlib import Path
from typing import Annotated

import typer

from components.shared.errors import InputError
from pipelines.cli.options import Debug, reporting_errors

commands = typer.Typer()
weights = typer.Typer(help="Look at files of pretrained weights.", no_args_is_help=True)
commands.add_typer(weights, name="weights")


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
        # Check every name before the first copy.
        for architecture in architectures:
            hub_place(architecture)
        for architecture in architectures:
            print(f"{architecture}: weights: {mirror(architecture, store)}")


@weights.command()
def check(
    file: Annotated[str, typer.Argument(help="Weights file: safetensors, a state dict of PyTorch, or npz.")],
    architecture: Annotated[str, typer.Option(help="timm name, such as resnet50.")],
    input_size: Annotated[int, typer.Option(help="Height and width of the tiles, pixels.")] = 224,
    debug: Debug = False,
) -> None:
    """Check that a file holds usable weights of an architecture, as a training would.

    It checks names and shapes, that all values are finite and vary, and the normalisation that the weights expect.
    """
    with reporting_errors(debug):
        from components.shared.network.network import build_network, describe

        if not Path(file).is_file():
            raise InputError(f'weights file "{file}" does not exist; give the path of a file on this machine')
        network = build_network(describe(architecture, file, input_size, seed=0))
        info = network.info
        tensors = len(network.backbone.state_dict())
        print(f"{file}: weights of {architecture}, {tensors} tensors, sha256 {info.weights_sha256}")
        print(f"images are normalised with mean {info.mean} and std {info.std}")
