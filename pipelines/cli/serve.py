"""The commands that serve a registered model over HTTP, and that fetch it for a server on a cluster."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import CHAMPION_URI, Debug, ModelUri, RegistryWorkdir, RequireSignature, reporting_errors

commands = typer.Typer()


@commands.command()
def serve(
    model: ModelUri = CHAMPION_URI,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 means every network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 5001,
    require_signature: RequireSignature = None,
    workdir: RegistryWorkdir = None,
    debug: Debug = False,
) -> None:
    """Serve a registered model over HTTP. Its files are checked first: they must still be the registered files.

    POST to /invocations, as for `mlflow models serve`. Each answer has p_crack, label, threshold, novelty,
    needs_review, model and version. GET /ready answers 200 when the model is loaded and has classified a test image.
    Ctrl-C ends the server.
    """
    with reporting_errors(debug):
        from components.shared.network import served_http
        from pipelines.local.embedded_stack import guarded, require_free, wait_until_it_listens
        from pipelines.registry.access import reached
        from pipelines.registry.classify import checked_files, name_and_version, version_meant

        require_free(port)
        environment = dict(os.environ)  # without the keys of the workdir's storage, which the model does not need
        with reached(workdir, artifacts=True):
            version = version_meant(model)
            with checked_files(version, require_signature) as folder:
                # With -I, the working directory cannot add modules that the model itself does not contain.
                served = [folder, host, str(port), *name_and_version(version)]
                command = [sys.executable, "-I", served_http.__file__, *served]
                with guarded(command, Path("/dev/stderr"), environment) as server:
                    wait_until_it_listens(server, host, port)
                    print(f"serving {version} at http://{host}:{port}/invocations", flush=True)
                    status = server.wait()
        sys.exit(status)


@commands.command()
def fetch_model(
    folder: Annotated[Path, typer.Argument(help="The files are put into FOLDER/model.", show_default=False)],
    model: ModelUri = CHAMPION_URI,
    require_signature: RequireSignature = None,
    workdir: RegistryWorkdir = None,
    debug: Debug = False,
) -> None:
    """Put a registered model's files into a folder. They are checked first, as by `serve`.

    On a cluster, a pod of manifests/components/serving calls this command before its server starts. So only this
    command needs MLflow's password.
    """
    with reporting_errors(debug):
        from pipelines.registry.access import reached
        from pipelines.registry.served_files import fetch_version

        with reached(workdir, artifacts=True):
            version = fetch_version(model, folder, require_signature)
        print(f"{folder}/model has the registered files of {version}")
