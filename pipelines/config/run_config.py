"""Define all parameters of a pipeline run. They are checked here before a run starts, and again by each step.

The sections of the parameter file are the configuration classes of the steps. Parameters that all steps share (storage,
experiment, name of the registered model) are at the top of the file. `step_json` copies them into each step's
configuration.
"""

import re
from typing import Annotated, Any

from pydantic import Field, field_validator

from components.collect.config import CollectConfig
from components.container_images import image_reference
from components.drift.config import DriftConfig
from components.evaluate.config import EvaluateConfig
from components.explain.config import ExplainConfig
from components.gate.config import GateConfig
from components.ingest.config import IngestConfig
from components.ingest.sources.uri import parse_sources
from components.inspect.config import InspectConfig
from components.notify.config import NotifyConfig
from components.predict.config import PredictConfig
from components.register.config import RegisterConfig
from components.report.config import ReportConfig
from components.retrain.config import RetrainConfig
from components.select.config import SelectConfig
from components.shared.config import Config, StepConfig
from components.shared.signatures import public_key_from
from components.split.config import SplitConfig
from components.train.config import TrainConfig
from pipelines.config.cluster_config import CandidateResources, ClusterConfig
from pipelines.config.schedule_config import PipelineName, ScheduleConfig
from pipelines.config.transfer_config import TransferConfig

# KFP cannot pass a list of artifacts to a step. So the steps select and report have one input for each candidate.
MAX_CANDIDATES = 4


class Candidate(Config):
    """A network that is trained in the run and may be registered."""

    train: TrainConfig
    resources: CandidateResources = CandidateResources()


class RunConfig(Config):
    """The parameters of a whole run: storage, data, candidates and all steps."""

    store: str = StepConfig.model_fields["store"].default
    cache: str = StepConfig.model_fields["cache"].default
    cache_size: int = StepConfig.model_fields["cache_size"].default
    experiment: str = StepConfig.model_fields["experiment"].default
    model_name: str = StepConfig.model_fields["model_name"].default
    data_uri: str = Field(
        default="synthetic://?images=600&seed=1", description="run-time parameter: the labelled tiles"
    )
    seed: int = Field(default=1, ge=0, lt=2**31, description="run-time parameter: the seed of all random numbers")
    weights_licences: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="licences that the candidates' initial weights may have; empty: all licences"
    )
    run_note: str = Field(default="", description="run-time parameter: a sentence for the report")
    images: str = Field(
        default="s3://crack/incoming/{yesterday}",
        min_length=1,
        description="run-time parameter of crack-drift-check: folder or s3:// with images; {date} and {yesterday} "
        "become dates in UTC",
    )
    photos: str = Field(
        default="s3://crack/incoming/{yesterday}",
        min_length=1,
        description="run-time parameter of crack-inspection: s3:// with whole photos; {date} and {yesterday} become "
        "dates in UTC",
    )
    candidates: dict[str, Candidate] = Field(min_length=1, max_length=MAX_CANDIDATES)
    ingest: IngestConfig = IngestConfig()
    split: SplitConfig = SplitConfig()
    predict: PredictConfig = PredictConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    explain: ExplainConfig = ExplainConfig()
    drift: DriftConfig = DriftConfig()
    collect: CollectConfig = CollectConfig()
    retrain: RetrainConfig = RetrainConfig()
    inspect: InspectConfig = InspectConfig()
    gate: GateConfig = GateConfig()
    select: SelectConfig = SelectConfig()
    registration: RegisterConfig = RegisterConfig()
    report: ReportConfig = ReportConfig()
    notify: NotifyConfig = NotifyConfig()
    transfer: TransferConfig = TransferConfig()
    cluster: ClusterConfig = ClusterConfig()
    schedule: dict[PipelineName, ScheduleConfig] = Field(default={}, description="the pipelines that run on a schedule")

    @field_validator("data_uri")
    @classmethod
    def _names_sources(cls, data_uri: str) -> str:
        if not parse_sources(data_uri):
            raise ValueError(
                f"{data_uri!r} contains no source; give a folder, an archive, a table, s3://, https:// or synthetic://"
            )
        return data_uri

    @field_validator("candidates")
    @classmethod
    def _names_are_short(cls, candidates: dict[str, Candidate]) -> dict[str, Candidate]:
        for name in candidates:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,19}", name):
                raise ValueError(
                    f'candidate name "{name}" must have 1 to 20 characters of a-z, 0-9 and _, and start with a letter'
                )
        return candidates

    @field_validator("ingest")
    @classmethod
    def _correction_keys_are_keys(cls, ingest: IngestConfig) -> IngestConfig:
        for line in ingest.correction_keys.values():
            public_key_from(line)
        return ingest

    def step_json(self, section: str, candidate: str = "") -> str:
        """Return the configuration of a step as JSON. It is an input of the step's component.

        Args:
            section: The step's section of the parameter file, such as "gate".
            candidate: The candidate that the step works on; "" if the step works on all candidates.
        """
        step: StepConfig = self.candidates[candidate].train if section == "train" else getattr(self, section)

        given: dict[str, Any] = {"candidate": candidate}
        for name in ("store", "cache", "cache_size", "experiment", "model_name"):
            given[name] = getattr(self, name)
        if section == "train":
            given["container_image"] = image_reference("gpu")
            given["weights_licences"] = self.weights_licences
        elif section == "evaluate":
            train = self.candidates[candidate].train
            given |= {"seen_corruptions": train.seen_corruptions(), "tile_mm": train.tile_mm}

        return step.model_copy(update=given).model_dump_json(exclude_defaults=True)
