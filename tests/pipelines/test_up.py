"""`faultwatch up`: a real server that schedules and trains, and nothing left when it stops."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy as np
import polars as pl
import pytest

from faultwatch_edge.keys import make_key_pair
from pipelines.config import load_asset
from pipelines.historian import Historian
from pipelines.ingest import ingest_asset
from pipelines.registry import Registry
from pipelines.schedules import POOL, TAG, Plan, make_deployments, make_plans
from pipelines.services import Services, StartError, StopRequested, marked_processes, stop_requests
from pipelines.settings import Settings
from pipelines.up import check_free, make_environment

ROOT = Path(__file__).parents[2]
PROGRAM = "import sys; from pipelines.cli import main; sys.exit(main())"
SAMPLES, FAULT = 6_000, slice(5_700, 5_760)
ASSET = """
[asset]
id = "small_pump"
[source]
files = "pump.csv"
labels = "labels.csv"
[window]
sample_period_s = 60.0
length = 8
[model]
latent = 2
width = 4
epochs = 1
windows_per_epoch = 256
folds = 2
[alarm]
false_alarms_per_day = 5.0
[[channel]]
name = "flow"
unit = "m3/h"
[[channel]]
name = "pressure"
unit = "bar"
[[channel]]
name = "temperature"
unit = "degC"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", mlflow_port=free_port(), prefect_port=free_port())


@pytest.fixture
def asset_file(tmp_path: Path) -> Path:
    """Three channels that follow one load, and one fault that is labelled."""
    noise = np.random.default_rng(0).normal(size=(3, SAMPLES))
    load = np.sin(np.arange(SAMPLES) / 40)
    flow, pressure, temperature = (
        level + gain * load + spread * part
        for (level, gain, spread), part in zip(
            [(10.0, 1.0, 0.1), (3.0, 0.5, 0.05), (60.0, 2.0, 0.2)], noise, strict=True
        )
    )
    flow[FAULT] -= 6.0
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    times = [(begin + timedelta(minutes=i)).isoformat() for i in range(SAMPLES)]
    columns = {"time": times, "flow": flow, "pressure": pressure, "temperature": temperature}
    pl.DataFrame(columns).write_csv(tmp_path / "pump.csv")
    label = f"{times[FAULT.start]},{times[FAULT.stop]},fault,valve shut"
    (tmp_path / "labels.csv").write_text(f"start,end,kind,note\n{label}\n")
    path = tmp_path / "small_pump.toml"
    path.write_text(ASSET)
    return path


class Up:
    """`faultwatch up` as a process, seen through the addresses that it serves."""

    def __init__(self, settings: Settings, asset_file: Path) -> None:
        self.home = settings.home
        self.ports = {settings.mlflow_port, settings.prefect_port}
        self.mlflow = f"http://127.0.0.1:{settings.mlflow_port}/api/2.0/mlflow"
        self.prefect = f"http://127.0.0.1:{settings.prefect_port}/api"
        self._output = settings.home / "up.txt"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603 - ours
                [sys.executable, "-c", PROGRAM, "up", str(asset_file), "--cron", "* * * * *"],
                env=os.environ
                | {
                    "FAULTWATCH_HOME": str(settings.home),
                    "FAULTWATCH_MLFLOW_PORT": str(settings.mlflow_port),
                    "FAULTWATCH_PREFECT_PORT": str(settings.prefect_port),
                    "PREFECT_HOME": str(settings.home / "prefect"),
                    "PYTHONPATH": os.pathsep.join(sys.path),
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal of its own, as it were
            )

    @property
    def output(self) -> str:
        logs = [self._output, *sorted((self.home / "logs").glob("*.log"))]
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3_000:]}" for log in logs)

    def wait_for(self, what: Callable[[], Any], *, within_s: float) -> Any:
        patience = time.monotonic() + within_s
        while not (found := what()):
            assert self.process.poll() is None, f"up ended\n{self.output}"
            assert time.monotonic() < patience, f"{what.__name__}: not in time\n{self.output}"
            time.sleep(0.5)
        return found

    def runs(self) -> list[dict[str, Any]]:
        """Retrainings that the cron schedule made."""
        asked = {"limit": 200, "flow_runs": {"tags": {"all_": ["retrain"]}}}
        made = call(f"{self.prefect}/flow_runs/filter", asked) or []
        return [run for run in made if run["auto_scheduled"]]

    def completed(self) -> list[dict[str, Any]]:
        runs = self.runs()
        assert not [run for run in runs if run["state_name"] in {"Failed", "Crashed"}], self.output
        return [run for run in runs if run["state_name"] == "Completed"]

    def challenger(self) -> dict[str, Any]:
        query = urlencode({"name": "small_pump", "alias": "challenger"})
        found = call(f"{self.mlflow}/registered-models/alias?{query}")
        return {} if found is None else found["model_version"]

    def interrupt(self) -> int:
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(30)


def call(address: str, body: dict[str, Any] | None = None) -> Any:
    """Answer of an API; None while there is none."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(address, data, {"Content-Type": "application/json"})  # noqa: S310 - ours
    try:
        with urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.load(answer)
    except (HTTPError, URLError, TimeoutError, ConnectionError):
        return None


def listening(pids: set[int]) -> set[tuple[str, int]]:
    """Addresses that some processes listen on, from the kernel's own tables."""
    inodes = {
        str(link.readlink())
        for pid in pids
        for link in Path(f"/proc/{pid}/fd").glob("*")
        if link.is_symlink()
    }
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                address, port = fields[1].split(":")
                found.add((address, int(port, 16)))
    return found


@pytest.fixture
def up(settings: Settings, asset_file: Path) -> Iterator[Up]:
    make_key_pair(settings.signing_key_file.parent)
    asset = load_asset(asset_file)
    ingest_asset(asset, Historian(settings.historian_address, asset.asset.id, asset.channel))
    started = Up(settings, asset_file)
    yield started
    if started.process.poll() is None:
        started.process.terminate()
        started.process.wait(60)


@pytest.mark.slow
def test_a_schedule_trains_a_challenger_and_ctrl_c_leaves_nothing(
    up: Up, settings: Settings
) -> None:
    # SQLAlchemy 2.1, or a newer Prefect, would create no scheduled run and say nothing.
    scheduled = up.wait_for(up.runs, within_s=100)
    assert {run["parameters"]["asset_file"] for run in scheduled} == {
        str(up.home.parent / "small_pump.toml")
    }
    up.wait_for(up.completed, within_s=400)
    assert up.wait_for(up.challenger, within_s=5)["version"] == "1"

    processes = marked_processes(up.home)
    local = listening({up.process.pid, *processes})
    assert {address for address, _ in local} == {"0100007F"}  # 127.0.0.1
    assert {port for _, port in local} >= up.ports

    assert up.interrupt() == 0, up.output
    assert marked_processes(up.home) == {}
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]
    for port in up.ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))

    registry = Registry(settings, "small_pump")  # what the server kept is there without it
    bundle = registry.download(registry.version_of("challenger"), up.home / "download")
    assert bundle.name == "small_pump-1.fwb"


def test_each_asset_has_its_own_schedule_unless_one_is_given(asset_file: Path) -> None:
    assert make_plans([str(asset_file)], None) == [
        Plan("small_pump", str(asset_file), "30 2 * * 0")
    ]
    assert make_plans([str(asset_file)], "0 4 * * *")[0].cron == "0 4 * * *"


@pytest.mark.parametrize("cron", ["61 * * * *", "daily at 4"])
def test_a_schedule_that_is_none_is_refused(asset_file: Path, cron: str) -> None:
    with pytest.raises(StartError, match=r"--cron = '.*' is no schedule; write five fields"):
        make_plans([str(asset_file)], cron)


def test_one_asset_in_two_files_is_refused(asset_file: Path) -> None:
    copy = asset_file.with_name("copy.toml")
    copy.write_text(ASSET)
    with pytest.raises(StartError, match="small_pump is named twice"):
        make_plans([str(asset_file), str(copy)], None)


@pytest.mark.parametrize("name", ["mlflow", "prefect"])
def test_a_busy_port_is_named_with_its_variable(settings: Settings, name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        busy = settings.model_copy(update={f"{name}_port": port})
        with pytest.raises(StartError, match=f"port {port} .* FAULTWATCH_{name.upper()}_PORT"):
            check_free(busy)
    check_free(busy)


def test_one_port_for_both_servers_is_refused(settings: Settings) -> None:
    with pytest.raises(StartError, match="both"):
        check_free(settings.model_copy(update={"mlflow_port": settings.prefect_port}))


def test_workers_see_this_home_and_these_servers_from_any_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "plant.example")
    environment = make_environment(Settings(home=Path("home"), mlflow_port=5001))
    assert environment["FAULTWATCH_HOME"] == str(tmp_path / "home")
    assert environment["FAULTWATCH_HISTORIAN"] == str(tmp_path / "home" / "historian")
    assert environment["FAULTWATCH_SIGNING_KEY"] == str(tmp_path / "home/keys/faultwatch.key")
    assert environment["FAULTWATCH_TRACKING_URI"] == "http://127.0.0.1:5001"
    assert environment["NO_PROXY"] == "plant.example,127.0.0.1,localhost"


def test_where_the_keys_are_apart_the_server_of_the_trainings_starts_nothing_that_promotes() -> (
    None
):
    plans = [Plan("a", "a.toml", "0 1 * * *")]
    deployments: Any = make_deployments(plans, keys_apart=True)["deployments"]
    pools = {one["entrypoint"].rsplit(".", 1)[1]: one["work_pool"]["name"] for one in deployments}
    flows = {"ingest", "monitor", "retrain", "train", "evaluate", "release", "fleet"}
    assert pools == dict.fromkeys(flows, POOL)


def test_every_deployment_names_a_flow_of_ours_and_runs_one_at_a_time() -> None:
    plans = [Plan("a", "a.toml", "0 1 * * *"), Plan("b", "b.toml", "0 2 * * *")]
    deployments: Any = make_deployments(plans)["deployments"]
    flows = {"ingest", "monitor", "retrain", "train", "evaluate", "promote", "roll-back", "release"}
    *deployments, of_all = deployments
    assert len(deployments) == len(flows) * len(plans)
    for deployment in deployments:
        module, name = deployment["entrypoint"].rsplit(".", 1)
        assert getattr(import_module(module), name).name in flows & set(deployment["tags"])
        assert deployment["concurrency_limit"]["limit"] == 1
        assert deployment["work_pool"] == {"name": POOL}
        assert {TAG, deployment["name"]} <= set(deployment["tags"])
        assert deployment["parameters"] == {"asset_file": f"{deployment['name']}.toml"}
    crons = {
        (one["name"], one["entrypoint"].rsplit(".", 1)[1]): schedule["cron"]
        for one in deployments
        for schedule in one["schedules"]
    }
    assert crons["a", "retrain"] == "0 1 * * *"
    assert crons["b", "retrain"] == "0 2 * * *"
    assert crons["a", "monitor"] == crons["b", "monitor"]
    assert len(crons) == 3 * len(plans)
    module, name = of_all["entrypoint"].rsplit(".", 1)
    assert getattr(import_module(module), name).name == name == "fleet"
    assert of_all["concurrency_limit"]["limit"] == 1
    assert (of_all["name"], of_all["parameters"]) == ("all-assets", {"assets": None})
    assert of_all["work_pool"] == {"name": POOL}
    assert {TAG, "fleet"} <= set(of_all["tags"])


def test_a_child_that_dies_is_named_with_the_end_of_its_log(settings: Settings) -> None:
    with stop_requests() as stopping:
        services = Services(os.environ, settings.home, stopping)
        services.start("Pump server", "timeit", "raise ValueError('no water')")
        with pytest.raises(StartError, match=r"(?s)Pump server ended .* 1; .*ValueError: no water"):
            services.watch()
        services.stop()


def test_stopping_ends_what_a_child_started_in_another_session(settings: Settings) -> None:
    sleeper = (
        f"Popen([{sys.executable!r}, '-c', 'import time; time.sleep(99)'], start_new_session=1)"
    )
    code = f"from subprocess import Popen; {sleeper}.wait()"
    with stop_requests() as stopping:
        services = Services(make_environment(settings), settings.home, stopping)
        services.start("parent", "timeit", "-n", 1, "-r", 1, code)
        services.wait("child", lambda: len(set(marked_processes(settings.home).values())) > 1)
        with pytest.raises(StartError, match="an earlier `faultwatch up` still runs"):
            check_free(settings)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopRequested):
            services.watch()
        services.stop()
    assert marked_processes(settings.home) == {}


def test_the_page_on_operations_lists_every_setting() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        assert f"| `FAULTWATCH_{name.upper()}` | {field.description} | {default} |" in page
