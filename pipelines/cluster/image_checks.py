"""Check that the container images of a run are named by digest, and that their registry has them."""

import base64
import json
import os
import re
from pathlib import Path

import requests
import yaml

from components.container_images import BY_DIGEST, HOW_TO_PUSH, check_images, image_reference
from components.shared.errors import InputError
from pipelines.cluster.kubernetes_view import UnseenError, WarnedError

SERVER_IMAGES = Path(__file__).parents[2] / "manifests" / "components" / "images" / "kustomization.yaml"
ANSWER_SECONDS = 10
LOOPBACK = re.compile(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?")
DOCKER_HUB = "registry-1.docker.io"
MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


def check_container_images(allow_tags: bool = False) -> str:
    """Check that the steps' container images are named by digest, and that their registry has them.

    Args:
        allow_tags: True: accept tags, for development. Tags are not looked up in the registry.
    """
    check_images(allow_tags)
    references = [image_reference(target) for target in ("cpu", "gpu")]
    for reference in dict.fromkeys(references):
        if re.fullmatch(BY_DIGEST, reference):
            require_in_registry(reference)
    return "\n".join(references)


def check_server_image(file: Path = SERVER_IMAGES) -> str:
    """Check that the manifests run MLflow from the "cpu" container image that images/digests.json names.

    Args:
        file: The kustomization that names the container images.
    """
    wanted = image_reference("cpu")
    if not file.exists():
        raise UnseenError(
            f'{file} does not exist on this machine, so we cannot check that MLflow runs from the "cpu" container image'
        )

    images = {image["name"]: image for image in yaml.safe_load(file.read_text())["images"]}
    image = images["crack-cpu"]
    named = f"{image['newName']}@{image['digest']}" if "digest" in image else f"{image['newName']}:{image['newTag']}"
    if named != wanted:
        raise WarnedError(
            f'MLflow runs from {named}, but the "cpu" container image is {wanted}; write the name and digest of the '
            f'"cpu" image into the entry crack-cpu of manifests/components/images/{file.name}, and apply the overlay '
            "again"
        )
    return named


def require_in_registry(reference: str) -> None:
    """Ask a registry whether it has a container image.

    Args:
        reference: HOST/NAME@sha256:….

    Raises:
        InputError: The registry does not have the container image.
        UnseenError: The registry does not answer, or does not let this machine read.
    """
    place, _, digest = reference.partition("@")
    host, _, name = place.partition("/")
    if host == "docker.io":
        host = DOCKER_HUB
    scheme = "http" if LOOPBACK.fullmatch(host) else "https"
    url = f"{scheme}://{host}/v2/{name}/manifests/{digest}"

    try:
        answer = _ask(url, _credentials(host))
    except requests.RequestException as error:
        raise UnseenError(
            f"the registry {host} does not answer this machine ({type(error).__name__}), so we cannot check that the "
            f"registry has {reference}"
        ) from error

    if answer.status_code == 404:
        raise InputError(f"the registry {host} does not have {reference}; {HOW_TO_PUSH}")
    if answer.status_code != 200:
        raise UnseenError(
            f"the registry {host} answers {answer.status_code} to this machine, so we cannot check that the registry "
            f"has {reference}; log in with `docker login {host}`"
        )


def _ask(url: str, credentials: tuple[str, str] | None) -> requests.Response:
    """Request the manifest at `url`.

    If the registry requires a token, its answer names a server. We get the token from this server.
    """
    headers = {"Accept": ", ".join(MANIFEST_TYPES)}
    answer = requests.head(url, headers=headers, timeout=ANSWER_SECONDS, allow_redirects=True)
    if answer.status_code != 401:
        return answer

    challenge = answer.headers.get("WWW-Authenticate", "")
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not challenge.lower().startswith("bearer") or "realm" not in fields:
        return requests.head(url, headers=headers, auth=credentials, timeout=ANSWER_SECONDS, allow_redirects=True)

    realm = fields.pop("realm")
    granted = requests.get(realm, params=fields, auth=credentials, timeout=ANSWER_SECONDS)
    if granted.status_code != 200:
        return granted
    token = granted.json().get("token") or granted.json().get("access_token", "")
    headers["Authorization"] = f"Bearer {token}"
    return requests.head(url, headers=headers, timeout=ANSWER_SECONDS, allow_redirects=True)


def _credentials(host: str) -> tuple[str, str] | None:
    """Return the user and password that `docker login` stored for a registry. Return None if there are none."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        entry = json.loads((folder / "config.json").read_text())["auths"][host]["auth"]
        user, _, password = base64.b64decode(entry).decode().partition(":")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return user, password
