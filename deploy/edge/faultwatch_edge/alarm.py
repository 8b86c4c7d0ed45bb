"""When an anomaly is an alarm: delays and states after ISA-18.2 / IEC 62682. Pure; time is given.

::

                     on-delay
        normal ───────────────────► unacknowledged ◄───────────┐
          ▲  ▲                        │        │               │ on-delay
          │  │ off-delay   acknowledge│        │off-delay      │ (same alarm, next occurrence)
          │  └──────── acknowledged ◄─┘        └──► rtn_unacknowledged
          └──────────────────────────────────────────┘ acknowledge

From each of these a person can *shelve* the alarm until a time, *suppress* it for as long as
somebody works on the machine, or take it *out of service*: the machine is watched on, nothing is
announced. When that ends, the alarm is ``unacknowledged`` if the machine differs from itself then,
else ``normal``. Out of service outlasts the others; a shelf goes on when a suppression ends first.

A *latched* alarm that returns is ``rtn_unacknowledged`` also where it was acknowledged before: a
person acknowledges once more that it is over. One that returns while nothing is announced is
``rtn_unacknowledged`` when that ends, and so is one that was raised meanwhile.

*Hysteresis* acts on the return only: a score below the threshold, but by less than it, neither
raises an alarm nor lets one return.

While the machine runs in a way that is not scored (start-up, another regime) nothing is raised and
nothing returns: an alarm that stands is not lost because the machine tripped.

A delay runs over consecutive scored windows: a window that is not scored, or a cut of the sequence,
forgets a delay that runs and leaves the state as it is.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from faultwatch_edge.times import to_compact


class AlarmState(StrEnum):
    """What an operator sees, in the words of ISA-18.2."""

    NORMAL = "normal"
    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    RTN_UNACKNOWLEDGED = "rtn_unacknowledged"
    SHELVED = "shelved"
    SUPPRESSED_BY_DESIGN = "suppressed_by_design"
    OUT_OF_SERVICE = "out_of_service"


HELD = frozenset({AlarmState.SHELVED, AlarmState.SUPPRESSED_BY_DESIGN, AlarmState.OUT_OF_SERVICE})
"""States in which a person wants to hear nothing of it."""
_DAY_US = 24 * 3600 * 1_000_000
LONGEST_SHELVE_US = 7 * _DAY_US
"""A shelved alarm comes back after a week at the latest."""
LONGEST_SUPPRESSION_US = 30 * _DAY_US
"""So long maintenance lasts at the most."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Everything that is known of the alarm of one asset; times in microseconds since the epoch."""

    state: AlarmState = AlarmState.NORMAL
    is_active: bool = False
    """Whether the machine differs from itself, after the delays."""
    pending_us: int | None = None
    """First of the consecutive scored windows that speak against ``is_active``; a delay runs."""
    shelved_until_us: int | None = None
    """When a shelved alarm comes back by itself."""
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
    suppressed_until_us: int | None = None
    """When a suppression ends by itself."""


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
    alarm: Alarm,
    *,
    anomalous: bool | None,
    at_us: int,
    on_delay_us: int,
    off_delay_us: int,
    latches: bool = False,
) -> Advanced:
    """Take the next window.

    Args:
        alarm: the alarm so far.
        anomalous: whether the window is; None = not scored, neither clearly anomalous nor clearly
            normal (hysteresis), or the sequence was cut.
        at_us: end of the window, later than that of the window before.
        on_delay_us: how long windows stay anomalous before the alarm is raised.
        off_delay_us: how long windows stay normal before it returns.
        latches: whether a return needs an acknowledgement of its own.

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
    if anomalous is None or anomalous == alarm.is_active:
        return (alarm if alarm.pending_us is None else replace(alarm, pending_us=None)), ()
    since_us = at_us if alarm.pending_us is None else alarm.pending_us
    if at_us - since_us < (on_delay_us if anomalous else off_delay_us):
        return (alarm if alarm.pending_us == since_us else replace(alarm, pending_us=since_us)), ()
    if anomalous:
        return _raised(alarm, since_us=since_us, at_us=at_us)
    return _returned(alarm, at_us, latches=latches)


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


def shelve(alarm: Alarm, *, until_us: int, at_us: int) -> Advanced:
    """Announce nothing until a time, a week at most; without effect where nothing is announced.

    Example:
        >>> shelved, _ = shelve(Alarm(), until_us=9, at_us=1)
        >>> shelved, _ = advance(shelved, anomalous=True, at_us=2, on_delay_us=0, off_delay_us=0)
        >>> shelved.state, end_due(shelved, at_us=9)[0].state
        (<AlarmState.SHELVED: 'shelved'>, <AlarmState.UNACKNOWLEDGED: 'unacknowledged'>)
    """
    if alarm.state in HELD - {AlarmState.SHELVED} or until_us <= at_us:
        return alarm, ()
    until_us = min(until_us, at_us + LONGEST_SHELVE_US)
    return _held(replace(alarm, shelved_until_us=until_us), AlarmState.SHELVED, at_us)


def unshelve(alarm: Alarm, *, at_us: int, latches: bool = False) -> Advanced:
    """A shelved alarm counts again; without effect on any other."""
    if alarm.state is not AlarmState.SHELVED:
        return alarm, ()
    return _released(alarm, at_us, latches=latches)


def suppress(alarm: Alarm, *, until_us: int, at_us: int) -> Advanced:
    """Somebody works on the machine until a time, a month at most; one out of service stays that.

    Example:
        >>> suppressed, _ = suppress(Alarm(), until_us=9, at_us=1)
        >>> suppressed.state, end_due(suppressed, at_us=9)[0].state
        (<AlarmState.SUPPRESSED_BY_DESIGN: 'suppressed_by_design'>, <AlarmState.NORMAL: 'normal'>)
    """
    if alarm.state is AlarmState.OUT_OF_SERVICE or until_us <= at_us:
        return alarm, ()
    until_us = min(until_us, at_us + LONGEST_SUPPRESSION_US)
    suppressed = replace(alarm, suppressed_until_us=until_us)
    return _held(suppressed, AlarmState.SUPPRESSED_BY_DESIGN, at_us)


def unsuppress(alarm: Alarm, *, at_us: int, latches: bool = False) -> Advanced:
    """The work is done; a shelf that has not ended goes on."""
    if alarm.state is not AlarmState.SUPPRESSED_BY_DESIGN:
        return alarm, ()
    done = replace(alarm, suppressed_until_us=None)
    if _is_over(done.shelved_until_us, LONGEST_SHELVE_US, at_us):
        return _released(done, at_us, latches=latches)
    return _moved(done, AlarmState.SHELVED, at_us, pending_us=alarm.pending_us)


def end_due(alarm: Alarm, *, at_us: int, latches: bool = False) -> Advanced:
    """What was to last until a time ends, also where it is so far off that a clock was wrong."""
    if alarm.state is AlarmState.SHELVED:
        is_over = _is_over(alarm.shelved_until_us, LONGEST_SHELVE_US, at_us)
        return unshelve(alarm, at_us=at_us, latches=latches) if is_over else (alarm, ())
    if alarm.state is AlarmState.SUPPRESSED_BY_DESIGN:
        is_over = _is_over(alarm.suppressed_until_us, LONGEST_SUPPRESSION_US, at_us)
        return unsuppress(alarm, at_us=at_us, latches=latches) if is_over else (alarm, ())
    return alarm, ()


def _is_over(until_us: int | None, longest_us: int, at_us: int) -> bool:
    return until_us is None or not at_us < until_us <= at_us + longest_us


def take_out_of_service(alarm: Alarm, *, at_us: int) -> Advanced:
    """Announce nothing until somebody says otherwise."""
    if alarm.state is AlarmState.OUT_OF_SERVICE:
        return alarm, ()
    ended = replace(alarm, shelved_until_us=None, suppressed_until_us=None)
    return _held(ended, AlarmState.OUT_OF_SERVICE, at_us)


def return_to_service(alarm: Alarm, *, at_us: int, latches: bool = False) -> Advanced:
    """An alarm that was out of service counts again; without effect on any other."""
    if alarm.state is not AlarmState.OUT_OF_SERVICE:
        return alarm, ()
    return _released(alarm, at_us, latches=latches)


def alarm_id(asset_id: str, first_onset_us: int) -> str:
    """Name of an alarm, the same in every replay.

    Example:
        >>> alarm_id("pump_07", 0)
        'pump_07-19700101T000000Z'
    """
    return f"{asset_id}-{to_compact(first_onset_us)}"


def _raised(alarm: Alarm, *, since_us: int, at_us: int) -> Advanced:
    is_new = alarm.state is AlarmState.NORMAL
    raised = replace(
        alarm if not is_new else _begun(alarm, since_us),
        is_active=True,
        pending_us=None,
        onset_us=since_us,
        raised_us=at_us,
        occurrence=1 if is_new else alarm.occurrence + 1,
    )
    return (
        (raised, ()) if raised.state in HELD else _moved(raised, AlarmState.UNACKNOWLEDGED, at_us)
    )


def _returned(alarm: Alarm, at_us: int, *, latches: bool) -> Advanced:
    returned = replace(alarm, is_active=False, pending_us=None)
    if alarm.state in HELD:
        return returned, ()
    is_seen = alarm.state is AlarmState.ACKNOWLEDGED and not latches
    to = AlarmState.NORMAL if is_seen else AlarmState.RTN_UNACKNOWLEDGED
    return _moved(returned, to, at_us)


def _held(alarm: Alarm, state: AlarmState, at_us: int) -> Advanced:
    begun = _begun(alarm, at_us) if alarm.state is AlarmState.NORMAL else alarm
    return _moved(begun, state, at_us, pending_us=alarm.pending_us)


def _released(alarm: Alarm, at_us: int, *, latches: bool) -> Advanced:
    """What held it has ended; one that latches and was raised waits for a person."""
    ended = AlarmState.RTN_UNACKNOWLEDGED if latches and alarm.occurrence else AlarmState.NORMAL
    to = AlarmState.UNACKNOWLEDGED if alarm.is_active else ended
    released = replace(alarm, shelved_until_us=None)
    return _moved(released, to, at_us, pending_us=alarm.pending_us)


def _begun(alarm: Alarm, at_us: int) -> Alarm:
    """The same, under a name of its own: it leaves the normal state.

    Where it has left it at the same time before, the name is the same, and the numbers go on.
    """
    sequence = alarm.sequence if alarm.first_onset_us == at_us else 0
    return replace(
        alarm,
        first_onset_us=at_us,
        onset_us=at_us,
        raised_us=at_us,
        sequence=sequence,
        occurrence=0,
    )


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
