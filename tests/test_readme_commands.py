"""The README's daily tasks, run as they stand, on a small machine."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from prefect.settings import PREFECT_API_URL

from pipelines.config import load_asset

Finished = subprocess.CompletedProcess[str]
ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
ELSEWHERE = ("make", "pip", "faultwatch up", "faultwatch-edge serve")
"""Run by other tests: the demo's and the installation's own, those of real servers and a broker."""
CHANNELS = ("flow", "pressure", "temperature", "power")
ASSET = """
[asset]
id = "pump_07"
name = "Cooling water pump"

[source]
files = "history.csv"
labels = "labels.csv"

[window]
sample_period_s = 60.0
length = 8

[model]
latent = 4
width = 8
epochs = 2
windows_per_epoch = 2048

[alarm]
false_alarms_per_day = 1.0
on_delay_s = 120.0
enabled = true
"""


def pump_running(rows: int, *, seed: int) -> npt.NDArray[np.float64]:
    """Four channels that follow one wandering load, with noise of their own."""
    draw = np.random.default_rng(seed)
    load = np.convolve(draw.normal(size=rows + 59), np.ones(60) / 60, mode="valid") * 4
    mix = np.array([1.0, -0.8, 0.5, 0.9])
    moved = load[:, None] * mix + 0.3 * draw.normal(size=(rows, 4))
    level: npt.NDArray[np.float64] = np.array([40.0, 6.0, 60.0, 18.0])
    values: npt.NDArray[np.float64] = level + 0.5 * moved
    return values


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plant")
    rows = 12 * 1440
    times = pl.datetime_range(
        pl.datetime(2026, 1, 1, time_zone="UTC"),
        pl.datetime(2026, 1, 1, time_zone="UTC") + pl.duration(minutes=rows - 1),
        "1m",
        time_unit="us",
        eager=True,
    ).dt.to_string("%Y-%m-%dT%H:%M:%SZ")
    values = pump_running(rows, seed=1)
    fault = slice(rows - 720, rows - 600)
    values[fault, 1] -= 4.0
    history = pl.DataFrame({"time": times, **dict(zip(CHANNELS, values.T, strict=True))})
    history.write_csv(folder / "history.csv")
    history[-1440:].write_csv(folder / "samples.csv")
    labels = pl.DataFrame(
        {
            "start": [times[fault.start]],
            "end": [times[fault.stop]],
            "kind": ["fault"],
            "note": ["leak"],
        }
    )
    labels.write_csv(folder / "labels.csv")
    blocks = "".join(f'\n[[channel]]\nname = "{name}"\nunit = "x"\n' for name in CHANNELS)
    (folder / "pump_07.toml").write_text(ASSET + blocks)
    return folder


def readme_commands() -> list[list[str]]:
    lines = "".join(BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))).splitlines()
    commands = [shlex.split(line, comments=True) for line in lines]
    return [words for words in commands if words and not " ".join(words).startswith(ELSEWHERE)]


def run(
    words: list[str],
    folder: Path,
    *,
    server: str | None = None,
    settings: dict[str, str] | None = None,
) -> Finished:
    module = {"faultwatch": "pipelines.cli", "faultwatch-edge": "faultwatch_edge"}[words[0]]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "deploy/edge")])
    environment = {
        **os.environ,
        **({"PREFECT_API_URL": server} if server else {}),
        "PYTHONPATH": paths,
        "FAULTWATCH_HOME": str(folder / ".faultwatch"),
        "PREFECT_HOME": str(folder / "prefect"),
        **(settings or {}),
    }
    return subprocess.run(  # noqa: S603 - the README's words
        [sys.executable, "-m", module, *words[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def finish(words: list[str], folder: Path) -> str:
    done = run(words, folder, server=PREFECT_API_URL.value())
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def check_left(words: list[str], workplace: Path, printed: str) -> None:
    """What a command has left behind, or said."""
    if words[1] == "backtest":
        assert (workplace / "trial" / "report.html").is_file()
    if words[1] == "evaluate":
        kept = list((workplace / ".faultwatch" / "artifacts").rglob("report/report.html"))
        assert "PCA T²+Q" in kept[0].read_text(encoding="utf-8")
        assert len(kept) == 1
    if words[1] == "roll-back":
        assert "Version 1 is the champion again" in printed
    if "--since" in words:
        assert "Nothing before 2026-01-05 00:00 UTC teaches" in printed


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_harness")
def test_daily_tasks_of_the_readme_end_with_an_alarm_at_the_edge(workplace: Path) -> None:
    commands = readme_commands()
    verbs = [words[1] for words in commands]
    assert {"backtest", "evaluate"} <= {*verbs}
    assert {"init", "ingest", "quality", "quarantine", "label", "keys", "train", "promote"} <= {
        *verbs
    }
    assert {"roll-back", "release", "check", "run"} <= {*verbs}
    edited = (workplace / "pump_07.toml").read_text()
    (workplace / "pump_07.toml").unlink()
    told = ""
    for words in commands:
        if words[1] == "roll-back":  # there must be a champion before this one
            finish(["faultwatch", "train", words[2]], workplace)
            finish(["faultwatch", "promote", words[2], "--reason", "a second champion"], workplace)
        printed = finish(words, workplace)
        if words[1] == "init":  # a person edits what it made
            made = load_asset(workplace / "pump_07.toml")
            assert [channel.name for channel in made.channel] == list(CHANNELS)
            (workplace / "pump_07.toml").write_text(edited)
        check_left(words, workplace, printed)
        if words[:2] == ["faultwatch-edge", "run"]:
            told = printed
    messages = [json.loads(line) for line in told.splitlines()]
    (start, end, *_), *_ = pl.read_csv(workplace / "labels.csv", infer_schema=False).rows()
    raised = [
        message["contributors"][0]["channel"]
        for message in messages
        if message["state"] == "unacknowledged" and start <= message["raised_at"] < end
    ]
    assert raised[:1] == ["pressure"]


def test_a_wrong_setting_is_answered_with_one_sentence(tmp_path: Path) -> None:
    answer = run(["faultwatch", "train", "x"], tmp_path, settings={"FAULTWATCH_MLFLOW_PORT": "x"})
    assert answer.returncode == 2
    assert answer.stderr.startswith("faultwatch: FAULTWATCH_MLFLOW_PORT is 'x'")
    assert answer.stderr.count("\n") == 1


def test_a_wrong_asset_file_is_answered_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(ASSET + '\n[[channel]]\nname = "flow"\nunits = "x"\n')
    answer = run(["faultwatch", "train", "bad.toml"], tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert "channel.0.units" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.usefixtures("prefect_harness")
def test_training_without_history_says_what_to_do_first(workplace: Path, tmp_path: Path) -> None:
    for name in ("pump_07.toml", "labels.csv"):
        (tmp_path / name).write_text((workplace / name).read_text())
    server = PREFECT_API_URL.value()
    answer = run(["faultwatch", "train", "pump_07.toml"], tmp_path, server=server)
    assert answer.returncode == 2
    assert "run `faultwatch ingest` first" in answer.stderr
    assert "Traceback" not in answer.stderr
