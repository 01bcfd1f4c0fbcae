"""Sign a model version with a person's private key, and check such a signature.

The signature covers the digest of all files of the version, which include its weights, its code and its calibration.
The signature is stored in a tag of the version in MLflow. The keys are Ed25519 (RFC 8032) in PEM files, as
`openssl genpkey` writes them.
"""

import base64
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from mlflow.entities.model_registry import ModelVersion

from components.shared.errors import InputError
from components.shared.hashing import bytes_digest

# Start of the name of the tag with a signature. The first characters of the public key's digest follow.
SIGNATURE_PREFIX = "crack.signature."
KEY_CHARACTERS = 16
PASSWORD = "SIGNING_KEY_PASSWORD"  # environment variable; needed only if the private key is encrypted
MAKE_KEYS = (
    "make the keys with `openssl genpkey -algorithm ed25519 -out sign.key` and `openssl pkey -in sign.key -pubout "
    "-out sign.pub`"
)


def sign(digest: str, private_key: Path) -> tuple[str, str]:
    """Sign the digest of a model version's files.

    Args:
        digest: From `version_digest`.
        private_key: PEM file of an Ed25519 private key. If the key is encrypted, SIGNING_KEY_PASSWORD is its password.

    Returns:
        The name and the value of the tag that contains the signature.

    Raises:
        InputError: The file is not such a key, or its password is wrong or missing.
    """
    password = os.environ.get(PASSWORD)
    try:
        key = load_pem_private_key(private_key.read_bytes(), password.encode() if password else None)
    # TypeError: a password is missing, or it is set although the key is not encrypted.
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"--key {private_key}: {error}; {MAKE_KEYS}, or set {PASSWORD} if the key is encrypted"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"--key {private_key} is not an Ed25519 key; {MAKE_KEYS}")

    signature = key.sign(_message(digest))
    return _tag(key.public_key()), base64.b64encode(signature).decode()


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read the PEM file of an Ed25519 public key. Raise InputError if the file does not contain such a key."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"--require-signature {path}: {error}; give the public key of the person who signs") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"--require-signature {path} is not an Ed25519 key; {MAKE_KEYS}")
    return key


def require_signature(version: ModelVersion, digest: str, key: Ed25519PublicKey) -> None:
    """Raise InputError if a model version's files, as they are now, are not signed with a person's key.

    Args:
        version: The model version with its tags.
        digest: The result of `version_digest` for the files as they are now.
        key: The public key.
    """
    name = f"{version.name} version {version.version}"
    signature = version.tags.get(_tag(key))
    if signature is None:
        raise InputError(
            f"{name} is not signed with this key; sign it with `crack-pipeline sign {version.version} --key sign.key`"
        )
    try:
        key.verify(base64.b64decode(signature), _message(digest))
    except (InvalidSignature, ValueError) as error:
        raise InputError(
            f"the signature of {name} does not match its files, which were changed after they were signed; promote "
            "another version, or find out who changed the files"
        ) from error


def _message(digest: str) -> bytes:
    return f"crack-pipeline model version {digest}".encode()


def _tag(key: Ed25519PublicKey) -> str:
    return f"{SIGNATURE_PREFIX}{bytes_digest(key.public_bytes_raw())[:KEY_CHARACTERS]}"
