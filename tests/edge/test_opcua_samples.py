"""What is made of one sample by OPC UA, by the real parts; only no server is there."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from faultwatch_edge.bundle import Bundle
from faultwatch_edge.config import AssetSource, OpcUaConfig
from faultwatch_edge.errors import ConfigError
from faultwatch_edge.opcua_samples import OpcUaSamples
from faultwatch_edge.sources.opcua_values import AssetNodes, OpcUaRejection, OpcUaSample
from faultwatch_edge.spool import Record
from faultwatch_edge.watched import Watched

SECOND = 1_000_000
NOW_US = 1_790_000_000 * SECOND
CONFIG = OpcUaConfig("opc.tcp://localhost:4840", security="none")
NODES = {"total": "ns=2;i=3", "flow": "ns=2;s=FT-101", "valve": "ns=2;s=V"}
Body = dict[str, Any]


def watch(bundle: Bundle, nodes: dict[str, str]) -> Watched:
    return Watched(bundle, AssetSource("pump.fwb", nodes=nodes), publish_scores=True)


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def samples(bundle: Bundle, notes: list[str]) -> OpcUaSamples:
    return OpcUaSamples(CONFIG, [watch(bundle, NODES)], password=None, note=notes.append)


def sample(second: float, **values: float) -> OpcUaSample:
    return OpcUaSample("pump_07", round(second * SECOND), values)


def running(samples: OpcUaSamples, seconds: range, **more: float) -> list[Body]:
    """What normal running of a while leads to."""
    records: list[Record] = []
    for second in seconds:
        values = {"flow": 10.0, "total": 5.0 * second} | more
        records += samples.feed(sample(second, **values), NOW_US)
    return [json.loads(one.body) for one in records]


def reasons(records: list[Record]) -> list[str]:
    return [json.loads(one.body)["reason"] for one in records if one.kind == "rejected"]


def test_values_are_put_where_the_bundle_has_their_channels(samples: OpcUaSamples) -> None:
    (watched,) = samples.assets
    assert watched.nodes == AssetNodes(
        "pump_07",
        (("total", "ns=2;i=3"), ("flow", "ns=2;s=FT-101"), ("valve", "ns=2;s=V")),
        frozenset({"valve"}),
        period_s=1.0,
    )
    assert watched.payloads.filters == ()
    told = running(samples, range(30), valve=1)
    assert {one["kind"] for one in told} == {"score"}
    assert max(one["score"] or 0 for one in told) < 1


def test_nodes_that_do_not_fit_the_bundle_are_refused(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="names 'speed', which the bundle does not know"):
        watch(bundle, NODES | {"speed": "ns=2;s=S"})
    with pytest.raises(ConfigError, match="names 1 channels, expected at least 2, without which"):
        watch(bundle, {"flow": "ns=2;s=FT-101"})


def test_a_channel_without_a_node_is_said_and_missing(bundle: Bundle, notes: list[str]) -> None:
    nodes = {name: node for name, node in NODES.items() if name != "valve"}
    samples = OpcUaSamples(CONFIG, [watch(bundle, nodes)], password=None, note=notes.append)
    assert notes == ["pump_07: asset.nodes has no node for valve; missing so far"]
    assert running(samples, range(30))[-1]["kind"] == "score"


def test_a_time_ahead_of_the_devices_clock_is_refused(samples: OpcUaSamples) -> None:
    ahead = sample(NOW_US / SECOND + 3_600, flow=1)
    (reason,) = reasons(samples.feed(ahead, NOW_US))
    assert reason.startswith("time is ahead of this device's clock")


def test_what_comes_late_is_refused_and_what_comes_again_is_passed_over(
    samples: OpcUaSamples,
) -> None:
    running(samples, range(20))
    assert samples.feed(replace(sample(3, flow=1), is_again=True), NOW_US) == []
    (reason,) = reasons(samples.feed(sample(3, flow=1), NOW_US))
    assert reason.startswith("late: its cell has closed")


def test_an_infinite_value_is_refused(samples: OpcUaSamples) -> None:
    (reason,) = reasons(samples.feed(sample(1, flow=float("inf")), NOW_US))
    assert reason == "channel 'flow' is inf, expected a finite number"


def test_a_value_that_is_no_number_is_told_once_and_counted_each_time(
    samples: OpcUaSamples,
) -> None:
    (watched,) = samples.assets
    rejection = OpcUaRejection("pump_07", "node 'x' has text", "'high'", is_again=False)
    (record,) = samples.feed(rejection, NOW_US)
    assert json.loads(record.body)["raw"] == "'high'"
    assert samples.feed(replace(rejection, is_again=True), NOW_US) == []
    assert watched.agent.counts.rejected == 2


def test_a_sample_that_nobody_thought_of_is_answered_and_the_next_one_is_taken(
    samples: OpcUaSamples, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Watched, "take_sample", lambda *_, **__: 1 // 0)
        assert reasons(samples.feed(sample(1, flow=1), NOW_US)) == [
            "led to ZeroDivisionError in the agent"
        ]
    assert "ZeroDivisionError" in notes[0]
    assert samples.feed(sample(1, flow=1), NOW_US) == []


@pytest.mark.parametrize(("second", "is_held"), [(24, True), (60, False)])
def test_what_changed_last_is_not_held_over_an_outage_longer_than_the_longest_gap(
    samples: OpcUaSamples, second: int, *, is_held: bool
) -> None:
    running(samples, range(20), valve=1)
    running(samples, range(20, 21), valve=9)  # so that windows in which it is held are anomalous
    told = running(samples, range(second, second + 20))
    scores = [one["anomalous"] for one in told if one["kind"] == "score"]
    assert scores[-1] is is_held


def test_a_newer_bundle_changes_what_is_wanted(
    samples: OpcUaSamples, make_bundle: Callable[..., Bundle]
) -> None:
    (watched,) = samples.assets
    watched.renew(make_bundle(window={"sample_period_s": 2.0}))
    assert watched.nodes is not None
    assert watched.nodes.period_s == 2
