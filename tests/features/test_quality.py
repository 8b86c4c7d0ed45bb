import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.channels import Channel
from features.datasets.tep import load_samples
from features.findings import ChannelQuality, QualityReport, Stretch
from features.grid import WindowConfig
from features.injection import InjectedFault, inject
from features.labels import Interval
from features.quality import assess_quality
from features.remarks import unshown_remarks
from features.schema import SchemaError, samples_schema

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CHANNELS = (
    Channel(name="flow", unit="m3/h", range=(-10.0, 10.0)),
    Channel(name="level", unit="m"),
    Channel(name="valve", kind="discrete", reporting="on_change"),
)


def noise(rows: int = 3000, *, period: timedelta = MINUTE) -> pl.DataFrame:
    """Normal running: two noisy channels, and a valve that speaks when it moves."""
    rng = np.random.default_rng(0)
    speaks = np.arange(rows) % 500 == 0
    columns = {
        "time": [START + row * period for row in range(rows)],
        "flow": rng.normal(size=rows),
        "level": rng.normal(size=rows),
        "valve": np.where(speaks, np.arange(rows) % 3, np.nan),
    }
    return pl.DataFrame(columns, schema=samples_schema(CHANNELS)).fill_nan(None)


def assess(
    *slices: pl.DataFrame,
    period_s: float = 60.0,
    max_gap_s: float = 0.0,
    budget: float | None = None,
    channels: tuple[Channel, ...] = CHANNELS,
) -> QualityReport:
    window = WindowConfig(sample_period_s=period_s, max_gap_s=max_gap_s)
    return assess_quality(slices, channels, window=window, false_alarms_per_day=budget)


def of(report: QualityReport, name: str) -> ChannelQuality:
    return next(quality for quality in report.channels if quality.name == name)


def the_remark(report: QualityReport) -> str:
    assert len(report.remarks) == 1
    return report.remarks[0]


def without(samples: pl.DataFrame, start: datetime, end: datetime, *names: str) -> pl.DataFrame:
    inside = pl.col("time").is_between(start, end, closed="left")
    return samples.with_columns(pl.when(~inside).then(pl.col(names)).name.keep())


values = st.one_of(st.none(), st.sampled_from([-20.0, 0.0, 1.0, 2.0, 20.0]))
some_rows = st.lists(
    st.tuples(st.integers(1, 40), st.sampled_from([1, 60, 600, 90_000]), values, values, values),
    max_size=40,
)


@given(some_rows, st.data())
def test_any_way_of_slicing_gives_the_same_report(
    rows: list[tuple[int, int, float | None, float | None, float | None]], data: st.DataObject
) -> None:
    parts, at = [], 0
    for repeats, spacing, *row in rows:
        times = at + spacing * np.arange(1, repeats + 1)
        at = int(times[-1])
        parts += [(START + timedelta(seconds=int(time)), *row) for time in times]
    samples = pl.DataFrame(parts, schema=samples_schema(CHANNELS), orient="row")
    cuts = data.draw(st.lists(st.integers(0, samples.height), max_size=6).map(sorted))
    slices = [samples[a:b] for a, b in pairwise([0, *cuts, samples.height])]
    assert assess(*slices, budget=0.1) == assess(samples, budget=0.1)


def test_normal_running_needs_no_remark() -> None:
    report = assess(noise())
    assert report.remarks == ()
    assert (report.rows, report.usual_period_s, report.regular_share) == (3000, 60.0, 1.0)
    assert (report.first_at, report.last_at) == (START, START + 2999 * MINUTE)
    assert report.days_spanned == report.days_covered == pytest.approx(2999 / 1440)
    assert report.gaps.longest is None


def test_the_demo_plant_has_no_stuck_channel_and_three_constant_ones() -> None:
    samples = load_samples("train")
    channels = tuple(Channel(name=name) for name in samples.columns[1:])
    report = assess(samples, period_s=180.0, budget=0.1, channels=channels)
    constant = {quality.name for quality in report.channels if quality.constant}
    assert constant == {
        "compressor_recycle_valve",
        "stripper_steam_valve",
        "reactor_agitator_speed",
    }
    assert sum(quality.stuck_runs for quality in report.channels) == 0
    assert (report.gaps.count, report.days_short) == (19, 0.0)
    assert len(report.remarks) == 4  # three constant channels, and the pauses between the runs


def test_a_stuck_sensor_is_named_with_its_value_and_since_when() -> None:
    onset = START + 40 * HOUR
    samples = inject(noise(), InjectedFault("stuck", "flow", size=0.0, onset=onset), seed=0)
    report = assess(samples[:2500], samples[2500:])
    run = of(report, "flow").longest_run
    assert run is not None
    assert (run.samples, run.stretch) == (600, Stretch(onset, 599 * 60.0))
    assert of(report, "flow").stuck_share == 0.2
    assert the_remark(report) == (
        f"channel 'flow' holds exactly {run.value:.4g} m3/h for 9.98 h from 2026-01-02 16:00 UTC "
        "(20 % of its values): a stuck sensor, a limit, or a machine at rest"
    )


def test_several_stuck_runs_are_one_remark() -> None:
    samples = noise().with_columns(
        flow=pl.when(pl.int_range(pl.len()) % 1000 < 100).then(3.0).otherwise("flow")
    )
    report = assess(samples)
    assert "for 1.65 h from 2026-01-01 00:00 UTC, the longest of 3 such runs" in report.remarks[0]
    assert len(report.remarks) == 1


def test_only_what_is_continuous_and_periodic_can_be_stuck() -> None:
    onset = START + 40 * HOUR
    samples = inject(noise(), InjectedFault("stuck", "flow", size=0.0, onset=onset), seed=0)
    for kind in ("discrete", "counter"):
        channels = (Channel(name="flow", kind=kind), *CHANNELS[1:])
        report = assess(samples, channels=channels)
        assert (of(report, "flow").longest_run, report.remarks) == (None, ())


def test_a_constant_channel_is_called_constant_and_not_stuck() -> None:
    report = assess(noise().with_columns(flow=pl.lit(4.0), valve=pl.lit(1.0)))
    assert of(report, "flow").constant
    assert of(report, "valve").constant
    assert of(report, "flow").stuck_runs == 0
    first, second = report.remarks
    assert first == (
        "channel 'flow' is constant: 4 m3/h in every row, and can show nothing; "
        "correct its tag or remove it"
    )
    assert second == (
        "channel 'valve' never changes, so that any other value will count as a fault; learn from "
        "running in which it changes, or remove it"
    )


def test_a_channel_that_drifts_through_normal_running_is_named_with_what_to_do() -> None:
    samples = noise()
    drifting = samples.with_columns(level=pl.col("level") + pl.int_range(pl.len()) * 0.002)
    assert of(assess(samples), "level").slow_share == pytest.approx(0.0, abs=0.01)
    remark = the_remark(assess(drifting))
    assert remark.startswith("channel 'level' moves slowly: 74 % of its variation is slower")
    assert "learn from longer running" in remark
    assert unshown_remarks(assess(drifting)) == (remark,)


def test_faults_do_not_make_a_channel_slow_and_what_does_not_teach_is_not_told() -> None:
    half = START + 1500 * MINUTE
    samples = noise().with_columns(
        level=pl.col("level") + pl.when(pl.col("time") < half).then(0.0).otherwise(9.0),
        valve=pl.lit(1.0),
    )
    fault = Interval(half, half + 2 * DAY, "fault")
    window = WindowConfig(sample_period_s=60.0)
    shares: dict[object, float] = {}
    for upset in ((), (fault,), None):
        report = assess_quality(
            [samples], CHANNELS, window=window, false_alarms_per_day=None, upset=upset
        )
        shares[upset] = of(report, "level").slow_share or 0.0
        assert bool(report.remarks) == (upset is not None)  # the valve never changes
    assert shares[()] > 0.9
    assert shares[fault,] < 0.05
    assert shares[None] == 0.0


def test_values_outside_the_range_are_counted_and_the_worst_is_shown() -> None:
    samples = noise().with_columns(
        flow=pl.when(pl.int_range(pl.len()) % 100 == 50).then(-13.0).otherwise("flow"),
        level=pl.lit(1e9) * pl.col("level"),
    )
    report = assess(samples)
    flow = of(report, "flow")
    assert (flow.outside_share, flow.worst) == (0.01, -13.0)
    assert flow.outside_since == START + 50 * MINUTE
    assert of(report, "level").worst is None
    assert the_remark(report) == (
        "channel 'flow' has 1 % of its values outside range = [-10, 10], the first at "
        "2026-01-01 00:50 UTC, the worst -13 m3/h; correct the range, or see to the sensor"
    )


def test_a_channel_that_stops_is_missing_from_then_on() -> None:
    onset = START + 40 * HOUR
    samples = inject(noise(), InjectedFault("dropout", "flow", size=0.0, onset=onset), seed=0)
    report = assess(samples)
    flow = of(report, "flow")
    assert flow.missing_share == pytest.approx(0.2)
    assert (flow.missing.count, flow.missing.total_s) == (1, 599 * 60.0)
    assert flow.missing.longest == Stretch(onset, 599 * 60.0)
    assert report.remarks == (
        "channel 'flow' has no value for 9.98 h from 2026-01-02 16:00 UTC (20 % of the time)",
    )


def test_stretches_without_a_value_are_counted_together() -> None:
    samples = without(noise(), START + HOUR, START + 2 * HOUR, "flow")
    report = assess(without(samples, START + 5 * HOUR, START + 8 * HOUR, "flow"))
    assert the_remark(report) == (
        "channel 'flow' has no value for 4 h in 2 stretches (8 % of the time); "
        "the longest is 3 h from 2026-01-01 05:00 UTC"
    )


def test_holes_here_and_there_are_named_from_a_twentieth_of_the_rows() -> None:
    every = pl.int_range(pl.len())
    scarce = noise().with_columns(pl.when(every % 50 > 0).then("flow").alias("flow"))
    assert assess(scarce).remarks == ()
    often = noise().with_columns(pl.when(every % 10 > 0).then("flow").alias("flow"))
    assert assess(often).remarks == (
        "channel 'flow' has no value in 10 % of the rows, here and there",
    )


def test_a_slow_channel_is_not_missing_between_its_values_but_when_it_stops() -> None:
    slow = noise().with_columns(
        pl.when(pl.int_range(pl.len()) % 10 == 0).then("flow").alias("flow")
    )
    report = assess(slow)
    assert of(report, "flow").sparse
    assert (of(report, "flow").missing_share, report.remarks) == (0.9, ())
    report = assess(without(slow, START + 5 * HOUR, START + 8 * HOUR, "flow"))
    assert report.remarks == (
        "channel 'flow' has no value for 3.15 h from 2026-01-01 04:51 UTC (6.3 % of the time)",
    )


def test_a_channel_without_any_value_comes_first() -> None:
    samples = noise().with_columns(level=pl.lit(None, pl.Float64), flow=pl.lit(4.0))
    report = assess(samples)
    assert of(report, "level").missing_share == 1.0
    assert report.remarks[0] == (
        "channel 'level' has no value in any row; correct its tag or remove it"
    )


def test_silences_longer_than_max_gap_and_three_periods_are_gaps() -> None:
    samples = noise().filter(
        ~pl.col("time").is_between(START + HOUR, START + 3 * HOUR)
        & ~pl.col("time").is_between(START + 9 * HOUR, START + 9 * HOUR + MINUTE)
        & ~pl.col("time").is_between(START + 20 * HOUR, START + 20 * HOUR + 4 * MINUTE)
    )
    report = assess(samples[:60], samples[60:])  # the longest lies between two slices
    longest = Stretch(START + 59 * MINUTE, 122 * 60.0)
    assert (report.gaps.count, report.gaps.total_s, report.gaps.longest) == (2, 128 * 60.0, longest)
    assert report.days_spanned - report.days_covered == pytest.approx(128 / 1440)
    assert the_remark(report) == (
        "no channel has a value for 2.13 h in 2 stretches (4.3 % of the time); "
        "the longest is 2.03 h from 2026-01-01 00:59 UTC"
    )
    assert assess(samples, max_gap_s=600.0).gaps.count == 1
    assert "for 2.03 h from 2026-01-01 00:59 UTC" in assess(samples, max_gap_s=600.0).remarks[0]


def test_rows_without_any_value_are_silence_even_at_both_ends() -> None:
    samples = noise()
    for first, last in ((-1, 1), (10, 12), (49, 60)):
        samples = without(
            samples, START + first * HOUR, START + last * HOUR, "flow", "level", "valve"
        )
    report = assess(samples[:100], samples[100:])
    assert (report.rows, report.gaps.count) == (3000, 3)
    assert report.gaps.total_s == (60 + 121 + 60) * 60.0
    assert of(report, "flow").missing.longest is None  # it lacks nothing that others have


def test_a_change_of_the_sample_period_is_dated() -> None:
    later = noise(1000, period=10 * MINUTE).with_columns(pl.col("time") + 4 * DAY)
    samples = pl.concat([noise(4 * 1440), later])
    report = assess(samples)
    change = report.rate_changes[0]
    assert (change.start_at, change.before_s, change.after_s) == (START + 4 * DAY, 60.0, 600.0)
    assert report.remarks[0] == (
        "since 2026-01-05 samples come every 10 min, before that every 1 min"
    )
    back = pl.concat([samples, noise(4 * 1440).with_columns(pl.col("time") + 12 * DAY)])
    assert len(assess(back).rate_changes) == 2
    assert "before that every 10 min (the last of 2 such changes)" in assess(back).remarks[0]


@pytest.mark.parametrize(
    ("period_s", "says"),
    [
        (20.0, "sample_period_s = 20: most cells stay empty; set it to 60"),
        (31.0, None),
        (119.0, None),
        (600.0, "sample_period_s = 600: a cell is the mean of about 10 samples"),
    ],
)
def test_a_sample_period_that_is_far_from_the_configured_one_is_said(
    period_s: float, says: str | None
) -> None:
    remarks = assess(noise(), period_s=period_s).remarks
    assert len(remarks) == (0 if says is None else 1)
    assert says is None or says in remarks[0]


@pytest.mark.parametrize("longest_s", [1000, 100_000])
def test_irregular_samples_have_no_period_to_disagree_with(longest_s: int) -> None:
    seconds = np.cumsum(np.random.default_rng(0).integers(1, longest_s, 3000))
    times = pl.lit(START) + pl.duration(seconds=pl.lit(pl.Series(seconds)))
    report = assess(noise(3000).with_columns(time=times), period_s=1.0, max_gap_s=1e6)
    assert report.regular_share < 0.6
    assert report.remarks == ()


def test_too_little_history_for_the_budget_is_said_with_what_is_missing() -> None:
    report = assess(noise(2 * 1440 + 1), budget=0.1)
    assert (report.days_needed, report.days_short) == (10.0, 8.0)
    assert report.remarks == (
        "2.0 days of running are covered, the alarm budget needs 10: 8.0 more days are missing",
    )
    assert assess(noise(2 * 1440 + 1), budget=0.5).remarks == ()


def test_a_gap_does_not_count_as_history() -> None:
    later = noise(1440).with_columns(pl.col("time") + 20 * DAY)
    report = assess(pl.concat([noise(1440), later]), budget=0.1)
    assert report.days_spanned > 20
    assert report.days_short == pytest.approx(8.0, abs=0.01)


def test_nothing_gives_a_report_that_says_so() -> None:
    report = assess(budget=0.1)
    assert (report.rows, report.first_at, report.usual_period_s) == (0, None, None)
    assert (report.days_short, report.remarks) == (10.0, ("there are no samples",))
    assert report == assess(noise(0), budget=0.1)


def test_one_row_is_enough_for_a_report() -> None:
    report = assess(noise(1), budget=0.1)
    assert (report.rows, report.usual_period_s, report.days_spanned) == (1, None, 0.0)
    assert report.days_short == 10.0


def test_a_single_bad_value_of_very_many_is_no_share_of_zero() -> None:
    samples = noise(20_000).with_columns(
        flow=pl.when(pl.int_range(pl.len()) == 7).then(99.0).otherwise("flow")
    )
    assert "has < 0.01 % of its values outside range" in the_remark(assess(samples))


def test_a_report_survives_json() -> None:
    samples = without(noise(), START + HOUR, START + 2 * HOUR, "flow")
    report = assess(samples, budget=0.1)
    document = json.loads(json.dumps(report.to_dict()))
    assert QualityReport.from_dict(document) == report
    assert document["days_short"] == report.days_short
    assert document["first_at"] == "2026-01-01T00:00:00Z"


def test_slices_out_of_order_are_refused() -> None:
    samples = noise()
    with pytest.raises(SchemaError, match="expected it later than 2026-01-01 01:39:00"):
        assess(samples[:100], samples[99:])
    with pytest.raises(SchemaError):
        assess(samples.reverse())
