"""Read the Secrets of a step.

We mount Secrets as files. If they were environment variables, KFP would copy their values into the run's status.
"""

import os
from pathlib import Path

FOLDER = Path("/etc/crack/secrets")


def set_variables(folder: Path = FOLDER) -> None:
    """Set an environment variable for each key of each mounted Secret. The value is in the file `FOLDER/SECRET/KEY`.

    Kubernetes also puts folders such as `..data` into the folder SECRET. We skip them. If no Secret is mounted, nothing
    changes.
    """
    for file in sorted(folder.glob("*/*")):
        if file.is_file():
            os.environ[file.name] = file.read_text()
