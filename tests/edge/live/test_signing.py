"""Two keys and a real MLflow server with accounts: only what was released reaches a device."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from mlflow.exceptions import MlflowException
from pydantic import SecretStr

from faultwatch_edge.bundle import read_bundle
from faultwatch_edge.config import RegistryConfig
from faultwatch_edge.errors import BundleError, TrustError
from faultwatch_edge.keys import load_private_key, load_trusted_keys, make_key_pair
from faultwatch_edge.registry import RegistryMirror
from pipelines.accounts import ADMIN, DEVICES, FLOWS, RELEASE, make_accounts
from pipelines.promote import promote_version, roll_back_champion, try_version
from pipelines.registry import Registry, RegistryError
from pipelines.release import release_bundle
from pipelines.settings import Settings
from pipelines.tracking import TrackingError, answered
from pipelines.up import answers, mlflow_address, mlflow_arguments, mlflow_secrets

pytestmark = pytest.mark.slow

ASSET: Final = "pump_07"
PASSWORDS: Final = {name: f"of {name} 7%" for name in (ADMIN, FLOWS, DEVICES, RELEASE)}
NOW: Final = datetime(2026, 5, 1, tzinfo=UTC)
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """As `faultwatch up` starts it, with an account that alone may promote."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = {
        f"mlflow_{name.removeprefix('faultwatch-')}_password": SecretStr(password)
        for name, password in PASSWORDS.items()
    }
    bare = Settings(home=tmp_path_factory.mktemp("signing"), mlflow_port=port)
    settings = bare.model_copy(update=said | {"release_key": bare.home / "theirs.key"})
    command = [sys.executable, "-m", *map(str, mlflow_arguments(settings))]
    with (settings.home / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            env=os.environ | mlflow_secrets(settings) | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        for _ in range(600):
            assert process.poll() is None, (settings.home / "log").read_text()
            if answers(port, "/health"):
                break
            time.sleep(0.2)
        make_accounts(settings)
        yield settings.model_copy(update={"tracking_uri": mlflow_address(settings)})
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


class Plant:
    """Who trains and who releases: an account, a key and settings of their own."""

    def __init__(self, settings: Settings, folder: Path, monkeypatch: Any) -> None:
        private, public = make_key_pair(folder / "training")
        self.training_key, self.training_public = private, public
        release, self.release_public = make_key_pair(folder / "release")
        self.settings = settings.model_copy(update={"signing_key": private, "release_key": release})
        self._monkeypatch, self._hours = monkeypatch, iter(range(100))

    def as_user(self, name: str) -> Registry:
        """What that account sees of the registry."""
        self._monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        self._monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORDS[name])
        return Registry(self.settings, ASSET)

    def train(self, write: Write, folder: Path, key: Path | None = None, **changes: Any) -> int:
        """Register a bundle as a training does; its manifest may say something else."""
        registry = self.as_user(FLOWS)
        version = registry.next_version()
        said = {"version": version, **changes}
        path = write(
            folder, said.pop("version"), load_private_key(key or self.training_key), **said
        )
        path = path.replace(folder / f"{ASSET}-{version}.fwb")
        with registry.runs.start(f"trained {version}", {}) as run:
            return registry.register(run, path, graph=read_graph(path), version=version)

    def decide(self, what: Callable[..., Any], *version: str) -> None:
        """Let whoever releases do it, an hour after the decision before."""
        at = NOW + timedelta(hours=next(self._hours))
        registry = self.as_user(RELEASE)
        what(registry, self.settings, *version, at=at, by="anna", reason="good")


def read_graph(path: Path) -> bytes:
    with zipfile.ZipFile(path) as bundle:
        return bundle.read("detector.onnx")


@pytest.fixture
def plant(server: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    found = Plant(server, tmp_path, monkeypatch)
    yield found
    with suppress(MlflowException):
        found.as_user(ADMIN).client.delete_registered_model(ASSET)


@pytest.fixture
def fetch(server: Settings, tmp_path: Path) -> Callable[..., Path]:
    """What a device fetches by an alias."""

    def fetched(alias: str = "champion") -> Path:
        folder = tmp_path / "device" / alias
        config = RegistryConfig(mlflow_address(server), username=DEVICES, alias=alias)
        password = PASSWORDS[DEVICES]
        mirror = RegistryMirror(
            config, password=password, folders={ASSET: folder}, note=lambda _: None
        )
        mirror.fetch(ASSET)
        (file,) = folder.glob("*.fwb")
        return file

    return fetched


def test_a_device_refuses_what_a_training_signed_and_takes_what_was_released(
    plant: Plant, fetch: Callable[..., Path], write_version: Write, tmp_path: Path
) -> None:
    version = plant.train(write_version, tmp_path)
    trusted = load_trusted_keys([plant.release_public])
    plant.as_user(RELEASE).client.set_registered_model_alias(ASSET, "champion", str(version))
    with pytest.raises(BundleError, match="expected one of the trusted"):
        read_bundle(fetch(), trusted_keys=trusted)
    plant.decide(promote_version, "challenger")
    bundle = read_bundle(fetch(), trusted_keys=trusted)
    assert bundle.manifest.version == version
    registry = plant.as_user(RELEASE)
    assert [(one.version, one.by) for one in registry.champions()] == [(version, "anna")]
    released = release_bundle(registry, plant.settings, "champion", tmp_path / "out")
    assert released.read_bytes() == fetch().read_bytes()
    assert load_trusted_keys([tmp_path / "out"]) == trusted


def test_a_canary_and_a_roll_back_give_devices_released_files_only(
    plant: Plant, fetch: Callable[..., Path], write_version: Write, tmp_path: Path
) -> None:
    trusted = load_trusted_keys([plant.release_public])
    first = plant.train(write_version, tmp_path)
    plant.decide(promote_version, str(first))
    second = plant.train(write_version, tmp_path)
    plant.decide(try_version, str(second))
    found = [read_bundle(fetch(alias), trusted_keys=trusted) for alias in ("champion", "canary")]
    assert [one.manifest.version for one in found] == [first, second]
    plant.decide(promote_version, "canary")
    plant.decide(roll_back_champion)
    assert read_bundle(fetch("canary"), trusted_keys=trusted).manifest.version == first


def test_what_no_training_signed_or_is_not_what_it_says_is_not_released(
    plant: Plant, write_version: Write, tmp_path: Path
) -> None:
    good = plant.train(write_version, tmp_path)
    plant.decide(promote_version, str(good))
    stranger, _ = make_key_pair(tmp_path / "stranger")
    bad = [
        (plant.train(write_version, tmp_path, stranger), BundleError, "signed with key"),
        (plant.train(write_version, tmp_path, version=77), RegistryError, "holds a bundle of"),
        (plant.train(write_version, tmp_path, asset_id="fan"), RegistryError, "holds a bundle of"),
    ]
    for version, error, words in bad:
        with pytest.raises(error, match=words):
            plant.decide(promote_version, str(version))
    changed = plant.train(write_version, tmp_path)
    registry = plant.as_user(FLOWS)
    run = str(registry.version_of(str(changed)).run_id)
    file = tmp_path / f"{ASSET}-{changed}.fwb"
    file.write_bytes(b"another")
    registry.client.log_artifact(run, str(file), "bundle")
    with pytest.raises(RegistryError, match="is not the file that was registered"):
        plant.decide(promote_version, str(changed))
    assert plant.as_user(RELEASE).champion_version() == good


def test_a_release_that_was_killed_leaves_the_champion_and_is_done_again_with_the_same_file(
    plant: Plant, fetch: Callable[..., Path], write_version: Write, tmp_path: Path
) -> None:
    """Killed when the file is there, signed; killed when that is written down, no alias moved."""
    trusted = load_trusted_keys([plant.release_public])
    first, second = plant.train(write_version, tmp_path), plant.train(write_version, tmp_path)
    plant.decide(promote_version, str(first))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "point", killed)
        with pytest.raises(KeyboardInterrupt):
            plant.decide(promote_version, str(second))
    registry = plant.as_user(RELEASE)
    registry.settle()
    assert read_bundle(fetch(), trusted_keys=trusted).manifest.version == first
    signed = registry.version_of(str(second)).tags["released_sha256"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "_follow", killed)
        with pytest.raises(KeyboardInterrupt):
            plant.decide(promote_version, str(second))
    registry.settle()
    assert read_bundle(fetch(), trusted_keys=trusted).manifest.version == second
    assert registry.version_of(str(second)).tags["released_sha256"] == signed


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_without_the_key_nothing_is_promoted(
    plant: Plant, write_version: Write, tmp_path: Path
) -> None:
    version = plant.train(write_version, tmp_path)
    plant.settings = plant.settings.model_copy(update={"release_key": tmp_path / "theirs.key"})
    assert plant.settings.keys_apart
    with pytest.raises(TrustError, match=r"theirs\.key: cannot be read"):
        plant.decide(promote_version, str(version))
    assert plant.as_user(RELEASE).promotions() == []


MODEL = {"name": ASSET}
VERSION = {**MODEL, "version": "1"}
SINCE = {"key": "champion_since.2026-05-01T00:00:00Z", "value": '{"by": "x", "reason": "y"}'}
PROMOTES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "registered-models/alias", {**VERSION, "alias": "champion"}),
    ("POST", "registered-models/alias", {**VERSION, "alias": "canary"}),
    ("DELETE", "registered-models/alias", {**MODEL, "alias": "champion"}),
    ("POST", "model-versions/set-tag", {**VERSION, **SINCE}),
    ("POST", "model-versions/set-tag", {**VERSION, "key": "released_sha256", "value": "0"}),
    ("DELETE", "model-versions/delete-tag", {**VERSION, "key": "released_sha256"}),
    ("DELETE", "model-versions/delete-tag", {**VERSION, "key": SINCE["key"]}),
    ("POST", "model-versions/create", {**MODEL, "source": "x", "tags": [SINCE]}),
    ("POST", "model-versions/set-tag", {**VERSION, "key": "released_gate", "value": "{}"}),
    ("POST", "model-versions/set-tag", {**VERSION, "key": "bundle", "value": "pump_07-9.fwb"}),
    ("DELETE", "model-versions/delete-tag", {**VERSION, "key": "bundle_sha256"}),
    ("DELETE", "model-versions/delete", VERSION),
    ("DELETE", "registered-models/delete", MODEL),
    ("POST", "registered-models/rename", {**MODEL, "new_name": "fan"}),
]


def test_the_account_of_trainings_promotes_by_no_request(
    plant: Plant, write_version: Write, tmp_path: Path
) -> None:
    plant.train(write_version, tmp_path)  # makes it the challenger, as the flows may
    server = mlflow_address(plant.settings)
    for method, path, body in PROMOTES:
        for prefix in ("/api", "/ajax-api"):
            for said in (json.dumps(body), json.dumps(json.dumps(body))):  # MLflow reads both
                url = f"{server}{prefix}/2.0/mlflow/{path}"
                assert status(method, url, said) == 403, (method, path, said)
    tag = {**VERSION, "key": "gate", "value": "said"}
    assert status("POST", f"{server}/api/2.0/mlflow/model-versions/set-tag", json.dumps(tag)) == 200


def test_a_flow_that_is_refused_says_who_may(
    plant: Plant, write_version: Write, tmp_path: Path
) -> None:
    version = plant.train(write_version, tmp_path)
    registry = plant.as_user(FLOWS)
    said = r"does not let 'faultwatch-flows' do this .*only faultwatch-release promotes"
    with pytest.raises(TrackingError, match=said), answered():
        promote_version(registry, plant.settings, str(version), at=NOW, by="kim", reason="mine")
    assert registry.promotions() == []


def test_a_training_that_came_second_ends_with_a_sentence_and_leaves_what_was_there(
    plant: Plant, write_version: Write, tmp_path: Path
) -> None:
    first = plant.train(write_version, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "next_version", lambda _: first)
        with pytest.raises(RegistryError, match="another training registered version 1"):
            plant.train(write_version, tmp_path)
    registry = plant.as_user(FLOWS)
    assert [int(one.version) for one in registry.versions()] == [first]
    assert plant.train(write_version, tmp_path) == first + 2


def status(method: str, url: str, body: str) -> int:
    """Of the answer to the trainings' account."""
    pair = b64encode(f"{FLOWS}:{PASSWORDS[FLOWS]}".encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {pair}"}
    request = Request(url, body.encode(), headers, method=method)  # noqa: S310 - our own server
    try:
        with urlopen(request, timeout=60) as answer:  # noqa: S310 - our own server
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code
