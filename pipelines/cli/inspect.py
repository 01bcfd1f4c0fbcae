"""The command that inspects whole photos."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from components.shared.data.image_kinds import masks_among
from components.shared.errors import InputError
from components.shared.events import warn
from pipelines.cli.options import (
    CHAMPION_URI,
    Debug,
    ModelUri,
    RegistryWorkdir,
    RequireSignature,
    reporting_errors,
    require_number,
)

if TYPE_CHECKING:
    from components.inspect.record import InspectedPhoto
    from components.inspect.tile_answers import Model

commands = typer.Typer()


@commands.command()
def inspect(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders, or patterns such as 'photos/*.jpg' in quotes.")],
    out: Annotated[Path, typer.Option(help="Folder for the results. A second call skips the finished photos.")],
    model: ModelUri = CHAMPION_URI,
    scale: Annotated[float | None, typer.Option(help="Millimetres of concrete per pixel.")] = None,
    distance: Annotated[
        float | None,
        typer.Option(help="Metres from the camera to the concrete. The scale also needs the focal length in EXIF."),
    ] = None,
    overlap: Annotated[
        float, typer.Option(help="Smallest overlap of neighbouring tiles, as a share of a tile's side, 0 to 0.9.")
    ] = 0.5,
    require_signature: RequireSignature = None,
    workdir: RegistryWorkdir = None,
    debug: Debug = False,
) -> None:
    """Find cracks in whole photos with a registered model.

    The photos are cut into overlapping tiles. The model classifies each tile, and positions with a high P(crack) are
    joined into findings. The folder --out then has inspection.html, findings.csv, findings.geojson, photos.csv,
    overlays and tables of tiles. Without a scale, all lengths are in pixels.

    Exit status: 0 = every photo has its row in photos.csv; 1 = something failed; 2 = an input was wrong; 130 =
    interrupted. A photo that cannot be inspected has a row with an error. If a call is killed, the next call continues
    its work.
    """
    with reporting_errors(debug):
        from rich.progress import Progress

        from pipelines.image_files import find_images

        for name, value, example in (("--scale", scale, "0.3"), ("--distance", distance, "2.5")):
            if value is not None and not (0 < value < math.inf):
                raise InputError(f"{name} is {value:g}; give a finite number above 0, such as {example}")
        if scale is not None and distance is not None:
            raise InputError("--scale and --distance both give the scale; give one of them")
        require_number("--overlap", overlap, 0, 0.9)
        files = _photos_among(find_images(photos), out)

        # Imported late, because torch takes seconds to import.
        from components.inspect.config import InspectConfig
        from components.inspect.run import inspect_photos, prepare_folder, write_results
        from pipelines.registry.inspection_model import loaded_model

        config = InspectConfig(scale=scale, distance=distance, overlap=overlap)
        prepare_folder(out)
        loaded = loaded_model(model, workdir, require_signature)
        console = Console(stderr=True)
        with Progress(console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("inspecting", total=len(files))
            inspected = inspect_photos(files, loaded, config, out, lambda _: bar.advance(task))
        write_results(inspected, loaded, config, out)
        _print_summary(inspected, loaded, out)


def _photos_among(files: list[Path], out: Path) -> list[Path]:
    """Return the files that are neither our own results nor masks.

    A mask is a file in a folder `masks` next to a photo, with the same name as the photo.
    """
    results = os.path.realpath(out)  # unlike Path.resolve, realpath accepts a link to itself
    own = [file for file in files if Path(os.path.realpath(file)).is_relative_to(results)]
    masks = masks_among(files)
    if masks:
        warn(f"{len(masks):,} masks of photos are not inspected, for example {masks[0]}")

    left_out = {*own, *masks}
    photos = [file for file in files if file not in left_out]
    if not photos:
        raise InputError(
            f"none of the {len(files)} files is a photo: each is a mask, or a result of an inspection in {out}; give "
            f"photos outside of {out}"
        )
    return photos


def _print_summary(photos: list["InspectedPhoto"], model: "Model", out: Path) -> None:
    """Print the counts and the notices, one line for each."""
    from components.inspect.summary import notices, summary

    print(f"{summary(photos)}; open {out / 'inspection.html'}")
    for notice in notices(photos, model):
        print(notice)
