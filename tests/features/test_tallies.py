import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.tallies import DAY_US, Durations, Holes, RunLengths, Spacings, three_digits

SECOND = 1_000_000


def runs_of(values: np.ndarray) -> RunLengths:
    runs = RunLengths()
    runs.add(values.astype(np.float64), np.arange(len(values)) * SECOND)
    runs.finish()
    return runs


@given(st.integers(1, 10**17))
def test_rounding_changes_a_duration_by_less_than_a_hundredth(duration: int) -> None:
    rounded = int(three_digits(np.array([duration]))[0])
    assert abs(rounded - duration) <= 0.005 * duration
    assert len(str(rounded).rstrip("0")) <= 3


def test_nothing_has_no_usual_duration() -> None:
    durations = Durations()
    durations.add(np.array([], np.int64), np.array([], np.int64))
    assert (durations.usual, durations.longest, durations.count) == (None, None, 0)
    assert durations.regular_share == 0.0
    assert durations.longer_than(0) == (0, 0)


def test_no_rows_change_nothing() -> None:
    spacings, runs = Spacings(), RunLengths()
    spacings.add(np.array([], np.int64))
    runs.add(np.array([]), np.array([], np.int64))
    runs.finish()
    assert (spacings.last, spacings.changes(), runs.longest, runs.stuck()) == (
        None,
        [],
        None,
        (0, 0),
    )


def test_jitter_does_not_make_samples_irregular() -> None:
    times = np.arange(1000) * SECOND + np.random.default_rng(0).integers(0, SECOND // 20, 1000)
    spacings = Spacings()
    spacings.add(times)
    assert spacings.all.regular_share > 0.95
    assert spacings.all.usual == pytest.approx(SECOND, rel=0.1)


def test_two_spacings_in_turn_are_no_change_of_rate() -> None:
    times = np.cumsum(np.tile([SECOND * 600, SECOND * 3000], 240))  # 10 days of 10 and 50 minutes
    spacings = Spacings()
    spacings.add(times)
    assert spacings.all.regular_share == pytest.approx(0.5, abs=0.01)
    assert spacings.changes() == []


def test_one_odd_day_is_no_change_of_rate() -> None:
    days = [np.arange(0, DAY_US, SECOND * (600 if day == 3 else 60)) for day in range(7)]
    spacings = Spacings()
    for day, times in enumerate(days):
        spacings.add(times + day * DAY_US)
    assert spacings.changes() == []


def test_a_hole_goes_on_until_there_is_a_value() -> None:
    holes = Holes()
    holes.add(np.array([False, True]), np.array([0, 10]))
    holes.add(np.array([True, True]), np.array([20, 30]))
    holes.add(np.array([False, True]), np.array([40, 50]))
    holes.finish(50)  # the last row says nothing of how long it goes on
    assert (holes.all.count, holes.all.usual) == (1, 30)


def test_a_hole_at_the_end_reaches_to_the_last_row() -> None:
    holes = Holes()
    holes.add(np.array([True, True, True]), np.array([0, 10, 20]))
    holes.finish(20)
    assert holes.all.longer_than(0) == (1, 20)


def test_a_run_that_stands_out_of_noise_is_stuck() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    values[500:530] = 7.0
    runs = runs_of(values)
    assert runs.stuck() == (1, 30)
    assert runs.longest is not None
    assert (runs.longest.value, runs.longest.start // SECOND, runs.longest.samples) == (
        7.0,
        500,
        30,
    )


def test_a_sensor_stuck_nearly_always_is_found() -> None:
    values = np.concatenate((np.arange(30), np.full(100_000, 5.5), np.arange(30)))
    assert runs_of(values).stuck() == (1, 100_000)


def test_a_sensor_stuck_again_and_again_is_found_each_time() -> None:
    noise = np.random.default_rng(0).normal(size=(10, 400))
    noise[:, 100:200] = np.arange(10)[:, None]
    assert runs_of(noise.ravel()).stuck() == (10, 1000)


@pytest.mark.parametrize("hold", [2, 5, 60])
def test_an_analyser_that_holds_its_values_is_not_stuck(hold: int) -> None:
    rng = np.random.default_rng(hold)
    values = np.repeat(np.round(rng.normal(size=2000), 1), hold)  # at times the same twice running
    assert runs_of(values).stuck() == (0, 0)


@pytest.mark.parametrize("resolution", [0.5, 2.0, 5.0, 20.0])
@pytest.mark.parametrize("smooth", [0.0, 0.9, 0.999])
def test_a_coarsely_rounded_sensor_is_not_stuck(resolution: float, smooth: float) -> None:
    rng = np.random.default_rng(1)
    values = np.zeros(100_000)
    for at, step in enumerate(rng.normal(size=len(values) - 1), start=1):
        values[at] = smooth * values[at - 1] + step
    assert runs_of(np.round(values / resolution) * resolution).stuck() == (0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_a_coarse_level_that_drifts_at_random_is_not_stuck(seed: int) -> None:
    level = np.cumsum(np.random.default_rng(seed).normal(size=200_000))
    assert runs_of(np.round(level / 50.0)).stuck() == (0, 0)


def test_a_channel_of_few_values_is_not_stuck() -> None:
    values = np.repeat([1.0, 2.0, 1.0, 3.0], [5, 100_000, 3, 7])
    assert runs_of(values).stuck() == (0, 0)
