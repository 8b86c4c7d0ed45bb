"""The wheel alone, in an environment that knows nothing of this repository."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

WHEELS = Path(__file__).parents[2] / ".venv/edge-wheels"
EDGE = Path(__file__).parents[2] / "deploy/edge"
BROKER = Path("/usr/sbin/mosquitto")


@dataclass(frozen=True)
class Device:
    """An environment with the wheel, and a folder to work in."""

    folder: Path

    @property
    def programs(self) -> Path:
        return self.folder / "venv/bin"

    @property
    def environment(self) -> dict[str, str]:
        return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(self, *command: str | Path, text: str = "") -> str:
        done = subprocess.run(  # noqa: S603 - our own program
            list(map(str, command)),
            input=text,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.folder,
        )
        return done.stdout

    def install(self, *what: str | Path) -> None:
        command: list[str | Path] = [self.programs / "python", "-m", "pip", "install", "--quiet"]
        if WHEELS.is_dir():  # fetched by make: works offline
            command += ["--no-index", "--find-links", WHEELS]
        self.run(*command, *what)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    """Built from a copy, with the wheel's three dependencies only."""
    made = Device(tmp_path_factory.mktemp("device"))
    source = made.folder / "source"
    shutil.copytree(EDGE, source)
    made.run(sys.executable, "-m", "venv", "venv")
    made.install("setuptools>=80")
    made.install("--no-build-isolation", source)
    return made


def test_edge_package_alone_checks_and_runs_a_bundle(
    device: Device, bundle_path: Path, key_folder: Path
) -> None:
    program = device.programs / "faultwatch-edge"
    trust = (bundle_path, "--key", key_folder / "faultwatch.pub")
    assert "54 windows agree" in device.run(program, "check", *trust)
    rows = [
        f"2026-01-01T00:00:{second:02d}Z,{18 if second > 20 else 10},1,{5 * second}"
        for second in range(1, 50)
    ]
    text = "\n".join(["time,flow,valve,total", *rows])
    said = device.run(program, "run", *trust, "--source", "-", text=text)
    assert [json.loads(line)["kind"] for line in said.splitlines()] == ["event", "alarm"]
    code = "import faultwatch_edge as f, pathlib; print((pathlib.Path(f.__file__).parent))"
    package = Path(device.run(device.programs / "python", "-c", code).strip())
    assert (package / "py.typed").is_file()
    assert package.is_relative_to(device.folder)


@pytest.fixture
def serve(device: Device, bundle_path: Path, key_folder: Path) -> Callable[[int], list[str]]:
    """The command that serves by a broker at a port."""

    def command(port: int) -> list[str]:
        config = device.folder / "edge.toml"
        config.write_text(
            f"""
[agent]
folder = "state"
keys = ["{key_folder / "faultwatch.pub"}"]
[mqtt]
port = {port}
[[asset]]
bundle = "{bundle_path}"
topic = "plant/pump_07"
"""
        )
        return [str(device.programs / "faultwatch-edge"), "serve", str(config)]

    return command


def said_until(command: list[str], device: Device, *words: str) -> int:
    """Run a command until it has said some words, then end it; returns how it ended."""
    with subprocess.Popen(  # noqa: S603 - our own program
        command, stderr=subprocess.PIPE, text=True, env=device.environment
    ) as served:
        assert served.stderr is not None
        said = ""
        while not all(word in said for word in words):
            line = served.stderr.readline()
            assert line, said
            said += line
        served.terminate()
        return served.wait(20)


def test_edge_package_without_its_extra_says_what_to_install(
    device: Device, serve: Callable[[int], list[str]]
) -> None:
    refused = subprocess.run(  # noqa: S603 - our own program
        serve(9), capture_output=True, text=True, env=device.environment, check=False
    )
    assert refused.returncode == 2
    (sentence,) = refused.stderr.splitlines()
    assert sentence.endswith("which is not installed; install faultwatch-edge[mqtt]")


def test_edge_package_with_its_extra_serves_with_and_without_a_broker(
    device: Device, serve: Callable[[int], list[str]]
) -> None:
    if not BROKER.exists():
        pytest.skip("there is no MQTT broker; install the Debian package mosquitto")
    device.install("--no-build-isolation", f"{device.folder / 'source'}[mqtt]")
    assert said_until(serve(9), device, "watches pump_07", "cannot be reached") == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [str(BROKER), "-p", str(port)]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as broker:  # noqa: S603 - our own broker
        try:
            assert said_until(serve(port), device, "connected to the broker at 127.0.0.1") == 0
        finally:
            broker.terminate()
