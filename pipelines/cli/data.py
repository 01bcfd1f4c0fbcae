"""The command that lists and checks public data sets, and writes synthetic photos for a trial."""

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
        Path | None, typer.Option(help="Folder of an unpacked data set. Report its name, and whether it is complete.")
    ] = None,
    draw_photos: Annotated[
        tuple[int, Path] | None,
        typer.Option(metavar="N FOLDER", help="Write N synthetic photos with cracks, and masks, to a new folder."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic photos.")] = 1,
    debug: Debug = False,
) -> None:
    """List public data sets and known layouts of folders, check a downloaded data set, or write synthetic photos."""
    with reporting_errors(debug):
        if draw_photos is not None:
            _draw(*draw_photos, seed, check)
            return

        from components.ingest.sources.layouts import EXPECTED, find_layout
        from pipelines.public_datasets import PUBLIC, differences

        console = Console()
        if check is None:
            for dataset in PUBLIC.values():
                console.print(_facts(dataset))
            console.print(_layouts(EXPECTED))
            return

        if not check.is_dir():
            raise InputError(f"--check {check} is not a folder; unpack the archive, and give the unpacked folder")
        layout = find_layout(check)
        if layout.name not in PUBLIC:
            known = ", ".join(PUBLIC)
            raise InputError(
                f"--check {check} has the layout {layout.name}, which no public data set has; give the folder of a "
                f"public data set, whose layout is one of {known}"
            )

        wrong = differences(PUBLIC[layout.name], layout)
        for part, (expected, found) in wrong.items():
            console.print(f"{part}: {found:,} files; the published data set has {expected:,}")
        outcome = "incomplete or changed" if wrong else "complete"
        console.print(f"{layout.root}: {layout.name}, {outcome}")


def _draw(number: int, folder: Path, seed: int, check: Path | None) -> None:
    from pipelines.drawn_photos import write_drawn_photos

    if check is not None:
        raise InputError("--check and --draw-photos exclude each other; give one of them")
    write_drawn_photos(number, folder, seed)
    Console().print(f"{folder}: {number} photos, and the masks of their cracks in {folder / 'masks'}")


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


def _layouts(expected: dict[str, str]) -> Table:
    table = Table(title="layouts that are recognised", title_justify="left", show_header=False)
    for name, folders in expected.items():
        table.add_row(name, folders)
    table.add_row("masks", "a folder masks next to the class folders, such as masks/pier1/IMG_1.png or IMG_1_mask.png")
    table.add_row("names", "upper and lower case are the same, and so are no_crack, Non-cracked, uncracked and so on")
    table.add_row("copies", "IMG_1_jpg.rf.HASH.jpg is a changed copy of the photo IMG_1 (Roboflow); they are one group")
    table.add_row("outer", "these folders can be inside another folder, but only one folder may have a known layout")
    table.add_row("photos", "several folders of photos, each with masks, such as pier1/masks, are one source")
    table.add_row(
        "archives",
        "zip and tar are unpacked; RAR, 7z, Zstandard, cabinet and split zip archives are not, and neither are zip "
        "archives with Deflate64 or another rare method: the message names them and says how to unpack them",
    )
    return table
