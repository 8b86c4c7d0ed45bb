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
CONTRADICTED = "maintenance required, contradicted by the others"


@pytest.fixture
def log(manifest: Manifest) -> EventLog:
    """Events of one channel, 0 to 20."""
    flow = ChannelSpec("flow", None, "m3/h", "continuous", "periodic", (0.0, 20.0))
    return make_log(manifest, flow)


def make_log(manifest: Manifest, channel: ChannelSpec, *, off_delay_us: int = 0) -> EventLog:
    writer = MessageWriter(manifest, "abc", is_historical=False)
    return EventLog(writer, [channel], off_delay_us=off_delay_us)


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
        (MAINTENANCE_REQUIRED, (1.0, 1.5, 1.0, 9.0, 1.0, 1.5), "maintenance required, spikes"),
        (MAINTENANCE_REQUIRED, (NAN, 1.0, 9.0, 1.0, 1.0, 1.0, 1.0), "maintenance required, spikes"),
        (MAINTENANCE_REQUIRED, (1.0, 2.0, 1.0, 3.0), CONTRADICTED),
        (MAINTENANCE_REQUIRED, (1.0,), CONTRADICTED),
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
    log = make_log(manifest, flow)
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


def test_a_sensor_s_event_ends_when_it_was_good_for_the_off_delay(manifest: Manifest) -> None:
    flow = ChannelSpec("flow", None, "", "continuous", "periodic", None)
    log = make_log(manifest, flow, off_delay_us=120_000_000)
    codes = [FAILURE, GOOD, GOOD, FAILURE, GOOD, GOOD, GOOD, GOOD]
    waiting = []
    messages: list[Message] = []
    for minute, code in enumerate(codes):
        messages += log.sensors([code], np.ones((1, 2), np.float32), minute * 60_000_000)
        waiting.append(log.is_waiting)
    assert [(m["state"], m["transition_at"]) for m in messages] == [
        ("active", "1970-01-01T00:00:00Z"),
        ("normal", "1970-01-01T00:06:00Z"),
    ]
    assert waiting == [False, True, True, False, True, True, False, False]
