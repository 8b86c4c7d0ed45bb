"""The certificate: the smallest fault of each channel that a bundle finds, and how soon.

Faults are put into held-out normal running, at several onsets, and judged as a device would: found
is what raises the alarm, or a sensor event of its own channel, soon enough.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from statistics import median

import polars as pl

from faultwatch_edge.bundle import Bundle
from faultwatch_edge.certificate import Certificate, DetectionLimit, Uncertified
from features.channels import Channel
from features.injection import FAULT_KINDS, FaultKind
from features.labels import Interval, outside
from pipelines.onsets import UntouchedRunning
from pipelines.placed_faults import (
    SIZES,
    WITHOUT_SIZE,
    Cells,
    Place,
    fault_key,
    steps_of,
    time_to_find_s,
)

ONSETS = 10
"""Onsets of each fault, at most."""
SHARE = 0.8
"""Share of them at which the fault must be found."""


def certify(
    bundle: Bundle,
    samples: pl.DataFrame,
    intervals: Sequence[Interval],
    *,
    deviations: Mapping[str, float],
    seed: int,
) -> Certificate | None:
    """Find the smallest fault of each kind that a bundle finds in each channel.

    A fault counts as found at a size if it is found at `SHARE` of the onsets within
    `time_to_find_s`. The smallest such size is searched by bisection in `SIZES`, which
    takes for granted that a larger fault is found no less often; that the size which is given was
    itself tried and found is certain.

    Args:
        bundle: what a device would run.
        samples: samples frame that neither training nor threshold nor calibration saw.
        intervals: labelled intervals, which are left out.
        deviations: standard deviation of each channel in normal running; 0 = constant.
        seed: decides the onsets and the noise.

    Returns:
        The certificate; None if there is no onset with enough normal running around it.
    """
    running = UntouchedRunning(bundle, outside(samples, intervals))
    within_s = time_to_find_s(bundle)
    count = int(within_s // running.window.hop_s)
    onsets = running.onsets(ONSETS, windows_after=count, seed=seed)
    if not onsets:
        return None
    limits: list[DetectionLimit] = []
    uncertified: list[Uncertified] = []
    places = [Place(running, onset, count, seed + number) for number, onset in enumerate(onsets)]
    for channel in running.channels:
        if deviations[channel.name] > 0:
            limits += _ChannelSearch(places, channel, deviations[channel.name]).limits()
        else:
            reason = "constant in normal running: there is no deviation to measure a fault by"
            uncertified.append(Uncertified(channel.name, reason))
    return Certificate(
        within_s=within_s,
        smallest=SIZES[0],
        largest=SIZES[-1],
        onsets=len(onsets),
        needed=_needed(len(onsets)),
        promised_per_day=bundle.manifest.threshold.false_alarms_per_day,
        alarms=running.alarms,
        days=running.days,
        limits=tuple(limits),
        uncertified=tuple(uncertified),
    )


def _needed(onsets: int) -> int:
    return math.ceil(SHARE * onsets)


class _ChannelSearch:
    """Looks for the detection limits of one channel.

    Args:
        places: onsets.
        channel: the channel.
        deviation: its standard deviation in normal running.
    """

    def __init__(self, places: Sequence[Place], channel: Channel, deviation: float) -> None:
        self._places = places
        self._unit = channel.unit
        self._channel = channel.name
        self._deviation = deviation
        self._delays: dict[tuple[str, int], float | None] = {}

    @cached_property
    def _cells(self) -> list[Cells]:
        return [place.cells(self._channel, self._deviation) for place in self._places]

    def limits(self) -> Iterator[DetectionLimit]:
        """The limit of each kind."""
        for kind in FAULT_KINDS:
            yield self._limit(kind)

    def _limit(self, kind: FaultKind) -> DetectionLimit:
        step = self._smallest(kind)
        delays = list(self._found(kind, steps_of(kind)[-1] if step is None else step))
        is_sized = step is not None and kind not in WITHOUT_SIZE
        deviations = SIZES[step] if is_sized and step is not None else None
        return DetectionLimit(
            channel=self._channel,
            unit=self._unit,
            kind=kind,
            is_found=step is not None,
            size=None if deviations is None else deviations * self._deviation,
            deviations=deviations,
            found=len(delays),
            median_delay_s=median(delays) if delays else None,
        )

    def _smallest(self, kind: FaultKind) -> int | None:
        """Number of the smallest size that is found, by bisection; None = no size is."""
        sizes = len(steps_of(kind))
        low, high = 0, sizes
        while low < high:
            middle = (low + high) // 2
            if self._is_found(kind, middle):
                high = middle
            else:
                low = middle + 1
        return high if high < sizes else None

    def _is_found(self, kind: FaultKind, step: int) -> bool:
        """Whether it is found often enough; asks no more onsets than decide it."""
        needed, found = _needed(len(self._places)), 0
        for number in range(len(self._places)):
            found += self._delay_s(kind, step, number) is not None
            if found == needed or found + len(self._places) - number - 1 < needed:
                break
        return found == needed

    def _found(self, kind: FaultKind, step: int) -> Iterator[float]:
        """Delays at the onsets where it is found."""
        for number in range(len(self._places)):
            delay_s = self._delay_s(kind, step, number)
            if delay_s is not None:
                yield delay_s

    def _delay_s(self, kind: FaultKind, step: int, number: int) -> float | None:
        key = fault_key(kind, step), number
        if key not in self._delays:
            cells = self._cells[number][key[0]]
            self._delays[key] = self._places[number].delay_s(self._channel, cells)
        return self._delays[key]
