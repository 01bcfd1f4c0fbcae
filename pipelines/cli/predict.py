"""The command that classifies image files."""

import contextlib
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.options import (
    CHAMPION_URI,
    MOST_FILES,
    Debug,
    ModelUri,
    RegistryWorkdir,
    RequireSignature,
    reporting_errors,
)

commands = typer.Typer()


@commands.command()
def predict(
    paths: Annotated[
        list[str], typer.Argument(help="Image files, folders, or patterns such as 'photos/*.jpg' in quotes.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="CSV file to write: path, p_crack, label, threshold, novelty, needs_review, model, version, error."
        ),
    ],
    model: ModelUri = CHAMPION_URI,
    html: Annotated[Path | None, typer.Option(help="HTML page with thumbnails to write; default: no page.")] = None,
    batch_size: Annotated[int, typer.Option(help="Number of images in a batch.", min=1, max=MOST_FILES)] = 32,
    require_signature: RequireSignature = None,
    workdir: RegistryWorkdir = None,
    debug: Debug = False,
) -> None:
    """Classify images with a registered model. A file that is not an image becomes a row with an error.

    A novelty above 1 means that the image is unlike the images that the model was trained on. If many images have such
    a novelty, the command prints a warning.

    needs_review says whether a person must look at an image. It is empty if the model was registered without a review
    band.

    Exit status: 0 = every file has its row; 1 = something failed; 2 = an input was wrong; 130 = interrupted. Output
    files are written completely or not at all.
    """
    with reporting_errors(debug):
        from rich.progress import Progress

        from components.shared.atomic_file import atomic_file
        from pipelines.image_files import find_images
        from pipelines.output_files import require_outputs
        from pipelines.registry.access import reached
        from pipelines.registry.classify import (
            classify,
            strangeness,
            summary,
            version_meant,
            write_page,
            write_results,
        )

        files = find_images(paths)
        require_outputs({"--out": out, "--html": html}, files)
        console = Console(stderr=True)
        # The output files are opened first, so an error in their paths is reported before the model is loaded.
        with contextlib.ExitStack() as stack:
            table = stack.enter_context(atomic_file(out))
            page = stack.enter_context(atomic_file(html)) if html else None
            stack.enter_context(reached(workdir, artifacts=True))
            version = version_meant(model)

            bar = stack.enter_context(Progress(console=console, disable=not console.is_terminal))
            task = bar.add_task("classifying", total=len(files))
            answering = classify(version, files, batch_size, partial(bar.advance, task), require_signature)
            answers = write_results(answering, table)
            if page:
                write_page(answers, version, page)

        print(f"{summary(answers, version)}; the answers are in {out}")
        warning = strangeness(answers)
        if warning:
            print(f"warning: {warning}", file=sys.stderr)
        failed = [answer for answer in answers if answer.error]
        if failed:
            print(f"first file without an answer: {failed[0].path}: {failed[0].error}")
