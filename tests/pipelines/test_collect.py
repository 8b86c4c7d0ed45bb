"""The collector beside its broker: what it refuses, and kills while it writes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import polars as pl
import pytest

from pipelines.buffer import Buffer, Heard
from pipelines.cli import main
from pipelines.config import load_asset
from pipelines.historian import Historian
from pipelines.journal import Journal

START_S: Final = 1_767_225_600
COUNT: Final = 2_000
NAME: Final = "mqtt/faultwatch-collect"
ASSET: Final = """
[asset]
id = "pump_07"
[source]
files = "*.csv"
[window]
sample_period_s = 1.0
[[channel]]
name = "flow"
[live]
topic = "plant/pump_07"
time_format = "s"
"""
# Writes small batches, so that a kill meets every step; the broker is never there.
LAUNCHER: Final = """
import sys
from pipelines import buffer
from pipelines.cli import main

buffer.MOST_AT_ONCE = 100
sys.exit(main())
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a broker's file; nothing listens there."""
    monkeypatch.setenv("FAULTWATCH_HOME", str(tmp_path))
    (tmp_path / "broker.toml").write_text("[mqtt]\nport = 1\n")
    return tmp_path


@pytest.fixture
def asset_file(tmp_path: Path) -> Path:
    path = tmp_path / "pump_07.toml"
    path.write_text(ASSET)
    return path


def fill(home: Path) -> None:
    """What a collector has taken before it was killed: samples, scores, and some that are bad."""
    messages = []
    for number in range(COUNT):
        sample = f'{{"time": {START_S + number}, "flow": {number}}}' if number % 50 else "[]"
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START_S + number))
        score = (
            f'{{"schema": 1, "kind": "score", "asset": "pump_07", "time": "{at}", "score": 0.5, '
            '"anomalous": false, "gate": true, "state": "normal"}'
        )
        messages += [
            ("pump_07/samples", Heard("plant/pump_07", sample.encode(), START_S * 2_000_000)),
            ("pump_07", Heard("faultwatch/pump_07/score", score.encode(), 0)),
        ]
    with Buffer(home / "collect" / "buffer.db", at_us=1) as buffer:
        buffer.keep(messages)


def start(asset_file: Path, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", LAUNCHER, "collect", str(asset_file)],
        env={**os.environ, "FAULTWATCH_HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )


def await_sentence(process: subprocess.Popen[str], words: str) -> str:
    assert process.stderr is not None
    while words not in (line := process.stderr.readline()):
        assert process.poll() is None
    return line


def check_tables(home: Path, asset_file: Path) -> None:
    asset = load_asset(asset_file)
    historian = Historian(home / "historian", "pump_07", asset.channel)
    kept = [float(number) for number in range(COUNT) if number % 50]
    assert historian.read()["flow"].to_list() == kept
    assert historian.read_quarantine()["source"].to_list() == ["plant/pump_07"]
    progress = historian.progress(historian.sources.of(NAME))
    assert progress.counts.kept == len(kept)
    assert progress.counts.rows == COUNT
    scores = Journal(str(home / "historian"), "pump_07").scores.read()
    assert scores.height == COUNT
    assert scores["time"].is_unique().all()


def test_a_collector_that_is_killed_while_it_writes_writes_each_once(
    home: Path, asset_file: Path
) -> None:
    fill(home)
    chance = random.Random(0)  # noqa: S311 - moments of the kills
    beginnings = set()
    for _ in range(4):
        process = start(asset_file, home)
        beginnings.add(await_sentence(process, "collects pump_07"))
        time.sleep(0.7 * chance.random())
        process.kill()
        process.communicate()
    process = start(asset_file, home)
    await_sentence(process, "collects pump_07")
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 0
    assert len(beginnings) > 1  # some were killed half-way
    check_tables(home, asset_file)
    with Buffer(home / "collect" / "buffer.db", at_us=1) as buffer:
        assert buffer.count == 0


@pytest.mark.parametrize(
    ("broker", "sentence"),
    [
        ("", "mqtt is missing, expected it beside the others"),
        ("mqtt = 1", "mqtt is 1, expected an object"),
        ("[mqtt]\nhost = 'plant'", "mqtt.host is 'plant' without mqtt.ca, expected an encrypted"),
        ("[mqtt]\npublish = 'f/x{asset}/{kind}'", "expected {asset} as one whole level of it"),
        ("[mqtt]\nca = 'none.pem'", "mqtt.ca, mqtt.certificate or mqtt.private_key cannot be used"),
        ("[agent]", "agent is not known, expected only mqtt"),
    ],
)
def test_a_broker_that_cannot_be_asked_is_told_at_once(
    home: Path, asset_file: Path, broker: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "broker.toml").write_text(broker)
    assert main(["collect", str(asset_file)]) == 2
    assert sentence in capsys.readouterr().err


def test_without_a_brokers_file_it_is_named(
    home: Path, asset_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "broker.toml").unlink()
    assert main(["collect", str(asset_file)]) == 2
    assert "broker.toml: cannot be read (No such file" in capsys.readouterr().err


def test_an_asset_that_is_named_twice_is_refused(
    home: Path, asset_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del home
    assert main(["collect", str(asset_file), str(asset_file)]) == 2
    assert "asset 'pump_07' is named twice" in capsys.readouterr().err


def test_other_channels_than_the_historians_are_refused(
    home: Path, asset_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asset = load_asset(asset_file)
    historian = Historian(home / "historian", "pump_07", asset.channel)
    historian.merge(
        pl.DataFrame(schema={"time": pl.Datetime("us", "UTC"), "flow": pl.Float64()}), source="a"
    )
    historian.note_meaning(1)
    asset_file.write_text(ASSET.replace('name = "flow"', 'name = "speed"'))
    assert main(["collect", str(asset_file)]) == 2
    assert "pump_07: channel 'speed'" in capsys.readouterr().err


def test_what_waits_for_an_asset_that_is_not_named_is_said(home: Path, asset_file: Path) -> None:
    with Buffer(home / "collect" / "buffer.db", at_us=1) as buffer:
        buffer.keep([("fan_02", Heard("faultwatch/fan_02/alarm", b"{}", 0))])
    process = start(asset_file, home)
    await_sentence(process, "messages wait for fan_02, which is not named now")
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 0
    with Buffer(home / "collect" / "buffer.db", at_us=1) as buffer:
        assert buffer.places() == ["fan_02"]
