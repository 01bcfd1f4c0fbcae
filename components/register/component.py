"""The KFP components `register`, for a run with a winner, and `refuse`, for a run without a winner."""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("gpu"), install_kfp_package=False)
def register(
    model: dsl.Input[dsl.Model],
    predictions: dsl.Input[dsl.Dataset],
    dossier: dsl.Input[dsl.Artifact],
    manifest: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Dataset],
    config: str,
    job: str,
) -> str:
    """Register the winner in MLflow, check the answers of the registered version, and make it the challenger.

    The answers must agree with those that the run measured before the registration.


    Args:
        model: The winner's saved-model folder.
        predictions: The winner's predictions folder.
        dossier: The winner's dossier.
        manifest: The data set version's manifest.
        splits: Table (sample_id, split).
        config: RegisterConfig as JSON.
        job: The pipeline job's id.

    Returns:
        The registration's record as JSON.
    """
    from components.register.config import RegisterConfig
    from components.register.record import keep_record
    from components.register.run import Winner, register_winner
    from components.shared.step import step

    parsed = RegisterConfig.model_validate_json(config)
    with step("register", job, parsed.store):
        winner = Winner(model.path, predictions.path, dossier.path, manifest.path, splits.path)
        return keep_record(register_winner(winner, parsed, job), parsed.store, job)


@dsl.component(base_image=container_image("cpu"), install_kfp_package=False)
def refuse(choice: dsl.Input[dsl.Artifact], config: str, job: str) -> str:
    """Record that no candidate passed, and why.

    Args:
        choice: choice.json, which the select step wrote.
        config: RegisterConfig as JSON.
        job: The pipeline job's id.

    Returns:
        The refusal's record as JSON.
    """
    from components.register.config import RegisterConfig
    from components.register.record import keep_record, record_refusal
    from components.shared.step import step

    parsed = RegisterConfig.model_validate_json(config)
    with step("refuse", job, parsed.store):
        return keep_record(record_refusal(choice.path), parsed.store, job)
