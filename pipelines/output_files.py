"""Check the files that a command writes, before its work starts."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from components.shared.atomic_file import require_place
from components.shared.errors import InputError


def require_outputs(outputs: Mapping[str, Path | None], inputs: Iterable[Path]) -> None:
    """Check that no output of a command replaces one of its inputs or another output.

    Args:
        outputs: Option -> file that the command writes. None means that the option is not given.
        inputs: Files that the command reads.

    Raises:
        InputError: An output is an input, another output, a folder, a pipe, a socket or a device. Links are followed.
    """
    read = {os.path.realpath(path) for path in inputs}
    written: dict[str, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue

        require_place(path)
        place = os.path.realpath(path)
        if place in read:
            raise InputError(f"{option} {path} is an input of this command, and would be replaced; give another file")
        if place in written:
            raise InputError(f"{option} {path} is the same file as {written[place]}; give two files")
        written[place] = option
