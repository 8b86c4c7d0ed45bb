"""Records to the topics of a broker, and beside them how the agent is."""

import json
from collections.abc import Callable, Mapping
from typing import Final

from faultwatch_edge.config import MqttConfig
from faultwatch_edge.mqtt import Connection
from faultwatch_edge.spool import Record, SinkName
from faultwatch_edge.topics import health_topic, published_topic

HEALTH_US: Final = 60_000_000
_HEALTH: Final = -1
_NEVER: Final = -(10**18)


class MqttTopics:
    """A sink: see ``delivery.Sink``.

    Args:
        connection: to the broker.
        config: the topics.
    """

    name: SinkName = "mqtt"

    def __init__(self, connection: Connection, config: MqttConfig) -> None:
        self._connection, self._config = connection, config
        self._sessions, self._due_us = 0, _NEVER

    @property
    def is_ready(self) -> bool:
        """Whether the broker is there."""
        return self._connection.is_connected

    @property
    def room(self) -> int:
        """How many messages may be on their way."""
        return self._connection.room

    def send(self, record: Record, body: str, *, number: int) -> None:
        """Publish a record."""
        topic = published_topic(self._config, record.asset, record.kind)
        self._connection.publish(topic, body, number=number)

    def delivered(self) -> tuple[list[int], list[int]]:
        """Numbers that the broker has taken since the last call, and those that it refused."""
        taken, refused = self._connection.delivered()
        return [one for one in taken if one != _HEALTH], [one for one in refused if one != _HEALTH]

    def beat(self, health: Callable[[], Mapping[str, object]], passed_us: int) -> None:
        """Say how the agent is: every minute, and at once when the broker is back."""
        is_new = self._sessions != self._connection.sessions
        if not self.is_ready or (passed_us < self._due_us and not is_new):
            return
        self._sessions = self._connection.sessions
        self._due_us = passed_us + HEALTH_US
        body = json.dumps(health())
        self._connection.publish(health_topic(self._config), body, number=_HEALTH, retain=True)
