"""Whatever is wrong with a bundle: it is refused with the reason, and the running one goes on."""

import hashlib
import io
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from faultwatch_edge import archive
from faultwatch_edge.agent import Agent
from faultwatch_edge.bundle import LARGEST_FILE, LIMITS, OPTIONAL, Bundle, Manifest
from faultwatch_edge.score_row import ScoreRow

NEWER: Final = "pump_07-4.fwb"
END_RECORD: Final = 22


@dataclass(frozen=True)
class Newer:
    """A bundle of the next version, to be spoilt."""

    members: dict[str, bytes]
    manifest: Manifest
    key: Ed25519PrivateKey
    certificate: bytes

    @property
    def data(self) -> bytes:
        return archive.pack(self.members)

    def signed(self, key: Ed25519PrivateKey | None = None, **changes: bytes) -> bytes:
        """With other members, and signed as it should be."""
        named = {NAMES[name]: data for name, data in changes.items()}
        members = {**self.members, **named}
        summed = [name for name in members if name not in {"SHA256SUMS", "signature"}]
        lines = [f"{hashlib.sha256(members[name]).hexdigest()}  {name}\n" for name in summed]
        sums = "".join(lines).encode()
        signature = (key or self.key).sign(sums)
        return archive.pack({**members, "SHA256SUMS": sums, "signature": signature})

    def with_checksums(self, sums: bytes) -> bytes:
        signature = self.key.sign(sums)
        return archive.pack({**self.members, "SHA256SUMS": sums, "signature": signature})

    def with_certificate(self) -> "Newer":
        data = self.signed(certificate=self.certificate)
        return replace(self, members=archive.unpack(data, LIMITS))

    def with_manifest(self, **changes: Any) -> bytes:
        return self.signed(manifest=replace(self.manifest, **changes).to_json())

    def with_golden(self, **changes: np.ndarray) -> bytes:
        with np.load(io.BytesIO(self.members["golden.npz"])) as found:
            arrays = {**found, **changes}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return self.signed(golden=buffer.getvalue())

    def with_graph(self, spoil: Callable[[onnx.ModelProto], None]) -> bytes:
        model = onnx.load_from_string(self.members["detector.onnx"])
        spoil(model)
        return self.signed(onnx=model.SerializeToString())

    def flipped(self, member: str) -> bytes:
        data = bytearray(self.members[member])
        data[len(data) // 2] ^= 1
        return archive.pack({**self.members, member: bytes(data)})

    def with_entry(self, offset: int, form: str, *values: int) -> bytes:
        """With other fields in the first entry of the zip's directory."""
        changed = bytearray(self.data)
        (start,) = struct.unpack("<L", changed[-6:-2])
        struct.pack_into(form, changed, start + offset, *values)
        return bytes(changed)


NAMES: Final = {
    "onnx": "detector.onnx",
    "manifest": "manifest.json",
    "golden": "golden.npz",
    "certificate": "certificate.json",
}


def zipped(newer: Newer, *more: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in [*newer.members.items(), *more]:
            file.writestr(name, data)
    return buffer.getvalue()


def make_weights_no_number(model: onnx.ModelProto) -> None:
    for weight in model.graph.initializer:
        if weight.name == "centre":
            values = np.full((1, 3), np.nan, np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))


def make_weights_others(model: onnx.ModelProto) -> None:
    for weight in model.graph.initializer:
        if weight.name == "centre":
            values = np.array([[11.0, 1.0, 5.0]], np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))


def keep_weights_outside(model: onnx.ModelProto) -> None:
    weight = next(one for one in model.graph.initializer if one.name == "centre")
    weight.ClearField("raw_data")
    weight.ClearField("float_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/passwd")


def use_strange_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type, model.graph.node[0].domain = "Surprise", "somebody.else"


def add_noise(model: onnx.ModelProto) -> None:
    (scored,) = (node for node in model.graph.node if "score" in node.output)
    scored.output[0] = "quiet"
    noise = onnx.helper.make_node("RandomNormalLike", ["quiet"], ["noise"])
    model.graph.node.extend([noise, onnx.helper.make_node("Add", ["quiet", "noise"], ["score"])])


def make_too_large(path: Path) -> None:
    path.touch()
    os.truncate(path, LARGEST_FILE + 1)


def other_channel(newer: Newer, **changes: Any) -> bytes:
    flow, *others = newer.manifest.channels
    return newer.with_manifest(channels=(replace(flow, **changes), *others))


def text(newer: Newer, old: bytes, new: bytes) -> bytes:
    manifest = newer.members["manifest.json"]
    assert old in manifest
    return newer.signed(manifest=manifest.replace(old, new, 1))


BAD: Final[Mapping[str, tuple[Callable[[Newer], bytes], str]]] = {
    "wrong key": (lambda n: n.signed(Ed25519PrivateKey.generate()), "the file was changed after"),
    "key of a stranger": (
        lambda n: n.with_manifest(key_id="0" * 16),
        "manifest.json: key_id is 0000000000000000, expected",
    ),
    "empty file": (lambda _: b"", "is not a complete zip file"),
    "cut": (lambda n: n.data[:-100], "is not a complete zip file"),
    "beginning lost": (lambda n: n.data[1000:], "is damaged"),
    "something behind it": (lambda n: n.data + b"more", "is not a complete zip file"),
    "bit flip in the graph": (lambda n: n.flipped("detector.onnx"), "match detector.onnx"),
    "bit flip in the manifest": (lambda n: n.flipped("manifest.json"), "match manifest.json"),
    "bit flip in the golden vectors": (lambda n: n.flipped("golden.npz"), "match golden.npz"),
    "bit flip in the certificate": (
        lambda n: n.with_certificate().flipped("certificate.json"),
        "match certificate.json",
    ),
    "bit flip in the checksums": (lambda n: n.flipped("SHA256SUMS"), "changed after signing"),
    "bit flip in the signature": (lambda n: n.flipped("signature"), "changed after signing"),
    "checksums of other members": (
        lambda n: n.with_checksums(n.members["SHA256SUMS"].replace(b"golden", b"others")),
        "SHA256SUMS does not match golden.npz",
    ),
    "another asset's": (
        lambda n: n.with_manifest(asset_id="fan"),
        "is version 4 of 'fan', expected the name fan-4.fwb",
    ),
    "an older one under a newer name": (
        lambda n: n.with_manifest(version=2),
        "is version 2 of 'pump_07', expected the name pump_07-2.fwb",
    ),
    "wrong channels": (
        lambda n: n.with_manifest(channels=n.manifest.channels[:2]),
        "cells has shape (110, 3), expected (110, 2) for 2 channels",
    ),
    "wrong units": (
        lambda n: other_channel(n, unit="l/s"),
        "channel 'flow' has unit 'm3/h' but pump_07-4.fwb expects 'l/s'; convert at the source",
    ),
    "wrong units under another name": (
        lambda n: other_channel(n, name="feed", unit="l/s"),
        "channel 'flow' has unit 'm3/h' but pump_07-4.fwb expects 'l/s'; convert at the source",
    ),
    "weights that are no number": (
        lambda n: n.with_graph(make_weights_no_number),
        "golden window 1 of 54 replayed one by one has score nan",
    ),
    "other weights": (lambda n: n.with_graph(make_weights_others), "has score 1.32439"),
    "golden vectors of another detector": (
        lambda n: n.with_golden(score=np.full(54, 0.5, np.float32)),
        "golden window 1 of 54 replayed one by one",
    ),
    "weights outside of the file": (lambda n: n.with_graph(keep_weights_outside), "cannot be load"),
    "an operator that nobody knows": (lambda n: n.with_graph(use_strange_operator), "cannot be l"),
    "a score by chance": (lambda n: n.with_graph(add_noise), "replayed one by one has score"),
    "no graph": (lambda n: n.signed(onnx=b"no graph"), "cannot be loaded"),
    "pickle among the golden vectors": (
        lambda n: n.with_golden(score=np.array([{"a": 1}], dtype=object)),
        "golden.npz member score has type object, expected float32",
    ),
    "golden vectors that are none": (
        lambda n: n.signed(golden=b"PK"),
        "golden.npz is not a complete zip",
    ),
    "certificate that is none": (
        lambda n: n.signed(certificate=b"{}"),
        "certificate.json: within_s is missing",
    ),
    "huge member": (
        lambda n: n.with_entry(20, "<LL", 2**31, 2**31),
        "member detector.onnx has 2147483648 bytes, expected at most 67108864",
    ),
    "zip bomb": (
        lambda n: zipped(n, compression=zipfile.ZIP_DEFLATED),
        "detector.onnx is compressed, expected stored members",
    ),
    "path out of the folder": (
        lambda n: zipped(n, ("../../etc/cron.d/x", b"x")),
        "must not have: '../../etc/cron.d/x'",
    ),
    "doubled member": (lambda n: zipped(n, ("manifest.json", b"{}")), "twice: 'manifest.json'"),
    "member too much": (lambda n: zipped(n, ("notes.txt", b"x")), "must not have: 'notes.txt'"),
    "missing member": (
        lambda n: archive.pack({k: v for k, v in n.members.items() if k != "golden.npz"}),
        "lacks members: 'golden.npz'",
    ),
    "encrypted member": (lambda n: n.with_entry(8, "<H", 1), "detector.onnx is encrypted"),
    "link in the zip": (
        lambda n: n.with_entry(38, "<L", 0o120777 << 16),
        "detector.onnx is a link or the like, expected plain members",
    ),
    "comment in the zip": (
        lambda n: n.data[:-2] + b"\x05\x00hello",
        "expected one without a comment",
    ),
    "zip64": (
        lambda n: n.data[:-END_RECORD] + b"PK\x06\x07" + bytes(16) + n.data[-END_RECORD:],
        "has a directory of",
    ),
    "manifest that is no JSON": (lambda n: n.signed(manifest=b"{"), "is not a JSON document"),
    "key that is there twice": (
        lambda n: text(n, b'"site"', b'"asset_id": "fan", "site"'),
        "'asset_id' is there twice",
    ),
    "key that nobody knows": (
        lambda n: text(n, b'"site"', b'"more": 1, "site"'),
        "more is not known, expected",
    ),
    "newer contract": (
        lambda n: text(n, b'"contract": 1', b'"contract": 2'),
        "contract is 2, expected 1; update faultwatch-edge",
    ),
}
NO_FILES: Final[Mapping[str, tuple[Callable[[Path], object], str]]] = {
    "a folder": (Path.mkdir, "is no file, expected a bundle at"),
    "a pipe": (os.mkfifo, "is no file, expected a bundle at"),
    "a device without end": (lambda p: p.symlink_to("/dev/zero"), "is no file, expected a bundle"),
    "a link to nothing": (lambda p: p.symlink_to("nowhere"), "cannot be read (No such file"),
    "a file without end": (make_too_large, "has more than 89"),
}


@pytest.fixture
def newer(
    tmp_path: Path,
    write_version: Callable[..., Path],
    private_key: Ed25519PrivateKey,
    bundle: Bundle,
) -> Newer:
    path = write_version(tmp_path, 4)
    members = archive.unpack(path.read_bytes(), LIMITS, optional=OPTIONAL)
    path.unlink()
    manifest = Manifest.from_json(members["manifest.json"])
    assert bundle.certificate is not None
    return Newer(members, manifest, private_key, bundle.certificate.to_json())


def lay(kind: str, newer: Newer, path: Path) -> str:
    """Put something bad into the folder; why it is to be refused."""
    if kind in NO_FILES:
        make, reason = NO_FILES[kind]
        make(path)
        return reason
    spoil, reason = BAD[kind]
    path.write_bytes(spoil(newer))
    return reason


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning:zipfile")
@pytest.mark.parametrize("kind", [*BAD, *NO_FILES])
def test_a_bad_bundle_is_refused_and_the_running_one_goes_on(
    kind: str, device: Any, newer: Newer, bundle: Bundle, folder: Path
) -> None:
    device.run(20)
    before = device.watched.bundle
    reason = lay(kind, newer, folder / NEWER)
    assert device.look() == []
    (sentence,) = device.notes
    assert reason in sentence
    assert sentence.endswith("; pump_07-3.fwb goes on")
    assert "Traceback" not in sentence
    assert [file.name for file in device.kept.iterdir()] == ["pump_07-3.fwb"]
    assert device.watched.bundle is before
    device.run(20, 18.0)
    assert device.watched.agent.state.detector == undisturbed(bundle).state.detector
    assert device.look() == []
    assert len(device.notes) == 1  # it is said once


def undisturbed(bundle: Bundle) -> Agent:
    """An agent that saw the same samples and no other bundle."""
    rows: list[ScoreRow] = []
    agent = Agent(bundle, on_score=rows.append)
    for second in range(1, 41):
        flow = 10.0 if second <= 20 else 18.0
        agent.process(second * 1_000_000, [flow, 1.0, 5.0 * second])
    return agent
