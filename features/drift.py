"""Has normal running moved? What came since a training, channel by channel, beside what taught."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import ttest_ind
from typing_extensions import override

from features.channels import Channel

LEAST_TAUGHT, LEAST_NEW = 6, 3
"""Blocks that are needed before anything is said."""
SIGNIFICANCE = 0.01
"""Chance of calling anything drifted where nothing has."""
LEAST_SHIFT = 0.5
"""Standard deviations of normal running below which a shift is of no account."""

ROUNDING = 1e-9
"""Share of a level by which means of one value differ."""
MARGIN = 0.25
"""Share of the span of earlier levels by which a level is beyond them."""


@dataclass(frozen=True)
class Shift:
    """How far the level of a channel is from where it was."""

    channel: str
    unit: str
    before: float
    """Mean while it taught."""
    now: float
    """Mean of what came since."""
    deviations: float
    """The difference, in standard deviations of normal running; infinite if it had none."""
    has_moved: bool | None
    """Whether that is more than chance explains, and of account; None = too few blocks to tell."""

    @override
    def __str__(self) -> str:
        """As people read it."""
        unit = f" {self.unit}" if self.unit else ""
        far = f"{self.deviations:+.1f} standard deviations"
        return (
            f"'{self.channel}' is at {self.now:.4g}{unit}, was at {self.before:.4g}{unit} "
            f"({far if np.isfinite(self.deviations) else 'it did not move before'})"
        )


def find_shifts(
    taught: pl.DataFrame, new: pl.DataFrame, channels: Sequence[Channel], *, block: timedelta
) -> tuple[Shift, ...]:
    """Channels whose level has moved, the furthest first.

    Means of whole blocks are compared, not rows: rows that follow each other are alike. A level
    that was there before, for as long, is a slow swing. Discrete channels and counters have none.

    Args:
        taught: samples frame of normal running that a detector learned from.
        new: samples frame of normal running since.
        channels: of both.
        block: long enough that one says little of the next, such as a day.

    Returns:
        Those whose difference is larger than chance explains, by Welch's test of the block means
        with Holm's correction for the number of channels, and than half a standard deviation. None
        where there are too few blocks.

    Reference:
        S. Holm: A simple sequentially rejective multiple test procedure, 1979.

    Example:
        >>> from datetime import UTC, datetime
        >>> first, last = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 21, tzinfo=UTC)
        >>> hours = pl.datetime_range(first, last, "1h", eager=True)
        >>> flow = np.random.default_rng(0).normal(size=len(hours)) + 5.0 * (np.arange(481) > 300)
        >>> frame = pl.DataFrame({"time": hours, "flow": flow})
        >>> channels, day = (Channel(name="flow"),), timedelta(days=1)
        >>> [shift.channel for shift in find_shifts(frame[:300], frame[301:], channels, block=day)]
        ['flow']
        >>> find_shifts(frame[:150], frame[150:300], channels, block=day)
        ()
    """
    shifts = measure_shifts(taught, new, channels, block=block)
    return tuple(shift for shift in shifts if shift.has_moved)


def measure_shifts(
    taught: pl.DataFrame, new: pl.DataFrame, channels: Sequence[Channel], *, block: timedelta
) -> tuple[Shift, ...]:
    """The shift of every continuous channel that has values in both, the furthest first.

    Args:
        taught: as of `find_shifts`, which tells what has moved.
        new: as well.
        channels: as well.
        block: as well.

    Example:
        >>> from datetime import UTC, datetime
        >>> at = [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in range(4)]
        >>> frame = pl.DataFrame({"time": at, "flow": [1.0, 3.0, 4.0, 6.0]})
        >>> channels, day = (Channel(name="flow"),), timedelta(days=1)
        >>> (shift,) = measure_shifts(frame[:2], frame[2:], channels, block=day)
        >>> shift.deviations, shift.has_moved
        (3.0, None)
    """
    there = [
        channel
        for channel in channels
        if channel.kind == "continuous"
        and all(frame[channel.name].count() for frame in (taught, new))
    ]
    chances = [(_chance(taught, new, one.name, block), one) for one in there]
    unlikely = _unlikely([(chance, one.name) for chance, one in chances if chance is not None])
    shifts = [
        _shift(
            taught[one.name],
            new[one.name],
            one,
            is_unlikely=None if chance is None else one.name in unlikely,
        )
        for chance, one in chances
    ]
    return tuple(sorted(shifts, key=lambda shift: -abs(shift.deviations)))


def _unlikely(chances: Sequence[tuple[float, str]]) -> set[str]:
    """Channels whose difference chance does not explain, by Holm's correction."""
    found: set[str] = set()
    for place, (chance, channel) in enumerate(sorted(chances)):
        if chance > SIGNIFICANCE / (len(chances) - place):
            break
        found.add(channel)
    return found


def _chance(
    taught: pl.DataFrame, new: pl.DataFrame, channel: str, block: timedelta
) -> float | None:
    """Chance of such a difference where nothing moved; None = too little to tell."""
    before, now = (_block_means(frame, channel, block) for frame in (taught, new))
    if len(before) < LEAST_TAUGHT or len(now) < LEAST_NEW:
        return None
    rounding = ROUNDING * float(np.abs(before).max())
    if np.ptp(before) <= rounding:
        return float(abs(now.mean() - before[0]) <= rounding)
    if _was_there(before, float(now.mean()), len(now)):
        return 1.0
    return float(ttest_ind(before, now, equal_var=False).pvalue)


def _was_there(before: NDArray[np.float64], level: float, blocks: int) -> bool:
    """Whether what taught had such a level for as long before, or for half of its time."""
    reach = min(blocks, len(before) // 2)
    means = np.convolve(before, np.ones(reach) / reach, mode="valid")
    margin = MARGIN * np.ptp(means)
    return bool(means.min() - margin <= level <= means.max() + margin)


def _block_means(frame: pl.DataFrame, channel: str, block: timedelta) -> NDArray[np.float64]:
    """Mean of each block that is at least half as full as the fullest."""
    blocks = (
        frame.select("time", value=channel)
        .drop_nulls("value")
        .group_by(block=pl.col("time").dt.truncate(block), maintain_order=True)
        .agg(pl.col("value").mean(), rows=pl.len())
    )
    full = blocks.filter(pl.col("rows") * 2 >= pl.col("rows").max())
    return full["value"].to_numpy()


def _shift(
    before: pl.Series, now: pl.Series, channel: Channel, *, is_unlikely: bool | None
) -> Shift:
    values = before.drop_nulls().to_numpy()
    level, spread = float(values.mean()), float(values.std())
    new = float(now.drop_nulls().to_numpy().mean())
    deviations = _deviations(new - level, spread, rounding=ROUNDING * abs(level))
    has_moved = None if is_unlikely is None else is_unlikely and abs(deviations) >= LEAST_SHIFT
    return Shift(channel.name, channel.unit, level, new, deviations, has_moved)


def _deviations(difference: float, spread: float, *, rounding: float) -> float:
    if spread > rounding:
        return difference / spread
    return float(np.copysign(np.inf, difference)) if abs(difference) > rounding else 0.0
