"""Settings of `crack-pipeline transfer`, which leaves out one source or surface at a time.

A domain is one source or one surface.
"""

from typing import Literal

from pydantic import Field

from components.shared.config import Config

Metric = Literal["balanced_accuracy", "auroc", "precision", "recall", "f1"]


class TransferLimit(Config):
    """A limit on a metric: the mean over the left-out domains, or the lowest value, must be at least the limit."""

    over: Literal["mean", "worst"] = Field(
        description="mean: the mean over the left-out domains; worst: the lowest value"
    )
    name: Metric
    limit: float = Field(ge=0, le=1)


class TransferConfig(Config):
    """The settings of a transfer run: the kind of domain, the candidate to train, and the limits.

    The candidate is trained several times, each time without one of the domains.
    """

    each: Literal["source", "surface"] = Field(
        default="source", description="the kind of domain; one domain is left out at a time"
    )
    candidate: str | None = Field(
        default=None, description="the candidate that is trained; default: the first one in the file"
    )
    limits: tuple[TransferLimit, ...] = Field(default=(), description="limits on left-out domains; all must hold")
