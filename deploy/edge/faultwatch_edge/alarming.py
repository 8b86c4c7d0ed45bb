"""The alarm of one asset: its state, who moved it, what differed first; in and out as messages."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from faultwatch_edge.alarm import (
    Advanced,
    AlarmState,
    Transition,
    acknowledge,
    advance,
    end_due,
    return_to_service,
    shelve,
    suppress,
    take_out_of_service,
    unshelve,
    unsuppress,
)
from faultwatch_edge.manifest import AlarmSpec
from faultwatch_edge.message import Evidence, Message, MessageWriter
from faultwatch_edge.orders import Order
from faultwatch_edge.snapshot import AlarmMemory
from faultwatch_edge.times import microseconds

_VERBS: Final[Mapping[str, Callable[..., Advanced]]] = {
    "acknowledge": acknowledge,
    "take_out_of_service": take_out_of_service,
}
_LASTING: Final[Mapping[str, Callable[..., Advanced]]] = {"shelve": shelve, "suppress": suppress}
_ENDING: Final[Mapping[str, Callable[..., Advanced]]] = {
    "unshelve": unshelve,
    "unsuppress": unsuppress,
    "return_to_service": return_to_service,
}
_HOLDING: Final[Mapping[str, AlarmState]] = {
    "shelve": AlarmState.SHELVED,
    "suppress": AlarmState.SUPPRESSED_BY_DESIGN,
    "take_out_of_service": AlarmState.OUT_OF_SERVICE,
}


class Alarming:
    """Takes the alarm through windows and orders; gives a message for each transition.

    Args:
        spec: delays, and whether it latches.
        writer: puts transitions into words.
    """

    def __init__(self, spec: AlarmSpec, writer: MessageWriter) -> None:
        self._writer, self._latches = writer, spec.latch
        self._on_delay_us = microseconds(spec.on_delay_s)
        self._off_delay_us = microseconds(spec.off_delay_s)
        self.memory = AlarmMemory()
        self.evidence: Evidence | None = None
        """Of the last window that the detector saw."""
        self.raised = 0
        """Times that it was raised, or came back from where nothing was announced."""

    @property
    def state(self) -> AlarmState:
        """What an operator sees."""
        return self.memory.alarm.state

    def take(self, moves: bool | None, at_us: int) -> list[Message]:  # noqa: FBT001
        """Take the next window.

        Args:
            moves: whether it is anomalous; None = neither, see ``alarm.advance``.
            at_us: when it ended.
        """
        alarm = self.memory.alarm
        if moves and not alarm.is_active and alarm.pending_us is None:
            first = None if self.evidence is None else self._writer.first_named(self.evidence)
            self._note(pending=first)
        advanced = advance(
            alarm,
            anomalous=moves,
            at_us=at_us,
            on_delay_us=self._on_delay_us,
            off_delay_us=self._off_delay_us,
            latches=self._latches,
        )
        if advanced[0].is_active and not alarm.is_active:
            self._note(raised=self.memory.first_out.pending)
        return self._move(advanced)

    def obey(self, order: Order, at_us: int) -> list[Message]:
        """Do what an operator says; without effect where there is nothing to do."""
        do: Callable[..., Advanced]
        if order.verb in _LASTING:
            until_us = at_us + microseconds(order.for_s or 0.0)
            do = partial(_LASTING[order.verb], until_us=until_us)
        elif order.verb in _ENDING:
            do = partial(_ENDING[order.verb], latches=self._latches)
        else:
            do = _VERBS[order.verb]
        return self._move(do(self.memory.alarm, at_us=at_us), order)

    def tick(self, at_us: int) -> list[Message]:
        """Tell that time goes by: a shelved alarm comes back."""
        return self._move(end_due(self.memory.alarm, at_us=at_us, latches=self._latches))

    @property
    def now(self) -> Message | None:
        """The alarm as it is told now, by whom it is held; None where all is normal."""
        alarm = self.memory.alarm
        if alarm.state is AlarmState.NORMAL:
            return None
        told = Transition(
            previous_state=alarm.state,
            state=alarm.state,
            at_us=alarm.raised_us,
            first_onset_us=alarm.first_onset_us,
            onset_us=alarm.onset_us,
            raised_us=alarm.raised_us,
            sequence=alarm.sequence,
            occurrence=alarm.occurrence,
        )
        holding = [one for one in self.memory.holds if _HOLDING.get(one.verb) is alarm.state]
        return self._told(told, holding[-1] if holding else None)

    def _note(self, **channel: str | None) -> None:
        """Which channel differed first."""
        first_out = replace(self.memory.first_out, **channel)
        self.memory = replace(self.memory, first_out=first_out)

    def _move(self, advanced: Advanced, order: Order | None = None) -> list[Message]:
        alarm, transitions = advanced
        if alarm is not self.memory.alarm:
            self.memory = replace(self.memory, alarm=alarm)
        if transitions:
            self._hold(order)
        self.raised += sum(one.state is AlarmState.UNACKNOWLEDGED for one in transitions)
        return [self._told(changed, order) for changed in transitions]

    def _hold(self, order: Order | None) -> None:
        """Remember who holds the alarm from now on; forget who does no more."""
        alarm, holds = self.memory.alarm, self.memory.holds
        lasting = {alarm.state, AlarmState.SHELVED if alarm.shelved_until_us else alarm.state}
        if order is not None and _HOLDING.get(order.verb) is alarm.state:
            holds = (*(one for one in holds if one.verb != order.verb), order)
        holds = tuple(one for one in holds if _HOLDING.get(one.verb) in lasting)
        self.memory = replace(self.memory, holds=holds)

    def _told(self, changed: Transition, order: Order | None = None) -> Message:
        first_out = self.memory.first_out.raised if changed.occurrence else None
        return self._writer.alarm(changed, self.evidence, order, first_out=first_out)
