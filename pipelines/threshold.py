"""The threshold, from a false-alarm budget: the alarm logic replayed over normal running."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, poisson

from faultwatch_edge.decisions import count_raised
from faultwatch_edge.manifest import ThresholdSpec
from models.calibration import CalibrationError
from models.config import AlarmConfig
from models.crossfit import NormalScores
from models.metrics import limit_of_none

FINE = 0.001
"""Step of the search, in ``-log10 p``."""
FREQUENT = 20
"""Alarms at which the rate is known well enough to extrapolate from."""
SECONDS_PER_DAY = 86_400.0
BLOCKS, DRAWS = 40, 2_000
"""Blocks of time, and how often as many are drawn anew for an interval."""


def rate_interval(count: int, days: float) -> tuple[float, float]:
    """90% interval of a Poisson rate, a day; with count 0 the lower limit is 0.

    Reference:
        F. Garwood: Fiducial limits for the Poisson distribution, 1936,
        https://doi.org/10.1093/biomet/28.3-4.437

    Example:
        >>> tuple(round(limit, 3) for limit in rate_interval(3, 30.0))
        (0.027, 0.258)
        >>> tuple(round(limit, 3) for limit in rate_interval(0, 30.0))
        (0.0, 0.1)
    """
    lower = float(chi2.ppf(0.05, 2 * count)) / 2 if count else 0.0
    return lower / days, float(chi2.ppf(0.95, 2 * count + 2)) / 2 / days


def count_band(expected: float) -> tuple[int, int]:
    """Central 90% band of a Poisson count.

    Example:
        >>> count_band(0.6), count_band(12.0)
        ((0, 2), (7, 18))
    """
    return int(poisson.ppf(0.05, expected)), int(poisson.ppf(0.95, expected))


def days_needed(false_alarms_per_day: float) -> float:
    """Days of scored normal running that support a budget: those in which it allows one alarm."""
    return 1.0 / false_alarms_per_day


class AlarmCounter:
    """Counts the alarms that normal running would raise at a threshold."""

    def __init__(self, normal: NormalScores, alarm: AlarmConfig, *, window_s: float) -> None:
        times_us = normal.end_times.astype("datetime64[us]").astype(np.int64)
        bounds = np.flatnonzero(np.diff(normal.segment)) + 1
        self.parts = list(
            zip(
                *(np.split(array, bounds) for array in (normal.score, normal.scored, times_us)),
                strict=True,
            )
        )
        self.hysteresis = alarm.hysteresis
        self.delays = (round(alarm.on_delay_s * 1e6), round(alarm.off_delay_s * 1e6))
        self.days = float(normal.scored.sum()) * window_s / SECONDS_PER_DAY
        self.scores = normal.score[normal.scored].astype(np.float64)

    def __call__(self, threshold: float) -> int:
        """Alarms raised in all of it."""
        on_delay_us, off_delay_us = self.delays
        return sum(
            count_raised(
                score,
                threshold,
                times_us=times_us,
                on_delay_us=on_delay_us,
                off_delay_us=off_delay_us,
                scored=scored,
                hysteresis=self.hysteresis,
            )
            for score, scored, times_us in self.parts
        )

    def lowest_within(self, allowed: float) -> float:
        """Smallest multiple of `FINE` such that it and all above it raise at most so many alarms.

        Of thresholds between which no score lies, the highest raises the most alarms (without
        hysteresis, all raise the same): only that is tried.
        """
        for step in np.unique(np.floor(self.scores / FINE))[::-1].tolist():
            if step > 0 and self(step * FINE) > allowed:
                return float((step + 1) * FINE)
        return FINE


def find_threshold(normal: NormalScores, alarm: AlarmConfig, *, window_s: float) -> ThresholdSpec:
    """Find the smallest threshold that keeps the budget, and every threshold above it too.

    Where the budget allows less than one alarm in the days at hand, the threshold is extrapolated
    from thresholds that raise more: log rate falls linearly with the score, and never quicker
    than the score promises (a score of ``s`` means a p-value of ``10^-s``).

    Args:
        normal: out-of-fold scores of normal running.
        alarm: budget, delays and hysteresis.
        window_s: time that each window adds to the scored time.

    Raises:
        CalibrationError: the hysteresis is so large that alarms would stand instead of returning.
    """
    counter = AlarmCounter(normal, alarm, window_s=window_s)
    plain_alarm = alarm.model_copy(update={"hysteresis": 0.0})
    plain = AlarmCounter(normal, plain_alarm, window_s=window_s)
    allowed = alarm.false_alarms_per_day * counter.days
    extrapolated = allowed < 1.0
    threshold = counter.lowest_within(max(allowed, 1.0))
    if 0.0 < alarm.hysteresis >= threshold:
        raise CalibrationError(
            f"[alarm] hysteresis is {alarm.hysteresis:g}, expected well below the threshold, "
            f"{plain.lowest_within(max(allowed, 1.0)):g} without any: alarms would not return, so "
            "that few are counted; make it smaller"
        )
    if extrapolated:
        threshold += math.log10(1.0 / allowed) / _slope(plain)
    raised = counter(threshold)
    return ThresholdSpec(
        score=threshold,
        false_alarms_per_day=alarm.false_alarms_per_day,
        expected_per_day=raised / counter.days,
        interval_per_day=rate_interval(raised, counter.days),
        scored_days=counter.days,
        extrapolated=extrapolated,
    )


def share_threshold(
    normal: NormalScores, alarm: AlarmConfig, *, far: float, window_s: float
) -> ThresholdSpec:
    """Find the smallest threshold at which no more than a share of normal windows is anomalous.

    Where the share is less than one window, the threshold is extrapolated as the score promises: a
    score of ``s`` means a p-value of ``10^-s``. The budget that it stands for is the alarms that
    normal running raises at it.

    Args:
        normal: out-of-fold scores of normal running.
        alarm: delays.
        far: the share, above 0 and below 1.
        window_s: time that each window adds to the scored time.
    """
    counter = AlarmCounter(normal, alarm, window_s=window_s)
    ordered = np.sort(counter.scores)[::-1]
    allowed = far * len(ordered)
    threshold = (math.floor(float(ordered[int(allowed)]) / FINE) + 1) * FINE
    if allowed < 1.0:
        threshold += math.log10(1.0 / allowed)
    raised = counter(threshold)
    return ThresholdSpec(
        score=threshold,
        false_alarms_per_day=raised / counter.days,
        expected_per_day=raised / counter.days,
        interval_per_day=rate_interval(raised, counter.days),
        scored_days=counter.days,
        extrapolated=allowed < 1.0,
    )


def share_interval(
    normal: NormalScores, threshold: float, *, length: int
) -> tuple[float, tuple[float, float]]:
    """Share of normal windows that are anomalous, and its 90% interval.

    Neighbouring windows are alike, so blocks of time are drawn anew, not windows. Where no window
    is anomalous, the upper limit is that of as many independent looks as whole windows fit in.

    Args:
        normal: out-of-fold scores of normal running.
        threshold: a window of this score or more is anomalous.
        length: cells in a window.

    Reference:
        H. R. Künsch: The jackknife and the bootstrap for general stationary observations, 1989,
        https://doi.org/10.1214/aos/1176347265
    """
    anomalous = normal.score[normal.scored].astype(np.float64) >= threshold
    return float(anomalous.mean()), flags_interval(anomalous, looks=len(anomalous) / length)


def flags_interval(flags: NDArray[np.bool_], *, looks: float) -> tuple[float, float]:
    """90% interval of the share of flags that are set, as `share_interval` finds it.

    Args:
        flags: (window,), in order of time; none = nothing is known.
        looks: independent ones among them, about.
    """
    if not len(flags):
        return 0.0, 1.0
    if not flags.any():
        return 0.0, limit_of_none(looks)
    blocks = np.array_split(flags, min(BLOCKS, max(2, int(looks))))
    rates = np.array([block.mean() for block in blocks])
    draws = np.random.default_rng(0).choice(rates, size=(DRAWS, len(rates))).mean(axis=1)
    low, high = np.quantile(draws, [0.05, 0.95])
    return float(low), float(high)


def _slope(plain: AlarmCounter) -> float:
    """By how many decades the rate falls with one of the score.

    Counted without hysteresis: it matters where alarms are frequent and hardly return.
    """
    rare, frequent = plain.lowest_within(1.0), plain.lowest_within(float(FREQUENT))
    return min(1.0, math.log10(FREQUENT) / (rare - frequent)) if rare > frequent else 1.0
