"""The Secrets of a step. They are mounted as files, because KFP's backend copies every variable into a run's status."""

import os
from pathlib import Path

FOLDER = Path("/etc/crack/secrets")


def set_variables(folder: Path = FOLDER) -> None:
    """Set an environment variable from each key of each mounted Secret, as `FOLDER/SECRET/KEY`.

    The links to folders that Kubernetes adds are left out. Without mounted Secrets, nothing changes.
    """
    for file in sorted(folder.glob("*/*")):
        if file.is_file():
            os.environ[file.name] = file.read_text()
