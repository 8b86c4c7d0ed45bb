"""Faults put into held-out normal running at one onset, judged window by window as on a device."""

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from faultwatch_edge.bundle import Bundle
from features.injection import FAULT_KINDS, FaultKind, faulty_values
from pipelines.onsets import Onset, UntouchedRunning

SIZES = tuple(0.5 * 2 ** (step / 2) for step in range(11))
"""Sizes that are tried, in standard deviations of the channel in normal running."""
WITHOUT_SIZE: tuple[FaultKind, ...] = ("stuck", "dropout")
SPANS = 4
"""Window lengths, after the on-delay, within which a fault must be found."""
AT_ONCE = 16
"""Windows after an onset that are judged together: what is found soon costs no more."""

Cells = Mapping[str, NDArray[np.float32]]
"""(cell,) of one channel under each fault, by its key."""


class Place:
    """One onset, and what comes of faults that begin there.

    Args:
        running: normal running around it.
        onset: when the faults begin.
        count: windows after it within which they must be found.
        seed: of the noise.
    """

    def __init__(self, running: UntouchedRunning, onset: Onset, count: int, seed: int) -> None:
        self._running = running
        self._onset = onset
        self._count = count
        self._seed = seed
        self._samples = running.samples_around(onset, count)
        is_there = pl.any_horizontal(pl.col(self._names).is_not_null())
        self._frame = self._samples.select("time", is_there=pl.when(is_there).then(1.0))

    @property
    def _names(self) -> list[str]:
        return [channel.name for channel in self._running.channels]

    def cells(self, channel: str, deviation: float) -> Cells:
        """Cells of a channel under every fault that may be tried, by its key."""
        values = self._samples[channel].to_numpy()
        onset = int((self._samples["time"] < self._running.begins_at(self._onset)).sum())
        faulty = {
            fault_key(kind, step): faulty_values(
                values, onset, kind, SIZES[step] * deviation, seed=self._seed
            )
            for kind in FAULT_KINDS
            for step in steps_of(kind)
        }
        columns = pl.DataFrame(faulty).fill_nan(None)
        frame = pl.concat([self._frame, columns], how="horizontal")
        place = self._names.index(channel)
        return self._running.changed_cells(frame, self._onset, place, self._count)

    def delay_s(self, channel: str, cells: NDArray[np.float32]) -> float | None:
        """Seconds from the onset to the alarm or the channel's sensor event; None = not found."""
        place = self._names.index(channel)
        running, first = self._running, self._onset.last + 1
        window = running.window
        of_channel = sliding_window_view(cells, window.length)[:: window.hop]
        state, alarm = self._onset.life.state, self._onset.life.alarm
        for done in range(0, self._count, AT_ONCE):
            some = slice(done, min(done + AT_ONCE, self._count))
            windows = running.windows.take(slice(first + some.start, first + some.stop))
            windows[:, place] = of_channel[some]
            judged, state = running.rules.judge(windows, state)
            events = (judged.sensor_status != 0) & (self._onset.sensor_status[some] == 0)
            for number, moves in enumerate(judged.moves):
                at_us = int(running.times_us[first + done + number])
                alarm, raised = running.rules.advance(alarm, moves, at_us)
                if raised or events[number, place]:
                    return (at_us - int(running.times_us[self._onset.last])) / 1e6
        return None


def time_to_find_s(bundle: Bundle) -> float:
    """Seconds after its onset within which a bundle must find a fault."""
    manifest = bundle.manifest
    window = manifest.window
    return manifest.alarm.on_delay_s + SPANS * window.length * window.sample_period_s


def steps_of(kind: FaultKind) -> range:
    """Numbers of the sizes that are tried; one where size means nothing."""
    return range(1 if kind in WITHOUT_SIZE else len(SIZES))


def fault_key(kind: FaultKind, step: int) -> str:
    """Name of the cells under a fault of one size.

    Example:
        >>> fault_key("drift", 4)
        'drift_4'
    """
    return f"{kind}_{step}"
