"""A device follows an alias of a real MLflow server, and takes nothing else from it."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from faultwatch_edge.config import RegistryConfig
from faultwatch_edge.errors import SourceError
from faultwatch_edge.registry import RegistryMirror
from faultwatch_edge.renewal import Renewal
from faultwatch_edge.spool import Spool
from pipelines.settings import Settings
from pipelines.up import mlflow_arguments, mlflow_secrets

pytestmark = pytest.mark.slow

ASSET: Final = "pump_07"
Registered = Callable[..., int]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server as `faultwatch up` starts it."""
    home = tmp_path_factory.mktemp("registry")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = Settings(home=home, mlflow_port=port)
    command = [str(word) for word in mlflow_arguments(settings)]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", *command],
            env=os.environ | mlflow_secrets(settings),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@pytest.fixture
def client(address: str, wait_for: Any) -> MlflowClient:
    def answers() -> bool:
        with suppress(OSError), urlopen(f"{address}/health", timeout=1) as answer:  # noqa: S310
            return bool(answer.status == 200)
        return False

    wait_for(answers, "the registry", patience_s=120)
    return MlflowClient(address, address)


@pytest.fixture
def registered(
    client: MlflowClient, tmp_path: Path, write_version: Callable[..., Path]
) -> Registered:
    """Register a bundle as a training does, under the next version."""
    with suppress(MlflowException):
        client.delete_registered_model(ASSET)
    client.create_registered_model(ASSET)
    experiment = client.create_experiment(str(tmp_path))

    def register(**tags: str) -> int:
        run = client.create_run(experiment)
        version = 1 + len(client.search_model_versions(f"name = '{ASSET}'"))
        path = write_version(tmp_path, version)
        client.log_artifact(run.info.run_id, str(path), "bundle")
        source = f"{run.info.artifact_uri}/bundle"
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        found = {"bundle": path.name, "bundle_sha256": sha256, **tags}
        client.create_model_version(ASSET, source, run.info.run_id, tags=found)
        return version

    return register


@pytest.fixture
def mirror(address: str, tmp_path: Path) -> RegistryMirror:
    return RegistryMirror(
        RegistryConfig(address),
        password=None,
        folders={ASSET: tmp_path / "mirror"},
        note=lambda _: None,
    )


def test_a_folder_holds_what_the_alias_stands_for_and_nothing_else(
    client: MlflowClient, registered: Registered, mirror: RegistryMirror, tmp_path: Path
) -> None:
    first, second = registered(), registered()
    for version in (first, second, first):
        client.set_registered_model_alias(ASSET, "champion", str(version))
        mirror.fetch(ASSET)
        name = f"{ASSET}-{version}.fwb"
        assert [file.name for file in (tmp_path / "mirror").iterdir()] == [name]
        fetched = (tmp_path / "mirror" / name).read_bytes()
        assert fetched == (tmp_path / name).read_bytes()


def test_what_is_not_as_registered_is_refused_and_the_file_before_it_stays(
    client: MlflowClient, registered: Registered, mirror: RegistryMirror, tmp_path: Path
) -> None:
    def refused(version: int, words: str) -> None:
        client.set_registered_model_alias(ASSET, "champion", str(version))
        with pytest.raises(SourceError, match=words):
            mirror.fetch(ASSET)
        assert [file.name for file in (tmp_path / "mirror").iterdir()] == [f"{ASSET}-1.fwb"]

    client.set_registered_model_alias(ASSET, "champion", str(registered()))
    mirror.fetch(ASSET)
    refused(registered(bundle_sha256="0" * 64), "what the registry sent is not what was registered")
    refused(registered(bundle="../pump_07-3.fwb"), r"of bundle '\.\./pump_07-3\.fwb', expected")
    refused(registered(bundle="pump_07-1.fwb"), r"expected pump_07-VERSION\.fwb; train it again")
    refused(registered(bundle=f"{ASSET}/pump_07-5.fwb"), r"expected pump_07-VERSION\.fwb")


def test_an_alias_or_a_server_that_is_not_there_is_said(
    registered: Registered, mirror: RegistryMirror, tmp_path: Path
) -> None:
    registered()
    with pytest.raises(SourceError, match=r"alias\) answers 400 .*alias champion not found"):
        mirror.fetch(ASSET)
    nobody = RegistryMirror(
        RegistryConfig("http://127.0.0.1:9"),
        password="secret",  # noqa: S106
        folders={ASSET: tmp_path / "mirror"},
        note=lambda _: None,
    )
    with pytest.raises(SourceError, match="cannot be reached"):
        nobody.fetch(ASSET)


def follow(agent: Any, address: str) -> None:
    """Let the agent take its bundle from a registry."""
    text = re.sub('bundle = ".*"', f'model = "{ASSET}"', agent.config.read_text())
    agent.config.write_text(f'{text}\n[registry]\naddress = "{address}"\nevery_s = 1\n')


def kept_slots(agent: Any) -> str:
    folder = agent.config.parent / "state"
    with Spool(folder / "spool.db") as spool:
        return str(spool.state(Renewal.memory(folder / "registry" / ASSET)))


def test_an_agent_follows_the_champion_and_goes_back_with_it(
    client: MlflowClient, registered: Registered, agent: Any, peer: Any, wait_for: Any
) -> None:
    follow(agent, client.tracking_uri)
    first, second = registered(), registered()
    client.set_registered_model_alias(ASSET, "champion", str(first))
    with peer("collector", "faultwatch/#") as collector:
        agent.start()
        wait_for(lambda: collector.told("health"), "the agent")
        (told,) = collector.told("health")[0]["assets"]
        assert told["model_version"] == first
        client.set_registered_model_alias(ASSET, "champion", str(second))
        makes_way = f"version {first} makes way for version {second}"
        wait_for(lambda: makes_way in agent.said, "the newer bundle", patience_s=40)
        wait_for(lambda: f'"{ASSET}-{second}.fwb"' in kept_slots(agent), "its slot")
        agent.end(signal.SIGKILL)
        agent.start()
        client.set_registered_model_alias(ASSET, "champion", str(first))
        goes_back = f"Runs version {first} again by the registry"
        wait_for(lambda: goes_back in agent.said, "the older bundle", patience_s=40)
        wait_for(lambda: collector.told("event"), "word of it")
        assert collector.told("event")[0]["condition"] == "model_health"
        assert json.dumps(collector.told("event")[0]["model_version"]) == str(first)
    assert agent.end(signal.SIGTERM) == 0


def test_an_agent_that_cannot_reach_the_registry_at_its_first_start_says_so(
    agent: Any,
) -> None:
    follow(agent, "http://127.0.0.1:9")
    agent.start()
    assert agent.process.wait(20) == 2
    assert "cannot be reached" in agent.said
    assert "Traceback" not in agent.said
