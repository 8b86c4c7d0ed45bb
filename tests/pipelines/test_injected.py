from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from faultwatch_edge.bundle import Bundle
from features.channels import channel_names
from features.datasets.tep import load_samples
from features.injection import FAULT_KINDS
from features.labels import Interval
from pipelines import injected
from pipelines.candidate import Origin, asset_windows, make_candidate
from pipelines.config import AssetConfig, load_asset
from pipelines.injected import CHANNELS, InjectedFaults, judge_injected

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def asset() -> AssetConfig:
    """The demo plant's first twelve channels, in short windows."""
    plant = load_asset("tennessee_eastman")
    window = plant.window.model_copy(update={"length": 4, "min_channels": 1})
    return plant.model_copy(update={"channel": plant.channel[:12], "window": window})


@pytest.fixture(scope="module")
def bundle(asset: AssetConfig, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_candidate(
        asset,
        "window_pca",
        normal=asset_windows(asset, load_samples("train")[:8_000]),
        recent=asset_windows(asset, load_samples("held_out")),
        origin=Origin(1, AT, "", 0),
        folder=tmp_path_factory.mktemp("bundles"),
        private_key=Ed25519PrivateKey.generate(),
    ).bundle


@pytest.fixture(scope="module")
def samples(asset: AssetConfig) -> pl.DataFrame:
    """Two held-out days of the twelve channels."""
    return load_samples("held_out")[:960].select("time", *channel_names(asset.channel))


@pytest.fixture(scope="module")
def deviations(samples: pl.DataFrame) -> dict[str, float]:
    spread = {name: samples[name].std() for name in samples.columns[1:]}
    return {name: float(value) for name, value in spread.items()}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def judged(
    bundle: Bundle, samples: pl.DataFrame, deviations: dict[str, float]
) -> dict[str, InjectedFaults]:
    found = judge_injected(bundle, samples, [], deviations=deviations, seed=0)
    return {one.kind: one for one in found}


def test_every_kind_is_tried_on_as_many_channels(judged: dict[str, InjectedFaults]) -> None:
    assert tuple(judged) == FAULT_KINDS
    assert {one.tried for one in judged.values()} == {CHANNELS}


def test_a_gross_bias_is_found_and_blamed_on_its_channel(judged: dict[str, InjectedFaults]) -> None:
    bias = judged["bias"]
    assert bias.found == CHANNELS
    assert bias.first_hits >= CHANNELS - 1
    assert bias.median_delay_s is not None
    assert 0 < bias.median_delay_s < 3_600


def test_a_sensor_that_goes_silent_is_found_by_its_status(
    judged: dict[str, InjectedFaults],
) -> None:
    dropout = judged["dropout"]
    assert dropout.found == CHANNELS
    assert dropout.median_delay_s is not None
    assert dropout.median_delay_s <= 4 * 180.0 + 360.0


def test_a_drift_takes_longer_than_a_bias(judged: dict[str, InjectedFaults]) -> None:
    bias, drift = judged["bias"].median_delay_s, judged["drift"].median_delay_s
    assert bias is not None
    assert drift is not None
    assert drift > bias


def test_no_more_are_blamed_rightly_than_found(judged: dict[str, InjectedFaults]) -> None:
    for one in judged.values():
        assert 0 <= one.first_hits <= one.found <= one.tried
        assert (one.median_delay_s is None) == (one.found == 0)


def test_constant_channels_are_left_alone(
    bundle: Bundle, samples: pl.DataFrame, deviations: dict[str, float]
) -> None:
    moving = dict.fromkeys(deviations, 0.0) | {"feed_A_flow": deviations["feed_A_flow"]}
    found = judge_injected(bundle, samples, [], deviations=moving, seed=0)
    assert {one.tried for one in found} == {1}


def test_without_enough_normal_running_nothing_is_tried(
    bundle: Bundle, samples: pl.DataFrame, deviations: dict[str, float]
) -> None:
    start: datetime = samples["time"][0]
    everything = Interval(start, start + timedelta(days=9), "fault")
    for frame, intervals in ((samples, [everything]), (samples[:10], [])):
        found = judge_injected(bundle, frame, intervals, deviations=deviations, seed=0)
        assert found == ()


def test_of_a_fast_machine_only_the_newest_rows_are_replayed(
    bundle: Bundle,
    samples: pl.DataFrame,
    deviations: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(injected, "MOST_ROWS", 240)
    few = judge_injected(bundle, samples[:480], [], deviations=deviations, seed=0, count=1)
    newest = judge_injected(bundle, samples[240:480], [], deviations=deviations, seed=0, count=1)
    assert few == newest
