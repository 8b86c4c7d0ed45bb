"""Where the machine runs: whether a window lies where training never was.

A detector extrapolates there, and is surprised more often although nothing is wrong. So such
windows are calibrated among themselves, and are told as a new operating point.

References:
    H. Hotelling: Multivariate quality control, 1947: the distance.
    H. F. Kaiser: The application of electronic computers to factor analysis, 1960,
    https://doi.org/10.1177/001316446002000116
    V. Vovk, D. Lindsay, I. Nouretdinov, A. Gammerman: Mondrian confidence machine, 2003,
    http://www.alrw.net: p-values of each category from that category alone.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from typing_extensions import override

EDGE = 0.99
"""Share of the training windows that lie within its edge."""
BEYOND = 2.0
"""Times the distance of that edge at which an operating point is new."""
LEAST_VARIANCE = 1e-6
"""Of a direction, in standard units squared: constant channels have none."""


class OperatingPoint(nn.Module):
    """Hotelling's T2 of the window's mean in the leading directions, as shares of the channels.

    The shares of a window add up to its distance; from 1 on the operating point is new. The same
    of how the window's last quarter differs from its first says how fast the machine moves. A
    channel without a value counts as at its mean; the detector gives it what the others foretell.

    Example:
        >>> point = OperatingPoint(torch.tensor([[0.5, 0.0]]), pace=0.25)
        >>> values = torch.tensor([[[4.0, 2.0], [9.0, 9.0]]])  # means 3 and 9
        >>> shares, unlikeness = point(values, torch.ones(1, 2, 2, dtype=torch.bool))
        >>> shares.tolist(), unlikeness.tolist()  # distance 2.25, movement 1 / 0.25
        ([[2.25, 0.0]], [4.0])
    """

    directions: Tensor
    pace: Tensor

    def __init__(self, directions: Float[Tensor, "direction channel"], *, pace: float) -> None:
        """Args: directions: scaled; pace: of a movement that counts as a new operating point."""
        super().__init__()
        self.register_buffer("directions", directions)
        self.register_buffer("pace", torch.tensor(pace))

    @override
    def forward(
        self,
        values: Float[Tensor, "batch channel time"],
        present: Bool[Tensor, "batch channel time"],
    ) -> tuple[Float[Tensor, "batch channel"], Float[Tensor, " batch"]]:
        """Share of each channel in the distance of each window; and how unlike training it is.

        That is the distance, or how fast the machine moves, whichever is more: both are where
        models foretell less well.

        Args:
            values: standard units, 0 where missing.
            present: where a value is.
        """
        means = window_means(values, present)
        place = means @ self.directions.T
        movement = changes(values, present) @ self.directions.T
        unlikeness = torch.maximum(
            place.square().sum(dim=1), movement.square().sum(dim=1) / self.pace
        )
        return means * (place @ self.directions), unlikeness


def window_means(
    values: Float[Tensor, "batch channel time"], present: Bool[Tensor, "batch channel time"]
) -> Float[Tensor, "batch channel"]:
    """Mean of the values present; 0 where a channel has none."""
    return values.sum(dim=2) / present.to(values.dtype).sum(dim=2).clamp(min=1.0)


def changes(
    values: Float[Tensor, "batch channel time"], present: Bool[Tensor, "batch channel time"]
) -> Float[Tensor, "batch channel"]:
    """By how much the mean of the last quarter is above that of the first."""
    cells = max(1, values.shape[2] // 4)
    first = window_means(values[:, :, :cells], present[:, :, :cells])
    return window_means(values[:, :, -cells:], present[:, :, -cells:]) - first


def fit_operating_point(
    values: Float[Tensor, "batch channel time"], present: Bool[Tensor, "batch channel time"]
) -> OperatingPoint:
    """Find the directions in which channels move together, and how far training goes in them.

    These are the principal directions of the windows' means with more than the average variance
    (Kaiser's rule): in the others a channel moves by itself, and that it is off is no excuse.

    Args:
        values: windows of normal running in standard units, 0 where missing.
        present: where a value is.
    """
    means = window_means(values, present).double()
    variances, directions = torch.linalg.eigh(means.T @ means / len(means))
    variances, directions = variances.flip(0).clamp(min=LEAST_VARIANCE), directions.flip(1)
    kept = max(1, int((variances > variances.mean()).sum()))
    scaled = (directions[:, :kept] / variances[:kept].sqrt()).T
    distance = (means @ scaled.T).square().sum(dim=1)
    limit = BEYOND * max(float(np.quantile(distance.numpy(), EDGE)), LEAST_VARIANCE)
    directions = (scaled / limit**0.5).float().contiguous()
    movement = (changes(values, present) @ directions.T).double().square().sum(dim=1)
    pace = BEYOND * max(float(np.quantile(movement.numpy(), EDGE)), LEAST_VARIANCE)
    return OperatingPoint(directions, pace=pace)
