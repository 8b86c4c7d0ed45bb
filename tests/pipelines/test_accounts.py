"""MLflow behind accounts, a real server: each does what it is for, and nothing else."""

import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from mlflow import MlflowClient
from pydantic import SecretStr

from faultwatch_edge.config import RegistryConfig
from faultwatch_edge.errors import SourceError
from faultwatch_edge.registry import RegistryMirror
from pipelines.accounts import (
    ADMIN,
    DEVICES,
    FLOWS,
    client_secrets,
    has_accounts,
    make_accounts,
)
from pipelines.services import StartError
from pipelines.settings import Settings
from pipelines.tracking import Runs, TrackingError
from pipelines.up import answers, mlflow_address, mlflow_arguments, mlflow_secrets

ASSET = "pump_07"
PASSWORDS = {ADMIN: "of the admin 7%", FLOWS: "of the flows 8%", DEVICES: "of the devices 9%"}
FIELDS = {ADMIN: "mlflow_admin_password", FLOWS: "mlflow_flows_password"}
FIELDS[DEVICES] = "mlflow_devices_password"
Status = Callable[..., int]


def with_passwords(settings: Settings, passwords: dict[str, str]) -> Settings:
    said = {FIELDS[name]: SecretStr(password) for name, password in passwords.items()}
    return settings.model_copy(update=said)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Of a server as `faultwatch up` starts it; an experiment was made before, without it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bare = Settings(home=tmp_path_factory.mktemp("accounts"), mlflow_port=port)
    with Runs(bare, ASSET).start("before", {}):
        pass
    guarded = with_passwords(bare, PASSWORDS)
    command = [sys.executable, "-m", *map(str, mlflow_arguments(guarded))]
    with (guarded.home / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            env=os.environ | mlflow_secrets(guarded) | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        for _ in range(600):
            assert process.poll() is None, (guarded.home / "log").read_text()
            if answers(port, "/health"):
                break
            time.sleep(0.2)
        make_accounts(guarded)
        yield guarded
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@pytest.fixture
def status(settings: Settings) -> Status:
    """Asks the server as somebody; gives the status of its answer."""

    def ask(
        name: str | None,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        password: str = "",
    ) -> int:
        request = Request(
            f"http://127.0.0.1:{settings.mlflow_port}{path}",
            json.dumps(body).encode() if body else None,
            {"Content-Type": "application/json"},
            method=method,
        )
        if name is not None:
            pair = f"{name}:{password or PASSWORDS[name]}".encode()
            request.add_header("Authorization", f"Basic {b64encode(pair).decode()}")
        try:
            with urlopen(request, timeout=60) as answer:  # noqa: S310
                return int(answer.status)
        except HTTPError as error:
            with error:
                return error.code

    return ask


@pytest.fixture(scope="module")
def flows(settings: Settings) -> Iterator[MlflowClient]:
    """A client with what the environment of a training holds."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in client_secrets(settings).items():
            patch.setenv(name, value)
        yield MlflowClient(mlflow_address(settings), mlflow_address(settings))


@pytest.fixture(scope="module")
def registered(
    settings: Settings, flows: MlflowClient, tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    """What a training has registered as champion, in the experiment of the time before."""
    file, data = tmp_path_factory.mktemp("trained") / f"{ASSET}-1.fwb", b"a bundle"
    file.write_bytes(data)
    served = settings.model_copy(update={"tracking_uri": flows.tracking_uri})
    with Runs(served, ASSET).start("behind accounts", {}) as run:
        flows.log_artifact(run.info.run_id, str(file), "bundle")
        flows.create_registered_model(ASSET)
        tags = {"bundle": file.name, "bundle_sha256": hashlib.sha256(data).hexdigest()}
        source = f"{run.info.artifact_uri}/bundle"
        flows.create_model_version(ASSET, source, run.info.run_id, tags=tags)
        flows.set_registered_model_alias(ASSET, "champion", "1")
    return data


def mirror(settings: Settings, folder: Path, password: str | None) -> RegistryMirror:
    address = f"http://127.0.0.1:{settings.mlflow_port}"
    return RegistryMirror(
        RegistryConfig(address, username=DEVICES if password else None),
        password=password,
        folders={ASSET: folder},
        note=lambda _: None,
    )


@pytest.mark.slow
def test_a_device_follows_an_alias_and_fetches_its_bundle(
    settings: Settings, registered: bytes, tmp_path: Path
) -> None:
    mirror(settings, tmp_path / "device", PASSWORDS[DEVICES]).fetch(ASSET)
    assert (tmp_path / "device" / f"{ASSET}-1.fwb").read_bytes() == registered
    for password in (None, "of somebody else"):
        with pytest.raises(SourceError, match="answers 401"):
            mirror(settings, tmp_path / "nobody", password).fetch(ASSET)


MODEL, API = {"name": ASSET}, "/api/2.0/mlflow"
REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", f"{API}/registered-models/create", {"name": "pump_08"}),
    ("POST", f"{API}/model-versions/create", {**MODEL, "source": "file:///etc"}),
    ("POST", f"{API}/registered-models/alias", {**MODEL, "alias": "champion", "version": "1"}),
    ("DELETE", f"{API}/registered-models/alias", {**MODEL, "alias": "champion"}),
    ("DELETE", f"{API}/registered-models/delete", MODEL),
    ("DELETE", f"{API}/model-versions/delete", {**MODEL, "version": "1"}),
    ("POST", f"{API}/experiments/create", MODEL),
    ("POST", f"{API}/runs/search", {"experiment_ids": ["1"]}),
    ("GET", f"{API}/registered-models/search", {}),
    ("GET", "/get-artifact?run_id=1&path=bundle", {}),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/bundle", {"not": "a bundle"}),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts?path=", {}),
    (
        "PATCH",
        f"{API}/users/update-password",
        {
            "username": DEVICES,
            "password": "a new one of theirs",
            "current_password": PASSWORDS[DEVICES],
        },
    ),
    ("POST", f"{API}/users/create", {"username": "friend", "password": "of the friend 1"}),
    ("GET", "/", {}),
]


@pytest.mark.slow
@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(("method", "path", "body"), REFUSED)
def test_a_device_can_do_nothing_else(
    status: Status, method: str, path: str, body: dict[str, Any]
) -> None:
    assert status(DEVICES, method, path, body) == 403
    assert status(None, method, path, body) == 401
    assert (
        status(DEVICES, "GET", f"{API}/registered-models/alias?name={ASSET}&alias=champion") == 200
    )


@pytest.mark.slow
@pytest.mark.usefixtures("registered")
def test_flows_write_and_make_no_accounts(status: Status, flows: MlflowClient) -> None:
    run = str(flows.get_model_version(ASSET, "1").run_id)
    source = f"{flows.get_run(run).info.artifact_uri}/bundle"
    flows.create_model_version(ASSET, source, run)
    flows.set_registered_model_alias(ASSET, "challenger", "2")
    flows.set_model_version_tag(ASSET, "2", "why", "tried")
    flows.delete_model_version(ASSET, "2")
    friend = {"username": "friend", "password": "of the friend 1"}
    assert status(FLOWS, "POST", f"{API}/users/create", friend) == 403


@pytest.mark.slow
def test_a_verb_without_an_account_says_which_variables_to_set(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD", raising=False)
    served = settings.model_copy(update={"tracking_uri": mlflow_address(settings)})
    with pytest.raises(TrackingError, match=r"who asks; set MLFLOW_TRACKING_USERNAME and"):
        Runs(served, ASSET)


@pytest.mark.slow
def test_new_passwords_hold_from_the_next_start_and_the_old_ones_no_more(
    settings: Settings, status: Status
) -> None:
    alias = f"{API}/registered-models/alias?name={ASSET}&alias=none"
    newer = with_passwords(settings, {DEVICES: "another of theirs 1"})
    make_accounts(newer)
    assert status(DEVICES, "GET", alias) == 401
    assert status(DEVICES, "GET", alias, password="another of theirs 1") == 400  # noqa: S106
    make_accounts(settings)
    assert status(DEVICES, "GET", alias) == 400  # that there is no such alias


@pytest.mark.slow
def test_an_administrator_with_another_password_is_a_sentence(settings: Settings) -> None:
    wrong = with_passwords(settings, {ADMIN: "not of the admin"})
    with pytest.raises(StartError, match=r"does not take FAULTWATCH_MLFLOW_ADMIN_PASSWORD .* dele"):
        make_accounts(wrong)


@pytest.mark.slow
def test_files_hold_no_password_and_are_open_to_nobody_else(settings: Settings) -> None:
    for name in ("auth.ini", "mlflow-accounts.db"):
        assert stat.S_IMODE((settings.home / name).stat().st_mode) == 0o600
    for file in settings.home.rglob("*"):
        data = file.read_bytes() if file.is_file() else b""
        assert not [name for name, word in PASSWORDS.items() if word.encode() in data], file
    shown = " ".join(map(str, mlflow_arguments(settings)))
    assert not [word for word in PASSWORDS.values() if word in shown]


def test_all_passwords_are_set_or_none() -> None:
    assert not has_accounts(Settings())
    assert "--app-name" not in mlflow_arguments(Settings())
    some = with_passwords(Settings(), {FLOWS: PASSWORDS[FLOWS]})
    with pytest.raises(
        StartError, match=r"ADMIN_PASSWORD and FAULTWATCH_MLFLOW_DEVICES_.* are not"
    ):
        has_accounts(some)
    release = {"mlflow_release_password": SecretStr("of the release 1")}
    with pytest.raises(
        StartError, match=r"FLOWS_PASSWORD and FAULTWATCH_MLFLOW_DEVICES_.* are not"
    ):
        has_accounts(Settings().model_copy(update=release))
    three = with_passwords(Settings(), PASSWORDS)
    assert has_accounts(three)
    with pytest.raises(StartError, match="RELEASE_PASSWORD is set, and FAULTWATCH_RELEASE_KEY is"):
        has_accounts(three.model_copy(update=release))
    assert has_accounts(three.model_copy(update=release | {"release_key": Path("theirs.key")}))
    short = with_passwords(Settings(), PASSWORDS | {DEVICES: "short"})
    with pytest.raises(StartError, match=r"DEVICES_PASSWORD has fewer than 12") as caught:
        has_accounts(short)
    assert "short;" not in str(caught.value)
