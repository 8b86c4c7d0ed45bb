"""Which new samples may not teach, and what is said of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from features.channels import Channel
from features.findings import QualityReport
from features.grid import WindowConfig
from features.quality import assess_quality
from features.quality_gate import why_unfit
from features.schema import samples_schema

START, HOUR = datetime(2026, 1, 1, tzinfo=UTC), timedelta(hours=1)
CHANNELS = (
    Channel(name="flow", unit="m3/h", range=(-10.0, 10.0)),
    Channel(name="level", unit="m"),
)


def noise(rows: int = 3000) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    times = [START + row * timedelta(minutes=1) for row in range(rows)]
    columns = {"time": times, "flow": rng.normal(size=rows), "level": rng.normal(size=rows)}
    return pl.DataFrame(columns, schema=samples_schema(CHANNELS))


def new(samples: pl.DataFrame) -> QualityReport:
    window = WindowConfig(sample_period_s=60.0, max_gap_s=0.0)
    return assess_quality([samples], CHANNELS, window=window, false_alarms_per_day=None)


def without_level(samples: pl.DataFrame, hours: int) -> pl.DataFrame:
    kept = pl.col("time") >= START + hours * HOUR
    return samples.with_columns(pl.when(kept).then(pl.col("level")).name.keep())


BEFORE = new(noise())


def test_ordinary_samples_may_teach() -> None:
    assert why_unfit(new(noise()), BEFORE) == ()
    assert why_unfit(BEFORE, None) == ()


def test_nothing_does_not_teach() -> None:
    assert why_unfit(new(noise(0)), BEFORE) == ("there are no samples",)


def test_a_channel_that_is_lost_is_named_with_what_to_do() -> None:
    lost = without_level(noise(), 40)
    (reason,) = why_unfit(new(lost), BEFORE)
    assert reason.startswith("channel 'level' has no value in 80 % of the rows, before it was 0 %")
    assert "take the channel out of the asset file" in reason


def test_what_was_always_missing_is_no_reason() -> None:
    lost = new(without_level(noise(), 40))
    assert why_unfit(lost, lost) == ()


def test_a_channel_that_stands_still_is_named_with_its_value() -> None:
    still = noise().with_columns(level=pl.lit(2.5))
    (reason,) = why_unfit(new(still), BEFORE)
    assert reason == (
        "channel 'level' stands still at 2.5 m, before it moved: mend the sensor, or label the "
        "time as maintenance"
    )
    level = next(one for one in BEFORE.channels if one.name == "level")
    assert level.longest_run is not None
    often = replace(level, longest_run=replace(level.longest_run, samples=4_000))
    usual = replace(
        BEFORE, channels=tuple(often if one.name == "level" else one for one in BEFORE.channels)
    )
    assert why_unfit(new(still), usual) == ()


def test_values_outside_the_range_are_a_unit_gone_wrong() -> None:
    kelvin = noise().with_columns(flow=pl.col("flow") + 273.15)
    (reason,) = why_unfit(new(kelvin), BEFORE)
    assert reason.startswith("channel 'flow' is outside its range in 100 % of its values")


def test_a_source_that_was_mostly_silent_is_said() -> None:
    rows = noise()
    silent = rows.filter((pl.col("time") < START + HOUR) | (pl.col("time") > START + 40 * HOUR))
    (reason,) = why_unfit(new(silent), BEFORE)
    assert reason.startswith("for 1.63 d of 2.08 d no sample came")


def test_a_source_that_always_was_silent_by_the_shift_and_a_range_that_never_held_may_teach() -> (
    None
):
    by_the_shift = new(noise(9_000).filter(pl.col("time").dt.hour() < 8))
    assert why_unfit(by_the_shift, by_the_shift) == ()
    wrong = new(noise().with_columns(flow=pl.col("flow") + 20.0))
    assert why_unfit(wrong, wrong) == ()
