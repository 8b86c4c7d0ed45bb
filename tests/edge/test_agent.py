import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultwatch_edge.agent import Agent
from faultwatch_edge.bundle import Bundle
from faultwatch_edge.message import Message
from faultwatch_edge.orders import Order
from faultwatch_edge.score_row import ScoreRow

SECOND = 1_000_000
NAN = math.nan
NORMAL = [10.0, 1.0]


def rows(*spans: tuple[int, list[float]]) -> list[tuple[int, list[float]]]:
    """One sample a second: how many, and flow and valve; the counter gains 5 a second."""
    values = [value for count, value in spans for value in [value] * count]
    return [(at_s * SECOND, [*value, 5.0 * at_s]) for at_s, value in enumerate(values, start=1)]


def replay(agent: Agent, samples: list[tuple[int, list[float]]]) -> list[Message]:
    messages = [m for at_us, values in samples for m in agent.process(at_us, values)]
    return messages + agent.finish()


def brief(messages: list[Message]) -> list[tuple[object, ...]]:
    keys = ("kind", "condition", "state", "transition_at")
    return [tuple(message[key] for key in keys) for message in messages]


def at(second: int) -> str:
    return f"1970-01-01T00:00:{second:02d}Z"


def test_normal_running_says_nothing(bundle: Bundle) -> None:
    agent = Agent(bundle)
    assert replay(agent, rows((60, NORMAL))) == []
    assert agent.counts.windows_scored == 28
    assert agent.counts.windows_not_scored == 1


def test_anomaly_is_an_event_at_once_and_an_alarm_after_the_delay(bundle: Bundle) -> None:
    messages = replay(Agent(bundle), rows((20, NORMAL), (20, [18.0, 1.0]), (20, NORMAL)))
    assert brief(messages) == [
        ("event", "asset_anomaly", "active", at(22)),
        ("alarm", "asset_anomaly", "unacknowledged", at(26)),
        ("event", "asset_anomaly", "normal", at(44)),
        ("alarm", "asset_anomaly", "rtn_unacknowledged", at(48)),
    ]


def test_alarm_message_says_what_where_and_since_when(bundle: Bundle) -> None:
    messages = replay(Agent(bundle), rows((20, NORMAL), (20, [18.0, 1.0])))
    (alarm,) = [message for message in messages if message["kind"] == "alarm"]
    assert alarm == {
        "schema": 1,
        "kind": "alarm",
        "alarm_id": "pump_07-19700101T000022Z",
        "sequence": 1,
        "occurrence": 1,
        "asset": "pump_07",
        "condition": "asset_anomaly",
        "channel": None,
        "status": "out_of_specification",
        "state": "unacknowledged",
        "previous_state": "normal",
        "onset_at": at(22),
        "raised_at": at(26),
        "transition_at": at(26),
        "is_historical": False,
        "shadow": False,
        "score": 8.8,
        "threshold": 3.0,
        "contributors": [
            {"channel": "flow", "unit": "m3/h", "observed": 18.0, "expected": 10.0, "share": 1.0}
        ],
        "first_out": "flow",
        "priority": "high",
        "message": (
            f"Feed pump 07, Plant A: Differs from normal running (flow alone), since {at(22)}"
        ),
        "cause": "Worn impeller",
        "consequence": "The boiler runs dry",
        "action": "Switch to pump 08",
        "by": None,
        "reason": None,
        "model_version": 3,
        "bundle_sha256": bundle.sha256,
    }


def test_message_stays_within_120_characters_and_keeps_the_time(bundle: Bundle) -> None:
    channel = replace(bundle.manifest.channels[0], name="flow" * 50)
    channels = (channel, *bundle.manifest.channels[1:])
    manifest = replace(
        bundle.manifest, channels=channels, asset_name="Pump " * 60, site="Site " * 60
    )
    long = replace(bundle, manifest=manifest)
    messages = replay(Agent(long), rows((20, NORMAL), (20, [18.0, 1.0]), (20, NORMAL)))
    for message in messages:
        text = str(message["message"])
        assert len(text) == 120
        assert text.endswith(at(22))
        assert text.startswith("Pump Pump")


def test_historical_and_shadow_are_marked(make_bundle: Callable[..., Bundle]) -> None:
    agent = Agent(make_bundle(enabled=False), is_historical=True)
    messages = replay(agent, rows((20, NORMAL), (20, [18.0, 1.0])))
    assert {(message["shadow"], message["is_historical"]) for message in messages} == {(True, True)}


def test_acknowledged_alarm_returns_to_normal(bundle: Bundle) -> None:
    agent = Agent(bundle)
    messages: list[Message] = []
    for at_us, values in rows((20, NORMAL), (20, [18.0, 1.0]), (20, NORMAL)):
        messages += agent.process(at_us, values)
        if at_us == 30 * SECOND:
            messages += agent.acknowledge(at_us)
            assert agent.acknowledge(at_us) == []
    alarms = [message for message in messages if message["kind"] == "alarm"]
    assert [message["state"] for message in alarms] == ["unacknowledged", "acknowledged", "normal"]
    assert [message["sequence"] for message in alarms] == [1, 2, 3]
    assert len({message["alarm_id"] for message in alarms}) == 1
    assert agent.counts.alarms_raised == 1


def test_too_few_channels_are_a_condition_and_not_a_score(bundle: Bundle) -> None:
    report: list[ScoreRow] = []
    flow, valve, total = bundle.manifest.channels
    periodic = (flow, replace(valve, reporting="periodic"), total)  # a held value is a value
    manifest = replace(bundle.manifest, channels=periodic)
    agent = Agent(replace(bundle, manifest=manifest), on_score=report.append)
    samples = rows((30, NORMAL))
    samples[10:20] = [(at_us, [NAN, NAN, values[2]]) for at_us, values in samples[10:20]]
    messages = replay(agent, samples)
    quality = [message for message in messages if message["condition"] == "data_quality"]
    assert brief(quality) == [
        ("event", "data_quality", "active", at(14)),
        ("event", "data_quality", "normal", at(22)),
    ]
    assert [message["status"] for message in quality] == ["function_check", "good"]
    assert (
        quality[0]["alarm_id"] == quality[1]["alarm_id"] == "pump_07-data_quality-19700101T000014Z"
    )
    unscored = [row for row in report if row.end_us == 16 * SECOND]
    assert unscored[0].score is unscored[0].anomalous is unscored[0].gate is None


def test_silent_sensor_is_named_with_its_ne107_word(bundle: Bundle) -> None:
    samples = rows((30, NORMAL))
    samples[9:20] = [(at_us, [NAN, *values[1:]]) for at_us, values in samples[9:20]]
    messages = replay(Agent(bundle), samples)
    faults = [message for message in messages if message["condition"] == "sensor_fault"]
    assert [(m["channel"], m["status"], m["state"]) for m in faults] == [
        ("flow", "failure", "active"),
        ("flow", "good", "normal"),
    ]
    assert str(faults[0]["message"]).startswith(
        "Feed pump 07, Plant A: Sensor 'flow': failure, no value, since "
    )


def test_cut_resets_the_detector_and_forgets_a_pending_onset(bundle: Bundle) -> None:
    report: list[ScoreRow] = []
    agent = Agent(bundle, on_score=report.append)
    before = rows((10, NORMAL), (4, [18.0, 1.0]))
    after = [(at_us + 60 * SECOND, values) for at_us, values in rows((10, [18.0, 1.0]))]
    messages = replay(agent, before + after)
    alarms = [message for message in messages if message["kind"] == "alarm"]
    assert [(message["onset_at"]) for message in alarms] == ["1970-01-01T00:01:06Z"]
    assert [row.gate for row in report if row.end_us == 64 * SECOND] == [False]


def test_alarm_outlives_a_cut(bundle: Bundle) -> None:
    later = [(at_us + 60 * SECOND, values) for at_us, values in rows((20, NORMAL))]
    messages = replay(Agent(bundle), rows((10, NORMAL), (20, [18.0, 1.0])) + later)
    states = [message["state"] for message in messages if message["kind"] == "alarm"]
    assert states == ["unacknowledged", "rtn_unacknowledged"]


def test_score_that_is_no_number_is_a_data_quality_condition(bundle: Bundle) -> None:
    samples = rows((30, NORMAL))
    samples[14] = (samples[14][0], [1e30, *samples[14][1][1:]])
    messages = replay(Agent(bundle), samples)
    assert [message["condition"] for message in messages] == ["data_quality", "data_quality"]
    assert all(message["score"] is None for message in messages)
    json.dumps(messages, allow_nan=False)


@pytest.mark.parametrize(
    ("at_us", "values", "reason"),
    [
        (SECOND, [math.inf, 1.0, 1.0], "channel 'flow' is inf, expected a finite number"),
        (SECOND, [1.0, -1e31, 1.0], "channel 'valve' is -1e+31, expected a finite number"),
        (SECOND, [1.0], "has values of shape (1,), expected one for each of 3"),
        (10**18, [1.0, 1.0, 1.0], "time is out of range, expected one in the years 1900 to 8999"),
    ],
)
def test_sample_that_cannot_be_used_is_answered(
    at_us: int, values: list[float], reason: str, bundle: Bundle
) -> None:
    agent = Agent(bundle)
    (message,) = agent.process(at_us, values, line=7, raw="x" * 3000)
    assert message == {
        "schema": 1,
        "kind": "rejected",
        "asset": "pump_07",
        "line": 7,
        "reason": reason,
        "raw": "x" * 2000,
    }
    assert (agent.counts.rejected, agent.counts.samples) == (1, 0)


def test_late_sample_is_answered_and_counted(bundle: Bundle) -> None:
    agent = Agent(bundle)
    assert agent.process(10 * SECOND, [*NORMAL, 1.0]) == []
    (message,) = agent.process(SECOND, [*NORMAL, 1.0], line=3, raw="a,b")
    assert message["reason"] == "late: its cell has closed (allowed_lateness_s is 2)"
    assert (agent.counts.late, agent.counts.rejected, agent.counts.samples) == (1, 0, 1)


flows = st.sampled_from([10.0, 18.0, NAN, 1e30])
steps = st.sampled_from([0, 1, 1, 1, 1, 1, 2, 9, -3])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(steps, flows, st.booleans()), max_size=80), st.integers(2, 50))
def test_replay_in_batches_says_the_same_as_one_by_one(
    bundle: Bundle, draws: list[tuple[int, float, bool]], batch: int
) -> None:
    times_s = np.cumsum([step for step, _, _ in draws]) if draws else np.array([])
    samples = [
        (int(at_s) * SECOND, [flow, 1.0 if has_rest else NAN, 5.0 * at_s if has_rest else NAN])
        for at_s, (_, flow, has_rest) in zip(times_s.tolist(), draws, strict=True)
    ]
    said, reports, counts = [], [], []
    for size in (1, batch):
        report: list[ScoreRow] = []
        agent = Agent(bundle, batch=size, on_score=report.append)
        said.append(replay(agent, samples))
        reports.append(report)
        counts.append(agent.counts)
    assert said[0] == said[1]
    assert reports[0] == reports[1]
    assert counts[0] == counts[1]


# --- operating points ----------------------------------------------------------------------------


@pytest.fixture
def knowing(bundle: Bundle, knowing_graph: bytes) -> Bundle:
    """Two units from a channel's centre the operating point is new; three are an anomaly."""
    return replace(bundle, onnx=knowing_graph)


def test_a_new_operating_point_is_told_as_that_and_not_as_an_alarm(knowing: Bundle) -> None:
    messages = replay(Agent(knowing), rows((20, NORMAL), (20, [12.4, 1.0]), (20, NORMAL)))
    assert brief(messages) == [
        ("event", "model_health", "active", at(28)),
        ("event", "model_health", "normal", at(46)),
    ]
    began, ended = messages
    assert began["message"] == (
        "Feed pump 07, Plant A: New operating point (flow alone), since 1970-01-01T00:00:24Z"
    )
    assert began["status"] == "out_of_specification"
    assert began["contributors"] == [
        {"channel": "flow", "unit": "m3/h", "observed": 12.4, "expected": 10.0, "share": 1.0}
    ]
    assert ended["message"] == (
        "Feed pump 07, Plant A: Known operating point again, began 1970-01-01T00:00:24Z"
    )
    assert (ended["status"], ended["alarm_id"]) == ("good", began["alarm_id"])


def test_an_anomaly_at_a_new_operating_point_is_an_alarm_and_nothing_else(knowing: Bundle) -> None:
    messages = replay(Agent(knowing), rows((20, NORMAL), (20, [18.0, 1.0])))
    assert brief(messages) == [
        ("event", "asset_anomaly", "active", at(22)),
        ("alarm", "asset_anomaly", "unacknowledged", at(26)),
    ]


def test_a_new_operating_point_that_does_not_last_is_not_told(knowing: Bundle) -> None:
    assert replay(Agent(knowing), rows((20, NORMAL), (4, [12.4, 1.0]), (20, NORMAL))) == []


def test_a_gap_forgets_the_beginning_of_a_new_operating_point(knowing: Bundle) -> None:
    samples = rows((20, NORMAL), (20, [12.4, 1.0]))
    before, after = samples[:26], [(at_us + 60 * SECOND, v) for at_us, v in samples[26:30]]
    assert replay(Agent(knowing), [*before, *after]) == []


def test_windows_scored_together_tell_the_same_operating_points(knowing: Bundle) -> None:
    samples = rows((20, NORMAL), (20, [12.4, 1.0]), (9, [18.0, 1.0]), (20, NORMAL))
    together = replay(Agent(knowing, batch=50), samples)
    assert together == replay(Agent(knowing), samples)
    assert ("event", "model_health", "active", at(28)) in brief(together)


def alarms(messages: list[Message]) -> list[Message]:
    return [message for message in messages if message["kind"] == "alarm"]


def with_alarm(bundle: Bundle, **changes: Any) -> Bundle:
    """The same with other options of the alarm."""
    manifest = bundle.manifest
    return replace(bundle, manifest=replace(manifest, alarm=replace(manifest.alarm, **changes)))


def test_the_channel_that_differed_first_is_told_also_when_another_differs_more(
    bundle: Bundle,
) -> None:
    agent = Agent(bundle)
    samples = [(second, [10.0, 1.0, 5.0 * second]) for second in range(60)]
    for second, values in samples[20:]:
        values[0] = 14.0
        values[2] += 20.0 * max(0, second - 24)
    messages = [one for second, row in samples for one in agent.process(second * SECOND, row)]
    (alarm,) = alarms(messages)
    contributors = alarm["contributors"]
    assert isinstance(contributors, list)
    assert [cause["channel"] for cause in contributors] == ["total", "flow"]
    assert alarm["first_out"] == "flow"
    assert "(total, flow; first flow)" in str(alarm["message"])


def test_an_alarm_that_nobody_raised_has_no_first_channel(bundle: Bundle) -> None:
    agent = Agent(bundle)
    replay(agent, rows((20, NORMAL)))
    order = Order("suppress", by="Kim", reason="new seal", for_s=60.0)
    (suppressed,) = agent.obey(order, 20 * SECOND)
    assert (suppressed["state"], suppressed["first_out"]) == ("suppressed_by_design", None)
    assert suppressed["status"] == "function_check"
    assert agent.tick(79 * SECOND) == []
    (done,) = agent.tick(80 * SECOND)
    assert done["state"] == "normal"


def test_within_the_hysteresis_an_alarm_stays(bundle: Bundle) -> None:
    flows = rows((20, NORMAL), (20, [18.0, 1.0]), (20, [12.5, 1.0]), (20, NORMAL))
    plain = alarms(replay(Agent(bundle), list(flows)))
    assert [one["transition_at"] for one in plain] == [at(26), at(50)]
    wide = alarms(replay(Agent(with_alarm(bundle, hysteresis=1.0)), list(flows)))
    assert [one["state"] for one in wide] == ["unacknowledged", "rtn_unacknowledged"]
    assert wide[1]["transition_at"] == "1970-01-01T00:01:06Z"


def test_a_latched_alarm_needs_an_acknowledgement_of_its_return(bundle: Bundle) -> None:
    for latch, state in ((False, "normal"), (True, "rtn_unacknowledged")):
        agent = Agent(with_alarm(bundle, latch=latch))
        replay(agent, rows((20, NORMAL), (20, [18.0, 1.0])))
        agent.acknowledge(40 * SECOND)
        later = [(40 + second, [10.0, 1.0, 5.0 * second]) for second in range(20)]
        told = [one for second, row in later for one in agent.process(second * SECOND, row)]
        assert [one["state"] for one in alarms(told)] == [state]
