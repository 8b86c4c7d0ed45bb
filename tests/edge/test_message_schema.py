"""Everything that an agent says is as the published schema has it."""

import json
from importlib import resources
from typing import Any

import jsonschema
import pytest

from faultwatch_edge.agent import Agent
from faultwatch_edge.alarm import AlarmState
from faultwatch_edge.bundle import Bundle
from faultwatch_edge.config import AssetSource, MqttConfig
from faultwatch_edge.message import SCHEMA
from faultwatch_edge.orders import Order
from faultwatch_edge.score_row import score_record
from faultwatch_edge.sources.incoming import Incoming
from faultwatch_edge.topics import last_will
from faultwatch_edge.watched import Watched

NAN = float("nan")


@pytest.fixture(scope="module")
def schema() -> Any:
    text = resources.files("faultwatch_edge").joinpath("messages.schema.json").read_text()
    found = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def test_a_life_of_alarms_and_events_is_as_the_schema_says(bundle: Bundle, schema: Any) -> None:
    rows: list[Any] = []
    agent = Agent(bundle, on_score=rows.append)
    messages: list[Any] = []
    for second in range(120):
        flow = 18.0 if 20 < second < 60 else NAN if 80 < second < 100 else 10.0
        valve = 1.0 if second < 85 else NAN
        messages += agent.process(second * 1_000_000, [flow, valve, 5.0 * second])
        if second == 40:
            messages += agent.obey(Order("acknowledge", "Kim", "seen"), second * 1_000_000)
        if second == 45:
            order = Order("shelve", "Kim", "repair", 20.0)
            messages += agent.obey(order, second * 1_000_000)
        messages += agent.tick(second * 1_000_000)
    messages += agent.process(0, [1.0, 1.0, 1.0])
    messages += agent.fall_silent(200_000_000)
    kinds = {(one["kind"], one.get("condition"), one.get("state")) for one in messages}
    assert {("alarm", "asset_anomaly", state) for state in ("acknowledged", "shelved")} <= kinds
    assert {kind for kind, *_ in kinds} == {"alarm", "event", "rejected"}
    head = {"schema": SCHEMA, "kind": "score", "asset": bundle.manifest.asset_id}
    scores = [{**head, **score_record(row)} for row in rows]
    will = json.loads(last_will(MqttConfig())[1])
    for message in (*messages, *scores, will):
        jsonschema.validate(message, schema)


def test_a_score_says_of_which_bundle_it_is(bundle: Bundle, schema: Any) -> None:
    watched = Watched(bundle, AssetSource("pump.fwb", topic="plant/pump"), publish_scores=True)
    records = []
    for second in range(6):
        body = json.dumps({"time": f"2026-01-01T00:00:0{second}Z", "flow": 10.0, "FQ-101": 5.0})
        message = Incoming("plant/pump", body.encode(), is_again=False, number=second, qos=1)
        records += watched.take(message, 1_800_000_000_000_000)
    scores = [json.loads(one.body) for one in records if one.kind == "score"]
    for one in scores:
        jsonschema.validate(one, schema)
    named = {(one["model_version"], one["bundle_sha256"]) for one in scores}
    assert named == {(bundle.manifest.version, bundle.sha256)}


def test_the_schema_knows_every_state(schema: Any) -> None:
    assert schema["$defs"]["state"]["enum"] == [state.value for state in AlarmState]


def test_a_key_too_many_is_no_message(schema: Any) -> None:
    will = json.loads(last_will(MqttConfig())[1])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(will | {"more": 1}, schema)
