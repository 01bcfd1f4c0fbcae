"""Commands about data."""

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
        Path | None, typer.Option(help="Folder of an unpacked copy: says which set it is and what it lacks.")
    ] = None,
    debug: Debug = False,
) -> None:
    """List the public data sets: where they live, licence, layout and counts; or check a copy of one."""
    with reporting_errors(debug):
        from components.ingest.sources.layouts import find_layout
        from pipelines.public_datasets import PUBLIC, differences

        console = Console()
        if check is None:
            for dataset in PUBLIC.values():
                console.print(_facts(dataset))
            return
        if not check.is_dir():
            raise InputError(f"--check {check} is not a folder; unpack the archive and name the folder it made")
        layout, root = find_layout(check, "auto")
        if layout not in PUBLIC:
            raise InputError(f"{check} has layout {layout}, none of the public sets': {', '.join(PUBLIC)}")
        wrong = differences(PUBLIC[layout], root)
        for part, (expected, found) in wrong.items():
            console.print(f"{part}: {found:,} files, the published set has {expected:,}")
        console.print(f"{root}: {layout}, {'not the whole set' if wrong else 'whole'}")


def _facts(dataset: "PublicDataset") -> Table:
    table = Table(title=dataset.name, title_justify="left", show_header=False)
    table.add_row("home", f"https://doi.org/{dataset.doi}")
    table.add_row("licence", dataset.licence)
    table.add_row("cite", dataset.paper)
    table.add_row("layout", dataset.layout)
    counts = ", ".join(f"{part} {count:,}" for part, count in dataset.counts.items())
    table.add_row("tiles", f"{sum(dataset.counts.values()):,} of {dataset.size[0]}x{dataset.size[1]}: {counts}")
    table.add_row("know", dataset.advice)
    table.add_row("run", "crack-pipeline datasets --check FOLDER, then make run DATA=FOLDER")
    return table
