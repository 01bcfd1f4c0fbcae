"""Commands for the weights that trainings start from."""

from pathlib import Path
from typing import Annotated

import typer

from components.shared.errors import InputError
from pipelines.cli.options import Debug, reporting_errors

commands = typer.Typer()
weights = typer.Typer(help="Check and convert files of pretrained weights.", no_args_is_help=True)
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
        print(f"tiles are {info.preprocessing}")


@weights.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A state dict of PyTorch, a checkpoint of Lightning, or safetensors.")],
    architecture: Annotated[str, typer.Option(help="Name of the architecture in timm, such as resnet50.")],
    out: Annotated[Path, typer.Option(help="File to write. Its name ends in .safetensors.")],
    mean: Annotated[
        tuple[float, float, float] | None,
        typer.Option(help="Mean of red, green and blue (0 to 1) that the weights expect. Default: that of timm."),
    ] = None,
    std: Annotated[
        tuple[float, float, float] | None, typer.Option(help="Standard deviation, in the same way as the mean.")
    ] = None,
    interpolation: Annotated[
        str | None, typer.Option(help="How the images of the pretraining were scaled: bilinear or bicubic.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights, such as apache-2.0.")] = "",
    source: Annotated[str, typer.Option(help="Where the weights come from. Default: the name of the file.")] = "",
    prefix: Annotated[
        str | None, typer.Option(help="Prefix of the names in the file, such as model. (with the dot). Default: found.")
    ] = None,
    input_size: Annotated[int, typer.Option(help="Height and width of the tiles, pixels.", min=32, max=1024)] = 224,
    debug: Debug = False,
) -> None:
    """Convert a weights file of another program to a file that the setting `weights` accepts.

    The new file has timm's names, and says which architecture, normalisation and licence the weights have. It is
    checked like a file in `weights check`, and is written only if a training would accept it.
    """
    with reporting_errors(debug):
        from pydantic import ValidationError

        from components.shared.network.weights_import import import_weights
        from components.shared.network.weights_metadata import WeightsMetadata
        from pipelines.output_files import require_outputs

        if not file.is_file():
            raise InputError(f'weights file "{file}" does not exist; give the path of a file on this machine')
        require_outputs({"--out": out}, [file])
        if (mean is None) != (std is None):
            raise InputError("only one of --mean and --std is given; give both or neither")
        fields = {"architecture": architecture, "mean": mean, "std": std, "interpolation": interpolation}
        fields |= {"licence": licence, "source": source or file.name}
        try:
            metadata = WeightsMetadata.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(f"--{first['loc'][0]}: {first['msg']} (got {first['input']})") from error

        done = import_weights(file, out, metadata, input_size, prefix)
        print(f"{out}: weights of {architecture}, {done.tensors} tensors, sha256 {done.info.weights_sha256}")
        print(f"the names were found {done.way}")
        print(f"tiles are {done.info.preprocessing}; licence: {licence or 'not known; --licence records it'}")
