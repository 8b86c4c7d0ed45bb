"""Samples and orders of a broker: each to its agent, acknowledged when what it led to is kept."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from faultwatch_edge.config import MqttConfig
from faultwatch_edge.mqtt import Connection
from faultwatch_edge.sources.incoming import Incoming
from faultwatch_edge.spool import Record, Spool
from faultwatch_edge.topics import order_topic
from faultwatch_edge.watched import Watched

MOST_AT_ONCE: Final = 256
MOST_ORDERS: Final = 32
"""Orders that are known when the broker sends them again."""


class MqttMessages:
    """A source: see ``service.Source``.

    Args:
        connection: to the broker.
        config: on which topics orders come.
        assets: which may be ordered about, and whose samples come by topics.
        spool: where the names of the newest orders are kept.
        note: takes a sentence for whoever looks at the log.
    """

    catches_up = True

    def __init__(
        self,
        connection: Connection,
        config: MqttConfig,
        assets: Sequence[Watched],
        *,
        spool: Spool,
        note: Callable[[str], None],
    ) -> None:
        self._connection, self._spool, self._note = connection, spool, note
        self.assets: Sequence[Watched] = [one for one in assets if one.payloads.filters]
        self._orders = {order_topic(config, one.asset): one for one in assets}
        self._remembered: dict[str, str] = {}
        self._unacknowledged: list[Incoming] = []

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there."""
        return self._connection.is_connected

    @property
    def remembered(self) -> Mapping[str, str]:
        """What is kept with the agents' states: names of the newest orders, by asset."""
        return self._remembered

    @property
    def is_owing(self) -> bool:
        """Whether there are messages that the broker must be told are kept."""
        return bool(self._unacknowledged)

    def take(self, at_us: Callable[[], int], *, timeout_s: float) -> list[Record]:
        """What the messages that came led to; waits for the first.

        Args:
            at_us: tells the time by the device's clock.
            timeout_s: how long.
        """
        came = self._connection.take(most=MOST_AT_ONCE, timeout_s=timeout_s)
        now_us = at_us()
        records = [record for message in came for record in self.feed(message, now_us)]
        self._unacknowledged += came
        return records

    def kept(self) -> None:
        """What was taken is on disk: the broker need not send it again."""
        self._connection.acknowledge(self._unacknowledged)
        self._unacknowledged = []

    def feed(self, message: Incoming, at_us: int) -> list[Record]:
        """What one message leads to; whatever is in it, the next one is taken, too."""
        ordered = self._orders.get(message.topic)
        if ordered is not None:
            watched: Sequence[Watched] = [ordered]
            take = partial(self._obey, message=message, at_us=at_us)
        else:
            watched = [one for one in self.assets if one.payloads.is_of(message.topic)]
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
        """An order; one that the broker sends again is obeyed once."""
        memory = f"{watched.asset}/orders"
        kept = self._remembered.get(memory) or self._spool.state(memory) or ""
        name = hashlib.sha256(message.payload).hexdigest()
        if message.is_again and name in kept.split():
            return []
        self._remembered[memory] = " ".join([*kept.split(), name][-MOST_ORDERS:])
        return watched.obey(message.payload, at_us)
