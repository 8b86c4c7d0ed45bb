from datetime import datetime

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from faultwatch_edge.bundle import Bundle
from faultwatch_edge.events import EventLog
from faultwatch_edge.message import MessageWriter
from faultwatch_edge.times import microseconds
from pipelines.sensor_events import SensorEvents

CODES = st.sampled_from([0, 0, 0, 1, 3, 4])
MINUTE_US = 60_000_000
Events = list[tuple[str, int, bool]]


def told_one_by_one(bundle: Bundle, codes: NDArray[np.int8], window: NDArray[np.float32]) -> Events:
    """Channel, time and whether it begins, of each message of a log that sees every window."""
    writer = MessageWriter(bundle.manifest, bundle.sha256, is_historical=True)
    off_delay_us = microseconds(bundle.manifest.alarm.off_delay_s)
    log = EventLog(writer, bundle.manifest.channels, off_delay_us=off_delay_us)
    messages = [
        message
        for row, code in enumerate(codes.tolist())
        for message in log.sensors(code, window, (row + 1) * MINUTE_US)
    ]
    return [
        (
            str(message["channel"]),
            round(datetime.fromisoformat(str(message["transition_at"])).timestamp() * 1e6),
            message["state"] == "active",
        )
        for message in messages
    ]


@settings(deadline=None)
@given(data=st.data())
def test_any_slices_tell_what_a_device_s_log_tells_window_by_window(
    bundle: Bundle, data: st.DataObject
) -> None:
    channels, rows = len(bundle.manifest.channels), data.draw(st.integers(1, 20))
    row = st.lists(CODES, min_size=channels, max_size=channels)
    codes = np.array(data.draw(st.lists(row, min_size=rows, max_size=rows)), np.int8)
    windows = np.ones((rows, channels, 4), np.float32)
    end_us = np.arange(1, rows + 1) * MINUTE_US
    events, cut = SensorEvents(bundle), data.draw(st.integers(0, rows))
    for part in (slice(0, cut), slice(cut, None)):
        if len(codes[part]):
            events.add(codes[part], windows[part], end_us[part])
    began = [(one.channel, one.began_us, True) for one in events.records]
    ended = [(one.channel, one.ended_us, False) for one in events.records if one.ended_us]
    assert sorted(began + ended) == sorted(told_one_by_one(bundle, codes, windows[0]))


def test_a_record_says_what_is_wrong_by_the_window_that_told_it(bundle: Bundle) -> None:
    events = SensorEvents(bundle)
    off_delay_us = microseconds(bundle.manifest.alarm.off_delay_s)
    windows = np.ones((4, 2, 4), np.float32)
    windows[1:, 1] = np.nan
    codes = np.array([[0, 0], [1, 1], [0, 1], [0, 1]], np.int8)
    end_us = np.array([0, MINUTE_US, 2 * MINUTE_US, 2 * MINUTE_US + off_delay_us])
    events.add(codes, windows, end_us)
    found = [(one.channel, one.what, one.began_us, one.ended_us) for one in events.records]
    assert found == [
        ("a", "failure, stuck", MINUTE_US, 2 * MINUTE_US + off_delay_us),
        ("b", "failure, no value", MINUTE_US, None),
    ]
