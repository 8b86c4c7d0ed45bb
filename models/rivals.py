"""Well-known detectors to compare with: principal components, isolation forest, neighbours.

Each learns from rows of normal running and gives statistics of a run's rows, higher = more
anomalous. All are causal: the statistics of a row depend on that row and earlier ones only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from models.normalizer import CONSTANT, CONSTANT_SCALE, LIMIT
from models.window_pca import LEAST_VARIANCE, ROW_VARIANCE

Rows = NDArray[np.float64]
"""An uninterrupted run, (row, channel), engineering units, NaN = missing."""
Statistics = NDArray[np.float64]
"""(row, statistic); NaN in the rows that come before there is enough to look back on."""

TREES = 100
NEIGHBOURS = 5


class FittedRival(Protocol):
    """A detector that has learned."""

    def score(self, run: Rows) -> Statistics:
        """Statistics of each row, from that row and earlier ones of the run."""
        ...


@dataclass(frozen=True)
class Rival:
    """A detector that can learn."""

    name: str
    """Short, as in files: ``pca``."""
    title: str
    """For people: ``PCA T²+Q``."""
    fit: Callable[[Sequence[Rows], int], FittedRival]
    """Learns from runs of normal running; the number is the seed."""
    lookback: int = 0
    """Earlier rows that the statistics of a row depend on."""
    is_seeded: bool = False
    """Whether the seed changes anything."""


@dataclass(frozen=True)
class Scale:
    """Engineering units to standard units; a missing value becomes 0, the mean."""

    mean: NDArray[np.float64]
    """(channel,)"""
    deviation: NDArray[np.float64]
    """(channel,); as in `models.normalizer` a small share of the mean where it never moved."""

    def standardise(self, run: Rows) -> Rows:
        """Standard deviations from the mean."""
        values = ((run - self.mean) / self.deviation).clip(-LIMIT, LIMIT)
        return np.where(np.isnan(values), 0.0, values)


def fit_scale(runs: Sequence[Rows]) -> Scale:
    """Take mean and standard deviation of the values present, channel by channel.

    Example:
        >>> scale = fit_scale([np.array([[1.0], [np.nan]]), np.array([[5.0]])])
        >>> scale.standardise(np.array([[7.0], [np.nan]])).tolist()
        [[2.0], [0.0]]
    """
    rows = np.concatenate(runs)
    count = np.maximum((~np.isnan(rows)).sum(axis=0), 1)
    mean = np.nansum(rows, axis=0) / count
    deviation = np.sqrt(np.nansum((rows - mean) ** 2, axis=0) / count)
    size = np.where(mean == 0, 1.0, np.abs(mean))
    return Scale(mean, np.where(deviation > CONSTANT * size, deviation, CONSTANT_SCALE * size))


def pca(lags: int = 0) -> Rival:
    """Hotelling's T² and the squared prediction error Q, 90% of the variance kept.

    With lags a row stands beside the ``lags`` rows before it: dynamic PCA.

    References:
        J. E. Jackson, G. S. Mudholkar: Control procedures for residuals associated with principal
        component analysis, 1979, https://doi.org/10.1080/00401706.1979.10489779
        W. Ku, R. H. Storer, C. Georgakis: Disturbance detection and isolation by dynamic principal
        component analysis, 1995, https://doi.org/10.1016/0169-7439(95)00076-3
    """
    name, title = ("dynamic_pca", f"dynamic PCA, {lags} lags") if lags else ("pca", "PCA T²+Q")
    return Rival(name, title, lambda runs, _: _fit_pca(runs, lags), lookback=lags)


def isolation_forest() -> Rival:
    """Rows that random cuts isolate soon.

    References:
        F. T. Liu, K. M. Ting, Z.-H. Zhou: Isolation forest, 2008,
        https://doi.org/10.1109/ICDM.2008.17
    """
    return Rival("isolation_forest", "isolation forest", _fit_forest, is_seeded=True)


def nearest_neighbours() -> Rival:
    """Mean distance of a row to the nearest five rows of normal running, in standard units.

    References:
        S. Ramaswamy, R. Rastogi, K. Shim: Efficient algorithms for mining outliers from large data
        sets, 2000, https://doi.org/10.1145/342009.335437
    """
    title = f"distance to {NEIGHBOURS} neighbours"
    return Rival("neighbours", title, lambda runs, _: _fit_neighbours(runs))


@dataclass(frozen=True)
class _FittedPca:
    scale: Scale
    lags: int
    components: PCA

    def score(self, run: Rows) -> Statistics:
        rows = _lagged(self.scale.standardise(run), self.lags)
        statistics = np.full((len(run), 2), np.nan)
        if not len(rows):
            return statistics
        latent = self.components.transform(rows)
        variance = np.maximum(self.components.explained_variance_, LEAST_VARIANCE)
        residual = rows - self.components.inverse_transform(latent)
        statistics[self.lags :, 0] = (latent**2 / variance).sum(axis=1)
        statistics[self.lags :, 1] = (residual**2).sum(axis=1)
        return statistics


def _fit_pca(runs: Sequence[Rows], lags: int) -> _FittedPca:
    scale = fit_scale(runs)
    rows = np.concatenate([_lagged(scale.standardise(run), lags) for run in runs])
    return _FittedPca(scale, lags, PCA(ROW_VARIANCE, svd_solver="full").fit(rows))


def _lagged(rows: Rows, lags: int) -> Rows:
    """Each row with the ``lags`` rows before it, (row - lags, (lags + 1) * channel)."""
    if len(rows) <= lags:
        return np.empty((0, (lags + 1) * rows.shape[1]))
    return sliding_window_view(rows, lags + 1, axis=0).reshape(len(rows) - lags, -1)


@dataclass(frozen=True)
class _FittedForest:
    scale: Scale
    forest: IsolationForest

    def score(self, run: Rows) -> Statistics:
        found: Statistics = -self.forest.score_samples(self.scale.standardise(run))[:, None]
        return found


def _fit_forest(runs: Sequence[Rows], seed: int) -> _FittedForest:
    scale = fit_scale(runs)
    forest = IsolationForest(n_estimators=TREES, random_state=seed)
    return _FittedForest(scale, forest.fit(scale.standardise(np.concatenate(runs))))


@dataclass(frozen=True)
class _FittedNeighbours:
    scale: Scale
    index: NearestNeighbors

    def score(self, run: Rows) -> Statistics:
        distances, _ = self.index.kneighbors(self.scale.standardise(run))
        found: Statistics = distances.mean(axis=1, keepdims=True)
        return found


def _fit_neighbours(runs: Sequence[Rows]) -> _FittedNeighbours:
    scale = fit_scale(runs)
    index = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute")
    return _FittedNeighbours(scale, index.fit(scale.standardise(np.concatenate(runs))))
