"""What is said of an OPC UA server's samples is what is said of them without it."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from faultwatch_edge.agent import Agent
from faultwatch_edge.bundle import Bundle

pytestmark = pytest.mark.slow

START_S: Final = 1_767_225_600
ALARMED: Final = [10.0] * 20 + [18.0] * 20 + [10.0] * 30
OUTAGE: Final = range(45, 55)
Body = dict[str, Any]
Row = tuple[int, float, float | None, float]


def rows(flows: list[float]) -> list[Row]:
    """Second, and value of each channel; the valve is told at the first only."""
    return [
        (number, flow, 1.0 if number == 0 else None, 5.0 * number)
        for number, flow in enumerate(flows)
    ]


def offline(bundle: Bundle, samples: list[Row]) -> list[Body]:
    """What the agent says of the same samples without any server."""
    agent = Agent(bundle)
    return [
        message
        for number, flow, valve, total in samples
        for message in agent.process(
            (START_S + number) * 1_000_000, [flow, float("nan") if valve is None else valve, total]
        )
    ]


def plain(messages: list[Body]) -> list[Body]:
    return [
        {**one, "is_historical": False} for one in messages if one["kind"] in ("alarm", "event")
    ]


def measure(server: Any, samples: list[Row]) -> None:
    """Twenty samples a second: the server keeps 64 of each channel until they are fetched."""
    for number, flow, valve, total in samples:
        values = {"flow": flow, "total": total} | ({} if valve is None else {"valve": valve})
        at = START_S + number
        server.order(
            write=[{"channel": name, "value": one, "at": at} for name, one in values.items()]
        )
        time.sleep(0.05)


@pytest.fixture
def server(run_opcua: Any) -> Iterator[Any]:
    with run_opcua() as one:
        yield one


def configure(agent: Any, server: Any, *, without_broker: bool) -> Path:
    """The agent takes samples by OPC UA, and says what it has to say to a file, too."""
    text = agent.config.read_text()
    asset = text.index('topic = "plant/pump_07"')
    text = text[:asset] + "".join(
        f'nodes.{name} = "ns=1;s={name}"\n' for name in ("flow", "valve", "total")
    )
    if without_broker:
        text = text[: text.index("[mqtt]")] + text[text.index("[page]") :]
    opcua = f'[opcua]\naddress = "{server.address}"\nsecurity = "none"\n'
    agent.config.write_text(
        text.replace("[page]", f'{opcua}\n[file]\npath = "said.jsonl"\n\n[page]')
    )
    return Path(agent.config.parent / "said.jsonl")


def said(file: Path) -> list[Body]:
    lines = file.read_text().splitlines() if file.exists() else []
    return plain([json.loads(line) for line in lines])


def test_alarms_by_opc_ua_are_those_of_the_same_samples_without_it(
    agent: Any, bundle: Bundle, server: Any, peer: Any, wait_for: Any
) -> None:
    configure(agent, server, without_broker=False)
    agent.start()
    samples = rows(ALARMED)
    expected = plain(offline(bundle, samples))
    with peer("collector", "faultwatch/#") as collector:
        wait_for(lambda: "connected to the OPC UA server" in agent.said, "the server")
        measure(server, samples)
        wait_for(lambda: len(collector.told("alarm", "event")) >= len(expected), "alarms")
        assert plain(collector.told("alarm", "event")) == expected
        assert not collector.told("rejected")
    assert agent.end(signal.SIGTERM) == 0
    assert "Traceback" not in agent.said


def test_without_a_broker_and_with_a_server_that_was_away_only_what_it_measured_then_is_missing(
    agent: Any, bundle: Bundle, server: Any, wait_for: Any
) -> None:
    file = configure(agent, server, without_broker=True)
    agent.start()
    samples = [row for row in rows(ALARMED) if row[0] not in OUTAGE]
    expected = plain(offline(bundle, samples))
    wait_for(lambda: "connected to the OPC UA server" in agent.said, "the server")
    measure(server, [row for row in samples if row[0] < OUTAGE.start])
    time.sleep(1.5)  # fetched once a second
    server.stop()
    wait_for(lambda: "cannot be reached" in agent.said, "the loss")
    server.start()
    wait_for(lambda: agent.said.count("connected to the OPC UA server") == 2, "the server again")
    measure(server, [row for row in samples if row[0] >= OUTAGE.stop])
    wait_for(lambda: len(said(file)) >= len(expected), f"{len(expected)} alarms and events")
    assert said(file) == expected
    assert agent.end(signal.SIGTERM) == 0
    assert "Traceback" not in agent.said


def test_an_agent_that_is_killed_goes_on_where_it_was(
    agent: Any, bundle: Bundle, server: Any, wait_for: Any
) -> None:
    file = configure(agent, server, without_broker=True)
    samples = rows(ALARMED)
    expected = plain(offline(bundle, samples))
    agent.start()
    wait_for(lambda: "connected to the OPC UA server" in agent.said, "the server")
    measure(server, samples[:33])  # the alarm is active
    time.sleep(1.5)  # fetched once a second
    agent.end(signal.SIGKILL)
    agent.start()
    wait_for(lambda: agent.said.count("connected to the OPC UA server") == 2, "the server again")
    measure(server, samples[33:])
    once: dict[tuple[object, object], Body] = {}

    def is_said() -> bool:
        for one in said(file):
            once.setdefault((one["alarm_id"], one["sequence"]), one)
        return len(once) >= len(expected)

    wait_for(is_said, f"{len(expected)} alarms and events")
    assert list(once.values()) == expected


def test_without_the_extra_one_sentence_says_what_to_install(agent: Any, server: Any) -> None:
    configure(agent, server, without_broker=True)
    code = "import sys; sys.modules['asyncua'] = None; from faultwatch_edge.__main__ import main; "
    agent.program = ("-c", f"{code}sys.exit(main())")
    agent.start()
    assert agent.process.wait(20) == 2
    assert "needs asyncua, which is not installed; install faultwatch-edge[opcua]" in agent.said
