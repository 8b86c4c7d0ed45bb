"""However often the broker is cut off, what is said arrives in the order in which it was said."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from faultwatch_edge.agent import Agent
from faultwatch_edge.bundle import Bundle
from faultwatch_edge.config import MqttConfig
from faultwatch_edge.delivery import Delivery
from faultwatch_edge.mqtt import MOST_OUT, Connection
from faultwatch_edge.score_row import ScoreRow, score_record
from faultwatch_edge.sinks.mqtt_topics import MqttTopics
from faultwatch_edge.spool import Record, Spool

pytestmark = pytest.mark.slow

START_S: Final = 1_767_225_600
PROGRAM: Final = Path("/usr/sbin/mosquitto")
CUTS, PIECE = 8, 480
FLOWS: Final = [18.0 if number % 24 >= 12 else 10.0 for number in range(CUTS * PIECE)]
Body = dict[str, Any]


class Way:
    """To the broker, over connections that can be held up and cut."""

    def __init__(self, port: int) -> None:
        self.broker = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._answers = Event()
        self._answers.set()
        self.connections = 0
        Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    def hold(self) -> None:
        """The broker hears; what it answers does not come."""
        self._answers.clear()

    def release(self) -> None:
        self._answers.set()

    def cut(self) -> None:
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.clear()
        self.release()

    def close(self) -> None:
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                agent, _ = self._server.accept()
                broker = socket.create_connection(("127.0.0.1", self.broker))
                self.connections += 1
                self._open += [agent, broker]
                self._carry(agent, broker)
                self._carry(broker, agent)

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        is_answer = one.getpeername()[1] == self.broker

        def carry() -> None:
            with suppress(OSError), one:
                while data := one.recv(4096):
                    if is_answer:
                        self._answers.wait()
                    other.sendall(data)
                other.shutdown(socket.SHUT_RDWR)

        Thread(target=carry, daemon=True).start()


@pytest.fixture
def way(broker: Any, agent: Any) -> Iterator[Way]:
    """The agent's only one to the broker."""
    made = Way(broker.port)
    text = agent.config.read_text()
    agent.config.write_text(text.replace(f"port = {broker.port}", f"port = {made.port}"))
    yield made
    made.close()


def said_offline(bundle: Bundle) -> tuple[list[Body], list[Body]]:
    """Alarms and events, and scores, of the same samples without a broker."""
    rows: list[ScoreRow] = []
    agent = Agent(bundle, on_score=rows.append)
    messages = [
        message
        for number, flow in enumerate(FLOWS)
        for message in agent.process((START_S + number) * 1_000_000, [flow, 1.0, 5.0 * number])
    ]
    return messages, [score_record(row) for row in rows]


def publish(gateway: Any, numbers: range) -> None:
    for number in numbers:
        body = {"at": START_S + number, "flow": FLOWS[number], "state": {"valve": 1}}
        body["FQ-101"] = 5 * number
        gateway.client.publish("plant/pump_07", json.dumps(body), qos=1)


def is_connected(agent: Any, times: int) -> bool:
    return int(agent.said.count("connected to the broker")) >= times


def is_more_than_in_flight(agent: Any) -> bool:
    """Whether more waits than may be on its way to the broker."""
    with Spool(agent.config.parent / "state" / "spool.db") as spool:
        return sum(spool.count().values()) > MOST_OUT


def first(messages: list[Body], *keys: str) -> list[tuple[object, ...]]:
    """What they are told apart by, each once, as they came."""
    return list(dict.fromkeys(tuple(one[key] for key in keys) for one in messages))


def test_what_waits_and_what_is_in_flight_at_a_cut_arrives_in_the_order_in_which_it_was_said(
    way: Way, agent: Any, bundle: Bundle, peer: Any, wait_for: Any
) -> None:
    messages, scores = said_offline(bundle)
    agent.start()
    with peer("collector", "faultwatch/#") as collector, peer("gateway") as gateway:
        for cut in range(CUTS):
            wait_for(partial(is_connected, agent, cut + 1), "the agent")
            publish(gateway, range(cut * PIECE, cut * PIECE + PIECE))
            wait_for(partial(is_more_than_in_flight, agent), "records")
            if cut % 2:
                way.hold()  # of what is in flight now, the broker has all and the agent knows none
                time.sleep(0.2)
            way.cut()
        wait_for(lambda: len(first(collector.told("score"), "time")) >= len(scores), "scores")
        heard, heard_scores = collector.told("alarm", "event"), collector.told("score")
    assert agent.end(signal.SIGTERM) == 0
    names = ("alarm_id", "sequence")
    assert first(heard, *names) == first(messages, *names)
    assert first(heard_scores, "time") == first(scores, "time")
    assert len(heard_scores) > len(scores)  # some were in flight, and came again


@pytest.fixture
def plain_way(tmp_path: Path) -> Iterator[Way]:
    """To a broker without encryption: the connection is there before the broker answers."""
    if not PROGRAM.exists():
        pytest.skip("there is no MQTT broker; install the Debian package mosquitto")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "plain.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    words = [str(PROGRAM), "-c", str(config)]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as broker:  # noqa: S603 - our own broker
        made = Way(port)
        yield made
        made.close()
        broker.terminate()


def test_what_is_kept_between_a_cut_and_the_broker_s_answer_goes_out_after_what_was_in_flight(
    plain_way: Way, tmp_path: Path, wait_for: Any
) -> None:
    heard: list[str] = []
    config = MqttConfig(port=plain_way.port, client_id="edge")
    will = ("faultwatch/edge", "")
    with Spool(tmp_path / "spool.db") as spool, hearing(plain_way.broker, heard, wait_for):
        connection = Connection(config, password=None, filters=["x"], will=will, note=print)
        delivery = Delivery(spool, MqttTopics(connection, config))
        numbers = iter(range(1_000))

        def keep_and_send() -> None:
            bodies = [json.dumps({"number": next(numbers)}) for _ in range(10)]
            spool.commit({}, [Record("pump", "alarm", one) for one in bodies], at_us=0)
            delivery.step(0, 0)

        def all_are_taken() -> bool:
            delivery.step(0, 0)
            return not spool.count()

        with connection:
            for cut in range(3):
                wait_for(lambda: connection.is_connected, "the broker")
                plain_way.hold()
                keep_and_send()
                plain_way.cut()
                plain_way.hold()
                wait_for(lambda made=cut + 2: plain_way.connections == made, "another connection")
                keep_and_send()
                plain_way.release()
            wait_for(all_are_taken, "the rest")
        assert [json.loads(one)["number"] for one in dict.fromkeys(heard)] == list(range(60))


@contextmanager
def hearing(port: int, heard: list[str], wait_for: Any) -> Iterator[None]:
    """Somebody who listens to all alarms."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="collector", protocol=paho.MQTTv5)
    client.on_message = lambda *found: heard.append(found[2].payload.decode())
    subscribed: list[bool] = []
    client.on_subscribe = lambda *_: subscribed.append(True)
    wait_for(lambda: is_there(port), "the broker")
    client.connect("127.0.0.1", port)
    client.subscribe("faultwatch/+/alarm", qos=1)
    client.loop_start()
    try:
        wait_for(lambda: subscribed, "the collector")
        yield
    finally:
        client.disconnect()
        client.loop_stop()
        client.on_message = client.on_subscribe = None


def is_there(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False
