from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from features.channels import Channel
from features.grid import WindowConfig, make_grid
from features.schema import SchemaError, samples_schema
from features.times import TIME

SECOND = 1_000_000
FLOW = Channel(name="flow")
VALVE = Channel(name="valve", kind="discrete", reporting="on_change")
ENERGY = Channel(name="energy", kind="counter")
CHANNELS = (FLOW, VALVE, ENERGY)


def samples_of(rows: list[tuple[int, float | None, float | None, float | None]]) -> pl.DataFrame:
    times = pl.Series([row[0] for row in rows], dtype=pl.Int64).cast(TIME)
    columns = {c.name: [row[i] for row in rows] for i, c in enumerate(CHANNELS, start=1)}
    return pl.DataFrame({"time": times, **columns}, schema=samples_schema(CHANNELS))


value = st.one_of(st.none(), st.floats(-1e6, 1e6))
some_samples = st.lists(
    st.tuples(st.integers(0, 30 * SECOND), value, value, value),
    max_size=30,
    unique_by=lambda row: row[0],
).map(lambda rows: samples_of(sorted(rows)))
some_windows = st.builds(
    WindowConfig,
    sample_period_s=st.sampled_from([0.25, 1.0, 3.0]),
    length=st.just(4),
    max_gap_s=st.sampled_from([0.0, 2.0, 9.0]),
)


def measured(samples: pl.DataFrame) -> pl.DataFrame:
    return samples.filter(pl.any_horizontal(pl.exclude("time").is_not_null()))


@settings(deadline=None)
@given(some_samples, some_windows)
def test_cells_are_uniform_within_a_sequence_and_apart_between_two(
    samples: pl.DataFrame, window: WindowConfig
) -> None:
    grid = make_grid(samples, CHANNELS, window)
    assert (grid["time"].dt.epoch("us") % window.sample_period_us == 0).all()
    steps = grid.select(pl.col("time", "sequence").diff()).drop_nulls().rows()
    period = timedelta(seconds=window.sample_period_s)
    for step, sequence_step in steps:
        assert sequence_step in {0, 1}
        silence = step - period
        assert silence == timedelta() if not sequence_step else silence.total_seconds() > 0
        if sequence_step:
            assert silence > timedelta(seconds=window.max_gap_s) or silence >= period


@settings(deadline=None)
@given(some_samples, some_windows)
def test_every_measured_sample_is_in_a_cell(samples: pl.DataFrame, window: WindowConfig) -> None:
    grid = make_grid(samples, CHANNELS, window)
    period_us = window.sample_period_us
    ends = {-(-at // period_us) * period_us for at in measured(samples)["time"].dt.epoch("us")}
    assert ends <= set(grid["time"].dt.epoch("us"))


@settings(deadline=None)
@given(some_samples, some_windows)
def test_a_cell_of_a_continuous_channel_lies_between_its_values(
    samples: pl.DataFrame, window: WindowConfig
) -> None:
    period = timedelta(seconds=window.sample_period_s)
    for end, cell in make_grid(samples, CHANNELS, window).select("time", "flow").iter_rows():
        inside = samples.filter((pl.col("time") > end - period) & (pl.col("time") <= end))
        values = inside["flow"].drop_nulls().to_list()
        assert (cell is None) == (not values)
        if cell is not None:
            assert min(values) <= cell <= max(values)


@settings(deadline=None)
@given(some_samples, some_windows)
def test_what_was_counted_is_never_negative(samples: pl.DataFrame, window: WindowConfig) -> None:
    counted = make_grid(samples, CHANNELS, window)["energy"].drop_nulls()
    assert (counted >= 0).all()


@settings(deadline=None)
@given(some_samples, some_windows, st.integers(0, 40))
def test_later_samples_change_no_cell_that_is_complete(
    samples: pl.DataFrame, window: WindowConfig, cells: int
) -> None:
    until = datetime(1970, 1, 1, tzinfo=UTC) + cells * timedelta(seconds=window.sample_period_s)
    whole = make_grid(samples, CHANNELS, window)
    part = make_grid(samples.filter(pl.col("time") <= until), CHANNELS, window)
    assert_frame_equal(part, whole[: part.height], rel_tol=1e-9, abs_tol=1e-9)


def test_no_sample_is_no_cell() -> None:
    window = WindowConfig(sample_period_s=1.0)
    grid = make_grid(samples_of([(1, None, None, None)]), CHANNELS, window)
    assert grid.schema == {
        "time": TIME,
        "sequence": pl.UInt32,
        **dict.fromkeys(["flow", "valve", "energy"], pl.Float64),
    }
    assert grid.is_empty()


def test_other_columns_are_left_out() -> None:
    samples = samples_of([(SECOND, 1.0, 2.0, 3.0)]).with_columns(note=pl.lit("x"))
    grid = make_grid(samples, (VALVE, FLOW), WindowConfig(sample_period_s=1.0))
    assert grid.columns == ["time", "sequence", "valve", "flow"]


def test_samples_in_disorder_are_refused() -> None:
    samples = samples_of([(2 * SECOND, 1.0, None, None), (SECOND, 1.0, None, None)])
    with pytest.raises(SchemaError, match="expected them sorted and unique"):
        make_grid(samples, CHANNELS, WindowConfig(sample_period_s=1.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 4, "hop": 5}, "hop = 5 is greater than length = 4; cells would be skipped"),
        ({"max_gap_s": 1e7}, r"max_gap_s = 1e\+07 is more than 1000000 cells of sample_period_s"),
        ({"allowed_lateness_s": 2e6}, r"allowed_lateness_s = 2e\+06 is more than"),
        ({"sample_period_s": 0.0}, "greater than or equal to 0.000001"),
        ({"sample_period_s": 1e7}, "less than or equal to 1000000"),
        ({"length": 1}, "greater than or equal to 2"),
        ({"period": 1}, "Extra inputs are not permitted"),
    ],
)
def test_windows_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        WindowConfig.model_validate({"sample_period_s": 1.0, **options})
