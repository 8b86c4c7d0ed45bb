"""Events: conditions that begin and end, and that nobody needs to acknowledge."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from faultwatch_edge.errors import BundleError
from faultwatch_edge.manifest import ChannelSpec
from faultwatch_edge.message import (
    FAILURE,
    FUNCTION_CHECK,
    GOOD,
    MAINTENANCE_REQUIRED,
    NE107,
    OUT_OF_SPECIFICATION,
    Condition,
    Evidence,
    Message,
    MessageWriter,
    Occurrence,
)

_urgency: Final = (
    GOOD,
    MAINTENANCE_REQUIRED,
    OUT_OF_SPECIFICATION,
    FUNCTION_CHECK,
    FAILURE,
).index


SPIKE: Final = 8.0
"""A spike is so many times higher than what the values move by from one to the next."""
SECOND_SPIKE: Final = 3.0
"""Of several spikes, the second highest is so many times higher than that."""


@dataclass(frozen=True, slots=True)
class Active:
    """One condition that is active."""

    condition: Condition
    channel: str | None
    onset_us: int


@dataclass(frozen=True, slots=True)
class EventState:
    """What a log remembers."""

    codes: tuple[int, ...]
    """NE 107, of each channel."""
    good_since_us: tuple[int | None, ...]
    """Since when a channel whose event is active is good again."""
    active: tuple[Active, ...]


class EventLog:
    """Remembers which conditions are active, and speaks when one begins or ends.

    A condition that a window cannot judge stays as it is: nobody asks the log about it.

    Args:
        writer: puts an occurrence into words.
        channels: in the manifest's order.
        off_delay_us: how long a sensor is good before its event ends.
    """

    def __init__(
        self, writer: MessageWriter, channels: Sequence[ChannelSpec], *, off_delay_us: int
    ) -> None:
        self._writer = writer
        self._channels = channels
        self._off_delay_us = off_delay_us
        self._codes = [GOOD] * len(channels)
        self._good_since_us: dict[int, int] = {}
        self._onsets_us: dict[tuple[Condition, str | None], int] = {}

    def data_quality(self, what: str, at_us: int, *, is_poor: bool) -> list[Message]:
        """Whether a window could not be scored for want of data."""
        return self._update(
            "data_quality", what, at_us, active=is_poor, status=NE107[FUNCTION_CHECK]
        )

    def model(self, what: str, at_us: int, *, is_poor: bool) -> list[Message]:
        """Whether an older bundle runs than the newest that there was."""
        return self._update(
            "model_health", what, at_us, active=is_poor, status=NE107[MAINTENANCE_REQUIRED]
        )

    def anomaly(self, evidence: Evidence, at_us: int, *, anomalous: bool) -> list[Message]:
        """Whether a window is anomalous, before any delay."""
        return self._update(
            "asset_anomaly",
            "Anomaly began" if anomalous else "Anomaly ended",
            at_us,
            active=anomalous,
            status=NE107[OUT_OF_SPECIFICATION],
            evidence=evidence,
        )

    @property
    def state(self) -> EventState:
        """What it remembers, for ``resume``."""
        places = range(len(self._channels))
        active = (Active(*key, onset_us) for key, onset_us in self._onsets_us.items())
        good_since_us = tuple(self._good_since_us.get(place) for place in places)
        return EventState(tuple(self._codes), good_since_us, tuple(active))

    def resume(self, state: EventState) -> None:
        """Go on from where ``state`` was taken, with the same channels.

        Raises:
            BundleError: it is of other channels.
        """
        if not len(state.codes) == len(state.good_since_us) == len(self._codes):
            raise BundleError(f"codes are {len(state.codes)}, expected {len(self._codes)}")
        self._codes = list(state.codes)
        known = enumerate(state.good_since_us)
        self._good_since_us = {place: at_us for place, at_us in known if at_us is not None}
        self._onsets_us = {(one.condition, one.channel): one.onset_us for one in state.active}

    @property
    def is_waiting(self) -> bool:
        """Whether an event ends by itself if its sensor stays good."""
        return bool(self._good_since_us)

    def sensors(
        self, codes: Sequence[int], window: NDArray[np.float32], at_us: int
    ) -> list[Message]:
        """NE 107 code of each channel; a code that NE 107 does not know counts as failure.

        A more urgent code ends the event that there is, and begins another; a good one ends it
        after the off-delay.

        Args:
            codes: one a channel.
            window: (channel, time), which they are about.
            at_us: when it ended.
        """
        messages: list[Message] = []
        for place, (channel, code) in enumerate(zip(self._channels, codes, strict=True)):
            before, now = self._codes[place], code if code in NE107 else FAILURE
            if self._stays(place, before, now, at_us):
                continue
            if GOOD not in (before, now):
                messages += self._sensor(channel, GOOD, NE107[GOOD], at_us)
            if now != before:
                words = describe_sensor(channel, code, window[place])
                messages += self._sensor(channel, now, words, at_us)
            self._codes[place] = now
        return messages

    def _stays(self, place: int, before: int, now: int, at_us: int) -> bool:
        """Whether what was told of a sensor last still holds."""
        if now == GOOD and before != GOOD:
            since_us = self._good_since_us.setdefault(place, at_us)
            if at_us - since_us < self._off_delay_us:
                return True
        self._good_since_us.pop(place, None)
        return now != GOOD and _urgency(now) <= _urgency(before)

    def _sensor(self, channel: ChannelSpec, code: int, words: str, at_us: int) -> list[Message]:
        return self._update(
            "sensor_fault",
            f"Sensor '{channel.name}': {words}",
            at_us,
            active=code != GOOD,
            status=NE107[code],
            channel=channel.name,
        )

    def _update(
        self,
        condition: Condition,
        what: str,
        at_us: int,
        *,
        active: bool,
        status: str,
        channel: str | None = None,
        evidence: Evidence | None = None,
    ) -> list[Message]:
        key = condition, channel
        if active == (key in self._onsets_us):
            return []
        onset_us = self._onsets_us.setdefault(key, at_us)
        if not active:
            del self._onsets_us[key]
        occurrence = Occurrence(
            condition=condition,
            what=what,
            active=active,
            onset_us=onset_us,
            at_us=at_us,
            status=status if active else NE107[GOOD],
            channel=channel,
        )
        return [self._writer.event(occurrence, evidence)]


def describe_sensor(channel: ChannelSpec, code: int, values: NDArray[np.float32]) -> str:
    """NE 107 word, and what is wrong with a sensor as far as its values say.

    Args:
        channel: the sensor's.
        code: of NE 107; one that it does not know counts as failure, of no known kind.
        values: (time,); the window that the code is about.

    Example:
        >>> flow = ChannelSpec("flow", None, "", "continuous", "periodic", (0.0, 9.0))
        >>> window = np.array([3.0, 3.0, 3.0], np.float32)
        >>> [describe_sensor(flow, code, window) for code in (FAILURE, OUT_OF_SPECIFICATION, GOOD)]
        ['failure, stuck', 'out of specification, noisy', 'good']
        >>> jumps = np.array([3.0, 3.1, 3.0, 9.0, 3.1, 3.0], np.float32)
        >>> drifts = np.arange(6, dtype=np.float32)
        >>> [describe_sensor(flow, MAINTENANCE_REQUIRED, window) for window in (jumps, drifts)]
        ['maintenance required, spikes', 'maintenance required, contradicted by the others']
    """
    kind = ""
    if code == FAILURE:
        kind = "no value" if np.isnan(values).all() else "stuck"
    elif code == OUT_OF_SPECIFICATION:
        lowest, highest = channel.range or (-np.inf, np.inf)
        kind = "outside its range" if values[-1] < lowest or values[-1] > highest else "noisy"
    elif code == MAINTENANCE_REQUIRED:
        kind = "spikes" if _has_spike(values) else "contradicted by the others"
    word = NE107.get(code, NE107[FAILURE]).replace("_", " ")
    return ", ".join(filter(None, [word, kind]))


def _has_spike(values: NDArray[np.float32]) -> bool:
    """Whether single values jump and return, by far more than the others move."""
    present = values[~np.isnan(values)].astype(np.float64)
    steps = np.diff(present)
    heights = np.minimum(np.abs(steps[:-1]), np.abs(steps[1:]))
    peaks = np.sort(heights[steps[:-1] * steps[1:] < 0])[::-1]
    if not len(peaks):
        return False
    usual = np.median(np.abs(steps))
    limits = (SPIKE * usual, SECOND_SPIKE * usual)
    return any(peak > limit for peak, limit in zip(peaks, limits, strict=False))
