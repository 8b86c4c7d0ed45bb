"""Which of several bundles finds more: the same faults at the same onsets, judged pair by pair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import polars as pl
from numpy.typing import NDArray

from faultwatch_edge.bundle import Bundle
from features.injection import FAULT_KINDS, FaultKind
from features.labels import Interval, outside
from pipelines.onsets import UntouchedRunning, spread_over
from pipelines.placed_faults import WITHOUT_SIZE, Place, fault_key, time_to_find_s

ONSETS = 10
"""Onsets, at most; each is a block of its own where the spread is estimated."""
STEPS = (4, 6, 8)
"""Sizes of the faults, 2, 4 and 8 standard deviations (`pipelines.placed_faults.SIZES`): in turn
over onsets and channels, so that faint and loud ones count alike."""
MOST = 1_000
"""Faults that are put in, at most: with many channels each onset has others of them."""
DRAWS = 2_000


@dataclass(frozen=True)
class Difference:
    """By how much one bundle finds more of the same faults than another."""

    points: float
    """Percentage points; negative = it finds less."""
    interval: tuple[float, float]
    """90% interval, onsets drawn anew."""
    faults: int
    """How many were put in."""
    onsets: int
    """At how many instants."""

    def than(self, other: str) -> str:
        """What the one finds beside the other, as people read it.

        Example:
            >>> print(Difference(-2.5, (-4.0, -1.0), 980, 10).than("the vae"))
            2.5 points of 980 injected faults fewer (90% interval -4.0 to -1.0 points) than the vae
        """
        low, high = self.interval
        interval = f"(90% interval {low:+.1f} to {high:+.1f} points)"
        if not self.points:
            return f"as many of {self.faults} injected faults {interval} as {other}"
        more = "more" if self.points > 0 else "fewer"
        points = f"{abs(self.points):.1f} points of {self.faults} injected faults {more}"
        return f"{points} {interval} than {other}"


def find_same_faults(
    bundles: Sequence[Bundle],
    samples: pl.DataFrame,
    intervals: Sequence[Interval],
    *,
    deviations: Mapping[str, float],
    seed: int,
) -> list[NDArray[np.bool_]]:
    """Put the same faults into the same normal running under several bundles.

    Args:
        bundles: of the same channels, on the same grid.
        samples: samples frame that none of them learned from.
        intervals: labelled intervals, which are left out.
        deviations: standard deviation of each channel in normal running; 0 = left alone.
        seed: decides the onsets and the noise.

    Returns:
        For each bundle (onset, fault), whether it was found within the on-delay and four window
        lengths. No row where no instant is quiet enough under all of them.
    """
    lives = [UntouchedRunning(bundle, outside(samples, intervals)) for bundle in bundles]
    after = [
        int(time_to_find_s(bundle) // life.window.hop_s)
        for bundle, life in zip(bundles, lives, strict=True)
    ]
    quiet = [life.times_us[life.quiet_windows(n)] for life, n in zip(lives, after, strict=True)]
    common = np.asarray(reduce(np.intersect1d, quiet))
    onsets = spread_over(common, ONSETS, seed=seed)
    return [
        np.array(
            [
                _found_at(life, at_us, number, deviations, windows_after=n, seed=seed + number)
                for number, at_us in enumerate(onsets)
            ],
            np.bool_,
        )
        for life, n in zip(lives, after, strict=True)
    ]


def _found_at(
    life: UntouchedRunning,
    at_us: int,
    number: int,
    deviations: Mapping[str, float],
    *,
    windows_after: int,
    seed: int,
) -> list[bool]:
    """Whether each fault that begins at an instant is found."""
    last = int(np.searchsorted(life.times_us, at_us))
    place = Place(life, life.onset(last, windows_after), windows_after, seed)
    found: list[bool] = []
    for turn, name in enumerate(_channels_at(life, number, deviations)):
        cells = place.cells(name, deviations[name])
        keys = [fault_key(kind, _step(kind, number + turn)) for kind in FAULT_KINDS]
        found += [place.delay_s(name, cells[key]) is not None for key in keys]
    return found


def _channels_at(life: UntouchedRunning, number: int, deviations: Mapping[str, float]) -> list[str]:
    """Channels that get faults at an onset; over the onsets all have their turn."""
    moving = [channel.name for channel in life.channels if deviations[channel.name] > 0]
    many = min(max(MOST // (ONSETS * len(FAULT_KINDS)), 1), len(moving))
    first = number * many
    return [moving[place % len(moving)] for place in range(first, first + many)]


def _step(kind: FaultKind, turn: int) -> int:
    return 0 if kind in WITHOUT_SIZE else STEPS[turn % len(STEPS)]


def difference(
    found: NDArray[np.bool_], others: NDArray[np.bool_], *, seed: int
) -> Difference | None:
    """By how much one bundle finds more than another; None = nothing could be put in.

    The interval is that of a block bootstrap: whole onsets are drawn, since the faults of one onset
    share their normal running.

    Args:
        found: (onset, fault) of the one.
        others: of the other, from the same call of `find_same_faults`.
        seed: of the draws.

    Reference:
        B. Efron, R. Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13 (percentiles).

    Example:
        >>> mine = np.array([[True, True], [True, False]])
        >>> difference(mine, np.array([[True, False], [False, False]]), seed=0).points
        50.0
    """
    if not found.size:
        return None
    by_onset = 100.0 * (found.astype(float) - others).mean(axis=1)
    draw = np.random.default_rng(seed)
    drawn = draw.choice(by_onset, size=(DRAWS, len(by_onset))).mean(axis=1)
    low, high = np.quantile(drawn, (0.05, 0.95)).tolist()
    return Difference(float(by_onset.mean()), (low, high), found.size, len(found))
