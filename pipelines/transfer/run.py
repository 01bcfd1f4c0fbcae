"""Leave out one source at a time: train a network without this source, and measure the network on all sources.

With `transfer.each: surface`, surfaces take the place of sources. In the code, a domain is a source or a surface.

This module uses the steps of the pipeline, which reuse finished work. So if a second call has one more source, it
repeats only the work that the new source changes.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from components.evaluate.calibration_fit import calibrate
from components.evaluate.config import EvaluateConfig
from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.predict.config import CorruptionConfig, PredictConfig
from components.predict.run import predict_splits
from components.shared.data.manifest import read_manifest
from components.shared.errors import InputError
from components.shared.events import log
from components.shared.hashing import digest
from components.shared.processors import limit_threads
from components.shared.results.predictions import read_predictions
from components.split.config import HeldOut, SplitConfig
from components.split.run import assign_splits
from components.train.config import TrainConfig
from components.train.run import train_candidate
from pipelines.config.run_config import RunConfig
from pipelines.transfer.matrix import Cell, Matrix, cells_of

MANIFEST = "manifest.parquet"


def chosen_candidate(config: RunConfig) -> str:
    """Return the name of the candidate that is trained.

    Raises:
        InputError: `transfer.candidate` is not a candidate of the parameter file.
    """
    name = config.transfer.candidate or next(iter(config.candidates))
    if name not in config.candidates:
        raise InputError(f"transfer.candidate is {name!r}; give one of the candidates {', '.join(config.candidates)}")
    return name


def transfer(config: RunConfig, folder: Path, progress: Callable[[str], None]) -> Matrix:
    """Leave out one source or surface at a time, and measure the network that is trained without it.

    Args:
        config: The parameters. `transfer.each` says whether sources or surfaces are left out. The left-out source or
            surface replaces the value of `split.robustness`.
        folder: Folder for the files of this call.
        progress: Function that is called before each piece of work, with a text such as "without wall (2 of 3)".

    Raises:
        InputError: The data have fewer than two sources (or surfaces). Or no network could be trained, because a step
            refused its input each time.
    """
    limit_threads()
    candidate = chosen_candidate(config)
    progress("ingesting the data")
    ingest = IngestConfig.model_validate_json(config.step_json("ingest"))
    ingest_dataset(config.data_uri, folder / MANIFEST, folder / "data.html", ingest)

    domain_kind = config.transfer.each
    domains = tuple(sorted(read_manifest(folder / MANIFEST).table[domain_kind].unique()))
    if len(domains) < 2:
        raise InputError(
            f"the data have only one {domain_kind}, {domains[0]}, so no network can be trained without it; add another "
            f"{domain_kind}, or set transfer.each to {'surface' if domain_kind == 'source' else 'source'}"
        )

    cells: list[Cell] = []
    failed: dict[str, str] = {}
    for number, domain in enumerate(domains, start=1):
        progress(f"without {domain} ({number} of {len(domains)})")
        try:
            cells += _leave_out(domain, config, candidate, folder / str(number), folder / MANIFEST)
        except InputError as error:
            log.warning("no network can be trained without %s: %s", domain, error)
            failed[domain] = str(error)

    if not cells:
        raise InputError(f"no network could be trained. The training without {domains[0]} failed: {failed[domains[0]]}")
    return Matrix(domain_kind, domains, tuple(cells), failed)


def _leave_out(domain: str, config: RunConfig, candidate: str, folder: Path, manifest: Path) -> list[Cell]:
    """Train a network without one source or surface, and measure the network on all sources or surfaces."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    domain_kind = config.transfer.each
    held_out = HeldOut(**{domain_kind: domain})

    splits = folder / "splits.parquet"
    split = SplitConfig.model_validate_json(config.step_json("split"))
    assign_splits(
        manifest, splits, folder / "split.html", split.model_copy(update={"robustness": held_out}), config.seed
    )

    train = TrainConfig.model_validate_json(config.step_json("train", candidate))
    model = str(folder / "model")
    job = f"transfer-{digest(domain_kind, domain)[:12]}"
    train_candidate(str(manifest), str(splits), train, config.seed, job, model, str(folder / "training.html"))

    predict = PredictConfig.model_validate_json(config.step_json("predict"))
    without_corruptions = predict.model_copy(update={"corruptions": CorruptionConfig(max_images=0)})
    answers = str(folder / "predictions")
    predict_splits(model, str(manifest), str(splits), without_corruptions, config.seed, answers)

    predictions = read_predictions(answers)
    evaluate = EvaluateConfig.model_validate_json(config.step_json("evaluate", candidate))
    calibration = calibrate(predictions.clean("val"), evaluate.threshold)
    return cells_of(domain, domain_kind, predictions, calibration)
