"""The agent as a service: live samples in, records kept, then acknowledged, then delivered.

Each step takes what came, lets the agents judge it, keeps their states and what they said in one
transaction, and only then tells the broker that it need not send the samples again. So a process
that is killed anywhere goes on as if it had not been: what it had not kept comes once more.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from faultwatch_edge import __version__
from faultwatch_edge.config import MqttConfig
from faultwatch_edge.errors import SpoolError
from faultwatch_edge.metrics import prometheus
from faultwatch_edge.mqtt import Connection, Incoming
from faultwatch_edge.renewal import Renewal
from faultwatch_edge.spool import SCORE, Record, Spool, Waiting
from faultwatch_edge.times import to_iso
from faultwatch_edge.watched import Watched

MOST_AT_ONCE: Final = 256
WAIT_S: Final = 0.2
LATE_US: Final = 60_000_000
"""What is delivered later than this after it was said is marked as historical."""
HEALTH_US: Final = 60_000_000
VIEW_US: Final = 1_000_000
REFUSED_PAUSE_US: Final = 10_000_000
MOST_ORDERS: Final = 32
"""Orders that are known when the broker sends them again."""
_HEALTH: Final = -1
_NEVER: Final = -(10**18)


class Service:
    """Runs agents between a connection and a spool.

    Args:
        assets: what is watched, by asset.
        renewals: what looks for newer bundles, by asset.
        spool: where states and records are kept.
        connection: where samples come from and records go.
        config: topics.
        clock_us: now, microseconds since the epoch.
        passed_us: a clock that is never set and never goes back.
        note: takes a sentence for whoever looks at the log.
    """

    def __init__(
        self,
        assets: Mapping[str, Watched],
        *,
        renewals: Mapping[str, Renewal],
        spool: Spool,
        connection: Connection,
        config: MqttConfig,
        clock_us: Callable[[], int],
        passed_us: Callable[[], int],
        note: Callable[[str], None],
    ) -> None:
        self._assets, self._renewals = assets, renewals
        self._spool = spool
        self._connection = connection
        self._config = config
        self._clock_us, self._passed_us = clock_us, passed_us
        self._note = note
        self._orders = {order_topic(config, asset): asset for asset in assets}
        self._remembered: dict[str, str] = {}
        """Names of the newest orders, by what they are kept under."""
        self._unkept: list[Record] = []
        self._unacknowledged: list[Incoming] = []
        self._obeyed: list[int] = []
        self._is_full = False
        self._delivered: list[int] = []
        self._last_sent = 0
        self._refused: dict[int, int] = {}
        self._sessions = 0
        self._health_due_us = self._view_due_us = _NEVER
        self.view: Mapping[str, object] = {"connected": False, "assets": []}
        """What the operator's page shows; a new one now and then, never changed."""
        self.metrics = ""
        """What Prometheus reads, of the same moment."""

    def step(self) -> None:
        """Take what came within a moment, keep what it led to, deliver what can be delivered."""
        if self._is_full or not self._connection.is_connected:
            for watched in self._assets.values():
                watched.wait_anew()
        if self._is_full:
            time.sleep(WAIT_S)
        else:
            self._take()
        self._keep()
        self._deliver(self._clock_us(), self._passed_us())
        self._look(self._passed_us())

    def _take(self) -> None:
        came = self._connection.take(most=MOST_AT_ONCE, timeout_s=WAIT_S)
        at_us = self._clock_us()
        for message in came:
            self._unkept += self._feed(message, at_us)
        self._unacknowledged += came
        for number, asset, body in self._spool.orders():
            self._obeyed.append(number)
            if asset in self._assets:
                self._unkept += self._assets[asset].obey(body.encode(), at_us)
        for asset, watched in self._assets.items():
            if asset in self._renewals:
                self._renewals[asset].look(watched, self._passed_us())
            self._unkept += watched.tick(at_us, passed_us=self._passed_us())

    def _feed(self, message: Incoming, at_us: int) -> list[Record]:
        """What one message leads to; whatever is in it, the next one is taken, too."""
        asset = self._orders.get(message.topic)
        if asset is not None:
            watched = [self._assets[asset]]
            take = partial(self._obey, message=message, at_us=at_us)
        else:
            watched = [one for one in self._assets.values() if one.payloads.is_of(message.topic)]
            take = partial(Watched.take, message=message, at_us=at_us)
        records: list[Record] = []
        for one in watched:
            try:
                records += take(one)
            except Exception as error:  # noqa: BLE001 - it would come again at every start
                self._note(f"{one.asset}: a message on {message.topic!r} led to {error!r}")
                records += one.refuse(f"led to {type(error).__name__} in the agent", message)
        return records

    def _obey(self, watched: Watched, *, message: Incoming, at_us: int) -> list[Record]:
        """An order by MQTT; one that the broker sends again is obeyed once."""
        memory = f"{watched.asset}/orders"
        kept = self._remembered.get(memory) or self._spool.state(memory) or ""
        name = hashlib.sha256(message.payload).hexdigest()
        if message.is_again and name in kept.split():
            return []
        self._remembered[memory] = " ".join([*kept.split(), name][-MOST_ORDERS:])
        return watched.obey(message.payload, at_us)

    def _keep(self) -> None:
        """Commit; where the disk is full nothing more is taken until there is room."""
        changed = [watched for watched in self._assets.values() if watched.is_changed]
        if not (changed or self._unkept or self._unacknowledged or self._obeyed):
            return
        states = {watched.asset: watched.state for watched in changed} | self._remembered
        try:
            self._spool.commit(states, self._unkept, at_us=self._clock_us(), obeyed=self._obeyed)
        except SpoolError as error:
            if not self._is_full:
                self._note(f"{error}; nothing more is taken from the broker until there is room")
            self._is_full = True
            return
        self._is_full = False
        for watched in changed:
            watched.is_changed = False
        self._connection.acknowledge(self._unacknowledged)
        self._unkept, self._unacknowledged, self._obeyed = [], [], []

    def _deliver(self, at_us: int, passed_us: int) -> None:
        """Publish what waits, in order, and forget what the broker has."""
        taken, refused = self._connection.delivered()
        self._delivered += [number for number in taken if number != _HEALTH]
        with suppress(SpoolError):  # the disk is full: they are forgotten when there is room
            self._spool.forget(self._delivered)
            self._delivered = []
        due_us = passed_us + REFUSED_PAUSE_US
        self._refused |= {number: due_us for number in refused if number != _HEALTH}
        if not self._connection.is_connected:
            return
        if passed_us >= self._health_due_us or self._sessions != self._connection.sessions:
            self._sessions = self._connection.sessions
            self._health_due_us = passed_us + HEALTH_US
            body = json.dumps(self._health(at_us))
            self._connection.publish(health_topic(self._config), body, number=_HEALTH, retain=True)
        for one in self._next(passed_us):
            self._connection.publish(self._topic(one.record), _dated(one, at_us), number=one.number)
            self._last_sent = max(self._last_sent, one.number)

    def _next(self, passed_us: int) -> list[Waiting]:
        """What is published now: what was refused a while ago, then what comes next."""
        room = self._connection.room
        if room <= 0:
            return []
        due = sorted(one for one, due_us in self._refused.items() if due_us <= passed_us)
        again: list[Waiting] = []
        for number in due[: max(1, room // 2)]:
            del self._refused[number]
            again += self._spool.waiting(1, after=number - 1)
        return again + self._spool.waiting(room - len(again), after=self._last_sent)

    def _look(self, passed_us: int) -> None:
        if passed_us < self._view_due_us:
            return
        self._view_due_us = passed_us + VIEW_US
        views = [watched.view for watched in self._assets.values()]
        is_connected = self._connection.is_connected
        self.view = {"connected": is_connected, "assets": views}
        self.metrics = prometheus(self._health(self._clock_us()), is_connected=is_connected)

    def _topic(self, record: Record) -> str:
        return _published(self._config, record.asset, record.kind)

    def _health(self, at_us: int) -> dict[str, object]:
        waiting = self._spool.count()
        return {
            "schema": 1,
            "kind": "health",
            "agent": self._config.client_id,
            "version": __version__,
            "online": True,
            "at": to_iso(at_us),
            "waiting": {**waiting, "scores_dropped": self._spool.dropped},
            "assets": [
                {
                    "asset": one.asset,
                    "model_version": one.bundle.manifest.version,
                    "bundle_sha256": one.bundle.sha256,
                    "last_sample_at": _optional(one.last_sample_us),
                    "samples": one.agent.counts.samples,
                    "late": one.agent.counts.late,
                    "rejected": one.agent.counts.rejected,
                    "windows_scored": one.agent.counts.windows_scored,
                    "alarms_raised": one.agent.counts.alarms_raised,
                }
                for one in self._assets.values()
            ],
        }


def order_topic(config: MqttConfig, asset: str) -> str:
    """Where operators' orders for an asset come.

    Example:
        >>> order_topic(MqttConfig(), "pump_07")
        'faultwatch/pump_07/command'
    """
    return config.command.replace("{asset}", asset)


def health_topic(config: MqttConfig) -> str:
    """Where the agent says how it is.

    Example:
        >>> health_topic(MqttConfig())
        'faultwatch/faultwatch-edge/health'
    """
    return _published(config, config.client_id, "health")


def _published(config: MqttConfig, asset: str, kind: str) -> str:
    return config.publish.replace("{asset}", asset).replace("{kind}", kind)


def last_will(config: MqttConfig) -> tuple[str, str]:
    """What the broker says when the agent has vanished: topic and body."""
    body = {"schema": 1, "kind": "health", "agent": config.client_id, "online": False}
    return health_topic(config), json.dumps(body)


def filters(config: MqttConfig, assets: Sequence[Watched]) -> list[str]:
    """What is subscribed to: samples and orders of all assets, each once."""
    wanted = [one for watched in assets for one in watched.payloads.filters]
    wanted += [order_topic(config, watched.asset) for watched in assets]
    return list(dict.fromkeys(wanted))


def _dated(one: Waiting, at_us: int) -> str:
    """The record; marked as historical where it comes late."""
    if one.record.kind == SCORE or at_us - one.kept_us < LATE_US:
        return one.record.body
    body = json.loads(one.record.body)
    if "is_historical" in body:
        body["is_historical"] = True
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _optional(at_us: int | None) -> str | None:
    return None if at_us is None else to_iso(at_us)
