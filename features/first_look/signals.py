"""What kind of signal a sample of values is, how often it reports, what it may be at most."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

FEW = 3
"""So few levels or spacings are alike by chance."""
FULL = 100.0
"""Per cent."""
MOST_STATES = 20
"""Distinct whole numbers that a discrete signal may have."""
MOST_LEVELS = 5
"""Distinct numbers with decimals that a discrete signal may have."""
HOLDING = 0.3
"""Share of the steps in which a discrete signal may change; between two states, half of them."""
RARELY = 0.02
"""Share of the steps in which a set-point, or a state with decimals, may change."""
NEIGHBOURS = 0.95
"""Share of changes to the next level from which a rounded measurement is told from states."""
LEAST_COUNTS = 20
"""Distinct values that a counter must have shown."""
MOST_RESETS = 0.005
"""Share of the steps in which a counter may be reset."""
REGULAR = 0.7
"""Share of spacings near the median from which a signal reports periodically."""
LEAST_FOR_OUTLIERS = 1_000
FAR = 5.0
"""How many usual spans away a value is too far out to be measured."""
NICE_S = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1800.0,
          3600.0, 7200.0, 21_600.0, 43_200.0, 86_400.0)  # fmt: skip
"""Periods that people choose."""

Kind = Literal["continuous", "discrete", "counter"]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Signal:
    """What a sample says of one signal."""

    kind: Kind
    reporting: Literal["periodic", "on_change"]
    constant: bool
    """Whether the sample has one value only."""
    steps: bool
    """Whether it holds its value like a set-point, and has changed."""
    period_s: float | None
    """Median spacing of its values; None = fewer than two."""
    range: tuple[float, float] | None
    """Suggestion: a bit more than what was seen."""
    outlier: float | None
    """A value too far out to be measured, outside the suggested range."""


def describe_signal(points: pl.DataFrame, *, may_hold: bool, unit: str = "") -> Signal:
    """Describe one signal by a sample.

    Args:
        points: ``time`` (microseconds, UTC), ``value`` (Float64, finite) and ``piece``: number of
            the uninterrupted piece of the source; sorted by piece and time.
        may_hold: whether silence can mean that the value holds.
        unit: engineering unit; a percentage has its own range.

    Example:
        >>> from datetime import datetime, timedelta, UTC
        >>> times = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=k) for k in range(6)]
        >>> points = pl.DataFrame({"time": times, "value": [0.0, 0, 0, 1, 1, 1], "piece": 0})
        >>> signal = describe_signal(points, may_hold=False)
        >>> signal.kind, signal.reporting, signal.period_s, signal.range
        ('discrete', 'periodic', 60.0, (0.0, 1.0))
    """
    values, steps = points["value"].to_numpy(), _steps(points)
    spacings = _spacings(points)
    kind = find_kind(values, steps)
    constant = bool(len(values)) and bool((values == values[0]).all())
    suggested, outlier = suggest_range(values, kind=kind, unit=unit)
    regular = is_regular(spacings)
    return Signal(
        kind=kind,
        reporting="on_change" if may_hold and not regular else "periodic",
        constant=constant,
        steps=not constant and len(steps) > 0 and bool((steps != 0).mean() <= RARELY),
        period_s=float(np.median(spacings)) if len(spacings) else None,
        range=suggested,
        outlier=outlier,
    )


def _steps(points: pl.DataFrame) -> Numbers:
    """Differences of consecutive values within the pieces."""
    return points.select(pl.col("value").diff().over("piece")).drop_nulls()["value"].to_numpy()


def _spacings(points: pl.DataFrame) -> Numbers:
    """Seconds between consecutive times within the pieces, without zeros."""
    spacings = points.select(pl.col("time").diff().over("piece").dt.total_microseconds())
    seconds: Numbers = spacings["time"].drop_nulls().to_numpy() / 1e6
    return seconds[seconds > 0]


def find_kind(values: Numbers, steps: Numbers) -> Kind:
    """Tell measurements, states and counters apart.

    A counter never falls but for resets, and has many values. A discrete signal has few values and
    holds them. A measurement that is rounded has few values, too, but goes from one to the next.

    Args:
        values: in order of time.
        steps: their differences, without those across interruptions.

    Example:
        >>> total = np.arange(100.0) * 0.5
        >>> find_kind(total, np.diff(total))
        'counter'
    """
    levels = np.unique(values)
    changes = steps[steps != 0]
    if len(changes) == 0:
        return "continuous"
    if _is_counter(values, steps, len(levels)):
        return "counter"
    share = len(changes) / len(steps)
    whole = bool((levels == np.round(levels)).all())
    if len(levels) <= FEW:  # cannot be told from a rounded measurement
        return "discrete" if share <= (0.5 if whole else RARELY) else "continuous"
    most, often = (MOST_STATES, HOLDING) if whole else (MOST_LEVELS, RARELY)
    next_level = np.abs(changes) <= np.diff(levels).min() * 1.5
    rounded = bool(next_level.mean() >= NEIGHBOURS)
    return "discrete" if len(levels) <= most and share <= often and not rounded else "continuous"


def _is_counter(values: Numbers, steps: Numbers, levels: int) -> bool:
    falls = steps[steps < 0]
    resets = len(falls) <= MOST_RESETS * len(steps) and (falls < -0.5 * np.ptp(values)).all()
    grows = (steps > 0).sum() > len(falls)
    return levels >= LEAST_COUNTS and bool(values.min() >= 0 and resets and grows)


def is_regular(spacings: Numbers) -> bool:
    """Whether most spacings are near their median; fewer than three say nothing."""
    if len(spacings) < FEW:
        return False
    median = np.median(spacings)
    return bool((np.abs(spacings - median) <= 0.5 * median).mean() >= REGULAR)


def suggest_range(
    values: Numbers, *, kind: Kind, unit: str
) -> tuple[tuple[float, float] | None, float | None]:
    """A range a bit wider than what was seen, in readable numbers, and a value too far out of it.

    Args:
        values: finite.
        kind: a counter has no range, it grows.
        unit: what lies within 0 and 100 % can be no more.

    Returns:
        Lowest and highest value, or None for a constant or a counter; and None or the outlier.

    Example:
        >>> suggest_range(np.array([12.3, 47.9]), kind="continuous", unit="bar")
        ((0.0, 60.0), None)
    """
    if kind == "counter" or len(values) == 0:
        return None, None
    low, high, outlier = _usual(values)
    if unit == "%" and low >= 0 and high <= FULL:
        return (0.0, FULL), outlier
    if {low, high} == {0.0, 1.0} and kind == "discrete":
        return (0.0, 1.0), outlier
    span = high - low
    if not 0 < span < math.inf:
        return None, None
    step = 10.0 ** math.floor(math.log10(span)) / 2
    below, above = low - span / 4, high + span / 4
    below = max(below, 0.0) if low >= 0 else below
    above = min(above, 0.0) if high <= 0 else above
    return _outward(below, above, step), outlier


def _usual(values: Numbers) -> tuple[float, float, float | None]:
    """Lowest and highest value that could be measured, and one that could not."""
    low, high = float(values.min()), float(values.max())
    if len(values) < LEAST_FOR_OUTLIERS:
        return low, high, None
    usual_low, usual_high = (float(at) for at in np.quantile(values, (0.005, 0.995)))
    reach = FAR * (usual_high - usual_low)
    if reach > 0 and high > usual_high + reach:
        return max(low, usual_low - reach), usual_high, high
    if reach > 0 and low < usual_low - reach:
        return usual_low, high, low
    return low, high, None


def _outward(low: float, high: float, step: float) -> tuple[float, float] | None:
    """The interval widened to multiples of the step; None where numbers are not fine enough."""
    if step == 0 or not math.isfinite(low / step) or not math.isfinite(high / step):
        return None
    digits = max(1 - math.floor(math.log10(step)), 0)
    below, above = math.floor(low / step) * step, math.ceil(high / step) * step
    rounded = round(below, digits), round(above, digits)
    return rounded if rounded[0] < rounded[1] else None


def nice_period(seconds: float) -> float:
    """The period that people would have chosen, if one is within 2 %; else three digits.

    Example:
        >>> nice_period(59.87), nice_period(0.10003), nice_period(7.0)
        (60.0, 0.1, 7.0)
    """
    for nice in NICE_S:
        if abs(seconds - nice) <= RARELY * nice:
            return nice
    return float(f"{seconds:.3g}")
