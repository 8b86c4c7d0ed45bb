"""Whether the champion still fits: what is said, when an event follows, and when it does not."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State, StateType
from prefect.events.actions import RunDeployment
from prefect.states import Scheduled

from pipelines.historian import Historian
from pipelines.monitor import find_overdue, look, newest_rows
from pipelines.schedules import follow_drift

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def looked(pump: Any, *, days_later: float = 2.0) -> Any:
    return look(pump.asset, pump.settings, at=datetime.now(UTC) + timedelta(days=days_later))


def test_without_a_champion_there_is_nothing_to_watch(pump: Any) -> None:
    found = looked(pump)
    assert (found.version, found.is_event) == (None, False)
    assert found.note() == "small_pump has no champion yet: nothing to watch."


@pytest.mark.slow
def test_a_machine_that_moved_is_an_event_and_one_that_did_not_is_none(pump: Any) -> None:
    pump.run(5_000)
    assert pump.retrain().outcome == "promoted"
    assert looked(pump).drifted == ()
    pump.run(1_200)
    assert looked(pump).drifted == ()
    assert "Nothing has drifted." in looked(pump).note()

    pump.run(3_600, shift=1.0)
    found = looked(pump)
    assert found.is_event
    shift, alarm = found.drifted
    assert shift.startswith("'flow' is at 10.89 m3/h, was at 10.01 m3/h (+1.2 standard dev")
    assert alarm.startswith("it stands in alarm since 2026-01-2")
    assert f"- {alarm}" in found.note()

    soon = looked(pump, days_later=0.5)
    assert (soon.drifted, soon.is_event) == (found.drifted, False)
    assert "No retraining is asked for: version 1 was trained at" in soon.note()
    pump.set("[retrain]", "[retrain]\ndrift = false")
    assert looked(pump).quiet == "[retrain] drift = false"

    pump.label(6_000, 9_900, "maintenance")
    assert looked(pump).drifted == ()


def test_only_the_newest_rows_are_held_in_memory(pump: Any) -> None:
    pump.run(3_000)
    asset = pump.asset
    historian = Historian(pump.settings.historian_address, asset.asset.id, asset.channel)
    rows = newest_rows(historian, pump.time(0), most=700)
    assert (rows.height, rows["time"][0], rows["time"][-1]) == (
        700,
        pump.time(2_300),
        pump.time(2_999),
    )
    assert newest_rows(historian, pump.time(2_990), most=700).height == 10
    assert newest_rows(historian, pump.time(4_000), most=700).is_empty()


@pytest.fixture
def client(prefect_harness: None) -> Iterator[SyncPrefectClient]:
    del prefect_harness
    with get_client(sync_client=True) as started:
        yield started


def test_retrainings_that_fail_or_wait_are_said(client: SyncPrefectClient) -> None:
    assert find_overdue(client, "pump_09", at=NOW) == ""
    flow = client.create_flow_from_name("retrain")
    deployment = client.create_deployment(flow, "pump_09")

    def ended(state: StateType) -> None:
        run = client.create_flow_run_from_deployment(deployment)
        client.set_flow_run_state(run.id, State(type=state), force=True)

    ended(StateType.COMPLETED)
    assert find_overdue(client, "pump_09", at=NOW) == ""
    for _ in range(2):
        ended(StateType.FAILED)
    ended(StateType.CANCELLED)
    assert "the last 2 retrainings of pump_09 failed" in find_overdue(client, "pump_09", at=NOW)
    ended(StateType.COMPLETED)
    assert find_overdue(client, "pump_09", at=NOW) == ""

    client.create_flow_run_from_deployment(
        deployment, state=Scheduled(scheduled_time=NOW - timedelta(hours=3))
    )
    assert find_overdue(client, "pump_09", at=NOW - timedelta(hours=2.5)) == ""
    late = find_overdue(client, "pump_09", at=NOW)
    assert late == "a retraining of pump_09 waits since 2026-02-28 21:00 UTC: start a worker"


def test_the_automation_of_an_asset_is_made_once_and_stays_paused(
    client: SyncPrefectClient,
) -> None:
    flow = client.create_flow_from_name("retrain")
    client.create_deployment(flow, "pump_08")
    follow_drift(client, "pump_08")
    (made,) = client.read_automations_by_name("faultwatch: drift of pump_08")
    client.pause_automation(made.id)
    follow_drift(client, "pump_08")
    (kept,) = client.read_automations_by_name("faultwatch: drift of pump_08")
    assert (kept.id, kept.enabled) == (made.id, False)

    client.delete_deployment(client.read_deployment_by_name("retrain/pump_08").id)
    again = client.create_deployment(flow, "pump_08")
    follow_drift(client, "pump_08")
    (other,) = client.read_automations_by_name("faultwatch: drift of pump_08")
    assert other.id != made.id
    (action,) = other.actions
    assert isinstance(action, RunDeployment)
    assert action.deployment_id == again
