"""The transfer matrix: the numbers of each network on each domain (source or surface), and limits on them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.shared.results.calibration import Calibration
from components.shared.results.estimates import estimate_metrics
from components.shared.results.measurements import Estimate
from components.shared.results.predictions import Predictions
from pipelines.config.transfer_config import TransferLimit

SHOWN = ("auroc", "recall", "precision", "balanced_accuracy", "f1")


@dataclass(frozen=True)
class Cell:
    """The numbers of a network on one domain.

    Attributes:
        left_out: The domain that the network was trained without.
        domain: The domain of the tiles.
        tiles: Number of tiles.
        photos: Number of photos.
        crack_share: Share of the tiles with a crack, 0 to 1.
        numbers: Name in SHOWN -> estimate. The network uses its own threshold, as it would in production.
    """

    left_out: str
    domain: str
    tiles: int
    photos: int
    crack_share: float
    numbers: dict[str, Estimate]

    @property
    def unseen(self) -> bool:
        """Return whether the network was trained without this domain."""
        return self.left_out == self.domain


@dataclass(frozen=True)
class Matrix:
    """All cells, and the domains without a network.

    Attributes:
        each: What counts as a domain: "source" or "surface".
        domains: Names of the domains, in order.
        cells: The cells, ordered by left-out domain and then by domain.
        failed: Left-out domain -> the reason why no network could be trained without it.
    """

    each: str
    domains: tuple[str, ...]
    cells: tuple[Cell, ...]
    failed: dict[str, str]

    def find(self, left_out: str, domain: str) -> Cell | None:
        """Return the cell of a network and a domain. Return None if there is none."""
        for cell in self.cells:
            if (cell.left_out, cell.domain) == (left_out, domain):
                return cell
        return None

    def unseen(self, name: str) -> dict[str, float]:
        """Return a dict: unseen domain -> the number with this name. Domains with an undefined number are missing."""
        numbers = {}
        for cell in self.cells:
            if cell.unseen and not np.isnan(cell.numbers[name].value):
                numbers[cell.domain] = cell.numbers[name].value
        return numbers


@dataclass(frozen=True)
class LimitResult:
    """The result of one limit.

    Attributes:
        limit: The limit.
        value: The number that was reached.
        domain: The worst domain, if the limit is on the worst domain; otherwise "".
    """

    limit: TransferLimit
    value: float
    domain: str

    @property
    def passed(self) -> bool:
        """Return whether the limit is reached. An undefined number does not reach a limit."""
        return self.value >= self.limit.limit


def cells_of(left_out: str, each: str, answers: Predictions, calibration: Calibration) -> list[Cell]:
    """Return a network's numbers on each domain.

    On the left-out domain, all tiles are used. On each other domain, only the tiles of the test split are used.

    Args:
        left_out: The domain that the network was trained without. Its tiles are the robustness split.
        each: "source" or "surface".
        answers: The network's answers.
        calibration: The network's temperature and threshold, which were chosen on the validation split.
    """
    rows = pd.concat([answers.clean("test"), answers.clean("robustness")], ignore_index=True)
    cells = []
    for domain, tiles in rows.groupby(each, sort=True):
        labels = tiles["label"].to_numpy()
        groups = tiles["group_id"].to_numpy()
        p_crack = calibration.p_crack(tiles["logit_0"].to_numpy(), tiles["logit_1"].to_numpy())
        estimates = estimate_metrics(labels, p_crack, groups, calibration.threshold)
        numbers = {name: estimates[name] for name in SHOWN}
        cells.append(Cell(left_out, str(domain), len(tiles), len(set(groups)), float(labels.mean()), numbers))
    return cells


def everything_cracked(crack_share: float) -> dict[str, float]:
    """Return the numbers of a network that calls every tile a crack.

    Args:
        crack_share: Share of the tiles with a crack, 0 to 1.
    """
    undefined = float("nan")
    one_class = crack_share in (0.0, 1.0)
    return {
        "balanced_accuracy": undefined if one_class else 0.5,
        "auroc": undefined if one_class else 0.5,
        "precision": crack_share,
        "recall": 1.0 if crack_share else undefined,
        "f1": 2 * crack_share / (1 + crack_share),
    }


def check_limits(matrix: Matrix, limits: Iterable[TransferLimit]) -> list[LimitResult]:
    """Return the result of each limit. A domain without a network, or with an undefined number, does not count."""
    results = []
    for limit in limits:
        numbers = matrix.unseen(limit.name)
        if not numbers:
            results.append(LimitResult(limit, float("nan"), ""))
        elif limit.over == "mean":
            results.append(LimitResult(limit, float(np.mean(list(numbers.values()))), ""))
        else:
            worst = min(numbers, key=lambda domain: numbers[domain])
            results.append(LimitResult(limit, numbers[worst], worst))
    return results
