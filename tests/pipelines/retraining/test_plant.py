"""A plant in miniature: schedule, drift, gate and roll-back on real servers, and a device.

Once on SQLite and once on PostgreSQL. It prints how long a drift takes to start a retraining.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from pydantic import SecretStr

from faultwatch_edge.config import RegistryConfig
from faultwatch_edge.registry import RegistryMirror
from pipelines.gate_verdict import verdict_of
from pipelines.registry import Registry
from pipelines.schedules import prefect_client
from pipelines.services import marked_processes
from pipelines.settings import MLFLOW_DATABASE, PREFECT_DATABASE, Settings
from pipelines.up import mlflow_address, prefect_address, schedule_asset

pytestmark = pytest.mark.slow

PROGRAM = "import sys; from pipelines.cli import main; sys.exit(main())"
EMIT = """
from datetime import UTC, datetime
from pipelines.monitor import DRIFT, emit
print(datetime.now(UTC).isoformat())
emit(DRIFT, "small_pump", {})
"""
NEW_YEAR = "0 3 1 1 *"
TRAINED_S = 600


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, pump: Any) -> Iterator[Settings]:
    changed: dict[str, Any] = {"mlflow_port": free_port(), "prefect_port": free_port()}
    address = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    if address is not None:
        changed["server_database"] = SecretStr(address)
    pump.settings = pump.settings.model_copy(update=changed)
    yield pump.settings
    while pids := marked_processes(pump.settings.home):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if address is not None:
        with psycopg.connect(address, autocommit=True) as connection:
            for name in (MLFLOW_DATABASE, PREFECT_DATABASE):
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def variables(settings: Settings) -> dict[str, str]:
    said = {f"FAULTWATCH_{name.upper()}": value for name, value in settings if value is not None}
    plain = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in said.items()
    }
    return plain | {
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


class Plant:
    """`faultwatch up` as a process, and what is asked of its servers."""

    def __init__(self, settings: Settings, asset_file: Path) -> None:
        self.settings = settings
        self._told = settings.home / "up.txt"
        with self._told.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603 - ours
                [sys.executable, "-c", PROGRAM, "up", str(asset_file), "--cron", "* * * * *"],
                env=os.environ | variables(settings),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_for(lambda: "Ctrl-C stops everything." in self._told.read_text(), within_s=240)

    @property
    def output(self) -> str:
        logs = [self._told, *sorted((self.settings.home / "logs").glob("*.log"))]
        return "\n".join(f"--- {log.name}\n{log.read_text()[-4_000:]}" for log in logs)

    def wait_for(self, what: Callable[[], Any], *, within_s: float) -> Any:
        patience = time.monotonic() + within_s
        while not (found := what()):
            assert self.process.poll() is None, f"up ended\n{self.output}"
            assert time.monotonic() < patience, f"not in time\n{self.output}"
            time.sleep(0.25)
        return found

    @property
    def registry(self) -> Registry:
        served = self.settings.model_copy(update={"tracking_uri": mlflow_address(self.settings)})
        return Registry(served, "small_pump")

    def champion(self) -> int | None:
        found = self.registry.champion()
        return None if found is None else int(found.version)

    def runs(self, client: SyncPrefectClient, flow: str) -> list[FlowRun]:
        deployment = client.read_deployment_by_name(f"{flow}/small_pump")
        chosen = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]))
        return client.read_flow_runs(
            flow_run_filter=chosen, sort=FlowRunSort.EXPECTED_START_TIME_DESC
        )

    def is_idle(self, client: SyncPrefectClient) -> bool:
        """Whether no retraining runs, nor is about to."""
        idle = {*TERMINAL_STATES, StateType.SCHEDULED}
        return all(run.state_type in idle for run in self.runs(client, "retrain"))

    def done(self, client: SyncPrefectClient, flow: str, **parameters: Any) -> FlowRun:
        """Start a deployment as a person does, and wait until it has ended well."""
        deployment = client.read_deployment_by_name(f"{flow}/small_pump")
        made = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)

        def ended() -> FlowRun | None:
            run = client.read_flow_run(made.id)
            return run if run.state is not None and run.state.is_final() else None

        run: FlowRun = self.wait_for(ended, within_s=TRAINED_S)
        assert run.state_type is StateType.COMPLETED, f"{run.state}\n{self.output}"
        return run


def pulled(settings: Settings, folder: Path, pump: Any) -> str:
    """Let a device fetch what the alias stands for, and score the newest file with it."""
    mirror = RegistryMirror(
        RegistryConfig(mlflow_address(settings)),
        password=None,
        folders={"small_pump": folder},
        note=lambda _: None,
    )
    mirror.fetch("small_pump")
    (bundle,) = folder.glob("*.fwb")
    newest, scores = max(pump.folder.glob("pump_*.csv")), folder / "scores.jsonl"
    scores.unlink(missing_ok=True)
    command = ["run", bundle, "--key", settings.public_key_file, "--source", newest]
    subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-m", "faultwatch_edge", *map(str, [*command, "--scores", scores])],
        capture_output=True,
        check=True,
    )
    assert len(scores.read_text().splitlines()) > 200
    return bundle.name


def let_drift(plant: Plant, client: SyncPrefectClient) -> tuple[float, float]:
    """Tell of a drift, as `monitor` does; return seconds until the run was made, and ran."""
    before = {run.id for run in plant.runs(client, "retrain")}
    address = {"PREFECT_API_URL": f"{prefect_address(plant.settings)}/api"}
    emitted = subprocess.run(  # noqa: S603 - ours, in a process that knows no other server
        [sys.executable, "-c", EMIT],
        env=os.environ | variables(plant.settings) | address,
        capture_output=True,
        text=True,
        check=True,
    )
    occurred = datetime.fromisoformat(emitted.stdout.strip())

    def drifted(*states: StateType) -> FlowRun | None:
        new = [run for run in plant.runs(client, "retrain") if run.id not in before]
        new = [run for run in new if run.parameters.get("reason") == "drift"]
        return next((run for run in new if not states or run.state_type in states), None)

    plant.wait_for(drifted, within_s=60)
    run = plant.wait_for(lambda: drifted(StateType.COMPLETED), within_s=TRAINED_S)
    return tuple((at - occurred).total_seconds() for at in (run.created, run.start_time))


def have_gate_judge(plant: Plant, client: SyncPrefectClient, pump: Any, device: Path) -> None:
    """Worse is refused, better is promoted, and the device follows; a roll-back takes it back."""
    pump.run(300, fault=(5_100, 5_112))
    pump.label(5_100, 5_112, "true_fault")
    pump.set("[alarm]", "[alarm]\non_delay_s = 36000.0")
    plant.done(client, "retrain", reason="worse on purpose")
    verdict = verdict_of(plant.registry.version_of("2"))
    assert verdict is not None
    assert verdict.outcome == "refused", verdict
    assert "misses 1 of the 1 labelled faults" in verdict.reason
    assert pulled(plant.settings, device, pump) == "small_pump-1.fwb"

    pump.set("\non_delay_s = 36000.0", "")
    plant.done(client, "retrain", reason="mended")
    verdict = verdict_of(plant.registry.version_of("3"))
    assert verdict is not None
    assert verdict.outcome == "promoted", verdict
    assert pulled(plant.settings, device, pump) == "small_pump-3.fwb"
    released = [path.name for path in (pump.folder / "releases").glob("*/*.fwb")]
    assert released == ["small_pump-3.fwb"]

    plant.done(client, "roll-back", by="anna", reason="alarms on every start")
    assert pulled(plant.settings, device, pump) == "small_pump-1.fwb"
    why = [(one.version, one.by) for one in plant.registry.champions()]
    assert why == [(1, "anna"), (3, "retrain"), (1, "retrain")]


def test_a_plant_lives_by_itself_and_every_step_can_be_undone(
    settings: Settings, pump: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pump.run(5_000)
    plant = Plant(settings, pump.path)
    with prefect_client(f"{prefect_address(settings)}/api") as client:
        plant.wait_for(lambda: plant.champion() == 1, within_s=TRAINED_S)
        assert [run for run in plant.runs(client, "retrain") if run.auto_scheduled]
        assert pulled(settings, tmp_path / "device", pump) == "small_pump-1.fwb"

        assert "01 Jan" in schedule_asset(settings, str(pump.path), cron=NEW_YEAR)
        plant.wait_for(lambda: plant.is_idle(client), within_s=TRAINED_S)
        made, began = let_drift(plant, client)
        with capsys.disabled():
            sys.stdout.write(f"\na drift: run made in {made:.1f} s, running in {began:.1f} s\n")
        have_gate_judge(plant, client, pump, tmp_path / "device")
        plant.done(client, "monitor")
    plant.process.send_signal(signal.SIGINT)
    assert plant.process.wait(60) == 0, plant.output
