"""Samples that arrive one by one, in about the right order, to cells of a uniform grid.

The rules are those of ``features/grid.py``, which does the same to a whole frame at once; a test
runs the same cases through both. What is added here is time of arrival: the watermark.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faultwatch_edge.manifest import ChannelSpec, WindowSpec
from faultwatch_edge.packed import pack, unpack
from faultwatch_edge.times import microseconds

Row = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One value for each channel, for the period that ends at ``end_us``."""

    end_us: int
    values: Row
    """(channel,), NaN = missing."""
    starts_sequence: bool
    """Whether nothing before this cell may be used with it."""


@dataclass(frozen=True, slots=True)
class GridState:
    """What a grid remembers; arrays are packed."""

    closed_us: int | None
    last_number: int | None
    known: str
    """(channel,); last value of each in the sequence."""
    open_us: tuple[int, ...]
    """Times of the samples in open cells."""
    open_values: str
    """(sample, channel)"""
    late: int
    duplicates: int


class Grid:
    """Closes the cells of one asset as time passes.

    A cell of period P ends at a multiple of P since the epoch, covers (end - P, end] and closes
    when the watermark, the largest time seen less ``allowed_lateness_s``, reaches its end. A sample
    of a closed cell is *late*: counted, not used.

    A cell's value is, of the samples in it: the mean (continuous), the last (discrete), or the last
    less the last one known before in the sequence (counter; a decrease is a reset, so missing).
    A channel that reports ``on_change`` and sent nothing keeps the value of its last cell (a
    counter: did not count); one that reports ``periodic`` is missing.

    A cell in which nothing was measured is *silent*. Silent cells within a sequence are given when
    all of them together last at most ``max_gap_s``; a longer silence gives no cells and starts a
    new sequence, in which nothing is known from before.

    At most ``allowed_lateness_s`` / P + 2 cells are open at a time.

    Example:
        >>> flow = ChannelSpec("flow", None, "m3/h", "continuous", "periodic", None)
        >>> window = WindowSpec(1.0, 4, 1, max_gap_s=5.0, min_channels=1, allowed_lateness_s=0.0)
        >>> grid = Grid([flow], window)
        >>> grid.add(400_000, [1.0]), grid.add(800_000, [3.0])
        ([], [])
        >>> [(cell.end_us, cell.values.tolist()) for cell in grid.add(2_500_000, [7.0])]
        [(1000000, [2.0])]
        >>> [(cell.end_us, cell.values.tolist()) for cell in grid.flush()]
        [(2000000, [nan]), (3000000, [7.0])]
    """

    def __init__(self, channels: Sequence[ChannelSpec], window: WindowSpec) -> None:
        kinds = np.array([channel.kind for channel in channels])
        self._counts = kinds == "counter"
        self._averages = kinds == "continuous"
        self._holds = np.array([channel.reporting == "on_change" for channel in channels])
        self._period_us = window.sample_period_us
        self._lateness_us = microseconds(window.allowed_lateness_s)
        self._longest_silence = microseconds(window.max_gap_s) // self._period_us
        self._open: dict[int, dict[int, Row]] = {}
        self._closed_us: int | None = None
        self._last_number: int | None = None
        self._known = np.full(len(kinds), np.nan)
        self.late = 0
        """Samples that came after their cell had closed."""
        self.duplicates = 0
        """Values replaced by a later one of the same channel and time."""

    @property
    def state(self) -> GridState:
        """What it remembers, for ``resume``."""
        rows = [(time_us, row) for cell in self._open.values() for time_us, row in cell.items()]
        return GridState(
            closed_us=self._closed_us,
            last_number=self._last_number,
            known=pack(self._known),
            open_us=tuple(time_us for time_us, _ in rows),
            open_values=pack(np.array([row for _, row in rows], dtype=np.float64)),
            late=self.late,
            duplicates=self.duplicates,
        )

    def resume(self, state: GridState) -> None:
        """Go on from where ``state`` was taken, with the same channels and cells."""
        self._closed_us, self._last_number = state.closed_us, state.last_number
        count = len(self._known)
        self._known = unpack(state.known, np.float64, (count,))
        rows = unpack(state.open_values, np.float64, (len(state.open_us), count))
        self._open = {}
        for time_us, row in zip(state.open_us, rows, strict=True):
            self._open.setdefault(self._number(time_us), {})[time_us] = row
        self.late, self.duplicates = state.late, state.duplicates

    def is_late(self, time_us: int) -> bool:
        """Whether the cell of that time has closed."""
        end_us = self._number(time_us) * self._period_us
        return self._closed_us is not None and end_us <= self._closed_us

    def add(self, time_us: int, values: Sequence[float] | Row) -> list[Cell]:
        """Take one sample and return the cells that it closes.

        Args:
            time_us: when it was measured, microseconds since the epoch.
            values: one for each channel, finite or NaN = missing.
        """
        if self.is_late(time_us):
            self.late += 1
            return []
        row: Row = np.array(values, dtype=np.float64)
        if not np.isnan(row).all():
            self._keep(time_us, row)
        return self._close(time_us - self._lateness_us)

    def flush(self) -> list[Cell]:
        """Close what is open; samples of those cells that come after this are late."""
        return self._close(max(self._open) * self._period_us) if self._open else []

    def _number(self, time_us: int) -> int:
        """Number of the cell that covers an instant: its end in periods since the epoch."""
        return -(-time_us // self._period_us)

    def _keep(self, time_us: int, row: Row) -> None:
        rows = self._open.setdefault(self._number(time_us), {})
        earlier = rows.get(time_us)
        if earlier is not None:
            missing = np.isnan(row)
            self.duplicates += int((~missing & ~np.isnan(earlier)).sum())
            row = np.where(missing, earlier, row)
        rows[time_us] = row

    def _close(self, watermark_us: int) -> list[Cell]:
        if self._closed_us is not None and watermark_us <= self._closed_us:
            return []
        self._closed_us = watermark_us
        numbers = sorted(n for n in self._open if n * self._period_us <= watermark_us)
        return [cell for number in numbers for cell in self._next_cells(number)]

    def _next_cells(self, number: int) -> list[Cell]:
        """The cell of that number, after the silent ones before it."""
        rows = self._open.pop(number)
        last = number - 1 if self._last_number is None else self._last_number
        starts = self._last_number is None or number - last - 1 > self._longest_silence
        self._last_number = number
        if starts:
            self._known[:] = np.nan
            silent = []
        else:
            silent = [self._cell(n, self._silent_values()) for n in range(last + 1, number)]
        samples = np.stack([rows[time_us] for time_us in sorted(rows)])
        return [*silent, self._cell(number, self._values(samples), starts_sequence=starts)]

    def _cell(self, number: int, values: Row, *, starts_sequence: bool = False) -> Cell:
        return Cell(number * self._period_us, values, starts_sequence)

    def _silent_values(self) -> Row:
        held = np.where(self._counts, self._known - self._known, self._known)
        values: Row = np.where(self._holds, held, np.nan)
        return values

    def _values(self, samples: Row) -> Row:
        """Reduce (sample, channel) in order of time to (channel,)."""
        current = np.where(self._averages, _mean(samples), _last(samples))
        heard = ~np.isnan(current)
        counted = current - self._known
        counted[counted < 0] = np.nan
        measured = np.where(self._counts, counted, current)
        values: Row = np.where(heard, measured, self._silent_values())
        self._known = np.where(heard, current, self._known)
        return values


def _mean(samples: Row) -> Row:
    """Mean of each column's values, between its smallest and its largest whatever the rounding."""
    present = ~np.isnan(samples)
    total = np.where(present, samples, 0.0).sum(axis=0)
    count = present.sum(axis=0)
    mean = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    bounded: Row = np.clip(mean, np.fmin.reduce(samples), np.fmax.reduce(samples))
    return bounded


def _last(samples: Row) -> Row:
    """Last value of each column."""
    last: Row = samples[-1]
    for row in samples[-2::-1]:
        last = np.where(np.isnan(last), row, last)
    return last
