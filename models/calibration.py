"""Statistics to p-values: monotone, continuous, and without an upper end.

A map is fitted on statistics of normal running that the model behind them never saw. Between
knots ``-log10 p`` is linear in the statistic; beyond the last knot it goes on with the slope of an
exponential tail, so that the score neither saturates nor steps.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad
from typing_extensions import override

LEVEL_STEP = 0.1
"""Distance of the knots in ``-log10 p``."""
DISTANCES = (0.25, 0.35, 0.425, 0.5, 0.75, 1.0)
"""Where windows are parted by how far from training the machine ran; 1 = a new operating point."""
LEAST_SPAN = 0.05
"""Between two distances that maps are fitted at: nearer, rounding would show in the score."""
PARTED = 400
"""Windows between two of these, at least: neighbours say much the same, a few episodes nothing."""
SUPPORT = 20
"""Values beyond the last knot, at least: fewer say nothing about a quantile."""
TAIL = 200
"""Largest values that decide the slope of the tail."""
LEAST_STEP = 1e-6
"""Distance of two knots, at least, as a share of the largest: float32 resolves no less."""
LEAST_CHANGE = 0.05
"""A statistic that moves by less in normal running says nothing; then the distance of its knots."""
UNBOUNDED = 3e38
NEUTRAL = float(np.log10(np.e))
"""Mean of ``-log10 p`` in normal running, whatever the statistic."""


class CalibrationError(Exception):
    """Calibration data that would make the score a lie."""


class PValueMap(nn.Module):
    """Monotone map of each statistic to ``-log10`` of its p-value in normal running.

    A statistic that is rounding in normal running says nothing there: its map begins at the mean
    of all others, not at 0, so that its average stays where it is.
    """

    knots: Tensor
    widths: Tensor
    slopes: Tensor
    least: Tensor

    def __init__(
        self,
        knots: Float[Tensor, "statistic knot"],
        widths: Float[Tensor, "statistic knot"],
        slopes: Float[Tensor, "statistic knot"],
        least: Float[Tensor, " statistic"],
    ) -> None:
        super().__init__()
        self.register_buffer("knots", knots)
        self.register_buffer("widths", widths)
        self.register_buffer("slopes", slopes)
        self.register_buffer("least", least)

    @override
    def forward(
        self, statistics: Float[Tensor, "batch statistic"]
    ) -> Float[Tensor, "batch statistic"]:
        """``-log10 p``, at least 0; a sum of rising pieces, so it never falls."""
        beyond = statistics.unsqueeze(2) - self.knots
        risen = torch.minimum(beyond.clamp(min=0.0), self.widths)
        return self.least + (risen * self.slopes).sum(dim=2)


def fit_p_value_map(statistics: NDArray[np.float64]) -> PValueMap:
    """Fit the map on out-of-fold statistics of normal running.

    Args:
        statistics: (window, statistic), at least 100 windows, finite.

    Raises:
        CalibrationError: too few windows, or values that are not finite.

    Example:
        >>> normal = np.random.default_rng(0).exponential(size=(20_000, 1))
        >>> to_score = fit_p_value_map(normal)
        >>> score = to_score(torch.tensor([[2.3026], [4.6052], [23.026]]))  # p = 0.1, 0.01, 1e-10
        >>> [round(value) for value in score.flatten().tolist()]
        [1, 2, 10]
    """
    if len(statistics) < 5 * SUPPORT:
        raise CalibrationError(
            f"{len(statistics)} windows of normal running cannot calibrate a score; "
            f"at least {5 * SUPPORT} are needed: add normal running"
        )
    if not np.isfinite(statistics).all():
        raise CalibrationError("a statistic of normal running is not finite; check the input range")
    deepest = np.log10(len(statistics) / SUPPORT)
    levels = np.arange(0.0, deepest + 1e-9, LEVEL_STEP)
    pieces = [_pieces(np.sort(column), levels) for column in statistics.T]
    knots, widths, slopes = (
        torch.tensor(np.stack(part)).float() for part in zip(*pieces, strict=True)
    )
    least = [NEUTRAL if _says_nothing(np.sort(column)) else 0.0 for column in statistics.T]
    return PValueMap(knots, widths, slopes, torch.tensor(least))


class DistanceMap(nn.Module):
    """Map of one statistic to ``-log10 p`` among windows that lie as far from training.

    A model extrapolates outside what it was trained on, and is surprised there by normal running.
    Between the distances that maps were fitted at, their values are interpolated; beyond the
    farthest its own map holds. Further away never is more anomalous.
    """

    nearer: Tensor
    begins: Tensor
    spans: Tensor

    def __init__(self, maps: PValueMap, anchors: Float[Tensor, " map"]) -> None:
        """Args: maps: one a row, the nearest first; anchors: their distances, at least two."""
        super().__init__()
        self.maps = maps
        count = len(anchors)
        self.register_buffer("nearer", torch.ones(count, count, dtype=torch.bool).tril())
        self.register_buffer("begins", anchors[:-1].clone())
        self.register_buffer("spans", anchors.diff())

    @override
    def forward(
        self, statistic: Float[Tensor, " batch"], distance: Float[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """``-log10 p``, at least 0; never falls with the statistic."""
        repeated = statistic.unsqueeze(1).expand(-1, len(self.nearer))
        levels = self.maps(repeated).unsqueeze(1)
        least = torch.where(self.nearer, levels, UNBOUNDED).amin(dim=2)
        share = ((distance.unsqueeze(1) - self.begins) / self.spans).clamp(0.0, 1.0)
        score: Tensor = least[:, 0] + (share * (least[:, 1:] - least[:, :-1])).sum(dim=1)
        return score


def fit_distance_map(statistic: NDArray[np.float64], distance: NDArray[np.float64]) -> DistanceMap:
    """Fit the maps on an out-of-fold statistic of normal running.

    Args:
        statistic: (window,), at least 100 windows, finite.
        distance: of each window from the running that its model was trained on, (window,).

    Raises:
        CalibrationError: too few windows, or values that are not finite.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> distance = generator.uniform(0.0, 1.0, size=20_000)
        >>> surprise = generator.exponential(size=20_000) * (1.0 + distance)
        >>> to_score = fit_distance_map(surprise, distance)
        >>> score = to_score(torch.tensor([4.6, 4.6]), torch.tensor([0.0, 1.0]))
        >>> [round(value, 1) for value in score.tolist()]  # seldom near, less so further away
        [1.8, 1.1]
    """
    parts = _parted(distance)
    maps = [fit_p_value_map(statistic[part, None]) for part in parts]
    anchors = _apart([float(np.median(distance[part])) for part in parts])
    if len(maps) == 1:
        maps, anchors = maps * 2, [0.0, 1.0]
    return DistanceMap(_stacked(maps), torch.tensor(anchors))


def _apart(anchors: Sequence[float]) -> list[float]:
    """The same, but no two nearer than `LEAST_SPAN`: the later ones are put further away."""
    placed: list[float] = []
    for anchor in anchors:
        placed.append(max(anchor, placed[-1] + LEAST_SPAN) if placed else anchor)
    return placed


def _stacked(maps: Sequence[PValueMap]) -> PValueMap:
    """One map a statistic; those with fewer knots get more, of which nothing comes."""
    most = max(one.knots.shape[1] for one in maps)
    knots, widths, slopes = (
        torch.cat([pad(part, (0, most - part.shape[1])) for part in parts])
        for parts in zip(*((one.knots, one.widths, one.slopes) for one in maps), strict=True)
    )
    return PValueMap(knots, widths, slopes, torch.cat([one.least for one in maps]))


def _parted(distance: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Windows between two of `DISTANCES`, nearest first; too few go with those further away."""
    between = np.searchsorted(DISTANCES, distance)
    parts: list[NDArray[np.intp]] = []
    waiting = np.empty(0, np.intp)
    for number in range(len(DISTANCES) + 1):
        waiting = np.concatenate([waiting, np.flatnonzero(between == number)])
        if len(waiting) >= PARTED:
            parts.append(waiting)
            waiting = np.empty(0, np.intp)
    last = [*parts[-1:], waiting]
    return [*parts[:-1], np.concatenate(last)]


def _pieces(
    ordered: NDArray[np.float64], levels: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    knots = np.quantile(ordered, 1.0 - 10.0**-levels)
    smallest = LEAST_STEP * max(abs(float(knots[0])), abs(float(knots[-1])))
    if _says_nothing(ordered):
        smallest = LEAST_CHANGE
    knots = np.maximum.accumulate(knots) + smallest * np.arange(len(knots))
    widths = np.append(np.diff(knots), UNBOUNDED)
    slopes = np.append(LEVEL_STEP / np.diff(knots), _tail_slope(ordered, smallest))
    return knots, widths, slopes


def _says_nothing(ordered: NDArray[np.float64]) -> bool:
    return bool(ordered[-1] - ordered[0] < LEAST_CHANGE)


def _tail_slope(ordered: NDArray[np.float64], smallest: float) -> float:
    """Slope of ``-log10 p`` of the exponential with the median excess of the largest values.

    The median, because one gross outlier in normal running must not flatten the slope.
    """
    tail = ordered[-min(TAIL, len(ordered) // 5) :]
    mean_excess = float(np.median(tail - tail[0]) / np.log(2.0))
    return NEUTRAL / max(mean_excess, smallest)


def check_unseen(*, trained: NDArray[np.int64], calibrated: NDArray[np.int64]) -> None:
    """Refuse calibration on rows that the model was trained on.

    Args:
        trained: grid rows that the model has seen.
        calibrated: grid rows whose windows it is calibrated on.

    Raises:
        CalibrationError: the two overlap.

    Example:
        >>> check_unseen(trained=np.array([1, 2]), calibrated=np.array([2, 3]))
        Traceback (most recent call last):
        ...
        models.calibration.CalibrationError: 1 calibration row(s) were also trained on; ...
    """
    both = np.intersect1d(trained, calibrated)
    if len(both):
        raise CalibrationError(
            f"{len(both)} calibration row(s) were also trained on; "
            "calibrate on runs or blocks that the model never saw"
        )
