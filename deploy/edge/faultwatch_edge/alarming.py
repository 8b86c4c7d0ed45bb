"""The alarm of one asset: its state, who moved it, what differed first; in and out as messages."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from faultwatch_edge.alarm import (
    Advanced,
    Alarm,
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
from faultwatch_edge.snapshot import FirstOut
from faultwatch_edge.times import microseconds

_VERBS: Final[Mapping[str, Callable[..., Advanced]]] = {
    "acknowledge": acknowledge,
    "unshelve": unshelve,
    "unsuppress": unsuppress,
    "take_out_of_service": take_out_of_service,
    "return_to_service": return_to_service,
}
_LASTING: Final[Mapping[str, Callable[..., Advanced]]] = {"shelve": shelve, "suppress": suppress}


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
        self.alarm = Alarm()
        self.first_out = FirstOut()
        self.evidence: Evidence | None = None
        """Of the last window that the detector saw."""
        self.raised = 0
        """Times that it was raised, or came back from where nothing was announced."""

    def take(self, moves: bool | None, at_us: int) -> list[Message]:  # noqa: FBT001
        """Take the next window.

        Args:
            moves: whether it is anomalous; None = neither, see ``alarm.advance``.
            at_us: when it ended.
        """
        if moves and not self.alarm.is_active and self.alarm.pending_us is None:
            first = None if self.evidence is None else self._writer.first_named(self.evidence)
            self.first_out = replace(self.first_out, pending=first)
        was_active = self.alarm.is_active
        advanced = advance(
            self.alarm,
            anomalous=moves,
            at_us=at_us,
            on_delay_us=self._on_delay_us,
            off_delay_us=self._off_delay_us,
            latches=self._latches,
        )
        if advanced[0].is_active and not was_active:
            self.first_out = replace(self.first_out, raised=self.first_out.pending)
        return self._move(advanced)

    def obey(self, order: Order, at_us: int) -> list[Message]:
        """Do what an operator says; without effect where there is nothing to do."""
        if order.verb in _LASTING:
            until_us = at_us + microseconds(order.for_s or 0.0)
            held = _LASTING[order.verb](self.alarm, until_us=until_us, at_us=at_us)
            return self._move(held, order)
        return self._move(_VERBS[order.verb](self.alarm, at_us=at_us), order)

    def tick(self, at_us: int) -> list[Message]:
        """Tell that time goes by: a shelved alarm comes back."""
        return self._move(end_due(self.alarm, at_us=at_us))

    @property
    def now(self) -> Message | None:
        """The alarm as its last message would tell it now; None where all is normal."""
        alarm = self.alarm
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
        return self._told(told)

    def _move(self, advanced: Advanced, order: Order | None = None) -> list[Message]:
        self.alarm, transitions = advanced
        self.raised += sum(one.state is AlarmState.UNACKNOWLEDGED for one in transitions)
        return [self._told(changed, order) for changed in transitions]

    def _told(self, changed: Transition, order: Order | None = None) -> Message:
        first_out = self.first_out.raised if changed.occurrence else None
        return self._writer.alarm(changed, self.evidence, order, first_out=first_out)
