"""How much of a channel's variation is slower than the running that was recorded of it.

The share is eta squared of consecutive eighths: variance between their means, over all variance.
A channel that still moves so slowly has not shown its range: what comes next is new to whoever
learned from it, and each fold of a calibration sees it elsewhere than the others do.

Reference:
    K. Pearson: Mathematical contributions to the theory of evolution: on a correction to be made
    to the correlation ratio, 1911, https://doi.org/10.1093/biomet/8.1-2.254
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

PARTS: Final = 8
SLOW: Final = 0.3
"""Share from which a channel counts as slow; noise that forgets within a hundredth has less."""
LEAST_VALUES: Final = 200
"""Fewer values say nothing about it."""
CHUNK: Final = 16
"""Values of the smallest stretch that is kept as a mean."""
MOST_CHUNKS: Final = 128
"""Stretches that are kept; then neighbours are made one."""
ROUNDING: Final = 1e-9
"""A deviation of less than this share of the mean is rounding."""


class SlowMovement:
    """Eta squared of values that come slice after slice, the same however they are cut.

    Example:
        >>> trend, noise = SlowMovement(), SlowMovement()
        >>> trend.add(np.linspace(0.0, 1.0, 1000))
        >>> noise.add(np.random.default_rng(0).normal(size=1000))
        >>> round(trend.share(), 2), round(noise.share(), 2)
        (0.98, 0.01)
    """

    def __init__(self) -> None:
        self._rest: Numbers = np.empty(0)
        self._chunks: Numbers = np.empty((0, 3))
        self._odd: list[Numbers] = []
        """Of each level of stretches, the shortest first: one that waits for its neighbour."""

    def add(self, values: Numbers) -> None:
        """Take the next values, (sample,)."""
        values = np.concatenate((self._rest, values))
        whole = len(values) // CHUNK * CHUNK
        self._rest = values[whole:]
        chunks = _summed(values[:whole].reshape(-1, CHUNK))
        for level, odd in enumerate(self._odd):
            chunks, self._odd[level] = _paired(np.concatenate((odd, chunks)))
        self._chunks = np.concatenate((self._chunks, chunks))
        while len(self._chunks) >= MOST_CHUNKS:
            self._chunks, odd = _paired(self._chunks)
            self._odd.append(odd)

    def share(self) -> float:
        """Variance between the eighths over all variance, 0 to 1; 0 with too few values."""
        last = _summed(self._rest[None]) if len(self._rest) else np.empty((0, 3))
        chunks = np.concatenate((self._chunks, *reversed(self._odd), last))
        count, mean, within = chunks.T
        total = count.sum()
        if total < LEAST_VALUES:
            return 0.0
        part = ((np.cumsum(count) - count / 2) * PARTS // total).astype(np.int64)
        size = np.bincount(part, count, PARTS)
        means = np.bincount(part, count * mean, PARTS) / np.maximum(size, 1)
        middle = float((size * means).sum() / total)
        between = float((size * (means - middle) ** 2).sum())
        every = float((within + count * (mean - middle) ** 2).sum())
        rounding = total * (ROUNDING * middle) ** 2
        return between / every if every > rounding else 0.0


def _summed(values: Numbers) -> Numbers:
    """Count, mean and sum of squared deviations of each row, (row, 3)."""
    mean = values.mean(axis=1)
    within = ((values - mean[:, None]) ** 2).sum(axis=1)
    return np.stack([np.full(len(values), float(values.shape[1])), mean, within], axis=1)


def _paired(chunks: Numbers) -> tuple[Numbers, Numbers]:
    """Neighbours made one, and the last one if it has none.

    Reference:
        T. F. Chan, G. H. Golub, R. J. LeVeque: Algorithms for computing the sample variance,
        1983, https://doi.org/10.1080/00031305.1983.10483115
    """
    even = len(chunks) // 2 * 2
    first, second = chunks[:even:2], chunks[1:even:2]
    count = first[:, 0] + second[:, 0]
    apart = second[:, 1] - first[:, 1]
    mean = first[:, 1] + apart * second[:, 0] / count
    within = first[:, 2] + second[:, 2] + apart**2 * first[:, 0] * second[:, 0] / count
    return np.stack([count, mean, within], axis=1), chunks[even:]
