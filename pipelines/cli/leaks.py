"""The command that compares all tiles of a data set version across its splits."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import LOCAL_PARAMS, Debug, Override, Params, reporting_errors

commands = typer.Typer()


@commands.command()
def leaks(
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="Digest of a data set version; default: the newest one.")
    ] = None,
    page: Annotated[
        Path, typer.Option(help="Page to write. It shows the leaks, or the most similar tiles if there is no leak.")
    ] = Path("leaks.html"),
    params: Params = LOCAL_PARAMS,
    workdir: Annotated[
        Path | None, typer.Option(help="Workdir of local runs; default: the S3 storage that AWS_* variables name.")
    ] = None,
    override: Override = None,
    debug: Debug = False,
) -> None:
    """Search all tiles of a data set version for near duplicates in different splits.

    Mirrored and rotated tiles are compared too. With --set split.leak_overlap=0.7, the search also finds overlapping
    tiles, which takes much longer. Every pipeline run makes the same search, but only in a sample of the tiles. An
    earlier run must have made the splits. Use a parameter file with the store, the seed and the split settings of
    that run.

    Exit status: 0 = there is no leak; 1 = something failed; 2 = there is a leak, or an input was wrong; 130 =
    interrupted.
    """
    with reporting_errors(debug):
        from components.shared.scratch import scratch_folder
        from components.shared.services.store import Store
        from components.split.tile_leaks import check_version, require_digest
        from pipelines.config.parameter_file import load_run_config
        from pipelines.output_files import require_outputs
        from pipelines.registry.access import reached

        require_outputs({"--page": page}, [params])
        if version is not None:
            require_digest(version)
        config = load_run_config(params, override or [])
        with contextlib.ExitStack() as stack:
            if workdir is not None:
                stack.enter_context(reached(workdir, artifacts=True))
            scratch = stack.enter_context(scratch_folder())
            comparison = check_version(Store(config.store), version, config.split, config.seed, page, scratch)

        print(f"no leak: {comparison.compared} tiles were compared across the splits")
        if len(comparison.closest):
            first = comparison.closest.iloc[0]
            print(f"most similar: {first.path} and {first.other_path}, correlation {first.correlation:.3f}")
        print(f"page: {page}")
