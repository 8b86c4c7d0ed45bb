"""Ed25519 key pairs: who signed a bundle, and whom this device trusts."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from faultwatch_edge.errors import TrustError

PRIVATE_NAME = "faultwatch.key"
PUBLIC_NAME = "faultwatch.pub"

_ID_LENGTH = 16
_LARGEST_KEY_FILE = 64 * 1024


def key_id(public_key: Ed25519PublicKey) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the raw public key.

    Example:
        >>> key_id(Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key())
        '139e3940e64b5491'
    """
    return hashlib.sha256(public_key.public_bytes_raw()).hexdigest()[:_ID_LENGTH]


def make_key_pair(folder: Path) -> tuple[Path, Path]:
    """Write a new private and public key into a folder, never over older ones.

    Returns:
        Path of ``faultwatch.key`` (PKCS8 PEM, readable by its owner only; it stays with whoever
        releases) and of ``faultwatch.pub`` (PEM; it goes to the devices).

    Raises:
        TrustError: a key is already there, or the folder cannot be written.
    """
    private_path, public_path = folder / PRIVATE_NAME, folder / PUBLIC_NAME
    private_key = Ed25519PrivateKey.generate()
    private_pem = private_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public_pem = private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_to_overwrite(private_path, public_path)
        _write_new(private_path, private_pem, mode=0o600)
        _write_new(public_path, public_pem, mode=0o644)
    except OSError as error:
        raise TrustError(f"{folder}: cannot write a key pair ({error})") from error
    return private_path, public_path


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Load the signing key.

    Raises:
        TrustError: the file is not an unencrypted Ed25519 private key.
    """
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TrustError(
            f"{path}: is not an unencrypted PEM private key; make one with 'faultwatch keys'"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise TrustError(f"{path}: is a {type(key).__name__}, expected an Ed25519 private key")
    return key


def load_trusted_keys(paths: Iterable[Path]) -> tuple[Ed25519PublicKey, ...]:
    """Load the public keys whose bundles are accepted.

    Args:
        paths: key files, and folders in which each ``*.pub`` is a key file.

    Raises:
        TrustError: a path does not exist or is not an Ed25519 public key, or there is no key.
    """
    given = list(paths)
    files = [
        file for path in given for file in (sorted(path.glob("*.pub")) if path.is_dir() else [path])
    ]
    keys = {key_id(key): key for key in map(_load_public_key, files)}
    if not keys:
        raise TrustError(
            f"no trusted key in {', '.join(map(str, given)) or 'an empty list'}, expected at least "
            "one *.pub file; copy faultwatch.pub from whoever releases"
        )
    return tuple(keys.values())


def _load_public_key(path: Path) -> Ed25519PublicKey:
    pem = _read(path)
    if b"PRIVATE KEY" in pem:
        raise TrustError(
            f"{path}: is a private key and must not be here; copy the .pub file instead"
        )
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustError(
            f"{path}: is not a public key in PEM form, expected a .pub file"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise TrustError(f"{path}: is a {type(key).__name__}, expected an Ed25519 public key")
    return key


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_KEY_FILE)
    except OSError as error:
        raise TrustError(
            f"{path}: cannot be read ({error.strerror}); expected a key file"
        ) from error


def _refuse_to_overwrite(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            raise TrustError(
                f"{path}: is already there and is not overwritten, since devices trust it; "
                "choose another folder"
            )


def _write_new(path: Path, data: bytes, *, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
