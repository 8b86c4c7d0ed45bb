"""One persistent connection to an MQTT broker: what comes is acknowledged when it was kept.

Everything has quality of service 1 both ways. The broker keeps what is published while the agent
is away, and sends again what was not acknowledged; paho's own thread reconnects with growing
pauses and sends again what the broker has not acknowledged.
"""

import socket
import ssl
import struct
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, Queue
from threading import Lock
from types import TracebackType
from typing import Final, Self

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from faultwatch_edge.config import MqttConfig
from faultwatch_edge.errors import ConfigError
from faultwatch_edge.sources.incoming import Incoming
from faultwatch_edge.sources.json_payload import LARGEST_PAYLOAD

MOST_OUT: Final = 64
"""Messages on their way to the broker at once."""
MOST_IN: Final = 256
"""Messages that the broker sends before it waits for acknowledgements."""
MOST_HELD: Final = 20_000
MOST_HELD_BYTES: Final = 16 * 1024 * 1024
"""What has come and waits to be taken, at most: some brokers send far more than they were told to
before they wait (Mosquitto 2.0.11 does, while it is acknowledged)."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1, 60
_KEEP_ALIVE_S: Final = 30
_FOR_EVER: Final = 0xFFFFFFFF
_QOS: Final = 1
_LARGEST_PACKET: Final = LARGEST_PAYLOAD + 1024
_NOT_RETAINED: Final = 2
"""Retain handling: what was retained is not sent at a subscription."""
_GONE: Final = "Disconnect with will message"


class _Client(paho.Client):
    """paho's client, which a packet that it cannot read does not cut off for ever."""

    say: Callable[[str], None]

    def _sock_recv(self, bufsize: int) -> bytes:  # type: ignore[explicit-override]  # paho's own name
        if bufsize > _LARGEST_PACKET:
            self.say(f"the broker sends {bufsize} bytes, expected at most {_LARGEST_PACKET}")
            raise ConnectionError
        return super()._sock_recv(bufsize)

    def _handle_publish(self) -> MQTTErrorCode:  # type: ignore[explicit-override]  # paho's own name
        try:
            return super()._handle_publish()
        except Exception:  # noqa: BLE001 - of the packet, whatever it is: the next one may be read
            self.say("a message of the broker cannot be read; it is left out")
            packet = bytes(self._in_packet["packet"])
            with suppress(struct.error):
                (length,) = struct.unpack_from("!H", packet)
                (number,) = struct.unpack_from("!H", packet, 2 + length)
                return self._send_puback(number)
            return MQTTErrorCode.MQTT_ERR_SUCCESS


class Held:
    """A number that two threads change."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.size = 0

    def add(self, size: int) -> None:
        """Change it."""
        with self._lock:
            self.size += size


def _send_at_once(connection: socket.socket) -> None:
    """Small packets do not wait for each other: that costs a fifth of a second a round."""
    with suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Connection:
    """Subscribes, hands over what comes, and publishes.

    Args:
        config: where and as whom.
        password: None = none.
        filters: what to subscribe to.
        will: topic and body that the broker publishes when the agent has vanished; None = nobody
            is told.
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
        will: tuple[str, str] | None,
        note: Callable[[str], None],
    ) -> None:
        self._config = config
        self._filters = list(filters)
        self._note = note
        self._said = ""
        self._came: Queue[Incoming] = Queue()
        self._held = Held()
        self._is_skipping = self._is_asked = False
        self._done: deque[tuple[int, bool]] = deque()
        self._out: dict[int, int] = {}
        self._is_closing = self._is_open = self._is_ready = False
        self._epoch = 0
        self.sessions = 0
        """How often a connection was ready so far."""
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=config.client_id,
            protocol=paho.MQTTv5,
            manual_ack=True,
        )
        client.say = self._say
        client.username_pw_set(config.username, password)
        self._encrypt(client)
        if will is not None:
            client.will_set(*will, qos=_QOS, retain=True)
        client.reconnect_delay_set(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        client.max_inflight_messages_set(MOST_OUT)
        client.suppress_exceptions = True  # of callbacks: the thread must not end by one
        client.on_socket_open = lambda *found: _send_at_once(found[2])
        client.on_connect = lambda *found: self._connected(found[2], found[3])
        client.on_connect_fail = lambda *_: self._failed()
        client.on_disconnect = lambda *found: self._disconnected(found[3])
        client.on_subscribe = lambda *found: self._subscribed(found[3])
        client.on_message = lambda *found: self._take_in(found[2])
        client.on_publish = lambda *found: self._published(found[2], found[3])
        self._client = client

    def __enter__(self) -> Self:
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho
        session.SessionExpiryInterval = _FOR_EVER
        session.MaximumPacketSize = _LARGEST_PACKET
        session.ReceiveMaximum = MOST_IN
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
        self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, _GONE))
        self._client.loop_stop()

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there and has taken the subscriptions."""
        return self._is_ready

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
        self._held.add(-sum(len(one.payload) for one in taken))
        if self._is_skipping and not self._is_asked and self._came.empty():
            self._ask_again()
        return taken

    def _ask_again(self) -> None:
        """Break the connection: the broker sends anew what was left out, in order."""
        self._is_asked = True
        self._say(f"{self._where} sends more than it was told to; connected anew for what was left")
        connection = self._client.socket()
        with suppress(OSError):
            if isinstance(connection, socket.socket):
                connection.shutdown(socket.SHUT_RDWR)

    def acknowledge(self, messages: Sequence[Incoming]) -> None:
        """The broker need not send these again; without a connection it will, and be told then."""
        for message in messages if self._is_open else ():
            if message.epoch == self._epoch:
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

    @property
    def _where(self) -> str:
        return f"the broker at {self._config.host}:{self._config.used_port}"

    def _connected(self, flags: paho.ConnectFlags, reason: ReasonCode) -> None:
        self._is_open = self._is_ready = False
        if reason.is_failure:
            self._say(f"{self._where} refuses the connection: {reason}; tried again")
            return
        if flags.session_present:
            self._drain()  # all of it is sent again, and more must find room
        else:
            self._epoch += 1  # the broker numbers its messages anew
        self._is_skipping = self._is_asked = False
        self._is_open = True  # what comes before the subscriptions are taken is acknowledged, too
        options = SubscribeOptions(qos=_QOS, retainHandling=_NOT_RETAINED)
        self._client.subscribe([(one, options) for one in self._filters])

    def _drain(self) -> None:
        with suppress(Empty):
            while True:
                self._held.add(-len(self._came.get_nowait().payload))

    def _failed(self) -> None:
        self._say(f"{self._where} cannot be reached ({sys.exc_info()[1]}); tried again")

    def _disconnected(self, reason: ReasonCode) -> None:
        if self._is_ready and not self._is_closing:
            self._say(f"the broker has gone ({reason}); what is said is kept until it is back")
        self._is_open = self._is_ready = False

    def _subscribed(self, reasons: Sequence[ReasonCode]) -> None:
        pairs = zip(self._filters, reasons, strict=False)
        refused = [f"{one} ({reason})" for one, reason in pairs if reason.is_failure]
        if refused:
            self._say(f"the broker refuses the subscription to {', '.join(refused)}")
        else:
            self._say(f"connected to {self._where}")
        self.sessions += 1
        self._is_ready = True

    def _take_in(self, message: paho.MQTTMessage) -> None:
        if message.retain or self._is_closing:
            if message.qos:
                self._client.ack(message.mid, message.qos)
            return
        if message.qos == 0 and self._came.qsize() >= MOST_IN:
            return  # whoever publishes so does not mind, and others need the room
        is_too_much = self._held.size > MOST_HELD_BYTES or self._came.qsize() >= MOST_HELD
        if message.qos and (self._is_skipping or is_too_much):
            self._is_skipping = True  # and all after it: the order is kept
            return
        came = Incoming(
            message.topic,
            bytes(message.payload),
            is_again=message.dup,
            number=message.mid,
            qos=message.qos,
            epoch=self._epoch,
        )
        self._held.add(len(came.payload))
        self._came.put(came)

    def _published(self, mid: int, reason: ReasonCode) -> None:
        self._done.append((mid, reason.is_failure))
        if reason.is_failure:
            self._say(f"the broker refuses to take what is published: {reason}; tried again")
