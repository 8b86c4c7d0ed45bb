"""What counts as normal running that has moved, and what is only a slow swing."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from features.channels import Channel
from features.drift import find_shifts, measure_shifts
from features.schema import samples_schema

START, DAY = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=1)
CHANNELS = (
    Channel(name="flow", unit="m3/h"),
    Channel(name="level"),
    Channel(name="valve", kind="discrete"),
    Channel(name="starts", kind="counter"),
)


def running(days: int, *, begin: int = 0, seed: int = 0, flow: float = 0.0) -> pl.DataFrame:
    """An hour a row; ``level`` swings over weeks, ``starts`` counts up."""
    rows = np.arange(24 * begin, 24 * (begin + days))
    noise = np.random.default_rng(seed + begin).normal(size=(2, len(rows)))
    columns = {
        "time": [START + timedelta(hours=int(row)) for row in rows],
        "flow": 10.0 + noise[0] + flow,
        "level": 5.0 * np.sin(rows / 100.0) + noise[1],
        "valve": (rows // 24 % 2).astype(float) * (begin == 0) + float(begin > 0),
        "starts": rows.astype(float),
    }
    return pl.DataFrame(columns, schema=samples_schema(CHANNELS))


def shifted(taught: pl.DataFrame, new: pl.DataFrame) -> list[str]:
    return [shift.channel for shift in find_shifts(taught, new, CHANNELS, block=DAY)]


def test_a_level_that_moved_is_named_with_both_levels() -> None:
    (shift,) = find_shifts(running(30), running(10, begin=30, flow=1.0), CHANNELS, block=DAY)
    assert str(shift).startswith("'flow' is at 11.01 m3/h, was at 9.981")
    assert "(+1.0 standard deviations)" in str(shift)


def test_a_slow_swing_and_what_only_counts_up_are_no_drift() -> None:
    assert shifted(running(60), running(20, begin=60)) == []


def test_over_many_plants_nothing_is_called_drifted_more_often_than_promised() -> None:
    wrong = [shifted(running(30, seed=seed), running(8, begin=30, seed=seed)) for seed in range(99)]
    assert sum(map(bool, wrong)) <= 4


def test_a_shift_of_no_account_is_not_told_however_certain_it_is() -> None:
    assert shifted(running(200), running(100, begin=200, flow=0.3)) == []


@pytest.mark.parametrize(("taught", "new"), [(5, 10), (30, 2)])
def test_too_few_days_say_nothing(taught: int, new: int) -> None:
    assert shifted(running(taught), running(new, begin=taught, flow=5.0)) == []


def test_what_stood_still_and_moves_now_is_told() -> None:
    still = running(30).with_columns(flow=pl.lit(3.0))
    (shift,) = find_shifts(still, running(10, begin=30), CHANNELS, block=DAY)
    assert str(shift).endswith("was at 3 m3/h (it did not move before)")
    assert shifted(still, running(10, begin=30).with_columns(flow=pl.lit(3.0))) == []


def test_means_of_one_value_that_differ_by_rounding_are_no_drift() -> None:
    still = [running(30), running(8, begin=30)]
    for level in (37.33, 0.1, 1e9 / 3):
        taught, new = (frame.with_columns(flow=pl.lit(level)) for frame in still)
        ragged = new.with_columns(flow=pl.when(pl.int_range(pl.len()) % 7 > 0).then(pl.col("flow")))
        assert shifted(taught, ragged) == []


def test_missing_values_and_half_days_do_not_count() -> None:
    new = running(10, begin=30, flow=1.0).with_columns(
        flow=pl.when(pl.col("time").dt.hour() < 14).then(pl.col("flow"))
    )
    assert shifted(running(30), new) == ["flow"]
    assert shifted(running(30), new.with_columns(flow=pl.lit(None, pl.Float64))) == []


def test_every_channel_that_has_a_level_is_measured_whether_it_moved_or_not() -> None:
    taught, new = running(30), running(10, begin=30, flow=1.0)
    shifts = measure_shifts(taught, new, CHANNELS, block=DAY)
    assert [(shift.channel, shift.has_moved) for shift in shifts] == [
        ("flow", True),
        ("level", False),
    ]
    assert abs(shifts[1].deviations) < 1.0


def test_with_too_few_days_a_shift_is_measured_and_not_judged() -> None:
    shifts = measure_shifts(running(30), running(2, begin=30, flow=5.0), CHANNELS, block=DAY)
    assert {shift.has_moved for shift in shifts} == {None}
    assert max(shift.deviations for shift in shifts) > 4.0


def test_what_stands_still_as_before_has_no_shift_and_what_was_never_measured_is_left_out() -> None:
    still = running(30).with_columns(flow=7.0, level=None)
    (shift,) = measure_shifts(still, still[-240:], CHANNELS, block=DAY)
    assert (shift.channel, shift.deviations, shift.has_moved) == ("flow", 0.0, False)
