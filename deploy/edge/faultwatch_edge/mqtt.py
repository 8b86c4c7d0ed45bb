"""One persistent connection to an MQTT broker: what comes is acknowledged when it was kept.

Everything has quality of service 1 both ways. The broker keeps what is published while the agent
is away, and sends again what was not acknowledged; paho's own thread reconnects with growing
pauses and sends again what the broker has not acknowledged.
"""

import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Queue
from types import TracebackType
from typing import Final, Self

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from faultwatch_edge.config import MqttConfig
from faultwatch_edge.errors import ConfigError
from faultwatch_edge.sources.json_payload import LARGEST_PAYLOAD

MOST_OUT: Final = 64
"""Messages on their way to the broker at once."""
MOST_WAITING: Final = 1024
"""Messages that came and were not taken yet; then the connection is not read any further."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1, 60
_KEEP_ALIVE_S: Final = 30
_FOR_EVER: Final = 0xFFFFFFFF
_QOS: Final = 1
_OVERHEAD: Final = 1024


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message that came."""

    topic: str
    payload: bytes
    is_again: bool
    """Whether the broker may have sent it before."""
    number: int
    """By which it is acknowledged."""
    qos: int


class Connection:
    """Subscribes, hands over what comes, and publishes.

    Args:
        config: where and as whom.
        password: None = none.
        filters: what to subscribe to.
        will: topic and body that the broker publishes when the agent has vanished.
        note: takes a sentence for whoever looks at the log.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """

    def __init__(
        self,
        config: MqttConfig,
        *,
        password: str | None,
        filters: Sequence[str],
        will: tuple[str, str],
        note: Callable[[str], None],
    ) -> None:
        self._config = config
        self._filters = list(filters)
        self._note = note
        self._said = ""
        self._came: Queue[Incoming] = Queue(MOST_WAITING)
        self._done: deque[tuple[int, bool]] = deque()
        self._out: dict[int, int] = {}
        self._is_closing = self._was_connected = False
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=config.client_id,
            protocol=paho.MQTTv5,
            manual_ack=True,
        )
        client.username_pw_set(config.username, password)
        self._encrypt(client)
        client.will_set(*will, qos=_QOS, retain=True)
        client.reconnect_delay_set(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        client.max_inflight_messages_set(MOST_OUT)
        client.on_connect = lambda *found: self._connected(found[3])
        client.on_disconnect = lambda *found: self._disconnected(found[3])
        client.on_subscribe = lambda *found: self._subscribed(found[3])
        client.on_message = lambda *found: self._take_in(found[2])
        client.on_publish = lambda *found: self._published(found[2], found[3])
        self._client = client

    def __enter__(self) -> Self:
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho
        session.SessionExpiryInterval = _FOR_EVER
        session.MaximumPacketSize = LARGEST_PAYLOAD + _OVERHEAD
        self._client.connect_async(
            self._config.host,
            self._config.used_port,
            keepalive=_KEEP_ALIVE_S,
            clean_start=False,
            properties=session,
        )
        self._client.loop_start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_closing = True
        with suppress(Empty):  # a thread that waits for room must not wait for ever
            while True:
                self._came.get_nowait()
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there."""
        return bool(self._client.is_connected())

    @property
    def room(self) -> int:
        """How many messages may be published now."""
        return MOST_OUT - len(self._out)

    def take(self, *, most: int, timeout_s: float) -> list[Incoming]:
        """What came, in order; waits for the first."""
        taken: list[Incoming] = []
        with suppress(Empty):
            taken.append(self._came.get(timeout=timeout_s))
            while len(taken) < most:
                taken.append(self._came.get_nowait())
        return taken

    def acknowledge(self, messages: Sequence[Incoming]) -> None:
        """The broker need not send these again."""
        for message in messages:
            self._client.ack(message.number, message.qos)

    def publish(self, topic: str, body: str, *, number: int, retain: bool = False) -> None:
        """Send a message; ``delivered`` gives its number when the broker has it."""
        sent = self._client.publish(topic, body.encode(), qos=_QOS, retain=retain)
        self._out[sent.mid] = number

    def delivered(self) -> tuple[list[int], list[int]]:
        """Numbers that the broker has taken since the last call, and those that it refused."""
        taken: list[int] = []
        refused: list[int] = []
        for _ in range(len(self._done)):
            mid, is_refused = self._done.popleft()
            number = self._out.pop(mid, None)
            if number is not None:
                (refused if is_refused else taken).append(number)
        return taken, refused

    def _encrypt(self, client: paho.Client) -> None:
        config = self._config
        if config.ca is None:
            return
        try:
            client.tls_set(
                ca_certs=config.ca,
                certfile=config.certificate,
                keyfile=config.private_key,
                tls_version=ssl.PROTOCOL_TLS_CLIENT,
            )
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ConfigError(
                f"mqtt.ca, mqtt.certificate or mqtt.private_key cannot be used ({error}), "
                "expected PEM files"
            ) from error

    def _say(self, sentence: str) -> None:
        """A sentence, once until another is said: the broker may be away for days."""
        if sentence != self._said:
            self._said = sentence
            self._note(sentence)

    def _connected(self, reason: ReasonCode) -> None:
        where = f"{self._config.host}:{self._config.used_port}"
        if reason.is_failure:
            self._say(f"the broker at {where} refuses the connection: {reason}; tried again")
            return
        self._was_connected = True
        self._say(f"connected to the broker at {where}")
        self._client.subscribe([(one, SubscribeOptions(qos=_QOS)) for one in self._filters])

    def _disconnected(self, reason: ReasonCode) -> None:
        if self._was_connected and not self._is_closing:
            self._was_connected = False
            self._say(f"the broker has gone ({reason}); what is said is kept until it is back")

    def _subscribed(self, reasons: Sequence[ReasonCode]) -> None:
        pairs = zip(self._filters, reasons, strict=False)
        refused = [f"{one} ({reason})" for one, reason in pairs if reason.is_failure]
        if refused:
            self._say(f"the broker refuses the subscription to {', '.join(refused)}")

    def _take_in(self, message: paho.MQTTMessage) -> None:
        if not self._is_closing:
            self._came.put(
                Incoming(
                    message.topic, bytes(message.payload), message.dup, message.mid, message.qos
                )
            )

    def _published(self, mid: int, reason: ReasonCode) -> None:
        self._done.append((mid, reason.is_failure))
        if reason.is_failure:
            self._say(f"the broker refuses to take what is published: {reason}; tried again")
