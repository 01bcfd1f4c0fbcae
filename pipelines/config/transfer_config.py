"""Settings of `crack-pipeline transfer`, which leaves out one domain after the other."""

from typing import Literal

from pydantic import Field

from components.shared.config import Config

Metric = Literal["balanced_accuracy", "auroc", "precision", "recall", "f1"]


class TransferLimit(Config):
    """A limit on a metric. Either its mean over the unseen domains or its lowest value must be at least the limit."""

    over: Literal["mean", "worst"] = Field(description="mean of the unseen domains, or the lowest of them")
    name: Metric
    limit: float = Field(ge=0, le=1)


class TransferConfig(Config):
    """The kind of domain, the candidate whose network is trained once without each domain, and the limits."""

    each: Literal["source", "surface"] = Field(default="source", description="what counts as a domain")
    candidate: str | None = Field(default=None, description="the candidate that is trained; default: the first one")
    limits: tuple[TransferLimit, ...] = Field(default=(), description="limits on unseen domains; all of them must hold")
