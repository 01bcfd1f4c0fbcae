"""The command that accepts a model version at a new site."""

import contextlib
import re
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.console import Console

from pipelines.cli.options import (
    CHAMPION_URI,
    MODEL,
    MOST_FILES,
    Debug,
    ModelUri,
    RegistryWorkdir,
    RequireSignature,
    reporting_errors,
)

commands = typer.Typer()

EXIT_STATUS = {"accept": 0, "refuse": 1, "label more": 3}


@commands.command()
def accept_site(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder with the tiles of the site.")],
    labels: Annotated[
        Path, typer.Option(help="CSV with the columns path and label. The command adds the tiles to label next.")
    ],
    group_pattern: Annotated[
        str,
        typer.Option(
            help="Regular expression on a tile's path below IMAGES; its first capturing group is the photo's name. "
            "'(.*)' if every tile is from a different photo."
        ),
    ],
    site: Annotated[str | None, typer.Option(help="Name of the site; default: the name of the folder.")] = None,
    claim: Annotated[
        str, typer.Option(help="images: the verdict is only about IMAGES. photos: also about photos taken later.")
    ] = "images",
    recall: Annotated[
        float, typer.Option(help="Lower limit: of all tiles with a crack, the share that the model finds.")
    ] = 0.9,
    false_alarms: Annotated[
        float, typer.Option(help="Upper limit: of all tiles without a crack, the share that the model calls a crack.")
    ] = 0.1,
    risk: Annotated[
        float, typer.Option(help="Highest probability of a wrong acceptance, and of a wrong refusal.")
    ] = 0.05,
    model: ModelUri = CHAMPION_URI,
    page: Annotated[Path, typer.Option(help="Page to write.")] = Path("site.html"),
    batch_size: Annotated[int, typer.Option(help="Number of images in a batch.", min=1, max=MOST_FILES)] = 32,
    require_signature: RequireSignature = None,
    workdir: RegistryWorkdir = None,
    debug: Debug = False,
) -> None:
    """Decide from a few labels whether a model version is good enough at a new site: accept, refuse, or label more.

    The first call writes the tiles to label into the label file. Label them on the page, or fill in crack or no_crack.
    Then give the command again. You may repeat this as often as you like: the limit --risk holds for all calls
    together. MLflow stores the verdict with the model version.

    Exit status: 0 = accepted; 1 = refused, or something failed; 2 = an input was wrong; 3 = more labels are needed; 130
    = interrupted.
    """
    with reporting_errors(debug):
        from rich.progress import Progress

        from components.shared.atomic_file import atomic_file
        from components.shared.data.image_kinds import is_image
        from components.shared.errors import InputError
        from pipelines.output_files import require_outputs
        from pipelines.registry.access import reached
        from pipelines.registry.classify import version_meant
        from pipelines.registry.promotions import Registry
        from pipelines.sites.plan import Claim, Limits
        from pipelines.sites.record import check_name
        from pipelines.sites.run import SiteImages, accept_site, classifier

        limits = Limits(recall, false_alarms, risk)
        for option, value in (("--recall", recall), ("--false-alarms", false_alarms), ("--risk", risk)):
            if not 0 < value < 1:
                raise InputError(f"{option} is {value:g}; give a number above 0 and below 1")
        if claim not in get_args(Claim):
            raise InputError(f'--claim is "{claim}"; give images or photos')
        if not images.is_dir():
            raise InputError(f"{images} is not a folder; give the folder with the tiles of the site")
        tiles = [path for path in images.rglob("*") if is_image(path.name)]
        require_outputs({"--labels": labels, "--page": page}, tiles)
        place = SiteImages(images, check_name(site or images.resolve().name), group_pattern)

        with contextlib.ExitStack() as stack:
            unfinished = stack.enter_context(atomic_file(page))
            client = stack.enter_context(reached(workdir, artifacts=True))
            uri = version_meant(model)
            named = re.fullmatch("models:/([^/@]+)/([0-9]+)", uri)
            if named is None:
                raise InputError(f"--model is {model}; give a version of a registered model, such as models:/{MODEL}/1")

            console = Console(stderr=True)
            bar = stack.enter_context(Progress(console=console, transient=True, disable=not console.is_terminal))
            task = bar.add_task("classifying", total=None)
            classify_files = classifier(uri, batch_size, partial(bar.advance, task), require_signature)
            registry = Registry(client, named[1])
            result = accept_site(
                place, labels, registry, named[2], cast(Claim, claim), limits, unfinished, classify_files
            )

        decision = result.verdict.decision
        headline = f"label {result.verdict.more} more" if decision == "label more" else decision
        print(f"{headline}: {result.verdict.why}")
        if result.next_tiles:
            print(
                f"tiles to label: the last {len(result.next_tiles)} rows of {labels}; the page shows them with buttons"
            )
        print(f"page: {page}")
        sys.exit(EXIT_STATUS[decision])
