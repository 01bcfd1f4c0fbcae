"""The command that checks everything a run on the cluster needs."""

import typer
from rich.console import Console

from pipelines.cli.options import AllowTags, Debug, Environment, File, Override, chosen_file, reporting_errors

commands = typer.Typer()


@commands.command()
def doctor(
    environment: Environment = None,
    params: File = None,
    override: Override = None,
    allow_tags: AllowTags = False,
    debug: Debug = False,
) -> None:
    """Check everything that a run on the cluster needs, and say how to fix each problem.

    To test the store and MLflow, the command writes objects there, and deletes them afterwards.

    Exit status: 0 = no check found a problem (some checks may have been impossible); 1 = a check found a problem, or
    something failed; 2 = an argument was wrong.
    """
    with reporting_errors(debug):
        from pipelines.cluster.doctor import examine, findings_table
        from pipelines.config.parameter_file import load_run_config

        config = load_run_config(chosen_file(environment, params), override or [])

        console = Console()
        with console.status("checking"):
            findings = list(examine(config, allow_tags))
        console.print(findings_table(findings))
        wrong = [finding.subject for finding in findings if finding.state == "wrong"]

    if wrong:
        console.print(f"{len(wrong)} to fix: {', '.join(wrong)}")
        raise typer.Exit(1)
