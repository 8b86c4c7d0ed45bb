"""Whatever is killed in whatever step of a retraining, the next run finishes the work.

Real processes, a real MLflow server, its database in a real PostgreSQL. A run is stopped just
before a call, as by Ctrl-Z; then it, the server or the database is killed.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from faultwatch_edge.bundle import read_bundle
from faultwatch_edge.keys import load_trusted_keys
from pipelines.release import mirror_champion
from pipelines.server_database import make_database
from pipelines.settings import MLFLOW_DATABASE, Settings
from pipelines.up import answers, mlflow_address, mlflow_arguments, mlflow_secrets

pytestmark = pytest.mark.slow

PROGRAM = "import sys; from pipelines.cli import main; sys.exit(main())"
CLIENT = "mlflow.MlflowClient"
STEPS = {
    "ingest": ("pipelines.historian.Historian.merge_part", ""),
    "quality gate": ("pipelines.retrain.find_unfit", ""),
    "run begun": ("mlflow.log_params", ""),
    "results half logged": ("mlflow.log_metrics", "promise.inside"),
    "bundle logged": (f"{CLIENT}.create_registered_model", ""),
    "registering": (f"{CLIENT}.create_model_version", ""),
    "challenger's alias": (f"{CLIENT}.set_registered_model_alias", "challenger"),
    "judging": ("pipelines.retrain.judge_version", ""),
    "verdict half noted": (f"{CLIENT}.set_model_version_tag", "gate"),
    "history of champions": (f"{CLIENT}.set_model_version_tag", "champion_since"),
    "champion's alias": (f"{CLIENT}.set_registered_model_alias", "champion'"),
    "model's page": (f"{CLIENT}.update_registered_model", "| {newest} |"),
    "bundle for devices": ("pipelines.release.release_bundle", "'{newest}'"),
}
"""The call before which each step stops, and a word among its arguments."""
DECIDING, PROMOTING = list(STEPS)[:-3], list(STEPS)[-3:]
"""The promotion is not written down yet, and is: the next run has it done and decides nothing."""


class Plant:
    """The pump, its servers, and what starts its retrainings."""

    def __init__(self, pump: Any, postgres: Any) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        changed = {"server_database": SecretStr(postgres.address), "mlflow_port": port}
        self.pump, self.postgres = pump, postgres
        self.served: Settings = pump.settings.model_copy(update=changed)
        self.settings = pump.settings = pump.settings.model_copy(
            update={"tracking_uri": mlflow_address(self.served)}
        )
        self.log = pump.folder / "run.log"
        make_database(self.served, MLFLOW_DATABASE)
        self.start_server()
        self._driver = subprocess.Popen(  # noqa: S603 - ours
            [sys.executable, Path(__file__).with_name("stopping.py")],
            env=os.environ | self.variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == "ready"

    @property
    def variables(self) -> dict[str, str]:
        return {
            "FAULTWATCH_HOME": str(self.settings.home),
            "FAULTWATCH_RELEASES": str(self.settings.releases),
            "FAULTWATCH_TRACKING_URI": str(self.settings.tracking_uri),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

    def start_server(self) -> None:
        with (self.pump.folder / "mlflow.log").open("ab") as output:
            self._server = subprocess.Popen(  # noqa: S603 - ours
                [sys.executable, "-m", *map(str, mlflow_arguments(self.served))],
                env=os.environ | mlflow_secrets(self.served),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        while not answers(self.served.mlflow_port, "/health"):
            assert self._server.poll() is None, (self.pump.folder / "mlflow.log").read_text()
            time.sleep(0.1)

    def kill_server(self) -> None:
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()

    def _read(self) -> str:
        assert self._driver.stdout is not None
        return self._driver.stdout.readline().rstrip()

    def _ask(self, *words: object) -> str:
        assert self._driver.stdin is not None
        self._driver.stdin.write("\t".join(map(str, words)) + "\n")
        self._driver.stdin.flush()
        return self._read()

    def start(self, target: str = "", word: str = "", *, retries: int = 0) -> int:
        """Retrain in a process of its own; its id."""
        return int(self._ask("start", self.pump.path, self.log, target, word, retries))

    def wait(self, process: int) -> str:
        """How it ended, or ``stopped``."""
        return self._ask("wait", process)

    def retrain(self) -> str:
        """Retrain to the end; what it says."""
        assert self.wait(self.start()) == "0", self.log.read_text()
        return str(self.log.read_text().splitlines()[-1])

    def strike(self, victim: str, step: str) -> None:
        """Stop a run at a step and kill; then all that was killed but the run starts again."""
        target, word = STEPS[step]
        process = self.start(target, word.format(newest=self.newest))
        assert self.wait(process) == "stopped", f"{step}: {self.log.read_text()}"
        if victim == "run":
            os.kill(process, signal.SIGKILL)
            assert self.wait(process) == "-9"
            return
        server, database = victim == "server", victim == "database"
        self.kill_server() if server else self.postgres.stop(signal.SIGQUIT)
        os.kill(process, signal.SIGCONT)
        assert self.wait(process) == "2", f"{step}: {self.log.read_text()}"
        said = self.log.read_text().splitlines()[-1]
        assert said.startswith(f"AwayError: MLflow at {self.settings.tracking_uri} "), said
        assert "faultwatch" not in said, "no password, no name of a database"
        self.postgres.start() if database else self.start_server()

    def close(self) -> None:
        self._driver.communicate()
        self.kill_server()

    @property
    def newest(self) -> int:
        return int(self.pump.registry.versions()[0].version)

    def take_promotion_back(self, champion: int) -> None:
        """Have the newest version wait to be promoted: the gate has spoken, and nothing is done."""
        client, version = self.pump.registry.client, str(self.newest)
        for tag in client.get_model_version("small_pump", version).tags:
            if tag.startswith("champion_since."):
                client.delete_model_version_tag("small_pump", version, tag)
        client.set_registered_model_alias("small_pump", "champion", str(champion))
        mirror_champion(self.pump.registry, self.settings)

    def check_whole(self, champions: set[int | None]) -> None:
        """All that is registered can be loaded; what devices are offered is a champion."""
        registry = self.pump.registry
        trusted = load_trusted_keys([self.settings.public_key_file])
        for version in registry.client.search_model_versions("name = 'small_pump'"):
            with tempfile.TemporaryDirectory() as folder:
                bundle = read_bundle(registry.download(version, Path(folder)), trusted_keys=trusted)
            assert bundle.manifest.version == int(version.version)
        assert registry.champion_version() in champions
        assert set(self.offered) <= {f"small_pump-{one}.fwb" for one in champions}

    @property
    def offered(self) -> list[str]:
        return sorted(path.name for path in self.settings.releases.glob("small_pump/*.fwb"))

    def check_done(self, version: int) -> None:
        """Nothing is left half done, and nothing of what was killed lies about."""
        registry = self.pump.registry
        self.check_whole({version})
        assert registry.champions()[0].version == version
        assert int(registry.version_of("challenger").version) == version
        assert f"| {version} |" in registry.client.get_registered_model("small_pump").description
        folder = self.settings.releases / "small_pump"
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["faultwatch.pub", f"small_pump-{version}.fwb"]
        experiment = registry.client.get_experiment_by_name("small_pump")
        runs = registry.client.search_runs([experiment.experiment_id])
        assert "RUNNING" not in {run.info.status for run in runs}


@pytest.fixture(scope="module")
def plant(lasting_pump: Any, own_postgres: Any) -> Iterator[Plant]:
    """Its pump has a champion."""
    lasting_pump.set("holdout_days = 4", "holdout_days = 1")
    plant = Plant(lasting_pump, own_postgres)
    lasting_pump.write(2_000)
    try:
        assert "promoted" in plant.retrain()
        yield plant
    finally:
        plant.close()


@pytest.mark.parametrize("victim", ["run", "server", "database"])
def test_whatever_is_killed_in_whatever_step_the_next_run_finishes_the_work(
    plant: Plant, victim: str
) -> None:
    before = plant.pump.champion
    plant.pump.write(288)
    for step in DECIDING:
        plant.strike(victim, step)
        plant.check_whole({before})
    for step in PROMOTING:
        plant.strike(victim, step)
        now = plant.pump.champion
        plant.check_whole({before, now})
        assert "nothing new" in plant.retrain()
        plant.check_done(plant.newest)
        if step != PROMOTING[-1]:
            plant.take_promotion_back(before)


def test_a_server_that_starts_anew_is_waited_for(plant: Plant) -> None:
    plant.pump.write(288)
    process = plant.start(*STEPS["registering"], retries=5)
    assert plant.wait(process) == "stopped"
    plant.kill_server()
    os.kill(process, signal.SIGCONT)
    plant.start_server()
    assert plant.wait(process) == "0", plant.log.read_text()
    assert "promoted" in plant.log.read_text().splitlines()[-1]
    plant.check_done(plant.newest)


def test_a_second_training_of_an_asset_hears_of_the_first_and_none_is_held_up_by_the_dead(
    plant: Plant,
) -> None:
    holder = plant.start(*STEPS["quality gate"])
    assert plant.wait(holder) == "stopped"
    says = f"small_pump is being trained by process {holder} of {socket.gethostname()} since 20"
    assert plant.wait(plant.start()) == "2"
    assert plant.log.read_text().splitlines()[-1].startswith(f"BusyError: {says}")
    train = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", PROGRAM, "train", plant.pump.path],
        env=os.environ | plant.variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert train.returncode == 2, train.stderr
    assert f"faultwatch: {says}" in train.stderr
    os.kill(holder, signal.SIGKILL)
    assert plant.wait(holder) == "-9"
    assert "nothing new" in plant.retrain()
