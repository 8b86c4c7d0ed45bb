"""The wheel alone, in an environment that knows nothing of this repository."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

WHEELS = Path(__file__).parents[2] / ".venv/edge-wheels"
EDGE = Path(__file__).parents[2] / "deploy/edge"


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


def test_edge_package_serves_once_its_extra_is_installed(
    device: Device, bundle_path: Path, key_folder: Path
) -> None:
    config = device.folder / "edge.toml"
    config.write_text(
        f"""
[agent]
folder = "state"
keys = ["{key_folder / "faultwatch.pub"}"]
[mqtt]
port = 9
[[asset]]
bundle = "{bundle_path}"
topic = "plant/pump_07"
"""
    )
    command = [str(device.programs / "faultwatch-edge"), "serve", str(config)]
    refused = subprocess.run(  # noqa: S603 - our own program
        command, capture_output=True, text=True, env=device.environment, check=False
    )
    assert refused.returncode == 2
    assert "not installed; install faultwatch-edge[mqtt]" in refused.stderr
    device.install("paho-mqtt")
    with subprocess.Popen(  # noqa: S603 - our own program
        command, stderr=subprocess.PIPE, text=True, env=device.environment
    ) as served:
        assert served.stderr is not None
        said = ""
        while "cannot be reached" not in said or "watches pump_07" not in said:
            line = served.stderr.readline()
            assert line, said
            said += line
        served.terminate()
        assert served.wait(20) == 0
