"""What devices say is in the historian's folder once, whatever is cut or killed meanwhile."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest

from faultwatch_edge.agent import Agent
from faultwatch_edge.bundle import Bundle
from faultwatch_edge.score_row import ScoreRow, score_record
from pipelines.config import AssetConfig, load_asset
from pipelines.historian import Historian
from pipelines.ingest import ingest_asset
from pipelines.journal import Journal, health_table

pytestmark = pytest.mark.slow

START_S: Final = 1_767_225_600
ALARMED: Final = [10.0] * 20 + [18.0] * 20 + [10.0] * 30
ASSET: Final = """
[asset]
id = "pump_07"
[source]
files = "*.csv"
time = "at"
time_format = "epoch_s"
[window]
sample_period_s = 1.0
[[channel]]
name = "flow"
tag = "FT-101"
unit = "m3/h"
[[channel]]
name = "valve"
[[channel]]
name = "total"
tag = "FQ-101"
[live]
topic = "plant/pump_07"
time = "at"
time_format = "s"
keys = { valve = "state.valve" }
"""
LAUNCHER: Final = """
import sys
from pipelines import buffer, collect, records
from pipelines.cli import main

records.AssetJournal.every_s = records.AgentsRecord.every_s = records.SamplesRecord.every_s = 1
collect.URGENT_S = collect.AGAIN_S = 1
buffer.MOST_WAITING = int(sys.argv.pop(1))
sys.exit(main())
"""
Body = dict[str, Any]


def sample(number: int, flow: float) -> Body:
    return {"at": START_S + number, "flow": flow, "state": {"valve": 1}, "FQ-101": 5 * number}


@dataclass
class CollectorProcess:
    """``faultwatch collect`` as a process that writes every second."""

    home: Path
    asset: Path
    log: Path
    most_waiting: int = 200_000
    process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", LAUNCHER, str(self.most_waiting), "collect", str(self.asset)]

    @property
    def environment(self) -> dict[str, str]:
        secret = {"FAULTWATCH_MQTT_PASSWORD": "collector-secret"}
        return {**os.environ, **secret, "FAULTWATCH_HOME": str(self.home)}

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                self.command, stderr=log, env=self.environment
            )

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.process = None
        return code

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def address(self) -> str:
        return str(self.home / "historian")

    @property
    def config(self) -> AssetConfig:
        return load_asset(self.asset)

    @property
    def historian(self) -> Historian:
        return Historian(self.address, "pump_07", self.config.channel)

    @property
    def journal(self) -> Journal:
        return Journal(self.address, "pump_07")

    def tables(self) -> dict[str, pl.DataFrame]:
        journal = self.journal
        return {
            "samples": self.historian.read(),
            "quarantine": self.historian.read_quarantine(),
            "alarms": journal.alarms.read(),
            "events": journal.events.read(),
            "scores": journal.scores.read(),
        }


@pytest.fixture
def collector(broker: Any, tmp_path: Path) -> Iterator[CollectorProcess]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "broker.toml").write_text(
        f"""
[mqtt]
host = "localhost"
port = {broker.port}
username = "collector"
ca = "../broker/ca.pem"
"""
    )
    asset = tmp_path / "pump_07.toml"
    asset.write_text(ASSET)
    one = CollectorProcess(home, asset, tmp_path / "collector.log")
    one.log.touch()
    yield one
    if one.process is not None:
        one.process.kill()
        one.process.wait()


@dataclass
class Plant:
    """A broker, an agent and a collector as processes, and clients beside them."""

    broker: Any
    agent: Any
    collector: CollectorProcess
    peer: Callable[..., Any]
    wait_for: Callable[..., None]

    def begin(self, hearer: Any) -> None:
        """Both run and listen."""
        self.collector.start()
        self.wait_for(lambda: "connected to" in self.collector.said, "the collector")
        self.agent.start()
        self.wait_for(lambda: hearer.told("health"), "the agent")

    def run(self, gateway: Any, flows: list[float], disturb: Callable[[int], None]) -> None:
        """Publish samples, with a disturbance after each."""
        for number, flow in enumerate(flows):
            assert gateway.say("plant/pump_07", sample(number, flow))
            disturb(number)
            self.wait_for(gateway.client.is_connected, "the gateway")

    def wait(self, samples: int, scores: int, alarms: int) -> None:
        """Until so much is in the tables."""

        def is_there() -> bool:
            tables = self.collector.tables()
            wanted = {"samples": samples, "scores": scores, "alarms": alarms}
            return all(tables[name].height >= count for name, count in wanted.items())

        self.wait_for(is_there, f"{samples} samples, {scores} scores, {alarms} alarms", 40)


@pytest.fixture
def plant(
    broker: Any,
    agent: Any,
    collector: CollectorProcess,
    peer: Callable[..., Any],
    wait_for: Callable[..., None],
) -> Plant:
    return Plant(broker, agent, collector, peer, wait_for)


class Disturbance:
    """Kills the collector at random moments, and cuts the broker once."""

    def __init__(self, plant: Plant) -> None:
        self.plant, self.chance = plant, random.Random(0)  # noqa: S311 - moments of the kills

    def __call__(self, number: int) -> None:
        if number % 14 == 6:
            time.sleep(1.5 * self.chance.random())
            self.plant.collector.end(signal.SIGKILL)
        if number % 14 == 9:
            self.plant.collector.start()
        if number == 40:
            self.plant.broker.stop()
            self.plant.broker.start()


def offline(bundle: Bundle, flows: list[float]) -> tuple[list[Body], list[Body]]:
    """Messages and scores of the agent for the same samples without any broker."""
    rows: list[ScoreRow] = []
    agent = Agent(bundle, on_score=rows.append)
    messages: list[Any] = []
    for number, flow in enumerate(flows):
        values = [flow, 1.0, 5.0 * number]
        messages += agent.process((START_S + number) * 1_000_000, values)
    return messages, [score_record(row) for row in rows]


def transitions(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return frame.select("alarm_id", "sequence", "state", "message").rows()


def said(messages: list[Body], kind: str) -> list[tuple[Any, ...]]:
    names = ("alarm_id", "sequence", "state", "message")
    return [tuple(one[name] for name in names) for one in messages if one["kind"] == kind]


def scores_of(frame: pl.DataFrame) -> list[Body]:
    rows = frame.drop("model_version", "bundle_sha256").iter_rows(named=True)
    return [row | {"time": row["time"].isoformat().replace("+00:00", "Z")} for row in rows]


def ingested(flows: list[float], folder: Path) -> pl.DataFrame:
    """Samples of the same rows, read from a file."""
    folder.mkdir()
    rows = [f"{START_S + number},{flow},1,{5 * number}" for number, flow in enumerate(flows)]
    (folder / "rows.csv").write_text("\n".join(["at,flow,valve,FQ-101", *rows, ""]))
    asset_file = folder / "pump_07.toml"
    asset_file.write_text(ASSET)
    asset = load_asset(asset_file)
    historian = Historian(folder / "historian", "pump_07", asset.channel)
    ingest_asset(asset, historian)
    return historian.read()


def test_killed_cut_and_told_again_everything_is_there_once(
    plant: Plant, bundle: Bundle, tmp_path: Path
) -> None:
    messages, scores = offline(bundle, ALARMED)
    with plant.peer("collector", "faultwatch/#") as hearer, plant.peer("gateway") as gateway:
        plant.begin(hearer)
        plant.run(gateway, ALARMED, Disturbance(plant))
        plant.wait(len(ALARMED), len(scores), 2)
        plant.agent.end(signal.SIGTERM)
        plant.run(gateway, ALARMED, lambda _: None)  # once more: nothing is new
        with plant.peer("edge") as edge:
            for topic, body in list(hearer.heard):
                late = {"is_historical": True} if body["kind"] in ("alarm", "event") else {}
                assert edge.say(topic, body | late)
    assert plant.collector.end(signal.SIGTERM) == 0
    tables = plant.collector.tables()
    assert tables["samples"].equals(ingested(ALARMED, tmp_path / "ingested"))
    assert tables["quarantine"].is_empty()
    assert transitions(tables["alarms"]) == said(messages, "alarm")
    events = tables["events"].filter(pl.col("condition") != "data_quality")  # a silent source
    assert transitions(events) == said(messages, "event")
    assert scores_of(tables["scores"])[: len(scores)] == scores
    assert tables["scores"]["time"].is_unique().all()
    assert set(tables["scores"]["bundle_sha256"]) == {bundle.sha256}
    assert "Traceback" not in plant.collector.said


def test_who_acknowledged_an_alarm_is_listed_with_it(plant: Plant) -> None:
    with (
        plant.peer("collector", "faultwatch/#") as hearer,
        plant.peer("gateway") as gateway,
        plant.peer("operator") as operator,
    ):
        plant.begin(hearer)
        plant.run(gateway, ALARMED[:40], lambda _: None)
        plant.wait_for(lambda: hearer.told("alarm"), "the alarm")
        operator.say("faultwatch/pump_07/command", {"verb": "acknowledge", "by": "Kim"})
        shelve = {"verb": "shelve", "by": "Robin", "reason": "impeller ordered", "for_s": 3600}
        operator.say("faultwatch/pump_07/command", shelve)
        plant.wait_for(lambda: len(hearer.told("alarm")) == 3, "the shelf")
        plant.wait(40, 1, 3)
    collector = plant.collector
    listed = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "pipelines.cli", "alarms", str(collector.asset), "--json"],
        env=collector.environment,
        capture_output=True,
        check=True,
    )
    (alarm,) = json.loads(listed.stdout)
    known = {
        "state": "shelved",
        "by": "Robin",
        "reason": "impeller ordered",
        "acknowledged_by": "Kim",
        "onset_at": "2026-01-01T00:00:21Z",
    }
    assert {name: alarm[name] for name in known} == known
    assert alarm["contributors"][0]["channel"] == "flow"
    agents = health_table(collector.address).read()
    assert agents.select("agent", "asset").row(0) == ("faultwatch-edge", "pump_07")


def test_a_bad_message_is_said_and_kept_apart_and_the_next_one_is_taken(plant: Plant) -> None:
    collector, alarm = plant.collector, "faultwatch/pump_07/alarm"
    collector.start()
    plant.wait_for(lambda: "connected to" in collector.said, "the collector")
    with plant.peer("gateway") as gateway, plant.peer("edge") as edge:
        assert gateway.say("plant/pump_07", b"{")
        assert edge.say(alarm, {"schema": 2, "kind": "alarm"})
        assert edge.say("faultwatch/faultwatch-edge/health", b"[" * 100_000)
        assert gateway.say("plant/pump_07", sample(0, 10.0))
        plant.wait_for(lambda: collector.historian.read().height, "the sample")
    assert collector.end(signal.SIGINT) == 0
    reasons = dict(collector.historian.read_quarantine().select("source", "reason").rows())
    assert reasons == {
        "plant/pump_07": "payload is not JSON, expected an object",
        alarm: "schema is 2, expected 1; of another version of the agent",
    }
    assert "put in quarantine: it schema is 2" in collector.said
    assert "Traceback" not in collector.said


def test_what_cannot_be_written_stays_and_then_at_the_broker_until_it_can(plant: Plant) -> None:
    collector = plant.collector
    collector.most_waiting = 20
    blocked = collector.home / "historian"
    blocked.write_text("a file where a folder should be")
    collector.start()
    plant.wait_for(lambda: "connected to" in collector.said, "the collector")
    with plant.peer("gateway") as gateway:
        for number in range(60):
            assert gateway.say("plant/pump_07", sample(number, 10.0))
        plant.wait_for(
            lambda: "nothing more is taken until there is room" in collector.said, "room"
        )
        assert "pump_07/samples: cannot be written" in collector.said
        blocked.unlink()
        plant.wait_for(lambda: collector.historian.read().height == 60, "all samples")


def test_a_second_collector_of_one_home_is_refused(plant: Plant) -> None:
    collector = plant.collector
    collector.start()
    plant.wait_for(lambda: "connected to" in collector.said, "the collector")
    second = subprocess.run(  # noqa: S603 - our own program
        collector.command, env=collector.environment, capture_output=True, text=True, check=False
    )
    assert second.returncode == 2
    assert "if another collector runs, stop it" in second.stderr
    assert collector.end(signal.SIGTERM) == 0
