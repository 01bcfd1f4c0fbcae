"""Commands for the weights that trainings start from."""

from pathlib import Path
from typing import Annotated

import typer

from components.shared.errors import InputError
from pipelines.cli.options import Debug, reporting_errors

commands = typer.Typer()
weights = typer.Typer(help="Check files of pretrained weights.", no_args_is_help=True)
commands.add_typer(weights, name="weights")


@commands.command()
def mirror_weights(
    architectures: Annotated[
        list[str], typer.Argument(help="Names of architectures in timm, such as resnet50.", metavar="ARCH…")
    ],
    to: Annotated[str, typer.Option(help="S3 folder for the copies: s3://BUCKET/PREFIX.")],
    debug: Debug = False,
) -> None:
    """Copy published weights from timm's hub to S3, for clusters that cannot reach the hub.

    For each architecture, print the setting for the parameter file: weights: s3://BUCKET/PREFIX/NAME.
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
    architecture: Annotated[str, typer.Option(help="Name of the architecture in timm, such as resnet50.")],
    input_size: Annotated[int, typer.Option(help="Height and width of the tiles, pixels.", min=32, max=1024)] = 224,
    debug: Debug = False,
) -> None:
    """Check that a file contains usable weights of an architecture. A training makes the same checks.

    The tensors must have the right names and shapes. Their values must be possible for a trained network. Different
    tiles must have different embeddings. The weights must expect the normalisation that timm names for the
    architecture.
    """
    with reporting_errors(debug):
        from components.shared.network.network import build_network, describe, try_on_tiles

        if not Path(file).is_file():
            raise InputError(f'weights file "{file}" does not exist; give the path of a file on this machine')
        network = build_network(describe(architecture, file, input_size, seed=0)).eval()
        try_on_tiles(network)
        info = network.info
        tensors = len(network.backbone.state_dict())
        print(f"{file}: weights of {architecture}, {tensors} tensors, sha256 {info.weights_sha256}")
        print(f"tiles are normalised with mean {info.mean} and std {info.std}")
