"""The transfer matrix: the metrics of each network on each source (or on each surface), and limits on these metrics.

In the code, a domain is a source or a surface. The parameter `transfer.each` decides which of the two.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.shared.results.calibration import Calibration
from components.shared.results.estimates import estimate_metrics
from components.shared.results.group_kind import count_unknown_photos
from components.shared.results.measurements import Estimate
from components.shared.results.predictions import Predictions
from pipelines.config.transfer_config import TransferLimit

SHOWN = ("auroc", "recall", "precision", "balanced_accuracy", "f1")


@dataclass(frozen=True)
class Cell:
    """The metrics of one network on the tiles of one source or surface.

    Attributes:
        left_out: The source or surface that the network was trained without.
        domain: The source or surface of the tiles.
        tiles: Number of tiles.
        groups: Number of groups.
        unknown_photos: Number of groups that are not photos, because the data do not name the photo.
        crack_share: Share of the tiles that have a crack, 0 to 1.
        numbers: Name of each metric in SHOWN -> estimate. The network's own threshold is used, as in production.
    """

    left_out: str
    domain: str
    tiles: int
    groups: int
    unknown_photos: int
    crack_share: float
    numbers: dict[str, Estimate]

    @property
    def unseen(self) -> bool:
        """Return whether the network was trained without the source or surface of these tiles."""
        return self.left_out == self.domain


@dataclass(frozen=True)
class Matrix:
    """All cells of the transfer matrix, and the reasons for the missing ones.

    Attributes:
        domain_kind: What was left out, one at a time: "source" or "surface".
        domains: Names of the sources or surfaces, sorted.
        cells: The cells, sorted by `left_out` and then by `domain`.
        failed: Left-out source or surface -> the reason why no network could be trained without it.
    """

    domain_kind: str
    domains: tuple[str, ...]
    cells: tuple[Cell, ...]
    failed: dict[str, str]

    def find(self, left_out: str, domain: str) -> Cell | None:
        """Return the cell with this `left_out` and `domain`. Return None if there is none."""
        for cell in self.cells:
            if (cell.left_out, cell.domain) == (left_out, domain):
                return cell
        return None

    def unseen(self, name: str) -> dict[str, float]:
        """Return the metric `name` of each network on its left-out source or surface, if the metric is defined.

        The result is a dict: source or surface -> value.
        """
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
        value: The mean or the lowest value of the metric. NaN if the metric is undefined everywhere. The
            lowest value is also NaN if `Matrix.failed` is not empty, because a network is then missing.
        domain: For a limit on the lowest value: the source or surface with this value, or the first one in
            `Matrix.failed`. For a limit on the mean, or if the metric is undefined everywhere: "".
    """

    limit: TransferLimit
    value: float
    domain: str

    @property
    def passed(self) -> bool:
        """Return whether the limit is reached. An undefined value does not reach a limit."""
        return self.value >= self.limit.limit


def cells_of(left_out: str, domain_column: str, answers: Predictions, calibration: Calibration) -> list[Cell]:
    """Return a network's metrics on each source or surface.

    All tiles of the left-out source or surface are used. Of every other source or surface, only the tiles
    of the test split are used.

    Args:
        left_out: The source or surface that the network was trained without. Its tiles are the robustness split.
        domain_column: "source" or "surface". This column of the answers says where a tile belongs.
        answers: The network's answers.
        calibration: The network's temperature and threshold, which were chosen on the validation split.
    """
    rows = pd.concat([answers.clean("test"), answers.clean("robustness")], ignore_index=True)
    cells = []
    for domain, tiles in rows.groupby(domain_column, sort=True):
        labels = tiles["label"].to_numpy()
        groups = tiles["group_id"].to_numpy()
        p_crack = calibration.p_crack(tiles["logit_0"].to_numpy(), tiles["logit_1"].to_numpy())
        estimates = estimate_metrics(labels, p_crack, groups, calibration.threshold)
        numbers = {name: estimates[name] for name in SHOWN}
        cells.append(
            Cell(
                left_out=left_out,
                domain=str(domain),
                tiles=len(tiles),
                groups=len(set(groups)),
                unknown_photos=count_unknown_photos(groups),
                crack_share=float(labels.mean()),
                numbers=numbers,
            )
        )
    return cells


def everything_cracked(crack_share: float) -> dict[str, float]:
    """Return the metrics of a network that calls every tile a crack: name -> value, NaN if it is undefined.

    Args:
        crack_share: Share of the tiles that have a crack, 0 to 1.
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
    """Return the result of each limit.

    A source or surface does not count if its metric is undefined. If `matrix.failed` is not empty, a network is
    missing, so the lowest value is unknown. A limit on the lowest value is then not reached.
    """
    results = []
    for limit in limits:
        numbers = matrix.unseen(limit.name)
        if limit.over == "worst" and matrix.failed:
            results.append(LimitResult(limit, float("nan"), next(iter(matrix.failed))))
        elif not numbers:
            results.append(LimitResult(limit, float("nan"), ""))
        elif limit.over == "mean":
            results.append(LimitResult(limit, float(np.mean(list(numbers.values()))), ""))
        else:
            worst = min(numbers, key=lambda domain: numbers[domain])
            results.append(LimitResult(limit, numbers[worst], worst))
    return results
