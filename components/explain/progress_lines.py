"""Report the progress of the explain step: a line for every stage, and lines while a network classifies images."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from components.shared.events import progress
from components.shared.network.network import Network

SECONDS_BETWEEN_LINES = 10.0


class ProgressLines:
    """The progress lines of one run of the step.

    Attributes:
        stages: Number of stages.
    """

    def __init__(self, stages: int):
        self.stages = stages
        self._finished = -1
        self._note = ""
        self._images = 0
        self._last_line = time.monotonic()

    def stage(self, note: str) -> None:
        """Start the next stage and report it. `note` describes the stage."""
        self._finished += 1
        self._note = note
        self._images = 0
        self._line(note)

    def count(self, images: int) -> None:
        """Add to the number of images that the network has classified in this stage.

        Report this number if the last line is at least SECONDS_BETWEEN_LINES old.
        """
        self._images += images
        if time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._line(f"{self._note}: the network has classified {self._images:,} images")

    def _line(self, note: str) -> None:
        self._last_line = time.monotonic()
        progress(self._finished, self.stages, note)


@contextmanager
def progress_lines(stages: int) -> Iterator[ProgressLines]:
    """Report progress during a `with` block. All images that a `Network` classifies in the block are counted."""
    lines = ProgressLines(stages)

    def before_forward(module: nn.Module, inputs: Any) -> None:
        if isinstance(module, Network):
            lines.count(len(inputs[0]))

    handle = register_module_forward_pre_hook(before_forward)
    try:
        yield lines
    finally:
        handle.remove()
