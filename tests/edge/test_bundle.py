"""Every way to get a bundle wrong, and the one way to get it right."""

import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from faultwatch_edge import archive
from faultwatch_edge.bundle import (
    LIMITS,
    OPTIONAL,
    Bundle,
    Certificate,
    Golden,
    Manifest,
    read_bundle,
    write_bundle,
)
from faultwatch_edge.errors import BundleError

MEMBERS = tuple(LIMITS)


def _zip(entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in entries:
            file.writestr(name, data)
    return buffer.getvalue()


def test_bundle_comes_back_as_it_was_written(
    bundle: Bundle, manifest: Manifest, golden: Golden, graph: bytes
) -> None:
    assert bundle.manifest == manifest
    assert bundle.onnx == graph
    for name in ("cells", "score", "anomalous", "contribution", "gate"):
        np.testing.assert_array_equal(getattr(bundle.golden, name), getattr(golden, name))


def test_same_input_gives_the_same_bytes(
    tmp_path: Path,
    bundle_path: Path,
    bundle: Bundle,
    private_key: Ed25519PrivateKey,
) -> None:
    path = tmp_path / "again.fwb"
    sha256 = write_bundle(
        path,
        manifest=bundle.manifest,
        onnx=bundle.onnx,
        golden=bundle.golden,
        private_key=private_key,
        certificate=bundle.certificate,
    )
    assert path.read_bytes() == bundle_path.read_bytes()
    assert sha256 == bundle.sha256
    assert [file.name for file in tmp_path.iterdir()] == ["again.fwb"]


def test_failed_write_leaves_the_older_bundle_and_no_part(
    tmp_path: Path,
    bundle: Bundle,
    private_key: Ed25519PrivateKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "pump.fwb"
    path.write_bytes(b"older")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_bundle(
            path,
            manifest=bundle.manifest,
            onnx=bundle.onnx,
            golden=bundle.golden,
            private_key=private_key,
        )
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"older"]


def test_a_bundle_that_a_device_would_refuse_is_not_written(
    tmp_path: Path, bundle: Bundle, private_key: Ed25519PrivateKey
) -> None:
    def write(**changes: object) -> None:
        parts = {"manifest": bundle.manifest, "golden": bundle.golden, **changes}
        write_bundle(tmp_path / "p.fwb", onnx=b"", private_key=private_key, **parts)  # type: ignore[arg-type]

    short = replace(bundle.golden, cells=bundle.golden.cells[:50])
    with pytest.raises(BundleError, match=r"p\.fwb: golden\.npz: score has shape"):
        write(golden=short)
    with pytest.raises(BundleError, match="key_id is 0000000000000000, expected"):
        write(manifest=replace(bundle.manifest, key_id="0" * 16))
    threshold = replace(bundle.manifest.threshold, score=float("nan"))
    with pytest.raises(BundleError, match="cannot be written as JSON"):
        write(manifest=replace(bundle.manifest, threshold=threshold))
    assert list(tmp_path.iterdir()) == []


def test_checksums_are_those_of_sha256sum(members: dict[str, bytes]) -> None:
    lines = members["SHA256SUMS"].decode().splitlines()
    names = ("detector.onnx", "manifest.json", "golden.npz", "certificate.json")
    assert [line[64:] for line in lines] == [f"  {name}" for name in names]


# Signature and checksums


def test_signer_that_is_not_trusted_is_named(bundle_path: Path, bundle: Bundle) -> None:
    stranger = Ed25519PrivateKey.generate().public_key()
    with pytest.raises(BundleError, match=f"signed with key {bundle.manifest.key_id}, expected"):
        read_bundle(bundle_path, trusted_keys=[stranger])
    with pytest.raises(BundleError, match="one of the trusted \\(none\\)"):
        read_bundle(bundle_path, trusted_keys=[])


def test_one_of_several_trusted_keys_suffices(
    bundle_path: Path, private_key: Ed25519PrivateKey
) -> None:
    keys = [Ed25519PrivateKey.generate().public_key(), private_key.public_key()]
    assert read_bundle(bundle_path, trusted_keys=keys).manifest.version == 3


@pytest.mark.parametrize("name", MEMBERS)
def test_flipped_bit_is_refused_in_each_member(
    name: str, members: dict[str, bytes], refusal: Callable[[bytes], str]
) -> None:
    data = bytearray(members[name])
    data[len(data) // 2] ^= 1
    reason = refusal(archive.pack({**members, name: bytes(data)}))
    if name in {"SHA256SUMS", "signature"}:
        assert "the file was changed after signing" in reason
    else:
        assert f"SHA256SUMS does not match {name}" in reason


def test_flipped_bit_in_the_file_is_refused_by_the_zip(
    bundle_path: Path, refusal: Callable[[bytes], str]
) -> None:
    data = bytearray(bundle_path.read_bytes())
    data[100] ^= 1
    assert "is damaged" in refusal(bytes(data))


def test_signed_checksums_in_another_form_are_refused(
    members: dict[str, bytes], private_key: Ed25519PrivateKey, refusal: Callable[[bytes], str]
) -> None:
    sums = members["SHA256SUMS"] + b"\n"
    data = archive.pack({**members, "SHA256SUMS": sums, "signature": private_key.sign(sums)})
    assert "SHA256SUMS does not match in form" in refusal(data)


def test_manifest_without_a_key_id_is_a_stranger(
    members: dict[str, bytes], refusal: Callable[[bytes], str]
) -> None:
    data = archive.pack({**members, "manifest.json": b"{}", "SHA256SUMS": b""})
    assert "signed with key none" in refusal(data)


# The zip around it


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda _: b"", "is not a complete zip file"),
        (lambda _: b"no zip" * 100, "is not a complete zip file"),
        (lambda data: data[:-1], "is not a complete zip file"),
        (lambda data: data[: len(data) // 2], "is not a complete zip file"),
        (lambda data: data[:-22] + b"PK\x06\x07" + bytes(16) + data[-22:], "has a directory of"),
        (lambda data: data[1000:], "is damaged"),
    ],
)
def test_damaged_file_is_refused(
    spoil: Callable[[bytes], bytes],
    reason: str,
    bundle_path: Path,
    refusal: Callable[[bytes], str],
) -> None:
    assert reason in refusal(spoil(bundle_path.read_bytes()))


@pytest.mark.parametrize("name", [name for name in MEMBERS if name not in OPTIONAL])
def test_missing_member_is_refused(
    name: str, members: dict[str, bytes], refusal: Callable[[bytes], str]
) -> None:
    rest = {key: value for key, value in members.items() if key != name}
    assert f"lacks members: '{name}'" in refusal(archive.pack(rest))


@pytest.mark.parametrize(
    "name", ["notes.txt", "../../etc/cron.d/x", "/etc/passwd", "DETECTOR.ONNX"]
)
def test_extra_member_is_refused_whatever_its_path(
    name: str, members: dict[str, bytes], refusal: Callable[[bytes], str]
) -> None:
    assert f"must not have: '{name}'" in refusal(archive.pack({**members, name: b"x"}))


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning:zipfile")
def test_doubled_member_is_refused(
    members: dict[str, bytes], refusal: Callable[[bytes], str]
) -> None:
    entries = [*members.items(), ("manifest.json", b"{}")]
    assert "has members twice: 'manifest.json'" in refusal(_zip(entries))


def test_compressed_member_is_refused(
    members: dict[str, bytes], refusal: Callable[[bytes], str]
) -> None:
    data = _zip(list(members.items()), zipfile.ZIP_DEFLATED)
    assert "detector.onnx is compressed" in refusal(data)


def _with_directory(data: bytes, offset: int, form: str, value: int) -> bytes:
    """Change a field of the first entry of the central directory."""
    start = struct.unpack("<L", data[-6:-2])[0]
    changed = bytearray(data)
    struct.pack_into(form, changed, start + offset, value)
    return bytes(changed)


def test_declared_sizes_are_capped_before_reading(
    bundle_path: Path, refusal: Callable[[bytes], str]
) -> None:
    data = bundle_path.read_bytes()
    for offset in (20, 24):
        data = _with_directory(data, offset, "<L", 65 * 1024 * 1024)
    assert "member detector.onnx has 68157440 bytes, expected at most 67108864" in refusal(data)


def test_member_that_is_longer_than_declared_is_refused(
    bundle_path: Path, refusal: Callable[[bytes], str]
) -> None:
    data = bundle_path.read_bytes()
    for offset in (20, 24):
        data = _with_directory(data, offset, "<L", 10)
    assert "is damaged" in refusal(data)


def test_compressed_member_that_unpacks_to_less_than_declared_is_refused() -> None:
    data = _with_directory(_zip([("a", b"1" * 50)], zipfile.ZIP_DEFLATED), 24, "<L", 90)
    with pytest.raises(BundleError, match="member a has 50 bytes, expected the 90"):
        archive.unpack(data, {"a": 100}, may_be_compressed=True)


def test_encrypted_member_is_refused(bundle_path: Path, refusal: Callable[[bytes], str]) -> None:
    data = _with_directory(bundle_path.read_bytes(), 8, "<H", 1)
    assert "detector.onnx is encrypted" in refusal(data)


def test_large_directory_is_refused_before_it_is_read(refusal: Callable[[bytes], str]) -> None:
    data = archive.pack({f"{number:01000}": b"" for number in range(70)})
    assert "has a directory of" in refusal(data)


def test_file_that_is_too_big_is_refused(
    refusal: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faultwatch_edge.bundle.LARGEST_FILE", 1000)
    assert "has more than 1000 bytes" in refusal(bytes(1001))


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"p\.fwb: cannot be read \(No such file"):
        read_bundle(tmp_path / "p.fwb", trusted_keys=[])


# The certificate


def test_certificate_comes_back_as_it_was_written(bundle: Bundle) -> None:
    certificate = bundle.certificate
    assert certificate is not None
    assert Certificate.from_json(certificate.to_json()) == certificate
    assert certificate.realised_per_day == pytest.approx(0.05)
    assert [one.has_size for one in certificate.limits] == [True, False, True, False]


def test_bundle_without_a_certificate_opens_as_before(
    tmp_path: Path, bundle: Bundle, private_key: Ed25519PrivateKey
) -> None:
    path = tmp_path / "older.fwb"
    write_bundle(
        path,
        manifest=bundle.manifest,
        onnx=bundle.onnx,
        golden=bundle.golden,
        private_key=private_key,
    )
    older = read_bundle(path, trusted_keys=[private_key.public_key()])
    assert older.certificate is None
    assert older.manifest == bundle.manifest


def test_certificate_that_was_taken_out_is_missed(
    members: dict[str, bytes], refusal: Callable[[bytes], str]
) -> None:
    rest = {key: value for key, value in members.items() if key != "certificate.json"}
    assert "SHA256SUMS does not match in form" in refusal(archive.pack(rest))


def test_certificate_of_other_channels_is_not_written(
    tmp_path: Path, bundle: Bundle, private_key: Ed25519PrivateKey
) -> None:
    certificate = bundle.certificate
    assert certificate is not None
    (limit, *_), strange = certificate.limits, tmp_path / "strange.fwb"

    def write(changed: Certificate) -> None:
        write_bundle(
            strange,
            manifest=bundle.manifest,
            onnx=bundle.onnx,
            golden=bundle.golden,
            private_key=private_key,
            certificate=changed,
        )

    with pytest.raises(BundleError, match=r"certificate\.json: names channel 'oil', which"):
        write(replace(certificate, limits=(replace(limit, channel="oil"),)))
    with pytest.raises(BundleError, match="cannot be written as JSON"):
        write(replace(certificate, days=float("inf")))
    with pytest.raises(BundleError, match="days is 0, expected more than 0"):
        replace(certificate, days=0)
    assert not strange.exists()
