"""Sign a text with a person's private key, and verify signatures.

The keys are Ed25519 (RFC 8032) in PEM files, as `openssl genpkey` writes them.
"""

import base64
import binascii
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_private_key, load_pem_public_key

from components.shared.errors import InputError
from components.shared.regular_file import require_file

PASSWORD = "SIGNING_KEY_PASSWORD"  # environment variable; needed only if the private key is encrypted
MAKE_KEYS = (
    "make the keys with `openssl genpkey -algorithm ed25519 -out sign.key` and `openssl pkey -in sign.key -pubout "
    "-out sign.pub`"
)


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read the PEM file of a private key. If the key is encrypted, SIGNING_KEY_PASSWORD is its password.

    Raises:
        InputError: The file is not an Ed25519 key, or the password is wrong or missing.
    """
    password = os.environ.get(PASSWORD)
    try:
        require_file(path)
        key = load_pem_private_key(path.read_bytes(), password.encode() if password else None)
    # TypeError: a password is missing, or it is set although the key is not encrypted.
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"--key {path}: {error}; {MAKE_KEYS}, or set {PASSWORD} if the key is encrypted") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"--key {path} is not an Ed25519 key; {MAKE_KEYS}")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read the PEM file of a public key. Raise InputError if the file does not contain an Ed25519 key."""
    try:
        require_file(path)
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"--require-signature {path}: {error}; give the public key of the person who signs") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"--require-signature {path} is not an Ed25519 key; {MAKE_KEYS}")
    return key


def public_key_from(line: str) -> Ed25519PublicKey:
    """Return a public key from the line between BEGIN and END of its PEM file. Parameter files contain this line.

    Raises:
        ValueError: The line is not an Ed25519 public key.
    """
    try:
        key = load_der_public_key(base64.b64decode(line, validate=True))
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(
            f"{line!r} is not an Ed25519 public key; give the line between BEGIN and END of the file sign.pub; "
            f"{MAKE_KEYS}"
        )
    return key


def sign(text: str, key: Ed25519PrivateKey) -> str:
    """Return the signature of a text, in base64."""
    return base64.b64encode(key.sign(text.encode())).decode()


def is_signed(text: str, signature: str, key: Ed25519PublicKey) -> bool:
    """Return whether the text was signed with the private key of this public key. The signature is in base64."""
    try:
        key.verify(base64.b64decode(signature), text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True
