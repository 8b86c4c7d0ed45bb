"""The contract: everything that decides an alarm, in one signed file ``ASSET-VERSION.fwb``.

A bundle is one stored zip with exactly these members, once each::

    detector.onnx     the graph: raw engineering units in, calibrated score out
    manifest.json     channels, windows, threshold, alarm, origin (``manifest.py``)
    golden.npz        real cells and what the detector said about them (``golden.py``)
    certificate.json  smallest faults that it was shown to find (``certificate.py``); may be absent
    SHA256SUMS        as ``sha256sum`` writes it, of those above
    signature         Ed25519 over the bytes of SHA256SUMS, 64 bytes

Nothing in a bundle is parsed, beyond the zip's own directory, before its signature has passed.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from faultwatch_edge import archive
from faultwatch_edge.certificate import Certificate
from faultwatch_edge.errors import BundleError
from faultwatch_edge.golden import Golden
from faultwatch_edge.keys import key_id
from faultwatch_edge.manifest import (
    CONTRACT_VERSION,
    AlarmSpec,
    ChannelSpec,
    Manifest,
    ThresholdSpec,
    WindowSpec,
)

__all__ = [
    "CONTRACT_VERSION",
    "AlarmSpec",
    "Bundle",
    "Certificate",
    "ChannelSpec",
    "Golden",
    "Manifest",
    "ThresholdSpec",
    "WindowSpec",
    "read_bundle",
    "write_bundle",
]

_ONNX: Final = "detector.onnx"
_MANIFEST: Final = "manifest.json"
_GOLDEN: Final = "golden.npz"
_CERTIFICATE: Final = "certificate.json"
_SUMS: Final = "SHA256SUMS"
_SIGNATURE: Final = "signature"
_SUMMED: Final = (_ONNX, _MANIFEST, _GOLDEN, _CERTIFICATE)
OPTIONAL: Final = frozenset({_CERTIFICATE})

LIMITS: Final[Mapping[str, int]] = {
    _ONNX: 64 * 1024 * 1024,
    _MANIFEST: 1024 * 1024,
    _GOLDEN: 16 * 1024 * 1024,
    _CERTIFICATE: 4 * 1024 * 1024,
    _SUMS: 4 * 1024,
    _SIGNATURE: 64,
}
LARGEST_FILE: Final = sum(LIMITS.values()) + 64 * 1024
_CLAIMED_KEY: Final = re.compile(rb'"key_id": *"([0-9a-f]{16})"')


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle that was read and passed every check but the golden vectors."""

    manifest: Manifest
    onnx: bytes
    golden: Golden
    sha256: str
    """Of the whole file, in hexadecimal."""
    certificate: Certificate | None = None
    """None = nothing was certified, as in older bundles."""


def write_bundle(
    path: Path,
    *,
    manifest: Manifest,
    onnx: bytes,
    golden: Golden,
    private_key: Ed25519PrivateKey,
    certificate: Certificate | None = None,
) -> str:
    """Sign and write a bundle; the file appears whole or not at all.

    The same input gives the same bytes. What is written has been read back by the rules of
    ``read_bundle`` before, so that no bundle leaves here that a device refuses.

    Args:
        path: the file, by custom ``folder / manifest.file_name``.
        manifest: its ``key_id`` is that of ``private_key``.
        onnx: the graph, weights included.
        golden: at least 50 windows that fit the manifest.
        private_key: whose public part the devices trust.
        certificate: of its channels; None = nothing was certified.

    Returns:
        SHA-256 of the file, in hexadecimal.

    Raises:
        BundleError: a device would refuse it.
    """
    members = {_ONNX: onnx, _MANIFEST: manifest.to_json(), _GOLDEN: golden.to_npz()}
    if certificate is not None:
        members[_CERTIFICATE] = certificate.to_json()
    sums = _checksums(members)
    data = archive.pack({**members, _SUMS: sums, _SIGNATURE: private_key.sign(sums)})
    try:
        bundle = _open(data, [private_key.public_key()])
    except BundleError as error:
        raise BundleError(f"{path.name}: {error}") from error
    _write_whole(path, data)
    return bundle.sha256


def read_bundle(path: Path, *, trusted_keys: Sequence[Ed25519PublicKey]) -> Bundle:
    """Read a bundle and refuse it unless everything in it is as the contract says.

    ``detector.check_golden`` is the check that is left: it needs the runtime.

    Raises:
        BundleError: the file is refused; the text says why and what to do.
    """
    return parse_bundle(read_file(path), name=path.name, trusted_keys=trusted_keys)


def parse_bundle(data: bytes, *, name: str, trusted_keys: Sequence[Ed25519PublicKey]) -> Bundle:
    """The same of a file's bytes.

    Args:
        data: see ``read_file``.
        name: of the file, for the error.
        trusted_keys: of the signers.

    Raises:
        BundleError: it is refused.
    """
    try:
        return _open(data, trusted_keys)
    except BundleError as error:
        raise BundleError(f"{name}: {error}") from error


def read_file(path: Path) -> bytes:
    """The bytes of a bundle, unchecked but for their number.

    Raises:
        BundleError: it cannot be read, is no file, or is larger than any bundle.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise BundleError(f"{path.name}: is no file, expected a bundle at {path}")
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise BundleError(
            f"{path.name}: cannot be read ({error.strerror}), expected a bundle at {path}"
        ) from error
    if len(data) > LARGEST_FILE:
        raise BundleError(
            f"{path.name}: has more than {LARGEST_FILE} bytes, the most that a bundle can have"
        )
    return data


def _open(data: bytes, trusted_keys: Sequence[Ed25519PublicKey]) -> Bundle:
    members = archive.unpack(data, LIMITS, optional=OPTIONAL)
    signer = _signer(members, trusted_keys)
    _check_checksums(members)
    manifest = Manifest.from_json(members[_MANIFEST])
    if manifest.key_id != signer:
        raise BundleError(
            f"{_MANIFEST}: key_id is {manifest.key_id}, expected {signer}, the key that signed; "
            "release it again with that key's id"
        )
    golden = Golden.from_npz(members[_GOLDEN])
    golden.check_shapes(manifest)
    return Bundle(
        manifest=manifest,
        onnx=members[_ONNX],
        golden=golden,
        sha256=hashlib.sha256(data).hexdigest(),
        certificate=_certificate(members, manifest),
    )


def _certificate(members: Mapping[str, bytes], manifest: Manifest) -> Certificate | None:
    if _CERTIFICATE not in members:
        return None
    certificate = Certificate.from_json(members[_CERTIFICATE])
    certificate.check_channels(manifest.channel_names)
    return certificate


def _signer(members: Mapping[str, bytes], trusted_keys: Sequence[Ed25519PublicKey]) -> str:
    """Id of the trusted key whose signature it is."""
    for key in trusted_keys:
        try:
            key.verify(members[_SIGNATURE], members[_SUMS])
        except InvalidSignature:
            continue
        return key_id(key)
    trusted = [key_id(key) for key in trusted_keys]
    claim = _CLAIMED_KEY.search(members[_MANIFEST])
    claimed = claim[1].decode() if claim else "none"
    if claimed in trusted:
        raise BundleError(
            f"the signature is not that of key {claimed}: the file was changed after signing; "
            "do not use it, and get it again from whoever releases"
        )
    raise BundleError(
        f"signed with key {claimed}, expected one of the trusted {', '.join(trusted) or '(none)'}; "
        "add the signer's .pub file if you trust it"
    )


def _summed(members: Mapping[str, bytes]) -> list[str]:
    return [name for name in _SUMMED if name in members]


def _checksums(members: Mapping[str, bytes]) -> bytes:
    there = _summed(members)
    lines = [f"{hashlib.sha256(members[name]).hexdigest()}  {name}\n" for name in there]
    return "".join(lines).encode("ascii")


def _check_checksums(members: Mapping[str, bytes]) -> None:
    expected = _checksums(members)
    if members[_SUMS] == expected:
        return
    stated = members[_SUMS].splitlines()
    computed = expected.splitlines()
    wrong = [
        name for name, line in zip(_summed(members), computed, strict=True) if line not in stated
    ]
    raise BundleError(
        f"{_SUMS} does not match {', '.join(wrong) or 'in form'}; copy the file again"
    )


def _write_whole(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
