"""What is said by MQTT is what is said without it, whatever is cut or killed meanwhile."""

import json
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest

from faultwatch_edge.agent import Agent
from faultwatch_edge.bundle import Bundle

pytestmark = pytest.mark.slow

START_S: Final = 1_767_225_600
ALARMED: Final = [10.0] * 20 + [18.0] * 20 + [10.0] * 30
Body = dict[str, Any]


def sample(number: int, flow: float) -> Body:
    return {"at": START_S + number, "flow": flow, "state": {"valve": 1}, "FQ-101": 5 * number}


def offline(bundle: Bundle, flows: list[float]) -> list[Body]:
    """What the agent says of the same samples without any broker."""
    agent = Agent(bundle)
    rows = [
        ((START_S + number) * 1_000_000, [flow, 1.0, 5.0 * number])
        for number, flow in enumerate(flows)
    ]
    return [message for at_us, values in rows for message in agent.process(at_us, values)]


def plain(messages: list[Body]) -> list[Body]:
    """Each once, as a consumer keeps them that tells them apart by id and sequence."""
    kept: dict[tuple[object, object], Body] = {}
    for message in messages:
        kept.setdefault((message["alarm_id"], message["sequence"]), message)
    return [{**message, "is_historical": False} for message in kept.values()]


def test_alarms_by_mqtt_are_those_of_the_same_samples_without_it(
    agent: Any, bundle: Bundle, peer: Any, wait_for: Any
) -> None:
    agent.start()
    expected = offline(bundle, ALARMED)
    with peer("collector", "faultwatch/#") as collector, peer("gateway") as gateway:
        wait_for(lambda: collector.told("health"), "the agent")
        for number, flow in enumerate(ALARMED):
            assert gateway.say("plant/pump_07", sample(number, flow))
        wait_for(lambda: len(collector.told("alarm", "event")) >= len(expected), "alarms")
        assert collector.told("alarm", "event") == expected
        topics = {topic for topic, body in collector.heard if body["kind"] == "alarm"}
        assert topics == {"faultwatch/pump_07/alarm"}
    assert agent.end(signal.SIGTERM) == 0
    assert "Traceback" not in agent.said


def test_an_agent_that_is_killed_again_and_again_loses_and_doubles_nothing(
    agent: Any, bundle: Bundle, peer: Any, wait_for: Any
) -> None:
    expected = plain(offline(bundle, ALARMED))
    with peer("collector", "faultwatch/#") as collector, peer("gateway") as gateway:
        agent.start()
        wait_for(lambda: collector.told("health"), "the agent")
        for number, flow in enumerate(ALARMED):
            if number % 15 == 7:
                agent.end(signal.SIGKILL)
            assert gateway.say("plant/pump_07", sample(number, flow))
            if number % 15 == 12:
                agent.start()
        agent.start()
        wait_for(lambda: len(plain(collector.told("alarm", "event"))) >= len(expected), "alarms")
        assert plain(collector.told("alarm", "event")) == expected
        assert not collector.told("rejected")


def test_nothing_is_lost_while_the_broker_is_away(
    broker: Any, agent: Any, bundle: Bundle, peer: Any, wait_for: Any
) -> None:
    expected = plain(offline(bundle, ALARMED))
    with peer("collector", "faultwatch/#") as collector, peer("gateway") as gateway:
        agent.start()
        wait_for(lambda: collector.told("health"), "the agent")
        for number, flow in enumerate(ALARMED):
            assert gateway.say("plant/pump_07", sample(number, flow))
            if number == 27:  # the alarm is raised about now
                broker.stop()
                time.sleep(0.5)
                broker.start()
                wait_for(gateway.client.is_connected, "the gateway")
        wait_for(lambda: len(plain(collector.told("alarm", "event"))) >= len(expected), "alarms")
        assert plain(collector.told("alarm", "event")) == expected
    assert "the broker has gone" in agent.said


def test_operators_acknowledge_by_mqtt_and_shelve_by_command(
    agent: Any, peer: Any, wait_for: Any
) -> None:
    with (
        peer("collector", "faultwatch/#") as collector,
        peer("gateway") as gateway,
        peer("operator") as operator,
    ):
        agent.start()
        wait_for(lambda: collector.told("health"), "the agent")
        for number, flow in enumerate(ALARMED[:40]):
            gateway.say("plant/pump_07", sample(number, flow))
        wait_for(lambda: collector.told("alarm"), "the alarm")
        topic = "faultwatch/pump_07/command"
        assert operator.say(topic, {"verb": "acknowledge", "by": "Kim"})
        wait_for(lambda: len(collector.told("alarm")) == 2, "the acknowledgement")
        assert operator.say(topic, {"verb": "hush", "by": "Kim"})
        wait_for(lambda: collector.told("rejected"), "the refusal")
        assert (
            "verb is 'hush', expected one of acknowledge" in collector.told("rejected")[0]["reason"]
        )
        order = [sys.executable, "-m", "faultwatch_edge", "order", str(agent.config), "pump_07"]
        shelve = [*order, "shelve", "--by", "Robin", "--reason", "impeller ordered", "--for", "1"]
        subprocess.run(shelve, check=True)  # noqa: S603 - our own program
        wait_for(lambda: len(collector.told("alarm")) == 4, "the end of the shelf")
        told = [(one["state"], one["by"], one["reason"]) for one in collector.told("alarm")]
        assert told == [
            ("unacknowledged", None, None),
            ("acknowledged", "Kim", ""),
            ("shelved", "Robin", "impeller ordered"),
            ("unacknowledged", None, None),
        ]
        assert len({one["alarm_id"] for one in collector.told("alarm")}) == 1
        gone = subprocess.run(  # noqa: S603 - our own program
            [*order[:-1], "pump_8", "acknowledge", "--by", "Kim"],
            check=False,
            capture_output=True,
            text=True,
        )
        assert gone.returncode == 2
        assert "watches no 'pump_8'" in gone.stderr


def test_what_cannot_be_used_is_answered_and_ends_nothing(
    agent: Any, peer: Any, wait_for: Any
) -> None:
    far = int(time.time()) - START_S + 3_600
    bad = {
        b"{": "payload is not JSON",
        b"[1]": "payload is [1], expected an object",
        json.dumps(sample(far, 10.0)).encode(): "time is ahead of this device's clock",
        json.dumps(
            sample(1, 10.0) | {"flow": "high"}
        ).encode(): "'flow' is 'high', expected a number",
        json.dumps({"at": START_S}).encode(): "has no channel, expected some of flow, valve, total",
        json.dumps({"flow": 1}).encode(): "time is None, expected a number of s",
    }
    with peer("collector", "faultwatch/#") as collector, peer("gateway") as gateway:
        agent.start()
        wait_for(lambda: collector.told("health"), "the agent")
        for number, (body, reason) in enumerate(bad.items(), start=1):
            gateway.say("plant/pump_07", body)
            wait_for(lambda: len(collector.told("rejected")) == number, reason)  # noqa: B023
            assert reason in collector.told("rejected")[-1]["reason"]
        gateway.say("plant/pump_07", sample(1, 10.0))
        gateway.say("plant/pump_07", sample(9, 10.0))
        assert len(collector.told("rejected")) == len(bad)


def test_access_lists_keep_machines_from_giving_orders(agent: Any, peer: Any) -> None:
    agent.start()
    with peer("gateway") as gateway, peer("operator") as operator:
        assert not gateway.say("faultwatch/pump_07/command", {"verb": "acknowledge", "by": "x"})
        assert not operator.say("plant/pump_07", sample(1, 10.0))


def test_a_wrong_password_is_said_once_and_tried_again(agent: Any, wait_for: Any) -> None:
    agent.start(password="wrong")  # noqa: S106
    wait_for(lambda: "refuses the connection: Not authorized" in agent.said, "the refusal")
    time.sleep(1.5)
    assert agent.said.count("refuses the connection") == 1
    assert agent.end(signal.SIGINT) == 0


def test_an_agent_that_vanishes_is_told_by_the_broker(agent: Any, peer: Any, wait_for: Any) -> None:
    with peer("collector", "faultwatch/#") as collector:
        agent.start()
        wait_for(lambda: collector.told("health"), "the agent")
        agent.end(signal.SIGKILL)
        wait_for(lambda: len(collector.told("health")) == 2, "the will")
        assert [one["online"] for one in collector.told("health")] == [True, False]


def test_a_second_agent_of_one_folder_is_refused(agent: Any, peer: Any, wait_for: Any) -> None:
    with peer("collector", "faultwatch/#") as collector:
        agent.start()
        wait_for(lambda: collector.told("health"), "the agent")
        command = [sys.executable, "-m", "faultwatch_edge", "serve", str(agent.config)]
        second = subprocess.run(  # noqa: S603 - our own program
            command, capture_output=True, text=True, check=False, timeout=30
        )
        assert second.returncode == 2
        assert "is used by another agent" in second.stderr


def test_a_source_that_falls_silent_is_told_and_told_again_when_it_speaks(
    agent: Any, peer: Any, wait_for: Any
) -> None:
    with peer("collector", "faultwatch/#") as collector, peer("gateway") as gateway:
        agent.start()
        wait_for(lambda: collector.told("health"), "the agent")
        for number in range(30):
            gateway.say("plant/pump_07", sample(number, 10.0))
        wait_for(lambda: collector.told("event"), "silence, after twelve seconds")
        for number in range(30, 60):
            gateway.say("plant/pump_07", sample(number, 10.0))
        wait_for(lambda: len(collector.told("event")) == 2, "data again")
        told = [(one["condition"], one["state"]) for one in collector.told("event")]
        assert told == [("data_quality", "active"), ("data_quality", "normal")]
        assert "the source is silent" in collector.told("event")[0]["message"]


def test_an_order_that_the_broker_sends_again_is_obeyed_once(
    agent: Any, peer: Any, wait_for: Any
) -> None:
    shelve = {"verb": "shelve", "by": "Kim", "reason": "new seal", "for_s": 3600}
    with peer("collector", "faultwatch/#") as collector, peer("operator") as operator:
        agent.start()
        wait_for(lambda: collector.told("health"), "the agent")
        for _ in range(5):
            agent.end(signal.SIGKILL)
            operator.say("faultwatch/pump_07/command", shelve)
            agent.start()  # sometimes killed before it has told the broker, sometimes after
            time.sleep(0.7)
        wait_for(lambda: len(collector.told("alarm")) >= 5, "five orders")
        time.sleep(0.5)
        told = [(one["alarm_id"], one["sequence"]) for one in collector.told("alarm")]
        assert len(set(told)) == 5


def test_an_agent_that_is_stopped_is_not_said_to_be_online(
    agent: Any, peer: Any, wait_for: Any
) -> None:
    with peer("collector", "faultwatch/#") as collector:
        agent.start()
        wait_for(lambda: collector.told("health"), "the agent")
        assert agent.end(signal.SIGTERM) == 0
        wait_for(lambda: len(collector.told("health")) == 2, "the will")
        assert [one["online"] for one in collector.told("health")] == [True, False]


def test_a_packet_that_cannot_be_read_does_not_cut_the_connection_for_ever(
    broker: Any, agent: Any, peer: Any, wait_for: Any
) -> None:
    with peer("collector", "faultwatch/#") as collector, peer("gateway") as gateway:
        agent.start()
        wait_for(lambda: collector.told("health"), "the agent")
        words = ["mosquitto_pub", "-h", "localhost", "-p", str(broker.port), "-V", "5", "-q", "1"]
        words += ["--cafile", str(broker.ca), "-u", "gateway", "-P", "gateway-secret"]
        words += ["-i", "other", "-t", "plant/pump_07", "-m", "{}"]
        words += ["-D", "publish", "user-property", "a", "x\ufeffy"]
        subprocess.run(words, check=True)  # noqa: S603 - our own words
        for number in range(12):
            gateway.say("plant/pump_07", sample(number, 10.0))
        wait_for(lambda: collector.told("score"), "scores")
        assert "has gone" not in agent.said
        assert "cannot be read; it is left out" in agent.said


SMALL: Final = """
import sys
from faultwatch_edge import mqtt
from faultwatch_edge.__main__ import main
mqtt.MOST_HELD = 300
sys.exit(main())
"""


def test_a_broker_that_sends_more_than_it_was_told_to_is_asked_again_and_nothing_is_lost(
    agent: Any, bundle: Bundle, peer: Any, wait_for: Any
) -> None:
    flows = [18.0 if number % 200 > 150 else 10.0 for number in range(4_000)]
    expected = plain(offline(bundle, flows))
    agent.program = ("-c", SMALL)
    with peer("collector", "faultwatch/#") as collector, peer("gateway") as gateway:
        agent.start()
        wait_for(lambda: collector.told("health"), "the agent")
        for number, flow in enumerate(flows):
            gateway.client.publish("plant/pump_07", json.dumps(sample(number, flow)), qos=1)
        wait_for(
            lambda: len(plain(collector.told("alarm", "event"))) >= len(expected),
            "alarms",
            patience_s=60,
        )
        assert plain(collector.told("alarm", "event")) == expected
        assert not collector.told("rejected")
    assert "sends more than it was told to; connected anew" in agent.said


def test_the_log_can_be_json(agent: Any, wait_for: Any) -> None:
    text = agent.config.read_text()
    agent.config.write_text(text.replace("[agent]", '[agent]\nlog = "json"'))
    agent.start()
    wait_for(lambda: "connected to the broker" in agent.said, "the agent")
    lines = [json.loads(line) for line in agent.said.splitlines()]
    assert {"watches pump_07"} <= {line["message"] for line in lines}
    assert {line["agent"] for line in lines} == {"faultwatch-edge"}
    assert all(datetime.fromisoformat(line["at"]).tzinfo is UTC for line in lines)


def test_a_broker_that_is_not_the_right_one_is_said(agent: Any, wait_for: Any) -> None:
    text = agent.config.read_text()
    agent.config.write_text(text.replace("broker/ca.pem", "broker/broker.pem"))
    agent.start()
    wait_for(lambda: "cannot be reached" in agent.said, "the refusal")
    assert "CERTIFICATE_VERIFY_FAILED" in agent.said


def test_alarms_go_to_a_web_address_and_to_a_file_too(
    broker: Any, agent: Any, bundle: Bundle, peer: Any, wait_for: Any
) -> None:
    expected = [one for one in offline(bundle, ALARMED) if one["kind"] == "alarm"]
    posted: list[Body] = []
    file = agent.config.parent / "said.jsonl"
    with peer("gateway") as gateway, https_server(broker.folder, posted) as server:
        agent.config.write_text(
            agent.config.read_text().replace(
                "[page]",
                f"""[webhook]
url = "https://localhost:{server.server_port}/alarms"
ca = "broker/ca.pem"

[file]
path = "said.jsonl"

[page]""",
            )
        )
        agent.start()
        wait_for(lambda: "connected to the broker" in agent.said, "the agent")
        for number, flow in enumerate(ALARMED):
            assert gateway.say("plant/pump_07", sample(number, flow))
        wait_for(lambda: [one for one in posted if one["kind"] == "alarm"] == expected, "alarms")
        assert {one["kind"] for one in posted} == {"alarm", "event"}
        assert agent.end(signal.SIGTERM) == 0
    said = [json.loads(line) for line in file.read_text().splitlines()]
    assert [one for one in said if one["kind"] == "alarm"] == expected
    assert any(one["kind"] == "score" for one in said)


@contextmanager
def https_server(folder: Path, posted: list[Body]) -> Iterator[ThreadingHTTPServer]:
    """A web server with the broker's certificate, that keeps what is posted."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def say_nothing(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        log_message = say_nothing

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "broker.pem", folder / "broker.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
