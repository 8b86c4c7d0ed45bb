import math

import numpy as np
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import norm

from faultwatch_edge.alarm import Alarm, AlarmState, advance
from models.calibration import CalibrationError
from models.config import AlarmConfig
from models.crossfit import NormalScores
from pipelines.threshold import (
    FINE,
    AlarmCounter,
    count_band,
    days_needed,
    find_threshold,
    rate_interval,
    share_interval,
    share_threshold,
)

WINDOW_S = 3_600.0
LEVEL = 0.004
"""Distance of two scores in the examples."""


def normal_scores(
    score: list[float], scored: list[bool] | None = None, segment: list[int] | None = None
) -> NormalScores:
    hours = np.arange(len(score)) * np.timedelta64(3600, "s")
    return NormalScores(
        np.array(score, dtype=np.float32),
        np.ones(len(score), np.bool_) if scored is None else np.array(scored, dtype=np.bool_),
        np.zeros(len(score), np.int64) if segment is None else np.array(segment, dtype=np.int64),
        np.datetime64("2026-01-01", "us") + hours,
    )


def count_by_hand(normal: NormalScores, alarm: AlarmConfig, threshold: float) -> int:
    """One window after the other through the alarm's own rules, each segment anew."""
    raised = 0
    for segment in np.unique(normal.segment):
        state = Alarm()
        for place in np.flatnonzero(normal.segment == segment):
            score = float(normal.score[place])
            is_clear = score >= threshold or score < threshold - alarm.hysteresis
            anomalous = score >= threshold if normal.scored[place] and is_clear else None
            state, changes = advance(
                state,
                anomalous=anomalous,
                at_us=int(place * WINDOW_S * 1e6),
                on_delay_us=round(alarm.on_delay_s * 1e6),
                off_delay_us=round(alarm.off_delay_s * 1e6),
            )
            raised += sum(change.state is AlarmState.UNACKNOWLEDGED for change in changes)
    return raised


@st.composite
def examples(draw: st.DrawFn) -> tuple[NormalScores, AlarmConfig]:
    count = draw(st.integers(2, 60))
    levels = draw(st.lists(st.integers(0, 16), min_size=count, max_size=count))
    scored = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    breaks = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    alarm = AlarmConfig(
        false_alarms_per_day=draw(st.sampled_from([0.5, 1.0, 2.0, 5.0])),
        on_delay_s=WINDOW_S * draw(st.integers(0, 2)),
        off_delay_s=WINDOW_S * draw(st.integers(0, 3)),
        hysteresis=LEVEL * draw(st.sampled_from([0.0, 0.0, 0.6, 1.6, 5.6])),
    )
    segment = np.cumsum([number == 0 for number in breaks]).tolist()
    return (
        normal_scores([LEVEL * level for level in levels], [s > 0 for s in scored], segment),
        alarm,
    )


@settings(deadline=None, max_examples=40)
@given(examples(), st.floats(0.0, 5.0))
def test_alarms_are_counted_as_the_device_would_raise_them(
    example: tuple[NormalScores, AlarmConfig], threshold: float
) -> None:
    normal, alarm = example
    counter = AlarmCounter(normal, alarm, window_s=WINDOW_S)
    assert counter(threshold) == count_by_hand(normal, alarm, threshold)


@settings(deadline=None, max_examples=40)
@given(examples())
def test_it_is_the_lowest_threshold_from_which_on_every_one_keeps_the_budget(
    example: tuple[NormalScores, AlarmConfig],
) -> None:
    normal, alarm = example
    assume(normal.scored.any())
    days = normal.scored.sum() * WINDOW_S / 86_400.0
    allowed = alarm.false_alarms_per_day * days
    assume(allowed >= 1.0)
    try:
        found = find_threshold(normal, alarm, window_s=WINDOW_S)
    except CalibrationError:
        assert alarm.hysteresis
        reject()
    assert not found.extrapolated

    def keeps(threshold: float) -> bool:
        return bool(count_by_hand(normal, alarm, threshold) <= allowed)

    # Between two neighbouring scores the count is the same, so that these are all there are.
    above = [score for score in np.unique(normal.score).tolist() if score >= found.score]
    assert all(keeps(threshold) for threshold in [found.score, *above])
    below = found.score - 2 * FINE
    assert below <= 0.0 or not keeps(below) or found.score <= FINE
    assert found.expected_per_day == pytest.approx(count_by_hand(normal, alarm, found.score) / days)


def test_a_budget_that_the_days_support_is_not_extrapolated() -> None:
    generator = np.random.default_rng(0)
    score = generator.exponential(0.4343, size=24 * 40).tolist()
    found = find_threshold(
        normal_scores(score), AlarmConfig(false_alarms_per_day=0.25), window_s=WINDOW_S
    )
    assert not found.extrapolated
    assert found.scored_days == 40.0
    assert found.expected_per_day == pytest.approx(0.25)
    assert found.score == pytest.approx(sorted(score)[-11], abs=2 * FINE)
    low, high = found.interval_per_day
    assert low < 0.25 < high


def test_a_budget_beyond_the_days_is_extrapolated_by_the_slope_of_the_score() -> None:
    generator = np.random.default_rng(0)
    score = generator.exponential(0.4343, size=24 * 40).tolist()
    thresholds = [
        find_threshold(
            normal_scores(score), AlarmConfig(false_alarms_per_day=budget), window_s=WINDOW_S
        )
        for budget in (1 / 40, 1 / 400, 1 / 4000)
    ]
    assert [one.extrapolated for one in thresholds] == [False, True, True]
    steps = np.diff([one.score for one in thresholds])
    assert steps[1] == pytest.approx(steps[0], abs=0.01)
    assert 1.0 <= steps[1] < 2.0  # never quicker than the score promises
    assert thresholds[2].expected_per_day == 0.0
    low, high = thresholds[2].interval_per_day
    assert low == 0.0
    assert high == pytest.approx(2.996 / 40, rel=1e-3)


def test_the_threshold_only_rises_when_the_budget_shrinks() -> None:
    score = np.random.default_rng(1).exponential(0.4343, size=24 * 30).tolist()
    found = [
        find_threshold(
            normal_scores(score), AlarmConfig(false_alarms_per_day=budget), window_s=WINDOW_S
        ).score
        for budget in (2.0, 0.5, 0.1, 0.034, 0.033, 0.01, 0.001)
    ]
    assert found == sorted(found)


def test_an_on_delay_lowers_the_threshold() -> None:
    score = np.random.default_rng(1).exponential(0.4343, size=24 * 30).tolist()
    budget = 0.2
    at_once, later = (
        find_threshold(
            normal_scores(score),
            AlarmConfig(false_alarms_per_day=budget, on_delay_s=delay_s),
            window_s=WINDOW_S,
        ).score
        for delay_s in (0.0, 2 * WINDOW_S)
    )
    assert later < at_once


def steady_scores(days: int) -> NormalScores:
    """Scores that stay for about ten windows where they are."""
    generator = np.random.default_rng(0)
    noise = generator.normal(size=24 * days) * np.sqrt(1 - 0.9**2)
    level = lfilter([1.0], [1.0, -0.9], noise)
    return normal_scores((-norm.logsf(level) / math.log(10)).tolist())


def test_hysteresis_does_not_change_how_far_a_budget_is_extrapolated() -> None:
    found = [
        find_threshold(
            steady_scores(20),
            AlarmConfig(false_alarms_per_day=0.01, off_delay_s=WINDOW_S, hysteresis=hysteresis),
            window_s=WINDOW_S,
        ).score
        for hysteresis in (0.0, 0.5, 1.0, 1.5)
    ]
    assert found == pytest.approx([found[0]] * 4, abs=0.05)


def test_a_hysteresis_with_which_alarms_stand_instead_of_returning_is_refused() -> None:
    alarm = AlarmConfig(false_alarms_per_day=0.5, hysteresis=2.5)
    with pytest.raises(
        CalibrationError,
        match=r"hysteresis is 2\.5, expected well below the threshold, [12]\.\d+ without any",
    ):
        find_threshold(steady_scores(20), alarm, window_s=WINDOW_S)


def test_only_scored_time_counts() -> None:
    normal = normal_scores([9.0, 0.1] * 24, [False, True] * 24)
    found = find_threshold(normal, AlarmConfig(false_alarms_per_day=1.0), window_s=WINDOW_S)
    assert found.scored_days == 1.0
    assert found.score < 0.2


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # Garwood's limits of a Poisson mean, 90%: tables of chi squared at 5% and 95%, halved.
    [(0, 0.0, 2.9957), (1, 0.0513, 4.7439), (5, 1.9701, 10.5130), (10, 5.4254, 16.9622)],
)
def test_limits_of_a_count_are_those_of_the_tables(count: int, low: float, high: float) -> None:
    np.testing.assert_allclose(rate_interval(count, 1.0), (low, high), atol=1e-4)
    np.testing.assert_allclose(rate_interval(count, 8.0), (low / 8, high / 8), atol=1e-4)


@given(st.floats(0.1, 60.0))
def test_the_band_of_a_count_holds_nine_tenths(expected: float) -> None:
    low, high = count_band(expected)
    inside = sum(
        math.exp(-expected + k * math.log(expected) - math.lgamma(k + 1))
        for k in range(low, high + 1)
    )
    assert inside >= 0.9
    assert low <= expected <= high


def test_days_needed_allow_one_alarm() -> None:
    assert days_needed(0.1) == 10.0


# --- a share of normal rows instead of a budget ---------------------------------------------------


@given(examples(), st.sampled_from([0.05, 0.2, 0.5]))
def test_the_share_holds_on_the_scores_it_was_found_from(
    example: tuple[NormalScores, AlarmConfig], far: float
) -> None:
    normal, alarm = example
    assume(normal.scored.any())
    found = share_threshold(normal, alarm, far=far, window_s=WINDOW_S)
    scores = normal.score[normal.scored].astype(np.float64)
    assert (scores >= found.score).mean() <= far
    assert found.extrapolated == (far * len(scores) < 1.0)
    if not found.extrapolated:
        assert (scores >= found.score - 1.01 * FINE).mean() > far


def test_a_share_of_less_than_one_window_is_extrapolated_as_the_score_promises() -> None:
    normal = normal_scores([k / 100 for k in range(100)])
    found = share_threshold(normal, AlarmConfig(), far=0.001, window_s=WINDOW_S)
    assert found.extrapolated
    assert found.score == pytest.approx(0.99 + 1.0, abs=2 * FINE)  # a tenth of a window: one more
    assert found.expected_per_day == found.false_alarms_per_day == 0.0


def test_a_share_counts_the_alarms_that_it_stands_for() -> None:
    normal = normal_scores([0.0, 0.0, 5.0, 0.0, 0.0, 5.0, 0.0, 0.0] * 3)
    found = share_threshold(normal, AlarmConfig(), far=0.25, window_s=WINDOW_S)
    assert found.expected_per_day == 6.0  # six in a day
    assert found.score <= 5.0


def test_the_interval_of_a_share_knows_that_neighbours_are_alike() -> None:
    generator = np.random.default_rng(0)
    alone = (generator.random(4_000) < 0.02).astype(float)
    clustered = np.repeat(generator.random(40) < 0.02, 100).astype(float)
    clustered[:100] = 1.0
    widths = []
    for score in (alone, clustered):
        share, (low, high) = share_interval(normal_scores(score.tolist()), 1.0, length=10)
        assert low <= share <= high
        assert share == pytest.approx(score.mean())
        widths.append(high - low)
    assert widths[1] > 3 * widths[0]


def test_no_anomaly_has_an_upper_limit_by_independent_looks() -> None:
    share, (low, high) = share_interval(normal_scores([0.0] * 600), 1.0, length=10)
    assert (share, low) == (0.0, 0.0)
    assert high == pytest.approx(3.0 / 60, rel=0.05)  # the rule of three
