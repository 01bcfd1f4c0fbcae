"""The command that classifies image files."""

import contextlib
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.options import MODEL, Debug, Reached, reporting_errors

commands = typer.Typer()


@commands.command()
def predict(
    paths: Annotated[list[str], typer.Argument(help="Image files, folders, or patterns in quotes.")],
    out: Annotated[Path, typer.Option(help="CSV file to write: path, p_crack, label, threshold, error.")],
    model: Annotated[str, typer.Option(help="Model as MLflow names it.")] = f"models:/{MODEL}@champion",
    html: Annotated[Path | None, typer.Option(help="Page to write as well, with thumbnails.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images at a time.", min=1)] = 32,
    workdir: Reached = None,
    debug: Debug = False,
) -> None:
    """Classify images with a registered model; a file that is no image becomes a row with an error.

    Exit status: 0 every file has its row; 1 something broke down; 2 an input was wrong. Nothing is half-written.
    """
    with reporting_errors(debug):
        from rich.progress import Progress

        from pipelines.registry.access import reached
        from pipelines.registry.classify import (
            classify,
            find_images,
            summary,
            version_meant,
            write_page,
            write_results,
        )
        from pipelines.registry.whole_file import whole_file

        files = find_images(paths)
        console = Console(stderr=True)
        with contextlib.ExitStack() as stack:
            table, page = stack.enter_context(whole_file(out)), html and stack.enter_context(whole_file(html))
            stack.enter_context(reached(workdir, artifacts=True))
            asked = version_meant(model)
            bar = stack.enter_context(Progress(console=console, disable=not console.is_terminal))
            task = bar.add_task("classifying", total=len(files))
            answers = write_results(classify(asked, files, batch_size, partial(bar.advance, task)), table)
            if page:
                write_page(answers, asked, page)
        print(f"{summary(answers, asked)}; {out}")
        failed = [answer for answer in answers if answer.error]
        if failed:
            print(f"first without an answer: {failed[0].path}: {failed[0].error}")
