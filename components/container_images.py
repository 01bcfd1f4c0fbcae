"""Where every container image reference comes from: `images/digests.json`, or the file named by IMAGE_DIGESTS."""

import json
import os
from pathlib import Path
from typing import Literal

DIGESTS = Path(__file__).parent.parent / "images" / "digests.json"
PLACEHOLDER = "unpublished.invalid/concrete-crack-{target}"  # compiles and runs locally; a cluster compile refuses it


def container_image(target: Literal["cpu", "gpu"]) -> str:
    """Return `registry/name@sha256:…` of a build target, or a placeholder where no images were pushed yet.

    Raises:
        ValueError: The digest file is not JSON or lacks the target.
    """
    path = Path(os.environ.get("IMAGE_DIGESTS") or DIGESTS)
    if not path.exists():
        return PLACEHOLDER.format(target=target)
    try:
        return json.loads(path.read_text())[target]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path}: no container image for target "{target}"; expected {{"cpu": "registry/name@sha256:…", …}}. '
            "`make images-push REGISTRY=…` writes it"
        ) from error
