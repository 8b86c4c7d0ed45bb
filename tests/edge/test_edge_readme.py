"""The README's commands, outputs and code are those of the program."""

import json
import re
import shutil
from pathlib import Path

import pytest

from faultwatch_edge.__main__ import _parser, main
from faultwatch_edge.agent import Agent
from faultwatch_edge.bundle import Bundle

README = (Path(__file__).parents[2] / "deploy/edge/README.md").read_text(encoding="utf-8")
VARYING = re.compile(r"[0-9a-f]{64}|[0-9a-f]{16}")


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (found,) = (one for one in blocks if containing in one)
    return str(found)


def test_python_example_runs(
    bundle_path: Path, key_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(bundle_path, tmp_path)
    shutil.copy(key_folder / "faultwatch.pub", tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(block("python", "Agent(bundle)"), names)  # noqa: S102 - our own text
    assert names["messages"] == []


def test_output_of_check_is_as_shown(
    bundle_path: Path, key_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(bundle_path), "--key", str(key_folder)]) == 0
    shown = block("text", "signature  good")
    assert VARYING.sub("#", capsys.readouterr().out) == VARYING.sub("#", shown)


def test_commands_and_options_exist() -> None:
    lines = block("sh", "faultwatch-edge check") + block("sh", "faultwatch-edge run")
    for line in lines.splitlines():
        _parser().parse_args(line.split()[1:])
    run = _parser().parse_args(["run", "x", "--source", "-"])
    shown = re.findall(r"^\| `--(\w+)", README, re.MULTILINE)
    assert sorted(shown) == sorted(set(vars(run)) - {"verb", "bundle", "key"})


def test_message_has_the_keys_and_the_text_of_a_real_one(bundle: Bundle) -> None:
    shown = json.loads(block("json", "alarm_id"))
    start = 1_767_225_600
    agent = Agent(bundle)
    messages = []
    for second in range(30):
        values = [18.0 if second > 19 else 10.0, 1.0, 5.0 * second]
        messages += agent.process((start + second) * 1_000_000, values)
    (alarm,) = [message for message in messages if message["kind"] == "alarm"]
    assert set(alarm) == set(shown)
    same = set(shown) - {"bundle_sha256"}
    assert {key: alarm[key] for key in same} == {key: shown[key] for key in same}
