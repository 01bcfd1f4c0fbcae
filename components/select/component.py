"""The KFP component of select."""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("cpu"), install_kfp_package=False)
def select(
    first: dsl.Input[dsl.Artifact],
    config: str,
    job: str,
    choice: dsl.Output[dsl.Artifact],
    second: dsl.Input[dsl.Artifact] = None,
    third: dsl.Input[dsl.Artifact] = None,
    fourth: dsl.Input[dsl.Artifact] = None,
) -> str:
    """Select the winner among the candidates that passed the gate. `config` contains the rule.

    Args:
        first: Dossier of the first candidate.
        config: SelectConfig as JSON.
        job: The pipeline job's id.
        second: Dossier of the second candidate.
        third: Dossier of the third candidate.
        fourth: Dossier of the fourth candidate.

    Returns:
        choice: choice.json with the winner, the rule, the reasoning, and whether each candidate passed.
        Output: The winner's name; empty if no candidate passed.
    """
    from components.select.config import SelectConfig
    from components.select.run import choose
    from components.shared.step import step

    parsed = SelectConfig.model_validate_json(config)
    with step("select", job, parsed.store):
        dossiers = [dossier.path for dossier in (first, second, third, fourth) if dossier]
        return choose(dossiers, choice.path, parsed, job)
