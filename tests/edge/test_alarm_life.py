"""Any order of windows and operators' verbs, against what must always hold."""

from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from faultwatch_edge.alarm import (
    HELD,
    LONGEST_SHELVE_US,
    LONGEST_SUPPRESSION_US,
    Advanced,
    Alarm,
    AlarmState,
    Transition,
    acknowledge,
    end_due,
    return_to_service,
    shelve,
    suppress,
    take_out_of_service,
    unshelve,
    unsuppress,
)
from faultwatch_edge.alarm import advance as advance_by

NORMAL, UNACKNOWLEDGED, ACKNOWLEDGED, RTN, SHELVED, SUPPRESSED, OUT_OF_SERVICE = AlarmState
advance = partial(advance_by, on_delay_us=2, off_delay_us=3)


class AlarmLife(RuleBasedStateMachine):
    """One alarm, and beside it one that no person ever touches."""

    def __init__(self) -> None:
        super().__init__()
        self.alarm = self.untouched = Alarm()
        self.at_us = 0
        self.told: list[Transition] = []
        self.latches = False
        self.is_confirmed = True

    @initialize(latches=st.booleans())
    def begin(self, latches: bool) -> None:  # noqa: FBT001 - a drawn value
        self.latches = latches

    def take(self, advanced: Advanced) -> tuple[Transition, ...]:
        before = self.alarm.state
        self.alarm, transitions = advanced
        assert len(transitions) <= 1
        for changed in transitions:
            assert changed.previous_state is before
            assert changed.state is self.alarm.state
        self.told += transitions
        self.is_confirmed &= not self.alarm.is_active
        return transitions

    @rule(anomalous=st.sampled_from([True, True, False, False, None]), step=st.integers(1, 3))
    def window(self, anomalous: bool | None, step: int) -> None:  # noqa: FBT001 - a drawn value
        self.at_us += step
        self.take(end_due(self.alarm, at_us=self.at_us, latches=self.latches))
        was_held = self.alarm.state in HELD
        moved = advance(self.alarm, anomalous=anomalous, at_us=self.at_us, latches=self.latches)
        assert not (self.take(moved) and was_held)
        self.untouched, _ = advance(self.untouched, anomalous=anomalous, at_us=self.at_us)

    @rule()
    def acknowledge(self) -> None:
        before = self.alarm
        changed = self.take(acknowledge(self.alarm, at_us=self.at_us))
        assert bool(changed) == (before.state in {UNACKNOWLEDGED, RTN})
        self.is_confirmed |= before.state is RTN

    @rule(during=st.integers(-1, 9))
    def shelve(self, during: int) -> None:
        before = self.alarm.state
        self.take(shelve(self.alarm, until_us=self.at_us + during, at_us=self.at_us))
        if during > 0 and before not in {OUT_OF_SERVICE, SUPPRESSED}:
            assert self.alarm.state is SHELVED

    @rule(during=st.integers(-1, 9))
    def suppress(self, during: int) -> None:
        was_out = self.alarm.state is OUT_OF_SERVICE
        self.take(suppress(self.alarm, until_us=self.at_us + during, at_us=self.at_us))
        if during > 0 and not was_out:
            assert self.alarm.state is SUPPRESSED

    @rule()
    def unsuppress(self) -> None:
        self.take(unsuppress(self.alarm, at_us=self.at_us, latches=self.latches))
        assert self.alarm.state is not SUPPRESSED

    @rule()
    def unshelve(self) -> None:
        self.take(unshelve(self.alarm, at_us=self.at_us, latches=self.latches))
        assert self.alarm.state is not SHELVED

    @rule()
    def take_out_of_service(self) -> None:
        self.take(take_out_of_service(self.alarm, at_us=self.at_us))
        assert self.alarm.state is OUT_OF_SERVICE

    @rule()
    def return_to_service(self) -> None:
        was_out = self.alarm.state is OUT_OF_SERVICE
        returned = return_to_service(self.alarm, at_us=self.at_us, latches=self.latches)
        (changed,) = self.take(returned) or (None,)
        assert (changed is not None) == was_out
        if changed is not None:
            over = RTN if self.latches and not self.is_confirmed else NORMAL
            assert changed.state is (UNACKNOWLEDGED if self.alarm.is_active else over)

    @invariant()
    def people_change_what_is_told_and_not_what_is_the_case(self) -> None:
        assert self.alarm.is_active == self.untouched.is_active
        assert self.alarm.pending_us == self.untouched.pending_us

    @invariant()
    def the_state_fits_the_machine(self) -> None:
        if self.alarm.state not in HELD:
            assert self.alarm.is_active == (self.alarm.state in {UNACKNOWLEDGED, ACKNOWLEDGED})

    @invariant()
    def a_latched_alarm_is_normal_only_after_somebody_confirmed_its_return(self) -> None:
        if self.latches and self.alarm.state is NORMAL:
            assert self.is_confirmed

    @invariant()
    def whatever_keeps_it_silent_for_a_time_ends(self) -> None:
        shelved_us, suppressed_us = self.alarm.shelved_until_us, self.alarm.suppressed_until_us
        assert (suppressed_us is not None) == (self.alarm.state is SUPPRESSED)
        assert (shelved_us is not None) >= (self.alarm.state is SHELVED)
        if self.alarm.state in {SHELVED, SUPPRESSED}:
            assert (shelved_us or 0) <= self.at_us + LONGEST_SHELVE_US
            assert (suppressed_us or 0) <= self.at_us + LONGEST_SUPPRESSION_US
            last_us = max(shelved_us or 0, suppressed_us or 0)
            end = partial(end_due, at_us=last_us, latches=self.latches)
            ended, _ = end(end(self.alarm)[0])
            assert ended.state in {UNACKNOWLEDGED, NORMAL, RTN}
            assert ended.state is not RTN or self.latches

    @invariant()
    def each_transition_has_a_name_of_its_own_and_the_next_number(self) -> None:
        numbers: dict[int, int] = {}
        for changed in self.told:
            numbers[changed.first_onset_us] = numbers.get(changed.first_onset_us, 0) + 1
            assert changed.sequence == numbers[changed.first_onset_us]


AlarmLife.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
test_alarm_life = AlarmLife.TestCase


def test_a_shelf_longer_than_a_week_ends_after_a_week() -> None:
    shelved, _ = shelve(Alarm(), until_us=10 * LONGEST_SHELVE_US, at_us=5)
    assert shelved.shelved_until_us == 5 + LONGEST_SHELVE_US


def test_an_alarm_that_is_shelved_and_returns_meanwhile_is_normal_afterwards() -> None:
    alarm = Alarm()
    told: list[Transition] = []
    for at_us, anomalous in enumerate([True, True, True]):
        alarm, changed = advance(alarm, anomalous=anomalous, at_us=at_us)
        told += changed
    alarm, changed = shelve(alarm, until_us=20, at_us=3)
    told += changed
    for at_us in range(4, 10):
        alarm, changed = advance(alarm, anomalous=False, at_us=at_us)
        assert not changed
    alarm, changed = end_due(alarm, at_us=20)
    told += changed
    assert [(one.state, one.sequence) for one in told] == [
        (UNACKNOWLEDGED, 1),
        (SHELVED, 2),
        (NORMAL, 3),
    ]
    assert len({one.first_onset_us for one in told}) == 1


def test_a_shelf_until_far_beyond_a_week_was_set_by_a_wrong_clock_and_ends() -> None:
    shelved, _ = shelve(Alarm(), until_us=10 * LONGEST_SHELVE_US, at_us=9 * LONGEST_SHELVE_US)
    assert end_due(shelved, at_us=0)[0].state is NORMAL


def test_a_shelf_goes_on_after_a_suppression_that_ends_first() -> None:
    alarm, _ = shelve(Alarm(), until_us=20, at_us=1)
    alarm, _ = suppress(alarm, until_us=9, at_us=2)
    assert shelve(alarm, until_us=30, at_us=3) == (alarm, ())
    states = []
    for at_us in (8, 9, 19, 20):
        alarm, _ = end_due(alarm, at_us=at_us)
        states.append(alarm.state)
    assert states == [SUPPRESSED, SHELVED, SHELVED, NORMAL]


def test_a_suppression_outlasts_a_shelf_and_ends_after_a_month() -> None:
    alarm, _ = shelve(Alarm(), until_us=5, at_us=1)
    alarm, _ = suppress(alarm, until_us=10 * LONGEST_SUPPRESSION_US, at_us=2)
    assert end_due(alarm, at_us=5)[0].state is SUPPRESSED
    assert end_due(alarm, at_us=2 + LONGEST_SUPPRESSION_US)[0].state is NORMAL
    assert unsuppress(Alarm(), at_us=3) == (Alarm(), ())


def test_a_latched_alarm_that_returns_on_a_shelf_waits_for_a_person_afterwards() -> None:
    raised, _ = advance(Alarm(), anomalous=True, at_us=1, on_delay_us=0)
    shelved, _ = shelve(raised, until_us=20, at_us=2)
    for at_us in (3, 6):
        shelved, _ = advance(shelved, anomalous=False, at_us=at_us)
    assert end_due(shelved, at_us=20)[0].state is NORMAL
    returned, _ = end_due(shelved, at_us=20, latches=True)
    assert returned.state is RTN
    assert acknowledge(returned, at_us=21)[0].state is NORMAL


def test_a_latched_alarm_that_nobody_raised_is_normal_after_a_shelf() -> None:
    shelved, _ = shelve(Alarm(), until_us=20, at_us=2)
    assert unshelve(shelved, at_us=3, latches=True)[0].state is NORMAL
