"""The command that classifies image files."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.commands.options import MODEL, Debug, Reached, reporting_errors

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

        from components.shared.runtime import InputError
        from pipelines.classifying import classify, find_images, write_page, write_results
        from pipelines.registry import reached

        for written in filter(None, (out, html)):
            if written.is_dir():
                raise InputError(f"{written} is a folder; name a file to write")
        files = find_images(paths)
        console = Console(stderr=True)
        with reached(workdir, artifacts=True), Progress(console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("classifying", total=len(files))
            answers = write_results(
                classify(model, files, batch_size, lambda done: bar.update(task, completed=done)), out
            )
        if html:
            write_page(answers, model, html)
        cracks = sum(answer.label == "crack" for answer in answers)
        failed = [answer for answer in answers if answer.error]
        print(f"{len(answers)} files: {cracks} cracks, {len(failed)} without an answer; {out}")
        if failed:
            print(f"first without an answer: {failed[0].path}: {failed[0].error}")
