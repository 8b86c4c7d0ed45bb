"""One cause: the channel that alone explains why a window differs, where there is one.

A sensor that drifts shows in the residuals of every channel that is expected with its help. What
its error does there is known; where nothing out of the ordinary is left without it, that sensor,
or what it measures, is all that differs.

References:
    R. Dunia, S. J. Qin, T. F. Edgar, T. J. McAvoy: Identification of faulty sensors using principal
    component analysis, 1996, https://doi.org/10.1002/aic.690421011
    R. Dunia, S. J. Qin: Subspace approach to multidimensional fault identification and
    reconstruction, 1998, https://doi.org/10.1002/aic.690440812
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf
from torch import Tensor, nn
from typing_extensions import override

from models.head import SCALES, EnergyHead, residual_means
from models.recovery import ramp
from models.sensors import GOOD, MAINTENANCE_REQUIRED

CLEAR = (3.5, 4.5)
"""``-log10 p`` of the strongest statistic where a window begins to differ, and clearly does."""
ORDINARY = (0.8, 1.2)
"""What is left without a channel, as shares of `USUAL`: where it is explained, and is not."""
USUAL = 0.99
"""Share of normal windows whose statistic is lower than what counts as ordinary."""
FORETOLD = 0.5
"""Share of a channel's variance that the others foretell, from which they can contradict it."""
SURE = 0.9
"""How surely a channel is the cause, from which its status says so."""
LEAST_POWER = 1e-9
"""A channel whose error changes no statistic explains nothing."""
ABSENT = 3e38


class SingleCause(nn.Module):
    """How surely each channel alone is the cause: 0 for all but one, or for all.

    Example:
        >>> apart, precision = torch.eye(2).expand(1, 2, 2), torch.eye(2).expand(1, 2, 2)
        >>> foretold = torch.ones(2, dtype=torch.bool)
        >>> cause = SingleCause(apart, precision, ordinary=torch.tensor([9.0]), foretold=foretold)
        >>> means = torch.tensor([[[9.0, 1.0]], [[9.0, 9.0]]])
        >>> statistics, surprise = means.square().sum(dim=2), torch.full((2, 1), 5.0)
        >>> cause(means, statistics, surprise, torch.ones(2, 2, dtype=torch.bool)).tolist()
        [[1.0, 0.0], [0.0, 0.0]]
    """

    slope: Tensor
    power: Tensor
    ordinary: Tensor
    foretold: Tensor

    def __init__(
        self,
        effects: Float[Tensor, "statistic cause channel"],
        precision: Float[Tensor, "statistic channel channel"],
        *,
        ordinary: Float[Tensor, " statistic"],
        foretold: Bool[Tensor, " channel"],
    ) -> None:
        """Learn nothing, compute the constants.

        Args:
            effects: mean residuals that a lasting error of each channel causes.
            precision: of the head.
            ordinary: what a statistic seldom exceeds in normal running.
            foretold: channels that the others foretell well enough to contradict them.
        """
        super().__init__()
        exact = effects.double()
        slope = exact @ precision.double()
        self.register_buffer("slope", slope.transpose(1, 2).contiguous())
        self.register_buffer("power", (slope * exact).sum(dim=2).clamp(min=LEAST_POWER))
        self.register_buffer("ordinary", ordinary.double())
        self.register_buffer("foretold", foretold)

    @override
    def forward(
        self,
        means: Float[Tensor, "batch statistic channel"],
        statistics: Float[Tensor, "batch statistic"],
        surprise: Float[Tensor, "batch statistic"],
        seen: Bool[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch channel"]:
        """Between 0 and 1, so that rounding never turns one into the other.

        Args:
            means: what the head judged.
            statistics: what it said; in double precision, for most of it cancels out.
            surprise: ``-log10 p`` of the statistics.
            seen: which channels have any value.
        """
        projected = torch.matmul(means.transpose(0, 1).double(), self.slope)
        explained = projected.square() / self.power.unsqueeze(1)
        left = statistics.double().transpose(0, 1).unsqueeze(2) - explained
        share = (left / self.ordinary[:, None, None]).amax(dim=0).to(means.dtype)
        share = torch.where(seen, share, ABSENT)
        least = share.amin(dim=1, keepdim=True)
        sure = ramp(surprise.amax(dim=1, keepdim=True), CLEAR) * (1.0 - ramp(least, ORDINARY))
        return torch.where(share <= least, sure, 0.0)

    def mark(
        self, status: Float[Tensor, "batch channel"], cause: Float[Tensor, "batch channel"]
    ) -> Float[Tensor, "batch channel"]:
        """Status in which a sensor that the others contradict needs maintenance, if it was good."""
        contradicted = self.foretold & (cause >= SURE)
        return torch.where(contradicted & (status == GOOD), MAINTENANCE_REQUIRED, status)


def fit_single_cause(
    reconstructor: nn.Module,
    head: EnergyHead,
    *,
    values: Float[Tensor, "row channel"],
    statistics: NDArray[np.float64],
    length: int,
) -> SingleCause:
    """Learn what an error of each channel does to the residuals, and what is ordinary.

    Args:
        reconstructor: of the detector.
        head: of the detector.
        values: normal running in standard units.
        statistics: of normal running that their model never saw, (window, statistic).
        length: cells in a window.
    """
    return SingleCause(
        _effects(reconstructor, values.shape[1], length, statistics=len(head.precision)),
        head.precision,
        ordinary=torch.from_numpy(np.quantile(statistics, USUAL, axis=0)),
        foretold=torch.from_numpy(_foretold(values.double().numpy()) >= FORETOLD),
    )


def _effects(
    reconstructor: nn.Module, channels: int, length: int, *, statistics: int
) -> Float[Tensor, "statistic cause channel"]:
    """Mean residuals for one standard unit more of each channel, in all of the window.

    The memories are averages of the last cell's residual, so what lasts shows in them as it does
    there.
    """
    errors = torch.eye(channels).unsqueeze(2).expand(-1, -1, length)
    windows = torch.cat([torch.zeros(1, channels, length), errors])
    present = torch.ones_like(windows, dtype=torch.bool)
    with torch.no_grad():
        expected, _ = reconstructor(windows, present)
    means = residual_means(windows - expected, present)
    at_scales = (means[1:] - means[0]).transpose(0, 1)
    last = at_scales[SCALES.index("last")]
    return torch.stack([*at_scales, *[last] * (statistics - len(SCALES))])


def _foretold(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of each channel's variance that a linear model of the others explains, (channel,).

    The squared multiple correlation, from the inverse of the shrunk correlation.
    """
    spread = values.std(axis=0)
    moves = spread > 0
    share = np.zeros(len(spread))
    if moves.any():
        scaled = (values[:, moves] - values[:, moves].mean(axis=0)) / spread[moves]
        correlation, _ = ledoit_wolf(scaled, assume_centered=True)
        precision = np.linalg.inv(correlation)
        share[moves] = 1.0 - 1.0 / (np.diag(correlation) * np.diag(precision))
    return share
