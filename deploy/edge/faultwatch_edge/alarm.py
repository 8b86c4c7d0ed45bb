"""When an anomaly is an alarm: delays and states after ISA-18.2 / IEC 62682. Pure; time is given.

::

                     on-delay
        normal ───────────────────► unacknowledged ◄───────────┐
          ▲  ▲                        │        │               │ on-delay
          │  │ off-delay   acknowledge│        │off-delay      │ (same alarm, next occurrence)
          │  └──────── acknowledged ◄─┘        └──► rtn_unacknowledged
          └──────────────────────────────────────────┘ acknowledge

A delay runs over consecutive scored windows: a window that is not scored, or a cut of the sequence,
forgets a delay that runs and leaves the state as it is.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faultwatch_edge.times import to_compact

_NOT_SCORED = -1


class AlarmState(StrEnum):
    """What an operator sees, in the words of ISA-18.2."""

    NORMAL = "normal"
    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    RTN_UNACKNOWLEDGED = "rtn_unacknowledged"


_ACTIVE = frozenset({AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED})


@dataclass(frozen=True, slots=True)
class Alarm:
    """Everything that is known of the alarm of one asset; times in microseconds since the epoch."""

    state: AlarmState = AlarmState.NORMAL
    pending_us: int | None = None
    """First of the consecutive scored windows that speak against ``state``; a delay runs."""
    first_onset_us: int = 0
    """Onset of the first occurrence: what identifies the alarm."""
    onset_us: int = 0
    """First anomalous window of this occurrence."""
    raised_us: int = 0
    """When this occurrence was raised."""
    sequence: int = 0
    """Transitions of this alarm so far."""
    occurrence: int = 0
    """How often this alarm has been raised."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state."""

    previous_state: AlarmState
    state: AlarmState
    at_us: int
    first_onset_us: int
    onset_us: int
    raised_us: int
    sequence: int
    occurrence: int


Advanced = tuple[Alarm, tuple[Transition, ...]]


def advance(
    alarm: Alarm, *, anomalous: bool | None, at_us: int, on_delay_us: int, off_delay_us: int
) -> Advanced:
    """Take the next window.

    Args:
        alarm: the alarm so far.
        anomalous: whether the window is; None = not scored, or the sequence was cut.
        at_us: end of the window, later than that of the window before.
        on_delay_us: how long windows stay anomalous before the alarm is raised.
        off_delay_us: how long windows stay normal before it returns.

    Returns:
        The alarm from now on, and the transitions: one or none.

    Example:
        >>> alarm = Alarm()
        >>> for at_us, anomalous in enumerate([False, True, True, True, False, False]):
        ...     alarm, transitions = advance(
        ...         alarm, anomalous=anomalous, at_us=at_us, on_delay_us=2, off_delay_us=1
        ...     )
        ...     for changed in transitions:
        ...         print(at_us, changed.state, "since", changed.onset_us)
        3 unacknowledged since 1
        5 rtn_unacknowledged since 1
    """
    if anomalous is None or anomalous == (alarm.state in _ACTIVE):
        return (alarm if alarm.pending_us is None else replace(alarm, pending_us=None)), ()
    since_us = at_us if alarm.pending_us is None else alarm.pending_us
    if at_us - since_us < (on_delay_us if anomalous else off_delay_us):
        return (alarm if alarm.pending_us == since_us else replace(alarm, pending_us=since_us)), ()
    if anomalous:
        return _raised(alarm, since_us=since_us, at_us=at_us)
    to = AlarmState.RTN_UNACKNOWLEDGED
    return _moved(alarm, AlarmState.NORMAL if alarm.state is AlarmState.ACKNOWLEDGED else to, at_us)


def acknowledge(alarm: Alarm, *, at_us: int) -> Advanced:
    """An operator has seen the alarm; without effect where there is nothing to acknowledge.

    Example:
        >>> acknowledge(Alarm(AlarmState.UNACKNOWLEDGED), at_us=0)[0].state
        <AlarmState.ACKNOWLEDGED: 'acknowledged'>
    """
    if alarm.state is AlarmState.UNACKNOWLEDGED:
        return _moved(alarm, AlarmState.ACKNOWLEDGED, at_us, pending_us=alarm.pending_us)
    if alarm.state is AlarmState.RTN_UNACKNOWLEDGED:
        return _moved(alarm, AlarmState.NORMAL, at_us, pending_us=alarm.pending_us)
    return alarm, ()


def alarm_id(asset_id: str, first_onset_us: int) -> str:
    """Name of an alarm, the same in every replay.

    Example:
        >>> alarm_id("pump_07", 0)
        'pump_07-19700101T000000Z'
    """
    return f"{asset_id}-{to_compact(first_onset_us)}"


def _raised(alarm: Alarm, *, since_us: int, at_us: int) -> Advanced:
    again = alarm.state is AlarmState.RTN_UNACKNOWLEDGED
    onset = replace(
        alarm,
        first_onset_us=alarm.first_onset_us if again else since_us,
        onset_us=since_us,
        raised_us=at_us,
        sequence=alarm.sequence if again else 0,
        occurrence=alarm.occurrence + 1 if again else 1,
    )
    return _moved(onset, AlarmState.UNACKNOWLEDGED, at_us)


def _moved(alarm: Alarm, state: AlarmState, at_us: int, pending_us: int | None = None) -> Advanced:
    moved = replace(alarm, state=state, pending_us=pending_us, sequence=alarm.sequence + 1)
    transition = Transition(
        previous_state=alarm.state,
        state=state,
        at_us=at_us,
        first_onset_us=moved.first_onset_us,
        onset_us=moved.onset_us,
        raised_us=moved.raised_us,
        sequence=moved.sequence,
        occurrence=moved.occurrence,
    )
    return moved, (transition,)


def decide(
    scores: ArrayLike, threshold: float, *, scored: NDArray[np.bool_] | None = None
) -> list[bool | None]:
    """Whether each window is anomalous: True, False, or None where it was not scored.

    A score that is not finite counts as not scored. Compared in float64, so that one score gets one
    answer everywhere.

    Example:
        >>> decide([1.0, 3.0, 5.0, float("nan")], 3.0)
        [False, True, True, None]
    """
    words: tuple[bool | None, ...] = (False, True, None)
    return [words[code] for code in _decision_codes(scores, threshold, scored).tolist()]


def count_raised(
    scores: ArrayLike,
    threshold: float,
    *,
    times_us: NDArray[np.int64],
    on_delay_us: int,
    off_delay_us: int,
    scored: NDArray[np.bool_] | None = None,
) -> int:
    """How often the windows of one sequence would raise the alarm, if nobody acknowledged it.

    Counts transitions into ``unacknowledged`` by ``advance``, which sees only the windows at which
    something can change: the first and the last of each run of equal decisions that outlasts its
    delay. Shorter runs only forget a delay that runs, and a run that outlasts its own leaves none.

    Args:
        scores: (window,)
        threshold: a window whose score is this or higher is anomalous.
        times_us: (window,), ends of the windows, increasing.
        on_delay_us: see ``advance``.
        off_delay_us: see ``advance``.
        scored: (window,), whether the gate let the window pass; None = all.

    Example:
        >>> times_us = np.arange(8)
        >>> scores = [0.0, 9.0, 0.0, 9.0, 9.0, 0.0, 9.0, 9.0]
        >>> count_raised(scores, 5.0, times_us=times_us, on_delay_us=1, off_delay_us=0)
        2
    """
    codes = _decision_codes(scores, threshold, scored)
    if not len(codes):
        return 0
    firsts = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1))
    lasts = np.append(firsts[1:], len(codes)) - 1
    delays = np.where(codes[firsts] == 1, on_delay_us, off_delay_us)
    outlasts = (times_us[lasts] - times_us[firsts] >= delays) & (codes[firsts] != _NOT_SCORED)
    first_us, last_us = times_us[firsts[outlasts]], times_us[lasts[outlasts]]
    alarm, raised = Alarm(), 0
    runs = zip(codes[firsts[outlasts]].tolist(), first_us.tolist(), last_us.tolist(), strict=True)
    for code, *window_times_us in runs:
        for at_us in sorted(set(window_times_us)):
            alarm, transitions = advance(
                alarm,
                anomalous=code == 1,
                at_us=at_us,
                on_delay_us=on_delay_us,
                off_delay_us=off_delay_us,
            )
            raised += sum(changed.state is AlarmState.UNACKNOWLEDGED for changed in transitions)
    return raised


def _decision_codes(
    scores: ArrayLike, threshold: float, scored: NDArray[np.bool_] | None
) -> NDArray[np.int8]:
    values = np.asarray(scores, dtype=np.float64)
    usable = np.isfinite(values) if scored is None else np.isfinite(values) & scored
    return np.where(usable, values >= threshold, _NOT_SCORED).astype(np.int8)
