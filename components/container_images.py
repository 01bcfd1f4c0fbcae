"""Which container image a step runs in.

Components name a build target. When a pipeline is compiled, `pipelines/graphs/pod_policy.py` replaces it by the digest
that `images/digests.json`, or the file named by IMAGE_DIGESTS, gives for it.
"""

import json
import os
import re
from pathlib import Path
from typing import Literal, get_args

from components.shared.errors import InputError

Target = Literal["cpu", "gpu"]
DIGESTS = Path(__file__).parent.parent / "images" / "digests.json"
UNPUBLISHED = "unpublished.invalid"  # registry of images never pushed: compiles, but no cluster can pull them
WAY_OUT = "`make images-push REGISTRY=…` builds and pushes the images and writes the file"


def container_image(target: Target) -> str:
    """Return the name by which a component asks for a build target's image."""
    return f"{UNPUBLISHED}/concrete-crack-{target}"


def image_reference(target: Target) -> str:
    """Return the reference of a build target's image, or just its name where no images were pushed yet.

    Raises:
        InputError: The digest file is named but not there, is not JSON, or lacks the target.
    """
    path = _digest_file()
    if not path.exists():
        if path != DIGESTS:
            raise InputError(f"IMAGE_DIGESTS names {path}, which does not exist; {WAY_OUT}")
        return container_image(target)
    try:
        reference = json.loads(path.read_text())[target]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{path}: no container image for target "{target}"; expected {{"cpu": "registry/name@sha256:…", '
            f'"gpu": …}}. {WAY_OUT}'
        ) from error
    if not isinstance(reference, str) or not reference:
        raise InputError(f'{path}: the image of target "{target}" is {reference!r}, not a reference. {WAY_OUT}')
    return reference


def check_images(allow_tags: bool = False) -> None:
    """See that every image is named by its digest, as a cluster needs it.

    Args:
        allow_tags: Accept tags and placeholders, for development: what a tag names may change between two runs.

    Raises:
        InputError: There are no digests, or one is malformed; the message says how to get them.
    """
    references = {target: image_reference(target) for target in get_args(Target)}
    if allow_tags:
        return
    if not _digest_file().exists():
        raise InputError(
            f"no digests of the container images: neither {DIGESTS} nor IMAGE_DIGESTS. {WAY_OUT}; --allow-tags "
            "(make: ALLOW_TAGS=1) does without them, for development"
        )
    for target, reference in references.items():
        if not re.fullmatch(r"[^@\s]+@sha256:[0-9a-f]{64}", reference):
            raise InputError(
                f'{_digest_file()}: the image of target "{target}" is {reference}; expected registry/name@sha256: '
                f"and 64 hexadecimal digits. {WAY_OUT}; --allow-tags (make: ALLOW_TAGS=1) takes tags, for development"
            )


def _digest_file() -> Path:
    return Path(os.environ.get("IMAGE_DIGESTS") or DIGESTS)
