"""From the spool to one sink: in order, each record until the sink has it."""

import json
from contextlib import suppress
from typing import Final, Protocol

from faultwatch_edge.errors import SpoolError
from faultwatch_edge.spool import SCORE, Record, SinkName, Spool, Waiting

LATE_US: Final = 60_000_000
"""What is delivered later than this after it was said is marked as historical."""
REFUSED_PAUSE_US: Final = 10_000_000


class Sink(Protocol):
    """Where records go."""

    name: SinkName

    @property
    def is_ready(self) -> bool:
        """Whether records can be sent now."""

    @property
    def room(self) -> int:
        """How many may be sent now."""

    def send(self, record: Record, body: str, *, number: int) -> None:
        """Send a record, with this body; ``delivered`` gives its number when it is there."""

    def delivered(self) -> tuple[list[int], list[int]]:
        """Numbers that were taken since the last call, and those that were refused."""


class Delivery:
    """Sends what waits for one sink, and lets the spool forget what the sink has.

    A record that is refused is sent again after a while, and those behind it go on.

    Args:
        spool: where records wait.
        sink: where they go.
    """

    def __init__(self, spool: Spool, sink: Sink) -> None:
        self._spool, self.sink = spool, sink
        self._taken: list[int] = []
        self._refused: dict[int, int] = {}
        self._last_sent = 0

    def step(self, at_us: int, passed_us: int) -> None:
        """Send what there is room for.

        Args:
            at_us: now, by the device's clock.
            passed_us: by a clock that nobody sets.
        """
        taken, refused = self.sink.delivered()
        self._taken += taken
        with suppress(SpoolError):  # the disk is full: they are forgotten when there is room
            self._spool.forget(self.sink.name, self._taken)
            self._taken = []
        self._refused |= dict.fromkeys(refused, passed_us + REFUSED_PAUSE_US)
        if not self.sink.is_ready:
            return
        for one in self._next(passed_us):
            self.sink.send(one.record, _dated(one, at_us), number=one.number)
            self._last_sent = max(self._last_sent, one.number)

    def _next(self, passed_us: int) -> list[Waiting]:
        """What is sent now: what was refused a while ago, then what comes next."""
        room = self.sink.room
        if room <= 0:
            return []
        due = sorted(one for one, due_us in self._refused.items() if due_us <= passed_us)
        again: list[Waiting] = []
        for number in due[: max(1, room // 2)]:
            del self._refused[number]
            again += self._waiting(1, after=number - 1)
        return again + self._waiting(room - len(again), after=self._last_sent)

    def _waiting(self, most: int, *, after: int) -> list[Waiting]:
        return self._spool.waiting(self.sink.name, most, after=after)


def _dated(one: Waiting, at_us: int) -> str:
    """The record; marked as historical where it comes late."""
    if one.record.kind == SCORE or at_us - one.kept_us < LATE_US:
        return one.record.body
    body = json.loads(one.record.body)
    if "is_historical" in body:
        body["is_historical"] = True
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
