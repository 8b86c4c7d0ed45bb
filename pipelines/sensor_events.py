"""Sensors at fault in windows that come in slices, as the device's own log tells them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faultwatch_edge.bundle import Bundle
from faultwatch_edge.events import EventLog, describe_sensor
from faultwatch_edge.message import NE107, Message, MessageWriter
from faultwatch_edge.times import microseconds

CODES = {word: code for code, word in NE107.items()}


@dataclass
class SensorRecord:
    """One sensor event from its beginning to its end."""

    channel: str
    what: str
    """NE 107 word and kind: ``failure, stuck``."""
    began_us: int
    """End of the window that told it."""
    ended_us: int | None = None
    """None = it was still active at the end."""


class SensorEvents:
    """Keeps the sensor events that a bundle would tell.

    Args:
        bundle: what a device would run.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._channels = {channel.name: channel for channel in bundle.manifest.channels}
        self._places = {name: place for place, name in enumerate(self._channels)}
        writer = MessageWriter(bundle.manifest, bundle.sha256, is_historical=True)
        off_delay_us = microseconds(bundle.manifest.alarm.off_delay_s)
        self._log = EventLog(writer, bundle.manifest.channels, off_delay_us=off_delay_us)
        self._before = np.zeros(len(self._channels), np.int8)
        self._active: dict[str, SensorRecord] = {}
        self.records: list[SensorRecord] = []

    def add(
        self, codes: NDArray[np.int8], windows: NDArray[np.float32], end_us: NDArray[np.int64]
    ) -> None:
        """Take the next windows; the log is asked where a code changes or it waits, else is silent.

        Args:
            codes: NE 107, (window, channel).
            windows: (window, channel, time), engineering units.
            end_us: end of each window, microseconds since the epoch.
        """
        changed = (codes != np.concatenate([self._before[None], codes[:-1]])).any(axis=1)
        self._before = codes[-1]
        for number, is_changed in enumerate(changed.tolist()):
            if not (is_changed or self._log.is_waiting):
                continue
            at_us = int(end_us[number])
            for message in self._log.sensors(codes[number].tolist(), windows[number], at_us):
                self._keep(message, windows[number], at_us)

    def _keep(self, message: Message, window: NDArray[np.float32], at_us: int) -> None:
        channel = str(message["channel"])
        if message["state"] != "active":
            self._active.pop(channel).ended_us = at_us
            return
        code, values = CODES[str(message["status"])], window[self._places[channel]]
        what = describe_sensor(self._channels[channel], code, values)
        self._active[channel] = SensorRecord(channel, what, at_us)
        self.records.append(self._active[channel])
