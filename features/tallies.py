"""Counts that are kept while samples pass by slice after slice; they do not grow with time.

Every tally gives the same result however the samples are cut into slices. Times and durations are
whole microseconds, so that sums are exact.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

DAY_US = 86_400_000_000
ALIKE = 1.25
"""Durations whose ratio is at most this count as alike: clocks and pollers jitter."""
REGULAR_SHARE = 0.6
"""Share of alike spacings from which samples count as regularly spaced."""
LEAST_OF_A_DAY = 10
"""Spacings that a day must have before one of them can be called usual."""
LEAST_RUNS = 20
"""Runs that a channel must show before any of them can be called unusually long."""
USUAL_QUANTILE = 0.95
STUCK_FACTOR = 20
VOID_FACTOR = 5
_POWERS = 10 ** np.arange(19, dtype=np.int64)
_SUMS = {"length": pl.Int64, "count": pl.Int64, "total": pl.Int64}


@dataclass(frozen=True)
class Longest:
    """The longest duration so far; the first of equals."""

    us: int
    start: int
    """Microseconds since 1970."""


@dataclass(frozen=True)
class Run:
    """Consecutive measured values of one channel that are exactly equal."""

    value: float
    start: int
    """Time of the first, microseconds since 1970."""
    end: int
    """Time of the last."""
    samples: int


def three_digits(durations: NDArray[np.int64]) -> NDArray[np.int64]:
    """Durations rounded to three significant digits, so that there are few different ones.

    Example:
        >>> three_digits(np.array([7, 999, 60_020_111])).tolist()
        [7, 999, 60000000]
    """
    digits = np.searchsorted(_POWERS, durations, side="right")
    unit = _POWERS[np.maximum(digits - 3, 0)]
    return (durations + unit // 2) // unit * unit


def alike(one: float, other: float) -> bool:
    """Whether two durations are the same but for jitter.

    Example:
        >>> alike(1.0, 1.2), alike(2.0, 1.0)
        (True, False)
    """
    return max(one, other) <= ALIKE * min(one, other)


class Durations:
    """Durations by their three leading digits, and the longest.

    Example:
        >>> silences = Durations()
        >>> silences.add(np.array([0, 60, 120]), np.array([60, 60, 600]))
        >>> silences.usual, silences.longer_than(180), silences.longest
        (60, (1, 600), Longest(us=600, start=120))
    """

    def __init__(self) -> None:
        self.longest: Longest | None = None
        self._sums = pl.DataFrame(schema=_SUMS)

    def add(self, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        """Count durations, (duration,), microseconds; later ones come in later calls."""
        if not len(lengths):
            return
        place = int(np.argmax(lengths))
        if self.longest is None or lengths[place] > self.longest.us:
            self.longest = Longest(int(lengths[place]), int(starts[place]))
        self._sums = _summed([self._sums, _rounded(lengths)], "length")

    @property
    def count(self) -> int:
        """How many there were."""
        return int(self._sums["count"].sum())

    @property
    def usual(self) -> int | None:
        """The most frequent duration; the shorter of equals; None where there was none."""
        first = self._sums.sort("count", "length", descending=[True, False])["length"].head(1)
        return first.item() if len(first) else None

    @property
    def regular_share(self) -> float:
        """Share of the durations that are like the usual one."""
        return _share_near(self._sums, self.usual or 0)

    def longer_than(self, bound: float) -> tuple[int, int]:
        """How many were longer than this many microseconds, and their sum."""
        longer = self._sums.filter(pl.col("length") > bound)
        return int(longer["count"].sum()), int(longer["total"].sum())


class Spacings:
    """Times between consecutive rows: all of them, and the usual one of each UTC day.

    A spacing belongs to the day on which it ends.
    """

    def __init__(self) -> None:
        self.all = Durations()
        self.last: int | None = None
        self._usual: list[tuple[int, int]] = []
        self._open = pl.DataFrame(schema={"day": pl.Int64, **_SUMS})

    def add(self, times: NDArray[np.int64]) -> None:
        """Take the times of the next rows, (row,), increasing; those known already are passed."""
        before = np.array([] if self.last is None else [self.last], dtype=np.int64)
        known = np.concatenate((before, times if self.last is None else times[times > self.last]))
        if not len(known):
            return
        self.last = int(known[-1])
        spacings, ends = np.diff(known), known[1:]
        self.all.add(known[:-1], spacings)
        days = _rounded(spacings).with_columns(day=pl.Series(ends // DAY_US))
        table = _summed([self._open, days.select(self._open.columns)], "day", "length")
        newest = self.last // DAY_US
        self._open = table.filter(pl.col("day") == newest)
        self._usual += _usual_of_days(table.filter(pl.col("day") < newest))

    def changes(self) -> list[tuple[int, int, int]]:
        """Where the usual spacing changes and the next day agrees: start of day, before, after.

        Days without a usual spacing, and single days that differ, do not count.
        """
        level: int | None = None
        found: list[tuple[int, int, int]] = []
        days = self._usual + _usual_of_days(self._open)
        for (day, spacing), (_, following) in pairwise(days):
            if not alike(spacing, following):
                continue
            if level is not None and not alike(level, spacing):
                found.append((day * DAY_US, level, spacing))
            level = spacing
        return found


class Holes:
    """Stretches of rows in which one channel has no value, from the first such row to a value."""

    def __init__(self) -> None:
        self.all = Durations()
        self._since: int | None = None

    def add(self, missing: NDArray[np.bool_], times: NDArray[np.int64]) -> None:
        """Take the next rows: whether the value is missing, and the time, (row,)."""
        before = self._since is not None
        if not before and not missing.any():
            return
        changes = times[np.flatnonzero(np.diff(missing, prepend=before))]
        borders = changes if self._since is None else np.concatenate(([self._since], changes))
        self._since = int(borders[-1]) if len(borders) % 2 else None
        starts, ends = borders[: len(borders) // 2 * 2].reshape(-1, 2).T
        self.all.add(starts, ends - starts)

    def finish(self, end: int) -> None:
        """Count the stretch that is not over, to the time of the last row."""
        if self._since is not None and end > self._since:
            self.all.add(np.array([self._since]), np.array([end - self._since]))
        self._since = None


class RunLengths:
    """Lengths of the runs of exactly equal values of one channel; missing values do not end one.

    A run is *stuck* when it stands out from all others of its channel:

    * it has more than 20 times as many samples as 95 % of the channel's runs, and
    * no run of the channel is between a fifth of its length and its length, other stuck ones aside.

    The first keeps analysers that hold each value for some samples from being accused, the second
    coarsely rounded sensors, whose runs have all lengths up to the longest. A channel of fewer than
    20 runs holds its values by nature.
    """

    def __init__(self) -> None:
        self.longest: Run | None = None
        self._open: Run | None = None
        self._lengths: Counter[int] = Counter()

    def add(self, values: NDArray[np.float64], times: NDArray[np.int64]) -> None:
        """Take the next measured values and their times, (sample,)."""
        if not len(values):
            return
        changes = np.flatnonzero(values[1:] != values[:-1]) + 1
        borders = np.concatenate(([0], changes, [len(values)]))
        samples = np.diff(borders)
        continued = self._open if self._open and self._open.value == values[0] else None
        if continued:
            samples[0] += continued.samples
        else:
            self.finish()
        self._count(samples[:-1])
        for place in (int(np.argmax(samples)), len(samples) - 1):
            first, last = borders[place], borders[place + 1] - 1
            start = continued.start if continued and not place else int(times[first])
            self._open = Run(float(values[first]), start, int(times[last]), int(samples[place]))
            if self.longest is None or self._open.samples > self.longest.samples:
                self.longest = self._open

    def finish(self) -> None:
        """Count the run that is not over; nothing that comes later continues it."""
        if self._open:
            self._lengths[self._open.samples] += 1
        self._open = None

    def stuck_bound(self) -> int | None:
        """Samples from which a run is stuck; None where none is."""
        lengths = np.array(sorted(self._lengths), dtype=np.int64)
        counts = np.array([self._lengths[length] for length in lengths.tolist()], dtype=np.int64)
        if counts.sum() < LEAST_RUNS:
            return None
        place = int(USUAL_QUANTILE * (counts.sum() - 1))
        usual = lengths[np.searchsorted(np.cumsum(counts), place, side="right")]
        outstanding = (lengths[1:] > STUCK_FACTOR * usual) & (
            lengths[1:] > VOID_FACTOR * lengths[:-1]
        )
        return int(lengths[1:][outstanding][0]) if outstanding.any() else None

    def stuck(self) -> tuple[int, int]:
        """How many runs are stuck, and how many samples they have together."""
        bound = self.stuck_bound()
        stuck = [length for length in self._lengths if bound is not None and length >= bound]
        counts = [self._lengths[length] for length in stuck]
        return sum(counts), sum(a * b for a, b in zip(stuck, counts, strict=True))

    def _count(self, samples: NDArray[np.int64]) -> None:
        several = samples[samples > 1]
        found, counts = np.unique(several, return_counts=True)
        self._lengths.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
        if len(several) < len(samples):
            self._lengths[1] += len(samples) - len(several)


def _rounded(lengths: NDArray[np.int64]) -> pl.DataFrame:
    return pl.DataFrame({"length": three_digits(lengths), "total": lengths}).with_columns(
        count=pl.lit(1, pl.Int64)
    )


def _summed(tables: list[pl.DataFrame], *keys: str) -> pl.DataFrame:
    stacked = pl.concat(tables, how="diagonal")
    return stacked.group_by(*keys).agg(pl.sum("count", "total"))


def _share_near(sums: pl.DataFrame, usual: int) -> float:
    near = pl.col("length").is_between(usual / ALIKE, usual * ALIKE)
    counted = int(sums["count"].sum())
    return int(sums.filter(near)["count"].sum()) / counted if counted else 0.0


def _usual_of_days(table: pl.DataFrame) -> list[tuple[int, int]]:
    """Day and its most frequent spacing, of the days that are regular."""
    ranked = table.sort("day", "count", "length", descending=[False, True, False])
    usual = ranked.group_by("day", maintain_order=True).agg(
        usual=pl.first("length"),
        near=pl.col("count")
        .filter(pl.col("length").is_between(pl.first("length") / ALIKE, pl.first("length") * ALIKE))
        .sum(),
        of=pl.sum("count"),
    )
    enough = pl.col("of") >= LEAST_OF_A_DAY
    regular = usual.filter(enough & (pl.col("near") >= REGULAR_SHARE * pl.col("of")))
    return [(day, length) for day, length in regular.select("day", "usual").iter_rows()]
