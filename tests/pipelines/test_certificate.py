"""The smallest faults that a bundle finds: by a toy whose limits are known, and by a fitted one."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from faultwatch_edge.bundle import Bundle, Certificate
from faultwatch_edge.certificate import DetectionLimit
from features.channels import Channel
from features.grid import WindowConfig
from features.injection import FAULT_KINDS, InjectedFault, inject, normal_deviations
from features.labels import Interval, outside
from features.source import SourceConfig
from models.config import AlarmConfig, ModelConfig
from pipelines.candidate import Candidate, Origin, asset_windows, make_candidate, seal_certificate
from pipelines.certificate import ONSETS, certify
from pipelines.config import AssetConfig, AssetInfo
from pipelines.onsets import UntouchedRunning
from pipelines.placed_faults import SIZES
from pipelines.replay import moment, raised_alarms, replay

TIME = pl.Datetime("us", "UTC")
START = datetime(2026, 1, 1, tzinfo=UTC)
PERIOD = timedelta(minutes=30)
CELLS = 400
DEVIATIONS = {"a": 1.0, "b": 1.0}
CHANNELS = tuple(Channel(name=name) for name in ("flow", "pressure", "mood"))


def normal_running(*, rows: int = CELLS, noise: float = 0.05) -> pl.DataFrame:
    """Two channels near 10, where the toy's score is 0."""
    values = 10.0 + noise * np.random.default_rng(0).normal(size=(2, rows))
    times = pl.Series([START + PERIOD * row for row in range(1, rows + 1)], dtype=TIME)
    return pl.DataFrame({"time": times, "a": values[0], "b": values[1]})


def certified(bundle: Bundle, samples: pl.DataFrame, *intervals: Interval) -> Certificate:
    certificate = certify(bundle, samples, intervals, deviations=DEVIATIONS, seed=0)
    assert certificate is not None
    return certificate


def limits_of(certificate: Certificate, channel: str) -> dict[str, DetectionLimit]:
    return {limit.kind: limit for limit in certificate.limits if limit.channel == channel}


def with_threshold(bundle: Bundle, score: float) -> Bundle:
    threshold = replace(bundle.manifest.threshold, score=score)
    return replace(bundle, manifest=replace(bundle.manifest, threshold=threshold))


def blind_to_b(bundle: Bundle) -> Bundle:
    """The toy, whose score no longer hears of its second channel."""
    model = onnx.load_from_string(bundle.onnx)
    nodes = list(model.graph.node)
    (at,) = (place for place, node in enumerate(nodes) if "contribution" in node.output)
    nodes[at].output[0] = "distances"
    seen = onnx.numpy_helper.from_array(np.array([[1.0, 0.0]], np.float32), "seen")
    masked = onnx.helper.make_node("Mul", ["distances", "seen"], ["contribution"])
    del model.graph.node[:]
    model.graph.node.extend([*nodes[: at + 1], masked, *nodes[at + 1 :]])
    model.graph.initializer.append(seen)
    return replace(bundle, onnx=model.SerializeToString())


def test_the_smallest_size_is_the_one_that_lifts_the_score_over_the_threshold(
    bundle: Bundle,
) -> None:
    """Threshold 5, an hour of delay: three windows in a row; five hours are ten windows."""
    certificate = certified(bundle, normal_running())
    assert certificate.within_s == 5 * 3600.0
    assert (certificate.onsets, certificate.needed) == (ONSETS, 8)
    for channel in ("a", "b"):
        limits = limits_of(certificate, channel)
        assert tuple(limits) == FAULT_KINDS
        bias, drift = limits["bias"], limits["drift"]
        assert bias.size == pytest.approx(4 * 2**0.5)  # 4 is too small, the next is 5.7
        assert bias.median_delay_s == 3 * 1800.0
        assert drift.size == pytest.approx(8.0)  # 0.8 of it is above 5 in the last three windows
        for kind in ("stuck", "spike", "dropout"):
            assert not limits[kind].is_found, kind
            assert limits[kind].median_delay_s is None


def test_sizes_in_units_follow_the_channel_s_deviation(bundle: Bundle) -> None:
    certificate = certify(bundle, normal_running(), [], deviations={"a": 2.0, "b": 0.05}, seed=0)
    assert certificate is not None
    a, b = (limits_of(certificate, channel)["bias"] for channel in ("a", "b"))
    assert a.size == pytest.approx(4 * 2**0.5)
    assert a.deviations == pytest.approx(2 * 2**0.5)
    assert (b.size, b.deviations, b.is_found, b.found) == (None, None, False, 0)


def test_a_larger_threshold_never_gives_a_smaller_size(bundle: Bundle) -> None:
    samples = normal_running()
    before = dict.fromkeys(((name, kind) for name in DEVIATIONS for kind in FAULT_KINDS), 0.0)
    for threshold in (1.0, 3.0, 9.0, 40.0):
        certificate = certified(with_threshold(bundle, threshold), samples)
        now = {
            (one.channel, one.kind): one.deviations or (0.0 if one.is_found else 99.0)
            for one in certificate.limits
        }
        assert all(now[key] >= before[key] for key in before)
        before = now
    assert set(before.values()) == {99.0}


def test_a_detector_that_is_blind_to_a_channel_certifies_nothing_for_it(bundle: Bundle) -> None:
    certificate = certified(blind_to_b(bundle), normal_running())
    assert not any(limit.is_found for limit in limits_of(certificate, "b").values())
    assert limits_of(certificate, "a")["bias"].is_found


def test_a_constant_channel_is_listed_with_the_reason(bundle: Bundle) -> None:
    certificate = certify(bundle, normal_running(), [], deviations={"a": 1.0, "b": 0.0}, seed=0)
    assert certificate is not None
    assert {limit.channel for limit in certificate.limits} == {"a"}
    (left_out,) = certificate.uncertified
    assert left_out.channel == "b"
    assert "constant in normal running" in left_out.reason


def test_alarms_of_the_untouched_running_are_counted_and_find_no_fault(bundle: Bundle) -> None:
    """A whole day is anomalous by itself: it is a false alarm, and no onset is before it."""
    day = pl.int_range(pl.len()).is_between(100, 147)
    samples = normal_running().with_columns(a=pl.when(day).then(20.0).otherwise("a"))
    certificate = certified(bundle, samples)
    assert certificate.alarms == 1
    assert certificate.days == pytest.approx((CELLS - 2) / 48)
    assert certificate.realised_per_day == pytest.approx(48 / (CELLS - 2))
    assert not limits_of(certificate, "a")["spike"].found


def test_labelled_faults_are_left_out(bundle: Bundle) -> None:
    day = pl.int_range(pl.len()).is_between(100, 147)
    samples = normal_running().with_columns(a=pl.when(day).then(20.0).otherwise("a"))
    fault = Interval(START + PERIOD * 100, START + PERIOD * 150, "fault")
    assert certified(bundle, samples, fault).alarms == 0


def test_without_enough_normal_running_there_is_no_certificate(bundle: Bundle) -> None:
    for samples in (normal_running(rows=12), normal_running(rows=1), normal_running()[:0]):
        assert certify(bundle, samples, [], deviations=DEVIATIONS, seed=0) is None


def test_the_same_seed_gives_the_same_certificate(bundle: Bundle) -> None:
    samples = normal_running()
    assert certified(bundle, samples) == certified(bundle, samples)


def test_a_channel_that_reports_changes_holds_what_it_said_long_before(bundle: Bundle) -> None:
    """Channel b spoke once, at the very beginning; what comes later is not missing."""
    channels = tuple(replace(one, reporting="on_change") for one in bundle.manifest.channels)
    held = replace(bundle, manifest=replace(bundle.manifest, channels=channels))
    once = pl.int_range(pl.len()) == 0
    samples = normal_running().with_columns(b=pl.when(once).then("b"))
    running = UntouchedRunning(held, samples)
    for onset in running.onsets(5, windows_after=10, seed=0):
        around = running.samples_around(onset, 10)
        assert around["b"][0] == samples["b"][0]
        assert around["a"].null_count() == 0
        frame = around.select("time", is_there=pl.lit(1.0), as_it_was="b")
        cells = running.changed_cells(frame, onset, 1, 10)["as_it_was"]
        np.testing.assert_array_equal(cells, np.float32(samples["b"][0]))


@pytest.fixture(scope="module")
def plant_asset() -> AssetConfig:
    return AssetConfig(
        asset=AssetInfo(id="plant"),
        source=SourceConfig(files="none"),
        channel=CHANNELS,
        window=WindowConfig(sample_period_s=60.0, length=12),
        model=ModelConfig(reconstructor="window_pca"),
        alarm=AlarmConfig(on_delay_s=120.0, off_delay_s=600.0),
    )


@pytest.fixture(scope="module")
def plant_samples(make_plant: Callable[..., pl.DataFrame]) -> Callable[[int, int], pl.DataFrame]:
    def made(rows: int, seed: int) -> pl.DataFrame:
        plant = make_plant(rows, seed=seed)
        names = dict(zip(plant.columns[1:], ("flow", "pressure", "mood"), strict=True))
        return plant.rename(names).with_columns(
            pl.col("time").str.strptime(TIME, "%Y-%m-%dT%H:%M:%S%:z")
        )

    return made


@pytest.fixture(scope="module")
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def candidate(
    plant_asset: AssetConfig,
    plant_samples: Callable[[int, int], pl.DataFrame],
    key: Ed25519PrivateKey,
    tmp_path_factory: pytest.TempPathFactory,
) -> Candidate:
    return make_candidate(
        plant_asset,
        "window_pca",
        normal=asset_windows(plant_asset, plant_samples(3_000, 1)),
        recent=None,
        origin=Origin(1, START, "", 0),
        folder=Path(tmp_path_factory.mktemp("bundles")),
        private_key=key,
    )


@pytest.fixture(scope="module")
def held_out(plant_samples: Callable[[int, int], pl.DataFrame]) -> pl.DataFrame:
    """Newer running of the same plant; two hours of it are silent."""
    samples = plant_samples(1_500, 2)
    start: datetime = samples["time"][0]
    silent = Interval(start + timedelta(hours=10), start + timedelta(hours=12), "maintenance")
    return outside(samples, [silent])


@pytest.fixture(scope="module")
def of_plant(candidate: Candidate, held_out: pl.DataFrame) -> Certificate:
    deviations = normal_deviations(held_out, ["flow", "pressure", "mood"])
    certificate = certify(candidate.bundle, held_out, [], deviations=deviations, seed=3)
    assert certificate is not None
    return certificate


def found_by_replay(
    bundle: Bundle, samples: pl.DataFrame, fault: InjectedFault, end: datetime, seed: int
) -> float | None:
    """Seconds to the first alarm or sensor event of the channel, by the agent from the start on."""
    replayed = replay(bundle, inject(samples.filter(pl.col("time") <= end), fault, seed=seed))
    found = [moment(alarm, "raised_at") for alarm in raised_alarms(replayed)]
    found += [
        moment(message, "transition_at")
        for message in replayed.messages
        if message["kind"] == "event"
        and (message["condition"], message["channel"]) == ("sensor_fault", fault.channel)
    ]
    delays = [(at - fault.onset).total_seconds() for at in found if at >= fault.onset]
    return min(delays, default=None)


@pytest.mark.parametrize("kind", ["bias", "drift", "noise", "spike", "stuck", "dropout"])
def test_what_is_certified_is_found_again_by_a_full_replay(
    candidate: Candidate, held_out: pl.DataFrame, of_plant: Certificate, kind: str
) -> None:
    (limit,) = (one for one in of_plant.limits if (one.channel, one.kind) == ("pressure", kind))
    running = UntouchedRunning(candidate.bundle, held_out)
    count = int(of_plant.within_s // running.window.hop_s)
    delays = []
    for number, onset in enumerate(running.onsets(ONSETS, windows_after=count, seed=3)):
        at = running.begins_at(onset)
        end = at + timedelta(seconds=of_plant.within_s) - timedelta(microseconds=1)
        size = limit.size or SIZES[-1] * normal_deviations(held_out, ["pressure"])["pressure"]
        fault = InjectedFault(limit.kind, "pressure", size=size, onset=at)
        delays.append(found_by_replay(candidate.bundle, held_out, fault, end, 3 + number))
    found = [delay for delay in delays if delay is not None]
    assert len(found) == limit.found
    assert limit.is_found == (len(found) >= of_plant.needed)
    if found:
        assert np.median(found) == pytest.approx(limit.median_delay_s, abs=1e-3)


def test_a_silent_sensor_is_found_by_its_status_after_a_window(of_plant: Certificate) -> None:
    for channel in ("flow", "pressure", "mood"):
        dropout = limits_of(of_plant, channel)["dropout"]
        assert dropout.is_found
        assert dropout.median_delay_s is not None
        assert dropout.median_delay_s <= 12 * 60.0


def test_the_sealed_bundle_decides_as_before_and_has_the_certificate(
    candidate: Candidate, of_plant: Certificate, key: Ed25519PrivateKey
) -> None:
    assert candidate.bundle.certificate is None
    assert seal_certificate(candidate, None, key) is candidate
    sealed = seal_certificate(candidate, of_plant, key).bundle
    assert sealed.certificate == of_plant
    assert (sealed.onnx, sealed.manifest) == (candidate.bundle.onnx, candidate.bundle.manifest)
