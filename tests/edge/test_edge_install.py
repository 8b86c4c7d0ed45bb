"""The wheel alone, in an environment that knows nothing of this repository."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WHEELS = Path(__file__).parents[2] / ".venv/edge-wheels"
EDGE = Path(__file__).parents[2] / "deploy/edge"


@pytest.mark.slow
def test_edge_package_alone_checks_and_runs_a_bundle(
    tmp_path: Path, bundle_path: Path, key_folder: Path
) -> None:
    """Build from a copy, install with its three dependencies only, and use the command; then MQTT."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*command: str | Path, text: str = "") -> str:
        done = subprocess.run(  # noqa: S603 - our own program
            list(map(str, command)),
            input=text,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tmp_path,
        )
        return done.stdout

    source, programs = tmp_path / "source", tmp_path / "venv/bin"
    shutil.copytree(EDGE, source)
    run(sys.executable, "-m", "venv", "venv")
    install: list[str | Path] = [programs / "python", "-m", "pip", "install", "--quiet"]
    if WHEELS.is_dir():  # fetched by make: works offline
        install += ["--no-index", "--find-links", WHEELS]
    run(*install, "setuptools>=80")
    run(*install, "--no-build-isolation", source)
    trust = (bundle_path, "--key", key_folder / "faultwatch.pub")
    assert "54 windows agree" in run(programs / "faultwatch-edge", "check", *trust)
    rows = [
        f"2026-01-01T00:00:{second:02d}Z,{18 if second > 20 else 10},1,{5 * second}"
        for second in range(1, 50)
    ]
    text = "\n".join(["time,flow,valve,total", *rows])
    said = run(programs / "faultwatch-edge", "run", *trust, "--source", "-", text=text)
    assert [json.loads(line)["kind"] for line in said.splitlines()] == ["event", "alarm"]
    code = "import faultwatch_edge as f, pathlib; print((pathlib.Path(f.__file__).parent))"
    package = Path(run(programs / "python", "-c", code).strip())
    assert (package / "py.typed").is_file()
    assert package.is_relative_to(tmp_path)
    config = tmp_path / "edge.toml"
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
    command = [str(programs / "faultwatch-edge"), "serve", str(config)]
    refused = subprocess.run(  # noqa: S603 - our own program
        command, capture_output=True, text=True, env=environment, check=False
    )
    assert refused.returncode == 2
    assert "not installed; install faultwatch-edge[mqtt]" in refused.stderr
    run(*install, "paho-mqtt")
    with subprocess.Popen(  # noqa: S603 - our own program
        command, stderr=subprocess.PIPE, text=True, env=environment
    ) as served:
        assert served.stderr is not None
        said_by_it = ""
        while "cannot be reached" not in said_by_it:
            line = served.stderr.readline()
            assert line, said_by_it
            said_by_it += line
        served.terminate()
        assert served.wait(20) == 0
    assert "watches pump_07" in said_by_it
