"""A tiny detector that obeys the contract, and everything a bundle around it needs."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from faultwatch_edge import archive
from faultwatch_edge.bundle import (
    LIMITS,
    AlarmSpec,
    Bundle,
    ChannelSpec,
    Golden,
    Manifest,
    ThresholdSpec,
    WindowSpec,
    read_bundle,
    write_bundle,
)
from faultwatch_edge.certificate import Certificate, DetectionLimit, Uncertified
from faultwatch_edge.detector import Detector
from faultwatch_edge.errors import BundleError
from faultwatch_edge.keys import key_id, load_private_key, make_key_pair
from faultwatch_edge.window import sequence_windows


def _limit(channel: str, kind: Literal["bias", "stuck"], **changes: Any) -> DetectionLimit:
    known = {"size": None, "deviations": None, "median_delay_s": None, **changes}
    return DetectionLimit(channel, "m3/h", kind, is_found=kind == "bias", **known)


CERTIFICATE = Certificate(
    within_s=20.0,
    smallest=0.5,
    largest=16.0,
    onsets=10,
    needed=8,
    promised_per_day=0.1,
    alarms=1,
    days=20.0,
    limits=(
        _limit("flow", "bias", size=5.6, deviations=2.8, found=9, median_delay_s=7.0),
        _limit("flow", "stuck", found=1, median_delay_s=11.0),
        _limit("total", "bias", size=6.0, deviations=4.0, found=10, median_delay_s=6.0),
        _limit("total", "stuck", found=0),
    ),
    uncertified=(Uncertified("valve", "constant in normal running"),),
)

# Score of a window: largest distance of a channel's mean from its centre (flow 10, valve 1,
# total 5), plus a tenth of that of the window before. The first window of a sequence is not
# scored. State: windows so far, distance of the last one. Not a number when a distance overflows.
GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
tiny (float[batch, 3, 4] window, float[2] state) => (
    float[batch] score, float[batch, 3] contribution, float[batch, 3] sensor_status,
    float[batch] gate, float[batch, 3, 4] reconstruction, float[batch, latent] latent,
    float[2] next_state)
<float[1, 3] centre = {10, 1, 5}, float[1, 3, 1] centre_in_time = {10, 1, 5}, float zero = {0},
 float one = {1}, float tenth = {0.1}, int64[1] time_axis = {2}, int64[1] channel_axis = {1},
 int64 first_axis = {0}, int64[1] first = {0}, int64[1] second = {1}, int64[1] third = {2},
 int64[1] but_last = {-1}, int64[1] end = {1000000}>
{
    missing = IsNaN(window)
    filled = Where(missing, zero, window)
    present_bool = Not(missing)
    present = Cast<to = 1>(present_bool)
    total = ReduceSum<keepdims = 0>(filled, time_axis)
    count = ReduceSum<keepdims = 0>(present, time_axis)
    at_least_one = Max(count, one)
    latent = Div(total, at_least_one)
    offset = Sub(latent, centre)
    far = Abs(offset)
    is_silent = Equal(count, zero)
    contribution = Where(is_silent, zero, far)
    sensor_status = Where(is_silent, one, zero)
    largest = ReduceMax<keepdims = 0>(contribution, channel_axis)
    square = Mul(largest, largest)
    nothing = Mul(square, zero)
    distance = Add(largest, nothing)
    before = Slice(state, second, third)
    distances = Concat<axis = 0>(before, distance)
    shifted = Slice(distances, first, but_last)
    memory = Mul(shifted, tenth)
    score = Add(distance, memory)
    reconstruction_shape = Shape(window)
    reconstruction = Expand(centre_in_time, reconstruction_shape)
    batch_shape = Shape(score)
    ones = Expand(one, batch_shape)
    index = CumSum(ones, first_axis)
    so_far = Slice(state, first, second)
    number = Add(so_far, index)
    is_open = Greater(number, one)
    gate = Cast<to = 1>(is_open)
    last_number = Slice(number, but_last, end)
    last_distance = Slice(distance, but_last, end)
    next_state = Concat<axis = 0>(last_number, last_distance)
}
"""


@pytest.fixture(scope="session")
def graph() -> bytes:
    """The graph's bytes."""
    return _compiled(GRAPH)


@pytest.fixture(scope="session")
def knowing_graph() -> bytes:
    """The same graph, which says besides how far away the machine runs: half of each distance."""
    shares = "operating_point = Mul(contribution, half)\n    reconstruction_shape ="
    return _compiled(
        GRAPH.replace(
            "float[2] next_state)", "float[batch, 3] operating_point, float[2] next_state)"
        )
        .replace("float zero = {0}", "float zero = {0}, float half = {0.5}")
        .replace("reconstruction_shape =", shares)
    )


def _compiled(text: str) -> bytes:
    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="session")
def key_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    make_key_pair(folder)
    return folder


@pytest.fixture(scope="session")
def private_key(key_folder: Path) -> Ed25519PrivateKey:
    return load_private_key(key_folder / "faultwatch.key")


@pytest.fixture(scope="session")
def manifest(private_key: Ed25519PrivateKey) -> Manifest:
    return Manifest(
        contract=1,
        asset_id="pump_07",
        asset_name="Feed pump 07",
        site="Plant A",
        version=3,
        created_at="2026-01-31T12:00:00Z",
        channels=(
            ChannelSpec("flow", "FT-101", "m3/h", "continuous", "periodic", (0.0, 100.0)),
            ChannelSpec("valve", None, "", "discrete", "on_change", None),
            ChannelSpec("total", "FQ-101", "m3", "counter", "periodic", None),
        ),
        window=WindowSpec(
            sample_period_s=1.0,
            length=4,
            hop=2,
            max_gap_s=3.0,
            min_channels=2,
            allowed_lateness_s=2.0,
        ),
        threshold=ThresholdSpec(
            score=3.0,
            false_alarms_per_day=0.1,
            expected_per_day=0.08,
            interval_per_day=(0.02, 0.2),
            scored_days=40.0,
            extrapolated=False,
        ),
        alarm=AlarmSpec(
            on_delay_s=4.0,
            off_delay_s=4.0,
            priority="high",
            cause="Worn impeller",
            consequence="The boiler runs dry",
            action="Switch to pump 08",
            enabled=True,
        ),
        state_size=2,
        reconstructor="vae",
        mlflow_run="0123456789abcdef",
        historian_version=12,
        git_revision="abc1234",
        key_id=key_id(private_key.public_key()),
    )


def make_golden(graph: bytes, manifest: Manifest, rows: int = 110) -> Golden:
    """Normal running with a missing stretch, and an anomaly in the middle."""
    noise = np.random.default_rng(0).normal(0.0, 0.3, size=(rows, 3))
    cells = (np.array([10.0, 1.0, 5.0]) + noise).astype(np.float32)
    cells[40:60, 0] += 8.0
    cells[70:78, 1] = np.nan
    window = manifest.window
    windows = sequence_windows(cells, length=window.length, hop=window.hop)
    scores = Detector(graph, manifest).score(windows)
    return Golden(
        cells=cells,
        score=scores.score,
        anomalous=(scores.score >= manifest.threshold.score) & scores.scored,
        contribution=scores.contribution,
        gate=scores.gate,
    )


@pytest.fixture(scope="session")
def golden(graph: bytes, manifest: Manifest) -> Golden:
    return make_golden(graph, manifest)


@pytest.fixture(scope="session")
def bundle_path(
    tmp_path_factory: pytest.TempPathFactory,
    manifest: Manifest,
    graph: bytes,
    golden: Golden,
    private_key: Ed25519PrivateKey,
) -> Path:
    path = tmp_path_factory.mktemp("bundles") / manifest.file_name
    write_bundle(
        path,
        manifest=manifest,
        onnx=graph,
        golden=golden,
        private_key=private_key,
        certificate=CERTIFICATE,
    )
    return path


@pytest.fixture(scope="session")
def bundle(bundle_path: Path, private_key: Ed25519PrivateKey) -> Bundle:
    return read_bundle(bundle_path, trusted_keys=[private_key.public_key()])


@pytest.fixture(scope="session")
def make_bundle(bundle: Bundle) -> Callable[..., Bundle]:
    """The bundle with another window or alarm section, in memory."""

    def made(*, window: dict[str, Any] | None = None, **alarm: Any) -> Bundle:
        manifest = replace(
            bundle.manifest,
            window=replace(bundle.manifest.window, **(window or {})),
            alarm=replace(bundle.manifest.alarm, **alarm),
        )
        return replace(bundle, manifest=manifest)

    return made


@pytest.fixture(scope="session")
def members(bundle_path: Path) -> dict[str, bytes]:
    return archive.unpack(bundle_path.read_bytes(), LIMITS)


@pytest.fixture
def refusal(tmp_path: Path, private_key: Ed25519PrivateKey) -> Callable[[bytes], str]:
    """What ``read_bundle`` says about these bytes."""

    def refused(data: bytes) -> str:
        path = tmp_path / "pump_07-3.fwb"
        path.write_bytes(data)
        with pytest.raises(BundleError) as caught:
            read_bundle(path, trusted_keys=[private_key.public_key()])
        assert str(caught.value).startswith("pump_07-3.fwb: ")
        return str(caught.value)

    return refused


@pytest.fixture
def resigned(
    members: dict[str, bytes], private_key: Ed25519PrivateKey
) -> Callable[[dict[str, bytes]], bytes]:
    """A bundle with other members, signed as it should be."""

    def made(changes: dict[str, bytes]) -> bytes:
        changed = {**members, **changes}
        sums = sums_of(changed)
        return archive.pack({**changed, "SHA256SUMS": sums, "signature": private_key.sign(sums)})

    return made


def sums_of(members: dict[str, bytes]) -> bytes:
    """As ``sha256sum`` would write them."""
    names = ("detector.onnx", "manifest.json", "golden.npz", "certificate.json")
    lines = [f"{hashlib.sha256(members[name]).hexdigest()}  {name}\n" for name in names]
    return "".join(lines).encode()


@pytest.fixture
def write_version(
    manifest: Manifest, graph: bytes, golden: Golden, private_key: Ed25519PrivateKey
) -> Callable[..., Path]:
    """Write a bundle of a version into a folder; its key and more of its manifest may be others."""

    def written(
        folder: Path, version: int, key: Ed25519PrivateKey = private_key, **changes: Any
    ) -> Path:
        signer = key_id(key.public_key())
        new = replace(manifest, version=version, key_id=signer, **changes)
        path = folder / new.file_name
        write_bundle(path, manifest=new, onnx=graph, golden=golden, private_key=key)
        return path

    return written
