"""The agent as a service: live samples in, records kept, then acknowledged, then delivered.

Each step takes what came, lets the agents judge it, keeps their states and what they said in one
transaction, and only then tells the sources that they need not send it again. So a process that is
killed anywhere goes on as if it had not been: what it had not kept comes once more.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from faultwatch_edge.delivery import Delivery
from faultwatch_edge.errors import SpoolError
from faultwatch_edge.health import health
from faultwatch_edge.metrics import prometheus
from faultwatch_edge.renewal import Renewal
from faultwatch_edge.spool import Record, Spool
from faultwatch_edge.watched import Watched

WAIT_S: Final = 0.2
VIEW_US: Final = 1_000_000
_NEVER: Final = -(10**18)


class Source(Protocol):
    """Where samples come from."""

    assets: Sequence[Watched]
    """Whose samples come from it."""
    catches_up: bool
    """Whether what is measured while nobody listens comes later."""

    @property
    def is_connected(self) -> bool:
        """Whether something can come just now."""

    @property
    def remembered(self) -> Mapping[str, str]:
        """What is kept with the agents' states."""

    @property
    def is_owing(self) -> bool:
        """Whether somebody must be told when what was taken is kept."""

    def take(self, at_us: Callable[[], int], *, timeout_s: float) -> list[Record]:
        """What came, and what it led to; waits a while for the first."""

    def kept(self) -> None:
        """What was taken is on disk."""


Beat = Callable[[Callable[[], Mapping[str, object]], int], None]
"""Tells how the agent is, if it is time to: from what says so, and the time by a steady clock."""


class Service:
    """Runs agents between sources, a spool and sinks.

    Args:
        name: of the agent, in what it says of itself.
        assets: what is watched, by asset.
        sources: where samples come from.
        deliveries: where records go.
        beat: tells how the agent is; None = nobody is told.
        renewals: what looks for newer bundles, by asset.
        spool: where states and records are kept.
        clock_us: now, microseconds since the epoch.
        passed_us: a clock that is never set and never goes back.
        note: takes a sentence for whoever looks at the log.
    """

    def __init__(
        self,
        name: str,
        assets: Mapping[str, Watched],
        *,
        sources: Sequence[Source],
        deliveries: Sequence[Delivery],
        beat: Beat | None,
        renewals: Mapping[str, Renewal],
        spool: Spool,
        clock_us: Callable[[], int],
        passed_us: Callable[[], int],
        note: Callable[[str], None],
    ) -> None:
        self._name, self._assets, self._renewals = name, assets, renewals
        self._sources, self._deliveries, self._beat = sources, deliveries, beat
        self._spool = spool
        self._clock_us, self._passed_us = clock_us, passed_us
        self._note = note
        self._unkept: list[Record] = []
        self._obeyed: list[int] = []
        self._is_full = False
        self._view_due_us = _NEVER
        self.view: Mapping[str, object] = {"away": [], "assets": []}
        """What the operator's page shows; a new one now and then, never changed."""
        self.metrics = ""
        """What Prometheus reads, of the same moment."""

    def step(self) -> None:
        """Take what came within a moment, keep what it led to, deliver what can be delivered."""
        for source in self._sources:
            if self._is_full or (source.catches_up and not source.is_connected):
                for watched in source.assets:
                    watched.wait_anew()
        if self._is_full:
            time.sleep(WAIT_S)
        else:
            self._take()
        self._keep()
        at_us, passed_us = self._clock_us(), self._passed_us()
        for delivery in self._deliveries:
            delivery.step(at_us, passed_us)
        if self._beat is not None:
            self._beat(self._health, passed_us)
        self._look(passed_us)

    def _take(self) -> None:
        wait_s = WAIT_S
        for source in self._sources:
            self._unkept += source.take(self._clock_us, timeout_s=wait_s)
            wait_s = 0.0
        at_us, passed_us = self._clock_us(), self._passed_us()
        for number, asset, body in self._spool.orders():
            self._obeyed.append(number)
            if asset in self._assets:
                self._unkept += self._assets[asset].obey(body.encode(), at_us)
        for asset, watched in self._assets.items():
            if asset in self._renewals:
                self._unkept += self._renewals[asset].look(watched, at_us, passed_us)
            self._unkept += watched.tick(at_us, passed_us=passed_us)

    def _keep(self) -> None:
        """Commit; where the disk is full nothing more is taken until there is room."""
        changed = [watched for watched in self._assets.values() if watched.is_changed]
        is_owing = any(source.is_owing for source in self._sources)
        if not (changed or self._unkept or self._obeyed or is_owing):
            return
        states = self._states(changed)
        try:
            self._spool.commit(states, self._unkept, at_us=self._clock_us(), obeyed=self._obeyed)
        except SpoolError as error:
            if not self._is_full:
                self._note(f"{error}; nothing more is taken until there is room")
            self._is_full = True
            return
        self._is_full = False
        for watched in changed:
            watched.is_changed = False
        for source in self._sources:
            source.kept()
        self._unkept, self._obeyed = [], []

    def _states(self, changed: Sequence[Watched]) -> dict[str, str]:
        """What is kept of the assets that changed, and of the sources."""
        states = {watched.asset: watched.state for watched in changed}
        for watched in changed:
            if watched.asset in self._renewals:
                states |= self._renewals[watched.asset].remembered(watched)
        for source in self._sources:
            states |= source.remembered
        return states

    def _look(self, passed_us: int) -> None:
        if passed_us < self._view_due_us:
            return
        self._view_due_us = passed_us + VIEW_US
        sinks: dict[str, bool] = {one.sink.name: one.sink.is_ready for one in self._deliveries}
        self.view = {
            "away": [name for name, is_ready in sinks.items() if not is_ready],
            "assets": [watched.view for watched in self._assets.values()],
        }
        self.metrics = prometheus(self._health(), sinks=sinks)

    def _health(self) -> Mapping[str, object]:
        return health(
            self._name, list(self._assets.values()), spool=self._spool, at_us=self._clock_us()
        )
