from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from faultwatch_edge.bundle import Bundle
from features.labels import Interval
from pipelines.replay import judge_bundle, judge_normal, moment, raised_alarms, replay
from pipelines.threshold import rate_interval

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def make_samples(hours: int, faults: dict[str, tuple[float, float]], **gaps: float) -> pl.DataFrame:
    """Half-hourly samples of 10; each fault lifts its channel by 20 from and to these hours."""
    at = [START + k * HOUR / 2 for k in range(1, 2 * hours + 1)]
    columns = {}
    for name in ("a", "b"):
        lifted = [faults[f][:2] for f in faults if f.startswith(name)]
        columns[name] = [
            30.0 if any(low < (t - START) / HOUR <= high for low, high in lifted) else 10.0
            for t in at
        ]
    samples = pl.DataFrame(
        {"time": at, **columns}, schema_overrides={"time": pl.Datetime("us", "UTC")}
    )
    silent = gaps.get("silent_from")
    return (
        samples
        if silent is None
        else samples.filter(
            (pl.col("time") <= START + silent * HOUR)
            | (pl.col("time") > START + (silent + 5) * HOUR)
        )
    )


def interval(low: float, high: float, kind: str = "fault", note: str = "") -> Interval:
    return Interval(START + low * HOUR, START + high * HOUR, kind, note)  # type: ignore[arg-type]


def test_a_replay_reports_every_window_in_order(bundle: Bundle) -> None:
    replayed = replay(bundle, make_samples(12, {"a": (5.0, 8.0)}))
    assert len(replayed.windows) == 24 - 1
    ends = [row.end_us for row in replayed.windows]
    assert ends == sorted(ends)
    assert replayed.windows[0].anomalous is None  # the gate is shut
    assert sum(bool(row.anomalous) for row in replayed.windows) == 6


def test_messages_say_that_they_are_historical(bundle: Bundle) -> None:
    alarms = raised_alarms(replay(bundle, make_samples(12, {"a": (5.0, 8.0)})))
    assert [alarm["is_historical"] for alarm in alarms] == [True]


def test_missing_samples_are_replayed_as_missing(bundle: Bundle) -> None:
    samples = make_samples(12, {}).with_columns(b=pl.lit(None, pl.Float64))
    assert len(replay(bundle, samples).windows) == 23


def test_a_fault_that_is_found_has_its_delay_and_its_channel(bundle: Bundle) -> None:
    samples = make_samples(24, {"a": (5.0, 8.0), "b": (12.0, 16.0)})
    faults = [interval(4.0, 8.0, note="first"), interval(12.0, 16.0), interval(20.0, 22.0)]
    found = judge_bundle(bundle, samples, faults)
    assert [fault.name for fault in found.faults] == ["first", "fault", "fault"]
    assert [fault.delay_s for fault in found.faults] == [2.5 * 3600, 1.5 * 3600, None]
    assert [fault.contributors[:1] for fault in found.faults] == [("a",), ("b",), ()]
    assert found.found_share == pytest.approx(2 / 3)
    assert found.faults[0].anomalous_share == pytest.approx(6 / 8)
    assert found.normal.alarms == 0
    assert found.reconstructor == "pca"


def test_an_alarm_outside_every_label_is_false(bundle: Bundle) -> None:
    samples = make_samples(240, {"a": (100.0, 110.0), "b": (200.0, 205.0)})
    normal = judge_bundle(bundle, samples, [interval(200.0, 206.0)]).normal
    # The first two cells open no window that is scored; the first after the label holds some of it.
    scored_h = 240 - 1 - 6 - 0.5
    assert normal.days == pytest.approx(scored_h / 24)
    assert normal.alarms == 1
    assert normal.per_day == pytest.approx(24 / scored_h)
    assert normal.interval_per_day == rate_interval(1, normal.days)
    assert normal.anomalous_share == pytest.approx(20 / (2 * scored_h))
    low, high = normal.share_interval
    assert low <= normal.anomalous_share <= high < 0.2


def test_a_nuisance_label_leaves_an_alarm_false_and_maintenance_excuses_it(bundle: Bundle) -> None:
    samples = make_samples(48, {"a": (10.0, 15.0)})
    for kind, alarms in (("nuisance", 1), ("maintenance", 0), ("true_fault", 0)):
        labelled = [interval(10.0, 16.0, kind)]
        found = judge_bundle(bundle, samples, labelled)
        assert found.normal.alarms == alarms
        assert len(found.faults) == (kind == "true_fault")


def test_windows_that_still_hold_maintenance_are_no_normal_running(bundle: Bundle) -> None:
    samples = make_samples(48, {"a": (10.0, 16.5)})  # it lasts a cell longer than its label
    (end,) = {
        row.end_us
        for row in replay(bundle, samples).windows
        if row.anomalous and row.end_us > (START + 16.0 * HOUR).timestamp() * 1e6
    }
    assert end == (START + 16.5 * HOUR).timestamp() * 1e6
    normal = judge_bundle(bundle, samples, [interval(10.0, 16.0, "maintenance")]).normal
    assert normal.anomalous_share == 0.0


def test_an_alarm_raised_before_the_onset_does_not_find_the_fault(bundle: Bundle) -> None:
    samples = make_samples(24, {"a": (5.0, 15.0)})
    found = judge_bundle(bundle, samples, [interval(10.0, 15.0)])
    assert found.faults[0].delay_s is None
    assert found.normal.alarms == 1


def test_an_alarm_that_the_first_sample_of_a_fault_raises_finds_it(bundle: Bundle) -> None:
    """Its cell ends with the sample, at the onset: delay 0, and no false alarm."""
    at_once = replace(bundle.manifest.alarm, on_delay_s=0.0)
    quick = replace(bundle, manifest=replace(bundle.manifest, alarm=at_once))
    samples = make_samples(24, {"a": (12.0, 15.0)})
    raised = moment(raised_alarms(replay(quick, samples))[0], "raised_at")
    found = judge_bundle(quick, samples, [Interval(raised, raised + 3 * HOUR, "fault")])
    assert [fault.delay_s for fault in found.faults] == [0.0]
    assert found.normal.alarms == 0


def test_faults_outside_the_samples_are_not_judged(bundle: Bundle) -> None:
    found = judge_bundle(bundle, make_samples(12, {}), [interval(100.0, 110.0)])
    assert found.faults == ()
    assert np.isnan(found.found_share)


def test_a_gap_starts_the_gate_anew(bundle: Bundle) -> None:
    rows = replay(bundle, make_samples(12, {}, silent_from=4.0)).windows
    assert [place for place, row in enumerate(rows) if row.anomalous is None] == [0, 7]


def test_without_scored_time_there_is_no_rate(bundle: Bundle) -> None:
    normal = judge_normal(bundle, replay(bundle, make_samples(1, {})), [])
    assert (normal.days, normal.alarms) == (0.0, 0)
    assert np.isnan(normal.per_day)
    assert normal.interval_per_day == (0.0, float("inf"))
