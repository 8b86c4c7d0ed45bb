"""What the Prefect server is told: which flows, for which assets, when, and what a drift starts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import yaml  # type: ignore[import-untyped]  # comes with prefect, without annotations
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate, WorkPoolCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed
from pydantic import ValidationError

from pipelines.config import load_asset
from pipelines.services import StartError

DEPLOYMENTS = Path(__file__).parents[1] / "deploy" / "prefect.yaml"
POOL = "local"
RELEASING = {"promote", "roll-back"}
"""Flows that need the key which devices trust."""
TAG = "faultwatch"
WORKER = "faultwatch"
DRIFT = "drift.detected"
"""The event that starts a retraining."""
PAGE = 200
ENDED = 20
"""Ended runs that are looked at."""


@dataclass(frozen=True)
class Plan:
    """An asset, and when it is trained."""

    asset_id: str
    asset_file: str
    """A shipped id, or a path that holds in any folder."""
    cron: str
    """UTC."""


def make_plans(assets: Sequence[str], cron: str | None) -> list[Plan]:
    """When each asset is trained.

    Raises:
        StartError: a schedule is not one, or two files describe one asset.

    Example:
        >>> make_plans(["tennessee_eastman"], None)
        [Plan(asset_id='tennessee_eastman', asset_file='tennessee_eastman', cron='30 2 * * 0')]
    """
    plans: list[Plan] = []
    for name in assets:
        asset = load_asset(name)
        path = Path(name)
        file = str(path.resolve()) if path.is_file() else name
        plan = Plan(asset.asset.id, file, cron or asset.retrain.cron)
        where = "--cron" if cron else f"{name}: [retrain] cron"
        try:
            CronSchedule(cron=plan.cron, timezone="UTC")
        except ValidationError as error:
            raise StartError(
                f"{where} = '{plan.cron}' is no schedule; write five fields, "
                "such as '30 2 * * 0' for Sundays at 02:30 UTC"
            ) from error
        if plan.asset_id in {other.asset_id for other in plans}:
            raise StartError(f"{plan.asset_id} is named twice; name each asset once")
        plans.append(plan)
    return plans


def make_deployments(plans: Sequence[Plan], *, keys_apart: bool = False) -> dict[str, object]:
    """``deploy/prefect.yaml``: a deployment for each flow and asset, and those of all assets.

    Args:
        plans: the assets.
        keys_apart: another user has the key that devices trust, and promotes without this
            server: whoever owns it could start what needs that key, and ask no gate.
    """
    document = yaml.safe_load(DEPLOYMENTS.read_text(encoding="utf-8"))
    of_all = [entry for entry in document["deployments"] if "asset_file" not in entry["parameters"]]
    deployments = [
        {
            **entry,
            "name": plan.asset_id,
            "parameters": {**entry["parameters"], "asset_file": plan.asset_file},
            "schedules": [
                {**schedule, "cron": plan.cron if entry["name"] == "retrain" else schedule["cron"]}
                for schedule in entry["schedules"]
            ],
            "tags": [*entry["tags"], plan.asset_id],
        }
        for plan in plans
        for entry in document["deployments"]
        if entry not in of_all and not (keys_apart and entry["name"] in RELEASING)
    ]
    return {**document, "deployments": [*deployments, *of_all]}


@contextmanager
def prefect_client(address: str) -> Iterator[SyncPrefectClient]:
    """A client of the server that `up` started."""
    with (
        temporary_settings({PREFECT_API_URL: address}),
        get_client(sync_client=True, httpx_settings={"trust_env": False}) as client,
    ):
        yield client


def settle(client: SyncPrefectClient) -> None:
    """Make the work pool, end what a crash left running, and the schedules of former versions.

    A training that a power cut ended would count as running for ever, and keep out all later ones.
    """
    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    for deployment in our_deployments(client):
        if "train" in deployment.tags:  # retrain has its place
            for schedule in deployment.schedules:
                client.delete_deployment_schedule(deployment.id, schedule.id)
        active = (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)
        for run in runs_of(client, deployment, *active):
            client.set_flow_run_state(
                run.id, Crashed(message="Faultwatch was stopped."), force=True
            )
        with suppress(ObjectNotFound):
            client.update_global_concurrency_limit(
                f"deployment:{deployment.id}", GlobalConcurrencyLimitUpdate(active_slots=0)
            )


def follow_drift(client: SyncPrefectClient, asset_id: str) -> None:
    """Have ``drift.detected`` of an asset start its retraining, one at a time.

    What is there already stays: no event is missed meanwhile, and what a person has paused stays
    paused.
    """
    deployment = client.read_deployment_by_name(f"retrain/{asset_id}")
    known = client.read_automations_by_name(_automation(asset_id))
    kept = [one for one in known if _starts(one, deployment)][:1]
    for other in known:
        if other not in kept:
            client.delete_automation(other.id)
    if kept:
        return
    trigger = EventTrigger(
        expect={DRIFT},
        match=ResourceSpecification({"prefect.resource.id": resource_of(asset_id)}),
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )
    action = RunDeployment(
        source="selected", deployment_id=deployment.id, parameters={"reason": "drift"}
    )
    client.create_automation(
        AutomationCore(
            name=_automation(asset_id),
            description="Retrains an asset that has moved since its champion learned.",
            trigger=trigger,
            actions=[action],
        )
    )


def _starts(automation: Automation, deployment: DeploymentResponse) -> bool:
    return any(
        isinstance(action, RunDeployment) and action.deployment_id == deployment.id
        for action in automation.actions
    )


def forget(client: SyncPrefectClient, asset_id: str) -> bool:
    """Take an asset's deployments off the server; say whether there were any."""
    ours = [one for one in our_deployments(client) if one.name == asset_id]
    for deployment in ours:
        client.delete_deployment(deployment.id)
    for known in client.read_automations_by_name(_automation(asset_id)):
        client.delete_automation(known.id)
    return bool(ours)


def _automation(asset_id: str) -> str:
    return f"{TAG}: drift of {asset_id}"


def resource_of(asset_id: str) -> str:
    """What an asset is called in events.

    Example:
        >>> resource_of("pump_07")
        'faultwatch.asset.pump_07'
    """
    return f"faultwatch.asset.{asset_id}"


def our_deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    """What was ever deployed to this server, and not taken off."""
    tags = DeploymentFilterTags(all_=[TAG])
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(
        deployment_filter=DeploymentFilter(tags=tags), limit=PAGE, offset=len(found)
    ):
        found += page
    return found


def ended_runs(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[FlowRun]:
    """Newest runs of a deployment that ended, the last one first; without what was cancelled.

    A run is cancelled where one came while another was running.
    """
    ended = (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED)
    return client.read_flow_runs(
        flow_run_filter=_of(deployment, *ended), sort=FlowRunSort.END_TIME_DESC, limit=ENDED
    )


def runs_of(
    client: SyncPrefectClient, deployment: DeploymentResponse, *states: StateType
) -> list[FlowRun]:
    """Runs of a deployment in some states, the next one first."""
    return client.read_flow_runs(
        flow_run_filter=_of(deployment, *states), sort=FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC
    )


def _of(deployment: DeploymentResponse, *states: StateType) -> FlowRunFilter:
    return FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))),
    )


def is_online(client: SyncPrefectClient, since: datetime) -> bool:
    """Whether our worker has called since then."""
    return any(
        worker.name == WORKER and worker.last_heartbeat_time and worker.last_heartbeat_time >= since
        for worker in client.read_workers_for_work_pool(POOL)
    )


def has_runs(client: SyncPrefectClient, plans: Sequence[Plan]) -> bool:
    """Whether the server has planned a training of each asset: Prefect may fail to, silently."""
    return all(next_training(client, plan.asset_id) is not None for plan in plans)


def known_assets(client: SyncPrefectClient) -> list[str]:
    """Assets that are scheduled, by name."""
    ours = our_deployments(client)
    return sorted({deployment.name for deployment in ours if "retrain" in deployment.tags})


def scheduled_files() -> list[str]:
    """Asset files that are scheduled on the server of this flow, as they were named.

    Raises:
        StartError: there are none.
    """
    with get_client(sync_client=True) as client:
        ours = our_deployments(client)
    files = sorted(str(one.parameters["asset_file"]) for one in ours if "retrain" in one.tags)
    if not files:
        raise StartError("no asset is scheduled; name assets, or start `faultwatch up ASSET`")
    return files


def next_training(client: SyncPrefectClient, asset_id: str) -> str | None:
    """When an asset is trained next, in words; None while the server has planned nothing."""
    deployment = client.read_deployment_by_name(f"retrain/{asset_id}")
    if deployment.paused:
        return "paused in Prefect"
    for run in runs_of(client, deployment, StateType.SCHEDULED):
        if run.next_scheduled_start_time:
            return f"next training {run.next_scheduled_start_time:%a %d %b %Y %H:%M} UTC"
    return None
