"""`faultwatch up` on PostgreSQL and object storage, behind accounts: all is there again."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import psycopg
import pytest
from pydantic import SecretStr

from faultwatch_edge.bundle import Bundle
from pipelines.accounts import client_secrets
from pipelines.registry import Registry
from pipelines.schedules import our_deployments, prefect_client
from pipelines.services import marked_processes
from pipelines.settings import MLFLOW_DATABASE, PREFECT_DATABASE, Settings
from pipelines.up import mlflow_address, prefect_address

Run = Callable[..., list[tuple[Any, ...]]]
PROGRAM = "import sys; from pipelines.cli import main; sys.exit(main())"
PASSWORDS = {
    f"mlflow_{name}_password": secrets.token_hex(8) for name in ("admin", "flows", "devices")
}
WORD = "100% /@:secret"
IN_ADDRESS = quote(WORD, safe="")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def settings(tmp_path: Path, postgres: str, s3: str, run: Run) -> Iterator[Settings]:
    """Of somebody who may make databases; nothing is left of what is started with them."""
    run(postgres, f"CREATE ROLE keeper LOGIN CREATEDB PASSWORD '{WORD}'")
    place = postgres.rpartition("@")[2].removesuffix("postgres")
    settings = Settings(
        home=tmp_path / "home",
        mlflow_port=free_port(),
        prefect_port=free_port(),
        server_database=SecretStr(f"postgresql://keeper:{IN_ADDRESS}@{place}"),
        artifacts=f"{s3}/mlflow",
    )
    passwords = {name: SecretStr(word) for name, word in PASSWORDS.items()}
    settings = settings.model_copy(update=passwords)
    settings.home.mkdir()
    yield settings
    kill_all(settings)
    drops = [f"DROP DATABASE IF EXISTS {name}" for name in (MLFLOW_DATABASE, PREFECT_DATABASE)]
    run(postgres, *(f"{drop} WITH (FORCE)" for drop in drops), "DROP ROLE keeper")


def start(settings: Settings) -> subprocess.Popen[bytes]:
    with output_of(settings).open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - ours
            [sys.executable, "-c", PROGRAM, "up", "tennessee_eastman"],
            env=os.environ | variables(settings) | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def variables(settings: Settings) -> dict[str, str]:
    said = {f"FAULTWATCH_{name.upper()}": value for name, value in settings if value is not None}
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in said.items()
    } | {"PREFECT_HOME": str(settings.home / "prefect")}


def output_of(settings: Settings) -> Path:
    return settings.home / "up.txt"


def kill_all(settings: Settings) -> None:
    """End what runs in this home as a power cut would."""
    while pids := marked_processes(settings.home):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def wait_for(process: subprocess.Popen[bytes], what: Callable[[], Any], settings: Settings) -> None:
    for _ in range(1_200):
        if what():
            return
        assert process.poll() is None, output_of(settings).read_text()
        time.sleep(0.1)
    raise AssertionError(output_of(settings).read_text())


def wait_until_ready(process: subprocess.Popen[bytes], settings: Settings) -> None:
    told = output_of(settings)
    wait_for(process, lambda: "Ctrl-C stops everything." in told.read_text(), settings)


def interrupt(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGINT)
    return process.wait(60)


def deployed(settings: Settings) -> set[UUID]:
    """Identifiers that Prefect's database gave to what was deployed first."""
    with prefect_client(f"{prefect_address(settings)}/api") as client:
        return {deployment.id for deployment in our_deployments(client)}


def text_of(pids: list[int], name: str) -> dict[int, str]:
    return {pid: Path(f"/proc/{pid}/{name}").read_text().replace("\0", "\n") for pid in pids}


def registered(settings: Settings, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What a training registers, with what its environment holds."""
    file = settings.home / "pump_07-1.fwb"
    file.write_bytes(b"a bundle")
    with monkeypatch.context() as patch:
        for name, value in client_secrets(settings).items():
            patch.setenv(name, value)
        served = settings.model_copy(update={"tracking_uri": mlflow_address(settings)})
        registry = Registry(served, "pump_07")
        with registry.runs.start("trained", {}) as run:
            registry.register(run, file, graph=bundle.onnx, version=1)
    return file.read_bytes()


def is_half_made(settings: Settings, run: Run) -> bool:
    """Whether Prefect has begun to make its tables, of which there are more than thirty."""
    with suppress(psycopg.OperationalError):  # the database is not there yet
        query = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        return bool(run(settings.in_server(PREFECT_DATABASE), query) > [(0,)])
    return False


def assert_secrets_are_kept(settings: Settings, up: int) -> None:
    """None in an argument, a log or a file, and no more than is needed in an environment."""
    pids = list(marked_processes(settings.home))
    logs = [file.read_text() for file in settings.home.rglob("*.log")]
    shown = [*text_of([up, *pids], "cmdline").values(), *logs, output_of(settings).read_text()]
    shown += [(settings.home / name).read_text() for name in ("auth.ini", "deployments.yaml")]
    words = {WORD, IN_ADDRESS, *PASSWORDS.values()}
    assert not [text for text in shown if any(word in text for word in words)]
    arguments, environments = text_of(pids, "cmdline"), text_of(pids, "environ")
    (worker,) = [pid for pid, text in arguments.items() if "worker\nstart" in text]
    known = {word for word in words if word in environments[worker]}
    assert known == {PASSWORDS["mlflow_flows_password"]}


@pytest.mark.slow
def test_all_is_kept_over_restarts_though_the_power_fails_in_the_first_start(
    settings: Settings, run: Run, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start(settings)
    wait_for(first, lambda: is_half_made(settings, run), settings)
    first.kill()
    kill_all(settings)
    first.wait()

    second = start(settings)
    wait_until_ready(second, settings)
    data = registered(settings, bundle, monkeypatch)
    before = deployed(settings)
    assert before
    assert_secrets_are_kept(settings, second.pid)
    assert interrupt(second) == 0, output_of(settings).read_text()

    third = start(settings)
    wait_until_ready(third, settings)
    assert deployed(settings) == before
    assert interrupt(third) == 0, output_of(settings).read_text()

    registry = Registry(settings, "pump_07")  # without a server
    found = registry.download(registry.version_of("challenger"), settings.home / "download")
    assert found.read_bytes() == data
    left = {file.name for file in settings.home.rglob("*.db")}
    assert left <= {"mlflow-accounts.db"}
    assert not (settings.home / "artifacts").exists()
