"""Find the container image that a step runs in.

A component names a build target, "cpu" or "gpu". When a pipeline is compiled, `pipelines/graphs/pod_policy.py` replaces
the target with the reference of its container image. The reference is in `images/digests.json`, or in the file that
IMAGE_DIGESTS names.
"""

import json
import os
import re
from pathlib import Path
from typing import Literal, get_args

from components.shared.errors import InputError

Target = Literal["cpu", "gpu"]
DIGESTS = Path(__file__).parent.parent / "images" / "digests.json"
# The registry name that we use for container images that were never pushed. A pipeline with this name can be compiled,
# but no cluster can pull such an image.
UNPUBLISHED_REGISTRY = "unpublished.invalid"
BY_DIGEST = r"[^@\s]+@sha256:[0-9a-f]{64}"
HOW_TO_PUSH = "`make images-push REGISTRY=…` builds and pushes the container images and writes the file"
HOW_TO_ALLOW_TAGS = "--allow-tags (make: ALLOW_TAGS=1) accepts tags, for development"


def container_image(target: Target) -> str:
    """Return the name that components use for the container image of a build target."""
    return f"{UNPUBLISHED_REGISTRY}/concrete-crack-{target}"


def image_reference(target: Target) -> str:
    """Return the reference of a build target's container image.

    If no container image was pushed yet, the reference is only the name that `container_image` returns.

    Raises:
        InputError: IMAGE_DIGESTS names a file that does not exist. Or the file with the digests is not JSON, or does
            not contain the target.
    """
    path = _digest_file()
    if not path.exists():
        if path != DIGESTS:
            raise InputError(f"IMAGE_DIGESTS is set to {path}, but this file does not exist; {HOW_TO_PUSH}")
        return container_image(target)

    try:
        reference = json.loads(path.read_text())[target]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{path} does not name the container image "{target}"; expected {{"cpu": "registry/name@sha256:…", '
            f'"gpu": …}}. {HOW_TO_PUSH}'
        ) from error

    if not isinstance(reference, str) or not reference:
        raise InputError(
            f'{path}: the container image "{target}" is {reference!r}; expected text such as '
            f'"registry/name@sha256:…". {HOW_TO_PUSH}'
        )
    return reference


def check_images(allow_tags: bool = False) -> None:
    """Check that the reference of every container image contains a digest. A run on a cluster needs these digests.

    Args:
        allow_tags: For development: accept a container image that has a tag in place of a digest, or that was not
            pushed yet. With a tag, two runs may use different container images, because tags can be moved.

    Raises:
        InputError: There are no digests, or one is malformed. The message says how to get valid digests.
    """
    references = {target: image_reference(target) for target in get_args(Target)}
    if allow_tags:
        return

    path = _digest_file()
    if not path.exists():
        raise InputError(
            f"the digests of the container images are missing: {DIGESTS} does not exist and IMAGE_DIGESTS is not set. "
            f"{HOW_TO_PUSH}; {HOW_TO_ALLOW_TAGS}"
        )

    for target, reference in references.items():
        if not re.fullmatch(BY_DIGEST, reference):
            raise InputError(
                f'{path}: the container image "{target}" is {reference}; it must be registry/name@sha256: '
                f"and 64 hexadecimal digits. {HOW_TO_PUSH}; {HOW_TO_ALLOW_TAGS}"
            )


def _digest_file() -> Path:
    return Path(os.environ.get("IMAGE_DIGESTS") or DIGESTS)
