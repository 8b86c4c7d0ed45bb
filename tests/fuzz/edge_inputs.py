"""What the edge agent reads, and from what inputs the fuzzing begins: see ``edge_parsers.py``."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from edge_network import (
    ORDER,
    REQUESTS,
    Parser,
    answer_parser,
    packet_parser,
    page_parser,
    registry_parser,
)

from faultwatch_edge.bundle import parse_bundle, write_bundle
from faultwatch_edge.certificate import Certificate
from faultwatch_edge.config import AssetSource, read_config
from faultwatch_edge.golden import Golden
from faultwatch_edge.keys import key_id, load_trusted_keys
from faultwatch_edge.manifest import AlarmSpec, ChannelSpec, Manifest, ThresholdSpec, WindowSpec
from faultwatch_edge.orders import read_order
from faultwatch_edge.slots import Slots, read_slots
from faultwatch_edge.snapshot import AlarmMemory, read_alarm, read_state
from faultwatch_edge.sources.csv_lines import read_lines, read_samples
from faultwatch_edge.sources.incoming import Incoming
from faultwatch_edge.sources.json_payload import JsonPayloads
from faultwatch_edge.spool import Record
from faultwatch_edge.trial import Tally
from faultwatch_edge.watched import Watched

NOW_US: Final = 1_790_000_000 * 1_000_000
CHANNELS: Final = (
    ChannelSpec("flow", "FT-101", "m3/h", "continuous", "periodic", (0.0, 50.0)),
    ChannelSpec("total", None, "m3", "counter", "on_change", None),
)


def make_manifest(key: Ed25519PrivateKey) -> Manifest:
    return Manifest(
        contract=1,
        asset_id="pump_07",
        asset_name="Feed pump",
        site="Plant A",
        version=3,
        created_at="2026-01-31T12:00:00Z",
        channels=CHANNELS,
        window=WindowSpec(1.0, 4, 2, 3.0, 1, 2.0),
        threshold=ThresholdSpec(3.0, 0.1, 0.08, (0.02, 0.2), 40.0, extrapolated=False),
        alarm=AlarmSpec(4.0, 4.0, "high", "worn", "dry", "switch", enabled=True),
        state_size=2,
        reconstructor="vae",
        mlflow_run="0123456789abcdef",
        historian_version=12,
        git_revision="abc1234",
        key_id=key_id(key.public_key()),
    )


def make_golden() -> Golden:
    cells, windows = np.zeros((110, 2), np.float32), 54
    score = np.zeros(windows, np.float32)
    contribution = np.zeros((windows, 2), np.float32)
    return Golden(cells, score, score > 1, contribution, np.ones(windows, np.float32))


CERTIFICATE: Final = json.dumps(
    {
        "within_s": 20.0, "smallest": 0.5, "largest": 16.0, "onsets": 10, "needed": 8,
        "promised_per_day": 0.1, "alarms": 1, "days": 20.0, "uncertified": [],
        "limits": [
            {
                "channel": "flow", "unit": "m3/h", "kind": "bias", "is_found": True, "size": 5.6,
                "deviations": 2.8, "found": 9, "median_delay_s": 7.0,
            }
        ],
    }
).encode()  # fmt: skip
CONFIG: Final = b"""
[agent]
folder = "state"
[mqtt]
host = "localhost"
[webhook]
url = "https://x/y"
[[asset]]
bundle = "pump.fwb"
topic = "plant/{channel}"
keys = { flow = "a.b" }
"""
CSV: Final = b"time,flow\n2026-01-01T00:00:00Z,1\n2026-01-01T00:00:01Z,x\n"
GRAPH: Final = """
<ir_version: 10, opset_import: ["" : 20]>
tiny (float[batch, 2, 4] window, float[2] state) => (
    float[batch] score, float[batch, 2] contribution, float[batch, 2] sensor_status,
    float[batch] gate, float[batch, 2, 4] reconstruction, float[batch, 2] latent,
    float[2] next_state)
<float zero = {0}, int64[1] time_axis = {2}, int64[1] channel_axis = {1}>
{
    missing = IsNaN(window)
    reconstruction = Where(missing, zero, window)
    latent = ReduceMean<keepdims = 0>(reconstruction, time_axis)
    contribution = Abs(latent)
    is_no_number = IsNaN(contribution)
    sensor_status = Cast<to = 1>(is_no_number)
    score = ReduceMax<keepdims = 0>(contribution, channel_axis)
    is_score_none = IsNaN(score)
    is_score = Not(is_score_none)
    gate = Cast<to = 1>(is_score)
    next_state = Identity(state)
}
"""
SAMPLES: Final = b"\n".join(
    b'{"time": "2026-01-01T00:00:%02dZ", "flow": %d, "total": %d}' % (at, 9 * (at > 8), 3 * at)
    for at in range(30)
)
STATE: Final = json.dumps(
    {"version": 1, "bundle_sha256": "0", "alarm": {"state": "shelved", "is_active": True}}
).encode()


def read_csv(data: bytes) -> object:
    lines = read_lines(io.BytesIO(data))
    return list(read_samples(lines, CHANNELS, min_channels=1, note=lambda _: None))


def read_toml(data: bytes, *, file: Path) -> object:
    file.write_bytes(data)
    return read_config(file)


def read_both_states(data: bytes) -> object:
    text = data.decode("utf-8", errors="replace")
    found: AlarmMemory | None = read_alarm(text)
    read_slots(text)
    return found, read_state(text, where="pump_07")


@contextmanager
def parsers(folder: Path) -> Iterator[dict[str, Parser]]:
    """All that are tried; servers run while it is open."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))  # the same state at every run
    manifest, golden = make_manifest(key), make_golden()
    path, graph = folder / manifest.file_name, onnx.parser.parse_model(GRAPH).SerializeToString()
    write_bundle(path, manifest=manifest, onnx=graph, golden=golden, private_key=key)
    single = AssetSource("p.fwb", "plant/{channel}", time_format="ms")
    wide = replace(single, topic="plant/pump", time_format="iso")
    payload = b'{"time": "2026-01-01T00:00:00Z", "flow": 1.5, "total": null}'
    order = b'{"verb": "shelve", "by": "Kim", "reason": "seal", "for_s": 60}'
    slots = Slots("pump_07-3.fwb", highest=3, trial=Tally(scored=3)).to_json().encode()
    trusted = [key.public_key()]
    bundle = parse_bundle(path.read_bytes(), name="b", trusted_keys=trusted)
    device = Device(Watched(bundle, wide, publish_scores=True))
    with (
        page_parser() as page,
        registry_parser(folder / "mirror") as registry,
        answer_parser(folder / "answers") as answers,
        packet_parser() as packets,
    ):
        yield {
            "payload": Parser((payload,), lambda d: read_payload(wide, "plant/pump", d)),
            "payload_of_one": Parser(
                (b'{"time": 1767225600000, "value": 1.5}',),
                lambda d: read_payload(single, "plant/flow", d),
            ),
            "order": Parser((order,), read_order),
            "config": Parser((CONFIG,), lambda d: read_toml(d, file=folder / "edge.toml")),
            "state": Parser((STATE, slots), read_both_states),
            "csv": Parser(
                (b"time,flow\n2026-01-01T00:00:00Z,1\n2026-01-01T00:00:01Z,x\n",), read_csv
            ),
            "manifest": Parser((manifest.to_json(),), Manifest.from_json),
            "golden": Parser((golden.to_npz(),), Golden.from_npz),
            "certificate": Parser((CERTIFICATE,), Certificate.from_json),
            "bundle": Parser(
                (path.read_bytes(),), lambda d: parse_bundle(d, name="b", trusted_keys=trusted)
            ),
            "key": Parser(key_files(key), lambda d: read_key(d, file=folder / "x.pub")),
            "messages": Parser((SAMPLES, SAMPLES[-700:] + b"\n" + ORDER), device.take),
            "resumed": Parser(device.states(), device.resume),
            "page": Parser(REQUESTS, page),
            "registry": registry,
            "answer": answers,
            "packet": packets,
        }


class Device:
    """An asset that is watched: whatever comes, what it says and remembers can be kept."""

    def __init__(self, watched: Watched) -> None:
        self._watched, self._fresh = watched, watched.state

    def states(self) -> tuple[bytes, ...]:
        """What it remembers before and after samples; the second in an alarm."""
        self.take(SAMPLES)
        after = self._watched.state.encode()
        return self._fresh.encode(), after

    def take(self, data: bytes) -> object:
        """A sample or an order in each line."""
        self._watched.resume(self._fresh, print)
        return self._check([record for line in data.splitlines() for record in self._obey(line)])

    def resume(self, data: bytes) -> object:
        """What it remembers; it goes on by samples and orders."""
        said: list[str] = []
        self._watched.resume(data.decode("utf-8", errors="replace"), said.append)
        self._check([record for line in SAMPLES.splitlines() for record in self._obey(line)])
        self._check(self._obey(ORDER))
        if not all(map(str.isprintable, said)):
            raise ValueError(f"sentences with other characters: {said}")
        return " ".join(said)

    def _obey(self, line: bytes) -> list[Record]:
        order = line.lstrip().startswith(b'{"verb')
        came = Incoming("plant/pump", line, is_again=False, number=1, qos=1)
        records = self._watched.obey(line, NOW_US) if order else self._watched.take(came, NOW_US)
        return records + self._watched.tick(NOW_US, passed_us=0)

    def _check(self, records: list[Record]) -> str:
        json.dumps(self._watched.view, allow_nan=False)
        read_state(self._watched.state, where="pump_07")
        bodies = [json.loads(one.body.encode("utf-8")) for one in records]
        said = sorted({f"{one['kind']} {one.get('reason', '')}" for one in bodies})
        return " ".join(said)


def key_files(key: Ed25519PrivateKey) -> tuple[bytes, bytes]:
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return public, private


def read_key(data: bytes, *, file: Path) -> object:
    file.write_bytes(data)
    return load_trusted_keys([file])


def read_payload(source: AssetSource, topic: str, data: bytes) -> object:
    return JsonPayloads(source, CHANNELS).read(topic, data)
