from itertools import pairwise
from time import process_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultwatch_edge.alarm import (
    Alarm,
    AlarmState,
    Transition,
    acknowledge,
    advance,
    alarm_id,
)
from faultwatch_edge.decisions import count_raised, decide

NORMAL, UNACKNOWLEDGED, ACKNOWLEDGED, RTN, SHELVED, SUPPRESSED, OUT_OF_SERVICE = AlarmState

decisions = st.lists(st.sampled_from([True, False, None]), max_size=40)
delays = st.integers(0, 6)


def replay(
    sequence: list[bool | None], *, on: int, off: int, acknowledged_at: tuple[int, ...] = ()
) -> list[Transition]:
    """One window a microsecond."""
    alarm = Alarm()
    transitions: list[Transition] = []
    for at_us, anomalous in enumerate(sequence):
        alarm, changed = advance(
            alarm, anomalous=anomalous, at_us=at_us, on_delay_us=on, off_delay_us=off
        )
        transitions += changed
        if at_us in acknowledged_at:
            alarm, changed = acknowledge(alarm, at_us=at_us)
            transitions += changed
    return transitions


def states(transitions: list[Transition]) -> list[tuple[int, AlarmState]]:
    return [(changed.at_us, changed.state) for changed in transitions]


def test_alarm_is_raised_when_the_anomaly_has_lasted_the_on_delay() -> None:
    (raised,) = replay([False, True, True, True], on=2, off=0)
    assert (raised.onset_us, raised.at_us, raised.raised_us) == (1, 3, 3)
    assert (raised.previous_state, raised.state) == (NORMAL, UNACKNOWLEDGED)
    assert (raised.sequence, raised.occurrence) == (1, 1)


def test_without_delays_the_alarm_follows_each_window() -> None:
    assert states(replay([True, False], on=0, off=0)) == [(0, UNACKNOWLEDGED), (1, RTN)]


@pytest.mark.parametrize("interruption", [False, None])
def test_pending_onset_is_forgotten_by_a_normal_or_an_unscored_window(
    interruption: bool | None,  # noqa: FBT001 - parametrized
) -> None:
    (raised,) = replay([True, True, interruption, True, True, True], on=2, off=9)
    assert (raised.onset_us, raised.at_us) == (3, 5)


def test_unscored_window_leaves_a_raised_alarm_and_restarts_the_off_delay() -> None:
    transitions = replay([True, False, None, False, False], on=0, off=1)
    assert states(transitions) == [(0, UNACKNOWLEDGED), (4, RTN)]


def test_alarm_that_comes_back_unacknowledged_is_the_same_alarm() -> None:
    first, returned, again = replay([True, False, True], on=0, off=0)
    assert first.first_onset_us == returned.first_onset_us == again.first_onset_us == 0
    assert [first.sequence, returned.sequence, again.sequence] == [1, 2, 3]
    assert [first.occurrence, returned.occurrence, again.occurrence] == [1, 1, 2]
    assert (again.onset_us, again.previous_state) == (2, RTN)


def test_acknowledged_alarm_returns_to_normal_and_the_next_one_is_new() -> None:
    transitions = replay([True, False, True], on=0, off=0, acknowledged_at=(0,))
    assert states(transitions) == [
        (0, UNACKNOWLEDGED),
        (0, ACKNOWLEDGED),
        (1, NORMAL),
        (2, UNACKNOWLEDGED),
    ]
    assert (transitions[3].first_onset_us, transitions[3].sequence) == (2, 1)


def test_returned_alarm_is_normal_once_acknowledged() -> None:
    transitions = replay([True, False], on=0, off=0, acknowledged_at=(1,))
    assert states(transitions)[-1] == (1, NORMAL)


def test_nothing_to_acknowledge_changes_nothing() -> None:
    assert acknowledge(Alarm(), at_us=5) == (Alarm(), ())
    acknowledged = Alarm(ACKNOWLEDGED)
    assert acknowledge(acknowledged, at_us=5) == (acknowledged, ())


def test_acknowledging_leaves_a_running_delay_alone() -> None:
    transitions = replay([True, False, False, False], on=0, off=2, acknowledged_at=(2,))
    assert states(transitions) == [(0, UNACKNOWLEDGED), (2, ACKNOWLEDGED), (3, NORMAL)]


def test_alarm_id_keeps_a_fraction_of_a_second() -> None:
    assert alarm_id("p", 1_500_000) == "p-19700101T000001.500000Z"


def test_score_equal_to_the_threshold_is_anomalous_and_one_below_in_float32_is_not() -> None:
    threshold = float(np.float32(0.1)) + 1e-12
    assert decide(np.array([0.1], dtype=np.float32), threshold) == [False]
    assert decide([0.1], 0.1) == [True]


def test_closed_gate_and_scores_that_are_no_number_are_not_scored() -> None:
    scored = np.array([True, False, True])
    assert decide([1.0, 1.0, np.inf], 0.5, scored=scored) == [True, None, None]


@given(decisions, delays, delays, st.lists(st.integers(0, 40)))
def test_no_second_raise_without_a_return(
    sequence: list[bool | None], on: int, off: int, acknowledged_at: list[int]
) -> None:
    transitions = replay(sequence, on=on, off=off, acknowledged_at=tuple(acknowledged_at))
    for before, after in pairwise(transitions):
        assert before.state is after.previous_state is not after.state
        same_alarm = before.first_onset_us == after.first_onset_us
        assert after.sequence == (before.sequence + 1 if same_alarm else 1)
    raised = [changed for changed in transitions if changed.state is UNACKNOWLEDGED]
    assert all(changed.previous_state in {NORMAL, RTN} for changed in raised)
    names = [(changed.first_onset_us, changed.sequence) for changed in transitions]
    assert len(names) == len(set(names))


@given(decisions, delays, delays)
def test_delays_are_honoured(sequence: list[bool | None], on: int, off: int) -> None:
    for changed in replay(sequence, on=on, off=off):
        is_raise = changed.state is UNACKNOWLEDGED
        start = changed.onset_us if is_raise else changed.at_us - off
        lasting = sequence[max(start, 0) : changed.at_us + 1]
        assert lasting == [is_raise] * (changed.at_us - start + 1)
        assert not is_raise or changed.at_us - changed.onset_us >= on


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 1.0, 2.0, np.nan]), st.booleans(), st.integers(1, 5)),
        max_size=60,
    ),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.sampled_from([0.0, 1.0, 1.5]),
    delays,
    delays,
)
def test_counting_the_quick_way_equals_counting_window_by_window(
    rows: list[tuple[float, bool, int]], threshold: float, hysteresis: float, on: int, off: int
) -> None:
    scores = [score for score, _, _ in rows]
    scored = np.array([passes for _, passes, _ in rows], dtype=bool)
    times_us = np.cumsum([step for _, _, step in rows], dtype=np.int64)
    alarm, plain = Alarm(), 0
    for anomalous, at_us in zip(
        decide(scores, threshold, scored=scored, hysteresis=hysteresis),
        times_us.tolist(),
        strict=True,
    ):
        alarm, transitions = advance(
            alarm, anomalous=anomalous, at_us=at_us, on_delay_us=on, off_delay_us=off
        )
        plain += sum(changed.state is UNACKNOWLEDGED for changed in transitions)
    quick = count_raised(
        scores,
        threshold,
        times_us=times_us,
        on_delay_us=on,
        off_delay_us=off,
        scored=scored,
        hysteresis=hysteresis,
    )
    assert quick == plain


def test_within_the_hysteresis_an_alarm_neither_returns_nor_is_raised() -> None:
    scores = [3.0, 2.6, 2.6, 2.4, 2.6, 2.9, 3.0]
    decided = decide(scores, 3.0, hysteresis=0.5)
    assert decided == [True, None, None, False, None, None, True]
    assert states(replay(decided, on=0, off=0)) == [
        (0, UNACKNOWLEDGED),
        (3, RTN),
        (6, UNACKNOWLEDGED),
    ]
    assert states(replay(decided, on=0, off=1)) == [(0, UNACKNOWLEDGED)]


def test_a_latched_alarm_that_returns_is_acknowledged_once_more() -> None:
    alarm = Alarm()
    told: list[Transition] = []
    for at_us, anomalous in enumerate([True, False]):
        alarm, changed = advance(
            alarm, anomalous=anomalous, at_us=at_us, on_delay_us=0, off_delay_us=0, latches=True
        )
        told += changed
        alarm, changed = acknowledge(alarm, at_us=at_us)
        told += changed
    assert states(told) == [(0, UNACKNOWLEDGED), (0, ACKNOWLEDGED), (1, RTN), (1, NORMAL)]


def test_a_hundred_thresholds_over_fifteen_thousand_windows_are_counted_in_seconds() -> None:
    minute = 60_000_000
    scores = np.random.default_rng(0).normal(size=15_000)
    times_us = np.arange(15_000, dtype=np.int64) * minute
    start = process_time()
    for threshold in np.linspace(0.0, 3.0, 100):
        count_raised(
            scores, threshold, times_us=times_us, on_delay_us=2 * minute, off_delay_us=2 * minute
        )
    assert process_time() - start < 5.0
