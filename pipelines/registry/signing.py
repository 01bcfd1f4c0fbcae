"""Sign a model version with a person's private key, and check such a signature.

The signature covers the digest of all files of the version, which include its weights, its code and its calibration.
The signature is stored in a tag of the version in MLflow.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from mlflow.entities.model_registry import ModelVersion

from components.shared import signatures
from components.shared.errors import InputError
from components.shared.hashing import bytes_digest

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


def require_signature(version: ModelVersion, digest: str, key: Ed25519PublicKey) -> None:
    """Raise InputError if a model version has no signature of a person, or if the signature does not match its files.

    Args:
        version: The model version with its tags.
        digest: The result of `version_digest` for the files as they are now.
        key: The person's public key.
    """
    name = f"{version.name} version {version.version}"
    signature = version.tags.get(_tag(key))
    if signature is None:
        raise InputError(
            f"{name} is not signed with this key; sign it with `crack-pipeline sign {version.version} --key sign.key`"
        )
    if not signatures.is_signed(_message(digest), signature, key):
        raise InputError(
            f"the signature of {name} does not match its files, which were changed after they were signed; promote "
            "another version, or find out who changed the files"
        )


def _message(digest: str) -> str:
    return f"crack-pipeline model version {digest}"


def _tag(key: Ed25519PublicKey) -> str:
    return f"{SIGNATURE_PREFIX}{bytes_digest(key.public_bytes_raw())[:KEY_CHARACTERS]}"
