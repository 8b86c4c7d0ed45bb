import numpy as np
import pytest

from faultwatch_edge.events import EventLog
from faultwatch_edge.manifest import ChannelSpec, Manifest
from faultwatch_edge.message import (
    FAILURE,
    FUNCTION_CHECK,
    GOOD,
    MAINTENANCE_REQUIRED,
    OUT_OF_SPECIFICATION,
    Message,
    MessageWriter,
)

NAN = float("nan")


@pytest.fixture
def log(manifest: Manifest) -> EventLog:
    """Events of one channel, 0 to 20."""
    flow = ChannelSpec("flow", None, "m3/h", "continuous", "periodic", (0.0, 20.0))
    return EventLog(MessageWriter(manifest, "abc", is_historical=False), [flow])


def tell(log: EventLog, *codes: int, values: tuple[float, ...] = (10.0, 10.0)) -> list[Message]:
    window = np.array([values], np.float32)
    return [
        message
        for minute, code in enumerate(codes)
        for message in log.sensors([code], window, minute * 60_000_000)
    ]


@pytest.mark.parametrize(
    ("code", "values", "words"),
    [
        (FAILURE, (NAN, NAN), "failure, no value"),
        (FAILURE, (10.0, NAN), "failure, stuck"),
        (OUT_OF_SPECIFICATION, (10.0, 20.5), "out of specification, outside its range"),
        (OUT_OF_SPECIFICATION, (10.0, -0.5), "out of specification, outside its range"),
        (OUT_OF_SPECIFICATION, (30.0, 20.0), "out of specification, noisy"),
        (OUT_OF_SPECIFICATION, (30.0, NAN), "out of specification, noisy"),
        (MAINTENANCE_REQUIRED, (10.0, 10.0), "maintenance required, spikes"),
        (FUNCTION_CHECK, (10.0, 10.0), "function check"),
        (99, (10.0, 10.0), "failure"),
    ],
)
def test_a_message_says_what_is_wrong_with_the_sensor(
    log: EventLog, code: int, values: tuple[float, ...], words: str
) -> None:
    (message,) = tell(log, code, values=values)
    assert f": Sensor 'flow': {words}, since " in str(message["message"])


def test_a_channel_without_a_range_is_not_outside_it(manifest: Manifest) -> None:
    flow = ChannelSpec("flow", None, "", "continuous", "periodic", None)
    log = EventLog(MessageWriter(manifest, "abc", is_historical=False), [flow])
    (message,) = tell(log, OUT_OF_SPECIFICATION, values=(10.0, 1e6))
    assert ": Sensor 'flow': out of specification, noisy, since " in str(message["message"])


def test_a_status_that_stays_is_told_once(log: EventLog) -> None:
    assert not tell(log, GOOD, GOOD)
    messages = tell(log, FAILURE, FAILURE, 99, GOOD, GOOD)
    assert [(m["status"], m["state"]) for m in messages] == [
        ("failure", "active"),
        ("good", "normal"),
    ]


def test_a_more_urgent_status_ends_one_event_and_begins_another(log: EventLog) -> None:
    messages = tell(log, MAINTENANCE_REQUIRED, OUT_OF_SPECIFICATION, FAILURE, GOOD)
    assert [(m["status"], m["state"]) for m in messages] == [
        ("maintenance_required", "active"),
        ("good", "normal"),
        ("out_of_specification", "active"),
        ("good", "normal"),
        ("failure", "active"),
        ("good", "normal"),
    ]
    assert len({m["alarm_id"] for m in messages}) == 3


def test_a_less_urgent_status_changes_nothing(log: EventLog) -> None:
    messages = tell(log, FAILURE, MAINTENANCE_REQUIRED, OUT_OF_SPECIFICATION, GOOD)
    assert [m["status"] for m in messages] == ["failure", "good"]
