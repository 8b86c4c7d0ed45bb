"""Single values become samples; what nobody takes makes way for what is newer."""

from dataclasses import replace

import pytest

from faultwatch_edge.sources import opcua_values
from faultwatch_edge.sources.opcua_values import OpcUaSample, OpcUaValues, Reading

FLOW = Reading("pump", "flow", "s=F", 1.0, is_good=True, time_us=10)
TOTAL = replace(FLOW, channel="total", node="s=T")
VALVE = replace(FLOW, channel="valve", node="s=V", is_known=True, is_on_change=True)


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def values(notes: list[str]) -> OpcUaValues:
    return OpcUaValues(notes.append)


def sample(time_us: int, *, is_again: bool = False, **found: float) -> OpcUaSample:
    return OpcUaSample("pump", time_us, found, is_again)


def test_values_of_one_message_come_in_order_of_time(values: OpcUaValues) -> None:
    values.add([replace(FLOW, time_us=11), FLOW, replace(TOTAL, time_us=11), TOTAL])
    assert values.take(9) == [sample(10, flow=1, total=1), sample(11, flow=1, total=1)]


def test_two_values_of_one_channel_and_time_are_two_samples(values: OpcUaValues) -> None:
    values.add([FLOW, replace(FLOW, value=2)])
    assert values.take(9) == [sample(10, flow=1), sample(10, flow=2)]


def test_assets_are_not_mixed(values: OpcUaValues) -> None:
    values.add([FLOW, replace(TOTAL, asset="fan")])
    assert values.take(9) == [sample(10, flow=1), replace(sample(10, total=1), asset="fan")]


def test_what_was_known_gives_way_to_what_is_new(values: OpcUaValues) -> None:
    values.add([VALVE, replace(VALVE, is_known=False, value=0, time_us=20)])
    values.add([replace(FLOW, time_us=30)])
    assert values.take(9) == [sample(20, valve=0), sample(30, flow=1)]


def test_what_is_known_waits_for_a_sample_that_is_not_older(values: OpcUaValues) -> None:
    values.add([replace(VALVE, time_us=15), FLOW])
    values.add([replace(FLOW, time_us=15)])
    assert values.take(9) == [sample(10, flow=1), sample(15, flow=1, valve=1)]


@pytest.mark.parametrize("is_good", [True, False])
def test_what_is_known_is_forgotten_with_the_connection_and_with_its_quality(
    values: OpcUaValues, *, is_good: bool
) -> None:
    values.add([VALVE])
    if is_good:
        values.forget()
    else:
        values.add([replace(VALVE, is_known=False, is_good=False)])
    values.add([FLOW])
    assert values.take(9) == [sample(10, flow=1)]


def test_the_oldest_is_dropped_counted_and_said_where_nobody_takes(
    values: OpcUaValues, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opcua_values, "MOST_WAITING", 3)
    for time_us in range(10, 15):
        values.add([replace(FLOW, time_us=time_us)])
    assert notes == ["samples by OPC UA come quicker than they are taken; the oldest are dropped"]
    assert values.take(9) == [sample(time_us, flow=1) for time_us in (12, 13, 14)]
    assert notes[1:] == ["2 samples by OPC UA were dropped before they could be taken"]
    values.add([FLOW])
    assert values.take(9) == [sample(10, flow=1)]
    assert len(notes) == 2


def test_what_the_server_lost_is_said_once_a_connection(
    values: OpcUaValues, notes: list[str]
) -> None:
    lossy = replace(FLOW, is_after_loss=True)
    values.add([lossy, lossy])
    assert len(notes) == 1
    assert notes[0].startswith("pump: the server has lost values of channel 'flow'")
    values.forget()
    values.add([lossy])
    assert len(notes) == 2


def test_a_sample_shows_its_time_and_values() -> None:
    assert sample(1_500_000, flow=2).raw == '{"time": "1970-01-01T00:00:01.500000Z", "flow": 2}'
