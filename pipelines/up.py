"""Up: MLflow, a Prefect server and a worker on this machine, and the schedules of some assets.

Nothing listens beyond this machine.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient

from pipelines.accounts import client_secrets, has_accounts, make_accounts, server_secrets
from pipelines.config import load_asset
from pipelines.schedules import (
    POOL,
    WORKER,
    Plan,
    follow_drift,
    forget,
    has_runs,
    is_online,
    known_assets,
    make_deployments,
    make_plans,
    next_training,
    prefect_client,
    settle,
)
from pipelines.server_database import make_database
from pipelines.services import (
    HOST,
    MARK,
    Services,
    StartError,
    StopRequested,
    marked_processes,
    say,
    stop_requests,
)
from pipelines.settings import MLFLOW_DATABASE, PREFECT_DATABASE, Settings

__all__ = ["StartError", "run_services"]

PLANNED_S = 30.0
"""How long Prefect may take to plan the first run."""
KEPT = {
    f"FAULTWATCH_{name}"
    for name in (
        "MQTT_PASSWORD",
        "SERVER_DATABASE",
        "MLFLOW_ADMIN_PASSWORD",
        "MLFLOW_FLOWS_PASSWORD",
        "MLFLOW_DEVICES_PASSWORD",
        "MLFLOW_RELEASE_PASSWORD",
    )
}
"""Variables that no child inherits: each gets the secrets that it needs, and no other."""


def run_services(settings: Settings, assets: Sequence[str], *, cron: str | None) -> None:
    """Start everything, say where it is, and stop it on Ctrl-C or SIGTERM.

    Args:
        settings: home, ports, databases and passwords.
        assets: asset files, or ids of shipped assets.
        cron: schedule of all trainings, UTC; None = each asset's own.

    Raises:
        StartError: a port is taken, a schedule is wrong, or a service ended.
        pipelines.config.ConfigError: an asset file cannot be used.
        pipelines.connection.DatabaseError: a database cannot be reached or made.
    """
    plans = make_plans(assets, cron)
    has_accounts(settings)  # a password that is missing is said before anything starts
    check_free(settings)
    if settings.server_database:
        for name in (MLFLOW_DATABASE, PREFECT_DATABASE):
            make_database(settings, name)
    with stop_requests() as stopping:
        services = Services(make_environment(settings), settings.home.resolve(), stopping)
        try:
            bring_up(services, settings, plans)
            services.watch()
        except StopRequested:
            say("Stopping.")
        finally:
            services.stop()


def check_free(settings: Settings) -> None:
    """Both ports are free, and no other `up` runs in this home.

    Raises:
        StartError: says which port or process is in the way.
    """
    home = settings.home.resolve()
    if running := marked_processes(home):
        pids = " ".join(map(str, running))
        raise StartError(
            f"an earlier `faultwatch up` still runs in {home}; stop it with Ctrl-C, "
            f"or, if it was killed, end what it left: kill {pids}"
        )
    ports = {"MLFLOW": settings.mlflow_port, "PREFECT": settings.prefect_port}
    if settings.mlflow_port == settings.prefect_port:
        raise StartError(
            f"FAULTWATCH_MLFLOW_PORT and FAULTWATCH_PREFECT_PORT are both "
            f"{settings.mlflow_port}; set one to another port"
        )
    for name, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                raise StartError(
                    f"port {port} is not free ({error.strerror}); stop the program that uses it, "
                    f"or set FAULTWATCH_{name}_PORT to another port"
                ) from error


def make_environment(settings: Settings) -> dict[str, str]:
    """Environment of all children: this home, these servers, no proxy, no page and no secret."""
    home = settings.home.resolve()
    origins = ",".join(f"http://{host}:{settings.prefect_port}" for host in (HOST, "localhost"))
    past_proxies = ",".join(filter(None, (os.environ.get("NO_PROXY"), HOST, "localhost")))
    releases, release_key = settings.releases, settings.release_key
    return {
        "PREFECT_HOME": str(home / "prefect"),
        **{name: value for name, value in os.environ.items() if name not in KEPT},
        MARK: str(home),
        "FAULTWATCH_HOME": str(home),
        "FAULTWATCH_HISTORIAN": settings.absolute_historian,
        "FAULTWATCH_SIGNING_KEY": str(settings.signing_key_file.resolve()),
        "FAULTWATCH_TRACKING_URI": mlflow_address(settings),
        **({"FAULTWATCH_RELEASE_KEY": str(release_key.resolve())} if release_key else {}),
        **({"FAULTWATCH_RELEASES": str(releases.resolve())} if releases else {}),
        "NO_PROXY": past_proxies,
        "no_proxy": past_proxies,
        "PREFECT_API_URL": f"{prefect_address(settings)}/api",
        # Prefect's own default lets any page in a browser on this machine start flows.
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": origins,
        "PYTHONUNBUFFERED": "1",
    }


def bring_up(services: Services, settings: Settings, plans: Sequence[Plan]) -> None:
    """Start all services, deploy, and say where everything is and what comes next."""
    services.start("MLflow", *mlflow_arguments(settings), secrets=mlflow_secrets(settings))
    services.start(
        "Prefect",
        *("prefect", "server", "start", "--host", HOST, "--port", settings.prefect_port),
        secrets=prefect_secrets(settings),
    )
    services.wait("Prefect", lambda: answers(settings.prefect_port, "/api/health"))
    with prefect_client(f"{prefect_address(settings)}/api") as client:
        settle(client)
        if plans:
            services.start("deploy", *deploy_arguments(settings, plans), lasting=False)
        services.wait("MLflow", lambda: answers(settings.mlflow_port, "/health"))
        if guarded := has_accounts(settings):
            make_accounts(settings)
        began = datetime.now(UTC)
        services.start(
            "worker",
            *("prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", WORKER),
            secrets=client_secrets(settings) if guarded else {},
        )
        services.wait("The worker", lambda: is_online(client, began))
        services.wait("The schedule", lambda: services.ended("deploy") and has_runs(client, plans))
        for plan in plans:
            follow_drift(client, plan.asset_id)
        trainings = [f"{name}: {next_training(client, name)}" for name in known_assets(client)]
    servers = f"MLflow   {mlflow_address(settings)}\nPrefect  {prefect_address(settings)}"
    say("\n".join(["", servers, "", *trainings, "", "Ctrl-C stops everything."]))


def deploy_arguments(settings: Settings, plans: Sequence[Plan]) -> list[str]:
    """Write what is to be deployed, and say how Prefect is told."""
    path = settings.home.resolve() / "deployments.yaml"
    deployments = make_deployments(plans, keys_apart=settings.keys_apart)
    path.write_text(json.dumps(deployments, indent=2), encoding="utf-8")
    return ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(path)]


def schedule_asset(settings: Settings, asset: str, *, cron: str | None) -> str:
    """Add an asset to the server that `up` runs, or give it another schedule.

    Args:
        settings: home and ports of that ``up``.
        asset: asset file, or id of a shipped asset.
        cron: of its retrainings, UTC; None = the asset's own.

    Returns:
        When it is trained next, in words.

    Raises:
        StartError: no server runs, or the schedule is none.
    """
    (plan,) = make_plans([asset], cron)
    with _running_server(settings) as client:
        done = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, "-P", "-m", *deploy_arguments(settings, [plan])],
            cwd=settings.home,
            env=make_environment(settings),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StartError(f"{plan.asset_id} could not be deployed:\n{done.stdout}{done.stderr}")
        follow_drift(client, plan.asset_id)
        patience = time.monotonic() + PLANNED_S
        while not has_runs(client, [plan]) and time.monotonic() < patience:
            time.sleep(0.5)
        return next_training(client, plan.asset_id) or "the server has planned nothing yet"


def unschedule_asset(settings: Settings, asset: str) -> bool:
    """Take an asset off the server that `up` runs; say whether it was there.

    Args:
        settings: home and ports of that ``up``.
        asset: asset file; where it is gone, the asset's id.

    Raises:
        StartError: no server runs.
    """
    with _running_server(settings) as client:
        return forget(client, load_asset(asset).asset.id if Path(asset).is_file() else asset)


@contextmanager
def _running_server(settings: Settings) -> Iterator[SyncPrefectClient]:
    if not answers(settings.prefect_port, "/api/health"):
        raise StartError(
            f"no Prefect server answers at {prefect_address(settings)}; start `faultwatch up` "
            "first, in another terminal or as a service"
        )
    with prefect_client(f"{prefect_address(settings)}/api") as client:
        yield client


def mlflow_arguments(settings: Settings) -> list[str | int]:
    """Serve the artifacts that the verbs use without a server, too.

    They keep ``file:`` or ``s3:`` addresses, so that what is trained now is found again without a
    server. Where the database is stands in the environment: all can read a process's arguments.
    """
    artifacts = settings.artifacts_address
    return [
        *("mlflow", "server", "--host", HOST, "--port", settings.mlflow_port, "--workers", 1),
        *("--default-artifact-root", artifacts, "--artifacts-destination", artifacts),
        *("--uvicorn-opts", "--no-access-log"),
        *(("--app-name", "basic-auth") if has_accounts(settings) else ()),
    ]


def mlflow_secrets(settings: Settings) -> dict[str, str]:
    """Environment of the MLflow server alone: the database that the verbs use without it."""
    guard = server_secrets(settings) if has_accounts(settings) else {}
    return {"MLFLOW_BACKEND_STORE_URI": settings.registry_address, **guard}


def prefect_secrets(settings: Settings) -> dict[str, str]:
    """Environment of the Prefect server alone."""
    if not settings.server_database:
        return {}
    address = settings.in_server(PREFECT_DATABASE, driver="postgresql+asyncpg")
    names = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
    return dict.fromkeys(names, address)  # either name may stand in the user's own environment


def answers(port: int, path: str) -> bool:
    """Whether a server on this machine says that it is well."""
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200  # noqa: PLR2004 - OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def mlflow_address(settings: Settings) -> str:
    """Address of the MLflow server that `up` starts."""
    return f"http://{HOST}:{settings.mlflow_port}"


def prefect_address(settings: Settings) -> str:
    """Address of the Prefect server that `up` starts."""
    return f"http://{HOST}:{settings.prefect_port}"
