"""Random kills, cuts, full disks and wrong clocks over a recorded day change nothing.

25 faults in the ordinary tests; a thousand by ``make faults``, others by ``FAULTS=N SEED=M``.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from faultwatch_edge.agent import Agent
from faultwatch_edge.bundle import Bundle
from faultwatch_edge.spool import Spool

pytestmark = pytest.mark.slow

FAULTS: Final = int(os.environ.get("FAULTS", "25"))
SEED: Final = int(os.environ.get("FAULTS_SEED", "0"))
START_S: Final = 1_767_225_600
SAMPLES_A_FAULT: Final = 4
SHOWN_EVERY: Final = 50
KINDS: Final = ("kill", "kill", "cut", "full", "clock")
LAUNCHER: Final = """
import sqlite3, sys
from pathlib import Path
from faultwatch_edge import serving, spool
from faultwatch_edge.__main__ import main

folder, connect, now_us = Path(sys.argv.pop(1)), sqlite3.connect, serving.now_us

def full_disk(*arguments, **options):
    connection = connect(*arguments, **options)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    return connection

if (folder / "full").exists():
    spool.sqlite3.connect = full_disk
jump = folder / "clock"
serving.now_us = lambda: now_us() + int(jump.read_text()) * 1_000_000
sys.exit(main())
"""
Body = dict[str, Any]


def recorded_day(draw: random.Random, count: int) -> list[tuple[int, list[float]]]:
    """A second apart, with upsets of a few to forty seconds."""
    samples, flow, left = [], 10.0, 30
    for second in range(count):
        if left == 0:
            flow = 18.0 if flow == 10.0 else 10.0
            left = draw.randint(3, 40)
        left -= 1
        samples.append((START_S + second, [flow + draw.random() / 10, 1.0, 5.0 * second]))
    return samples


def transitions(messages: list[Body]) -> dict[tuple[str, int], Body]:
    """What a consumer keeps that tells transitions apart by id and sequence; those seen first."""
    kept: dict[tuple[str, int], Body] = {}
    for message in messages:
        name = message["alarm_id"], message["sequence"]
        kept.setdefault(name, {**message, "is_historical": False})
    return kept


class Faults:
    """Breaks something, at random; what is broken is mended some samples later."""

    def __init__(self, draw: random.Random, agent: Any, broker: Any, folder: Path) -> None:
        self.draw, self.agent, self.broker, self.folder = draw, agent, broker, folder
        self.done: Counter[str] = Counter()
        (folder / "clock").write_text("0")
        agent.program = ("-c", LAUNCHER, str(folder))

    def restart(self) -> None:
        if self.agent.process is not None:
            self.agent.end(signal.SIGKILL)
        self.agent.start()

    def inject(self) -> None:
        kind = self.draw.choice(KINDS)
        self.done[kind] += 1
        (self.folder / "full").unlink(missing_ok=True)
        if kind == "kill":
            self.restart()
            time.sleep(self.draw.random())  # at any moment of its life the next one comes
        elif kind == "full":
            (self.folder / "full").touch()
            self.restart()
        elif kind == "clock":
            (self.folder / "clock").write_text(str(self.draw.randint(-100_000, 100_000)))
        else:
            self.broker.stop()
            self.broker.start()

    def mend(self) -> None:
        (self.folder / "full").unlink(missing_ok=True)
        (self.folder / "clock").write_text("0")
        self.restart()


@pytest.fixture
def faults(agent: Any, broker: Any, tmp_path: Path) -> Faults:
    return Faults(random.Random(SEED), agent, broker, tmp_path)  # noqa: S311 - repeatable


def test_faults_at_random_lose_and_double_nothing(
    faults: Faults, bundle: Bundle, peer: Any, wait_for: Any
) -> None:
    draw, agent = faults.draw, faults.agent
    day = recorded_day(draw, SAMPLES_A_FAULT * FAULTS + 60)
    undisturbed = Agent(bundle)
    said = [m for at_s, row in day for m in undisturbed.process(at_s * 1_000_000, row)]
    expected = transitions(said)
    agent.start()
    with peer("collector", "faultwatch/#") as collector, peer("gateway") as gateway:
        for number, (at_s, (flow, valve, total)) in enumerate(day):
            if number % SAMPLES_A_FAULT == 2 and sum(faults.done.values()) < FAULTS:
                faults.inject()
                wait_for(gateway.client.is_connected, "the gateway")
            body = {"at": at_s, "flow": flow, "state": {"valve": valve}, "FQ-101": total}
            assert gateway.say("plant/pump_07", body)
            if number % (SHOWN_EVERY * SAMPLES_A_FAULT) == 0:
                sys.stdout.write(f"{sum(faults.done.values())} faults, {number} samples\n")
        faults.mend()
        wait_for(lambda: len(transitions(collector.told("alarm", "event"))) >= len(expected), "all")
        heard = collector.told("alarm", "event")
        rejected = collector.told("rejected")
    agent.end(signal.SIGTERM)
    found = transitions(heard)
    lost, wrong = set(expected) - set(found), [k for k in found if found[k] != expected.get(k)]
    sys.stdout.write(
        f"{dict(faults.done)}: {len(expected)} transitions, {len(lost)} lost, {len(wrong)} others, "
        f"{len(heard) - len(found)} delivered again\n"
    )
    assert not lost
    assert not wrong
    assert list(found) == list(expected)  # the order of the first delivery
    assert not rejected
    with Spool(faults.folder / "state" / "spool.db") as spool:
        kept = json.loads(str(spool.state("pump_07")))
    assert kept["alarm"] == json.loads(json.dumps(_as_dict(undisturbed)))


def _as_dict(agent: Agent) -> Body:
    alarm = agent.state.alarm
    return {name: getattr(alarm, name) for name in alarm.__dataclass_fields__}
