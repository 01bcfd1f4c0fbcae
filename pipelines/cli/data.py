"""The command that lists and checks public data sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from components.shared.errors import InputError
from pipelines.cli.options import Debug, reporting_errors

if TYPE_CHECKING:
    from pipelines.public_datasets import PublicDataset

commands = typer.Typer()


@commands.command()
def datasets(
    check: Annotated[
        Path | None, typer.Option(help="Folder of an unpacked data set: report its name and which files are missing.")
    ] = None,
    debug: Debug = False,
) -> None:
    """List the public data sets with home page, licence, layout and counts, or check a downloaded data set."""
    with reporting_errors(debug):
        from components.ingest.sources.layouts import find_layout
        from pipelines.public_datasets import PUBLIC, differences

        console = Console()
        if check is None:
            for dataset in PUBLIC.values():
                console.print(_facts(dataset))
            return

        if not check.is_dir():
            raise InputError(f"--check {check} is not a folder; unpack the archive and give the folder")
        layout, root = find_layout(check, "auto")
        if layout not in PUBLIC:
            known = ", ".join(PUBLIC)
            raise InputError(
                f"--check {check} has the layout {layout}, which no public data set has; the layouts of public data "
                f"sets are {known}"
            )

        wrong = differences(PUBLIC[layout], root)
        for part, (expected, found) in wrong.items():
            console.print(f"{part}: {found:,} files; the published data set has {expected:,}")
        outcome = "incomplete or changed" if wrong else "complete"
        console.print(f"{root}: {layout}, {outcome}")


def _facts(dataset: "PublicDataset") -> Table:
    table = Table(title=dataset.name, title_justify="left", show_header=False)
    table.add_row("home", f"https://doi.org/{dataset.doi}")
    table.add_row("licence", dataset.licence)
    table.add_row("cite", dataset.paper)
    table.add_row("layout", dataset.layout)
    counts = ", ".join(f"{part} {count:,}" for part, count in dataset.counts.items())
    table.add_row("tiles", f"{sum(dataset.counts.values()):,} of {dataset.size[0]}x{dataset.size[1]}: {counts}")
    table.add_row("note", dataset.advice)
    table.add_row("run", "crack-pipeline datasets --check FOLDER, then make run DATA=FOLDER")
    return table
