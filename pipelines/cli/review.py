"""Commands for the review of tiles by people. They make the queue, and store the answers."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.cli.options import LOCAL_PARAMS, MOST_FILES, Debug, Override, Params, reporting_errors

if TYPE_CHECKING:
    from components.shared.services.store import Store

commands = typer.Typer()
review = typer.Typer(no_args_is_help=True)
commands.add_typer(review, name="review", help="Let people correct the labels of tiles, and keep their answers.")

StoreWorkdir = Annotated[
    Path | None,
    typer.Option("--workdir", help="Workdir of local runs. Default: the S3 storage that AWS_* variables name."),
]
By = Annotated[str, typer.Option(help="Your name; it is stored with the corrections.")]
Key = Annotated[Path | None, typer.Option(help="PEM file of your Ed25519 private key, which signs the entry.")]


@review.command()
def queue(
    out: Annotated[Path, typer.Option(help="Folder to create: tiles/, queue.csv and review.html.")],
    size: Annotated[int, typer.Option(help="Largest number of tiles.", min=1, max=MOST_FILES)] = 200,
    run: Annotated[
        Path | None, typer.Option("--from", help="Folder with a run's artifacts. Default: the latest run in --workdir.")
    ] = None,
    per_photo: Annotated[
        int | None,
        typer.Option(
            help="Largest number of tiles of one photo. Default: 2 * size / number of photos, but at least 2.",
            min=1,
            max=MOST_FILES,
        ),
    ] = None,
    inspection: Annotated[
        Path | None,
        typer.Option(help="Folder that `inspect` wrote. The queue can then also have tiles of the findings to review."),
    ] = None,
    params: Params = LOCAL_PARAMS,
    workdir: StoreWorkdir = None,
    override: Override = None,
    debug: Debug = False,
) -> None:
    """Choose the tiles whose review helps most, and write them to a folder, with a page for people's answers.

    The page works offline and on a phone. It saves a file for `crack-pipeline review import`.
    """
    with reporting_errors(debug):
        from components.shared.errors import InputError
        from components.shared.events import warn
        from pipelines.review.inspected import cut_inspected
        from pipelines.review.queue import PAGE, make_queue
        from pipelines.review.run_artifacts import latest_run, read_run

        if run is None and workdir is None:
            raise InputError("no run is given; give the --workdir of local runs, or a run's artifacts with --from")
        found = read_run(run or latest_run(workdir or Path()))
        inspected = None if inspection is None else cut_inspected(inspection)
        if inspected is not None and inspected.missing:
            missing = inspected.missing
            warn(
                f"the findings of {len(missing)} inspected photos are not in the queue, for example those of "
                f"{missing[0]}"
            )
        with _store(params, override, workdir) as store:
            table = make_queue(store, found, out, size, per_photo, inspected)
        _say(f"{len(table)} tiles of {table['photo'].nunique()} photos: open {out / PAGE}")


@review.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder that `review queue` wrote.")],
    to: Annotated[str, typer.Option(help="label-studio, cvat, coco or yolo.")],
    with_labels: Annotated[
        bool, typer.Option("--with-labels", help="Write the current labels as answers. These influence people.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Write a queue in the format of another annotation program. The result is in the folder of the queue.

    `review import` reads the answers that people give in that program.
    """
    with reporting_errors(debug):
        from pipelines.review.export import export_queue

        _say(str(export_queue(folder, to, with_labels)))


@review.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="File or folder with answers.")],
    by: By,
    why: Annotated[str, typer.Option(help="The reason; it is stored with the corrections.")] = "",
    keep_unknown: Annotated[
        bool, typer.Option("--keep-unknown", help="Keep answers about tiles that no data set version has yet.")
    ] = False,
    unmarked_no_crack: Annotated[
        bool,
        typer.Option(
            "--unmarked-no-crack", help="A tile without any mark shows no crack. Default: nobody has answered it."
        ),
    ] = False,
    queue: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the queue. Answers about tiles of inspected photos are written to labelled.csv there."
        ),
    ] = None,
    key: Key = None,
    params: Params = LOCAL_PARAMS,
    workdir: StoreWorkdir = None,
    override: Override = None,
    debug: Debug = False,
) -> None:
    """Add a person's answers to the list of corrections. The next run applies them to the data.

    FILE is the CSV that the page saved, or Label Studio's JSON or CSV, CVAT's XML 1.1, COCO's JSON, or the folder of a
    YOLO data set.
    """
    with reporting_errors(debug):
        from components.shared.data.corrections import SHOWN_ID
        from components.shared.signatures import read_private_key
        from pipelines.review.import_answers import import_answers, summary

        signer = read_private_key(key) if key else None
        with _store(params, override, workdir) as store:
            imported = import_answers(store, file, by, why, keep_unknown, unmarked_no_crack, queue, signer)
        for line in summary(imported):
            _say(line)
        if imported.entry is None:
            _say("nothing was imported")
        else:
            _say(f"import {imported.entry.id[:SHOWN_ID]}; the next run applies it")


@review.command("list")
def list_imports(
    params: Params = LOCAL_PARAMS, workdir: StoreWorkdir = None, override: Override = None, debug: Debug = False
) -> None:
    """Show every import and rollback, the oldest first, and the tiles about which people disagree."""
    with reporting_errors(debug):
        from components.shared.data.corrections import read_entries
        from pipelines.review.tables import disputes_table, entries_table

        with _store(params, override, workdir) as store:
            entries = read_entries(store)
        if not entries:
            _say("nobody has imported answers yet")
            return
        _say(entries_table(entries))
        disputes = disputes_table(entries)
        if disputes.row_count:
            _say(disputes)


@review.command()
def rollback(
    entry: Annotated[str, typer.Argument(metavar="ID", help="ID of the import, as `review list` shows it.")],
    by: By,
    why: Annotated[str, typer.Option(help="The reason; it is stored with the corrections.")],
    key: Key = None,
    params: Params = LOCAL_PARAMS,
    workdir: StoreWorkdir = None,
    override: Override = None,
    debug: Debug = False,
) -> None:
    """Roll back an import. `review list` still shows the import, but the next run no longer applies it."""
    with reporting_errors(debug):
        from components.shared.data.corrections import SHOWN_ID
        from components.shared.signatures import read_private_key
        from pipelines.review.import_answers import roll_back

        signer = read_private_key(key) if key else None
        with _store(params, override, workdir) as store:
            undone = roll_back(store, entry, by, why, signer)
        name = f"{undone.id[:SHOWN_ID]} of {undone.by} ({len(undone.answers)} answers)"
        _say(f"the next run no longer applies import {name}")


@contextlib.contextmanager
def _store(params: Path, override: list[str] | None, workdir: Path | None) -> Iterator["Store"]:
    """Yield the store that the parameter file names. With a workdir, serve its S3 storage in the `with` block."""
    from components.shared.services.store import Store
    from pipelines.config.parameter_file import load_run_config

    config = load_run_config(params, override or [])
    with contextlib.ExitStack() as stack:
        if workdir is not None:
            from pipelines.registry.access import reached  # imported late, because it loads MLflow

            stack.enter_context(reached(workdir, artifacts=True))
        yield Store(config.store)


def _say(what: str | Table) -> None:
    # markup=False, because names and reasons may contain brackets
    Console(markup=False, highlight=False).print(what, soft_wrap=isinstance(what, str))
