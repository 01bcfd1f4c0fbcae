"""Sign a model version with a person's private key, and check such a signature.

The signature covers the digest of all files of the version, which include its weights, its code and its calibration.
The signature is stored in a tag of the version in MLflow.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from mlflow.entities.model_registry import ModelVersion

from components.shared import signatures
from components.shared.errors import InputError
from components.shared.hashing import bytes_digest
from components.shared.services import mlflow_runs
from components.shared.services.version_files import version_digest, version_folder

# Start of the name of the tag with a signature. The first characters of the public key's digest follow.
SIGNATURE_PREFIX = "crack.signature."
KEY_CHARACTERS = 16


def sign(digest: str, private_key: Path) -> tuple[str, str]:
    """Sign the digest of a model version's files.

    Args:
        digest: From `version_digest`.
        private_key: PEM file of an Ed25519 private key.

    Returns:
        The name and the value of the tag that contains the signature.

    Raises:
        InputError: The file is not an Ed25519 private key, or its password is wrong or missing.
    """
    key = signatures.read_private_key(private_key)
    return _tag(key.public_key()), signatures.sign(_message(digest), key)


@contextlib.contextmanager
def signed_folder(name: str, number: str, signed_by: Path | None) -> Iterator[Path]:
    """Fetch a registered model version, and check its files and its signature.

    A person who can write to MLflow can change the digest there. Such a person cannot make a valid signature.

    Args:
        name: Name of the registered model.
        number: Number of the model version.
        signed_by: PEM file of a public key. The version must be signed with the matching private key. None: the version
            needs no signature.

    Yields:
        The folder of the model version. Its files exist until the `with` block ends.

    Raises:
        InputError: `signed_by` is not a public key, the files of the version are not the registered files, or a
            required signature is missing or wrong.
    """
    key = signatures.read_public_key(signed_by) if signed_by else None
    with version_folder(name, number) as folder:
        if key:
            version = mlflow_runs.client().get_model_version(name, number)
            _require_signature(version, version_digest(folder), key)
        yield folder


def _require_signature(version: ModelVersion, digest: str, key: Ed25519PublicKey) -> None:
    name = f"{version.name} version {version.version}"
    signature = version.tags.get(_tag(key))
    if signature is None:
        raise InputError(
            f"{name} is not signed with this key; sign it with `crack-pipeline sign {version.version} --key sign.key`"
        )
    if not signatures.is_signed(_message(digest), signature, key):
        raise InputError(
            f"the signature of {name} does not match its files, which were changed after they were signed; use "
            "another version, and find out who changed the files"
        )


def _message(digest: str) -> str:
    return f"crack-pipeline model version {digest}"


def _tag(key: Ed25519PublicKey) -> str:
    return f"{SIGNATURE_PREFIX}{bytes_digest(key.public_bytes_raw())[:KEY_CHARACTERS]}"
