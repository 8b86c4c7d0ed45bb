from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from features.channels import Channel
from features.injection import FAULT_KINDS, SPIKE_SPACING, FaultKind, InjectedFault, inject
from features.schema import check_samples

START = datetime(2026, 1, 1, tzinfo=UTC)
COUNT, ONSET = 60, 20
CHANNELS = (Channel(name="flow"), Channel(name="pressure"))


@pytest.fixture
def samples() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    values = rng.normal(5.0, 2.0, (2, COUNT))
    values[0, [3, 20, 31]] = np.nan
    return pl.DataFrame(
        {
            "time": [START + timedelta(minutes=minute) for minute in range(COUNT)],
            "flow": values[0],
            "pressure": values[1],
        },
        schema_overrides={"time": pl.Datetime("us", "UTC")},
    ).with_columns(pl.col("flow").fill_nan(None))


def changed(samples: pl.DataFrame, kind: FaultKind, *, size: float = 3.0) -> np.ndarray:
    """What the fault adds to the channel, from the onset on."""
    fault = InjectedFault(kind, "flow", size=size, onset=START + timedelta(minutes=ONSET))
    difference = inject(samples, fault, seed=1)["flow"] - samples["flow"]
    return difference[ONSET:].drop_nulls().to_numpy()


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_nothing_else_and_nothing_earlier_changes(samples: pl.DataFrame, kind: FaultKind) -> None:
    fault = InjectedFault(kind, "flow", size=3.0, onset=START + timedelta(minutes=ONSET))
    faulty = inject(samples, fault, seed=1)
    check_samples(faulty, CHANNELS)
    assert faulty[:ONSET].equals(samples[:ONSET])
    assert faulty.drop("flow").equals(samples.drop("flow"))
    assert not faulty["flow"].equals(samples["flow"])
    assert faulty.filter(samples["flow"].is_null())["flow"].null_count() == 3


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_an_onset_after_the_end_changes_nothing(samples: pl.DataFrame, kind: FaultKind) -> None:
    fault = InjectedFault(kind, "flow", size=3.0, onset=START + timedelta(days=1))
    assert inject(samples, fault, seed=1).equals(samples)


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_a_channel_without_values_stays_without(samples: pl.DataFrame, kind: FaultKind) -> None:
    empty = samples.with_columns(flow=pl.lit(None, dtype=pl.Float64))
    fault = InjectedFault(kind, "flow", size=3.0, onset=START)
    assert inject(empty, fault, seed=1).equals(empty)


def test_bias_is_constant(samples: pl.DataFrame) -> None:
    np.testing.assert_allclose(changed(samples, "bias"), 3.0)


def test_drift_grows_to_its_size_at_the_end(samples: pl.DataFrame) -> None:
    drift = changed(samples, "drift")
    assert (np.diff(drift) > 0).all()
    assert drift[-1] == pytest.approx(3.0)


def test_stuck_is_exactly_the_first_value_that_is_there(samples: pl.DataFrame) -> None:
    fault = InjectedFault("stuck", "flow", size=0.0, onset=START + timedelta(minutes=ONSET))
    stuck = inject(samples, fault, seed=1)["flow"][ONSET:].drop_nulls()
    assert set(stuck) == {samples["flow"][ONSET + 1]}


def test_dropout_has_no_value(samples: pl.DataFrame) -> None:
    assert len(changed(samples, "dropout")) == 0


def test_noise_has_its_size_and_is_repeatable(samples: pl.DataFrame) -> None:
    noise = changed(samples, "noise")
    assert noise.std() == pytest.approx(3.0, rel=0.3)
    np.testing.assert_array_equal(noise, changed(samples, "noise"))


def test_spikes_stand_alone(samples: pl.DataFrame) -> None:
    full = samples.with_columns(flow=pl.col("pressure"))
    spikes = np.flatnonzero(changed(full, "spike"))
    assert spikes.tolist() == list(range(0, COUNT - ONSET, SPIKE_SPACING))


def test_gain_stretches_about_the_mean_before_the_onset(samples: pl.DataFrame) -> None:
    before = samples["flow"][:ONSET].drop_nulls().to_numpy()
    after = samples["flow"][ONSET:].drop_nulls().to_numpy()
    expected = (after - before.mean()) / before.std() * 3.0
    np.testing.assert_allclose(changed(samples, "gain"), expected)


def test_gain_of_a_channel_that_never_moved_is_per_unit(samples: pl.DataFrame) -> None:
    flat = samples.with_columns(
        flow=pl.when(pl.int_range(pl.len()) < ONSET).then(5.0).otherwise(6.0)
    )
    np.testing.assert_allclose(changed(flat, "gain"), 3.0)
