"""Residual to statistics: how far a window lies from what was expected, and which channels say so.

The residual is whitened by its covariance in normal running at three time scales (last cell, mean
of the last quarter, mean of the window), and so are its long memories. A high statistic means more
anomalous.

References:
    O. Ledoit, M. Wolf: A well-conditioned estimator for large-dimensional covariance matrices,
    2004, https://doi.org/10.1016/S0047-259X(03)00096-4
    C. F. Alcala, S. J. Qin: Reconstruction-based contribution for process monitoring, 2009,
    https://doi.org/10.1016/j.automatica.2009.02.027
    H. H. Yue, S. J. Qin: Reconstruction-based fault identification using a combined index, 2001,
    https://doi.org/10.1021/ie000141+
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from sklearn.covariance import empirical_covariance, ledoit_wolf_shrinkage, shrunk_covariance
from torch import Tensor, nn
from typing_extensions import override

from models.completion import fill_if_incomplete
from models.window_pca import RowPca

SCALES = ("last", "quarter", "window")
FILLING_STEPS = 5
"""Steps towards the residuals that channels without values must have."""
TINY = 1e-30
"""Curvature of a step of length 0, where nothing is missing, at least."""
VARIANCE_FLOOR = 1e-3
"""Least variance of a residual, in standard units squared: constant channels have none."""


def residual_means(
    residual: Float[Tensor, "batch channel time"], present: Bool[Tensor, "batch channel time"]
) -> Float[Tensor, "batch scale channel"]:
    """Mean residual of the values present in the last cell, the last quarter, the window.

    Example:
        >>> residual = torch.tensor([[[0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 4.0, 6.0]]])
        >>> residual_means(residual, torch.ones_like(residual, dtype=torch.bool)).flatten().tolist()
        [6.0, 5.0, 1.5]
    """
    length = residual.shape[2]
    kept = torch.where(present, residual, torch.zeros_like(residual))
    counted = present.to(residual.dtype)
    means = [
        kept[:, :, -cells:].sum(dim=2) / counted[:, :, -cells:].sum(dim=2).clamp(min=1.0)
        for cells in (1, max(1, length // 4), length)
    ]
    return torch.stack(means, dim=1)


def seen_means(present: Bool[Tensor, "batch channel time"]) -> Bool[Tensor, "batch scale channel"]:
    """Whether a channel has any value in the last cell, the last quarter, the window."""
    length = present.shape[2]
    cells = (1, max(1, length // 4), length)
    return torch.stack([present[:, :, -count:].any(dim=2) for count in cells], dim=1)


def fill_missing(
    means: Float[Tensor, "batch scale channel"],
    seen: Bool[Tensor, "batch scale channel"],
    precision: Float[Tensor, "scale channel channel"],
) -> Float[Tensor, "batch scale channel"]:
    """Residuals of channels without values, as those of the other channels foretell them.

    A residual of 0 would say that a channel is as expected while the channels that it moves with
    are not, and so raise the energy of normal running. The expectation given the others has the
    least energy; it is found by conjugate gradients, scaled by the diagonal, in `FILLING_STEPS`
    steps, exactly where as many channels are missing.

    Example:
        >>> precision = torch.linalg.inv(torch.tensor([[[1.0, 0.9], [0.9, 1.0]]]))
        >>> means, seen = torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[True, False]]])
        >>> round(fill_missing(means, seen, precision)[0, 0, 1].item(), 3)
        1.8
    """
    diagonal = torch.diagonal(precision, dim1=1, dim2=2)
    left = torch.where(seen, 0.0, -_weighted(means, precision))
    slope = left / diagonal
    step, size = slope, (left * slope).sum(dim=2, keepdim=True)
    for _ in range(FILLING_STEPS):
        image = torch.where(seen, 0.0, _weighted(step, precision))
        length = size / (step * image).sum(dim=2, keepdim=True).clamp(min=TINY)
        means, left = means + length * step, left - length * image
        slope = left / diagonal
        before, size = size, (left * slope).sum(dim=2, keepdim=True)
        step = slope + size / before.clamp(min=TINY) * step
    return means


def _fill_exactly(
    means: Float[Tensor, "batch scale channel"],
    seen: Bool[Tensor, "batch scale channel"],
    precision: Float[Tensor, "scale channel channel"],
) -> Float[Tensor, "batch scale channel"]:
    return fill_missing(means.double(), seen, precision).to(means.dtype)


def _weighted(
    means: Float[Tensor, "batch scale channel"], precision: Float[Tensor, "scale channel channel"]
) -> Float[Tensor, "batch scale channel"]:
    """``P r`` at each scale, as one product a scale: no precision is copied for each window."""
    return torch.matmul(means.transpose(0, 1), precision.to(means.dtype)).transpose(0, 1)


class EnergyHead(nn.Module):
    """Squared Mahalanobis length of the mean residual at each time scale."""

    precision: Tensor
    self_precision: Tensor

    def __init__(self, precision: Float[Tensor, "scale channel channel"]) -> None:
        super().__init__()
        self.register_buffer("precision", precision)
        self.register_buffer("self_precision", torch.diagonal(precision, dim1=1, dim2=2).clone())

    @override
    def forward(
        self, means: Float[Tensor, "batch scale channel"], latent: Float[Tensor, "batch latent"]
    ) -> tuple[Float[Tensor, "batch statistic"], Float[Tensor, "batch channel"]]:
        """Statistics, one a time scale, and reconstruction-based contributions.

        The contribution of a channel is the largest over the scales of
        ``(P r)_i^2 / P_ii``: by how much the statistic falls when the channel is put right. In
        double precision: where residuals hang together closely, large terms cancel out.
        """
        del latent  # distances in latent space detect little: the residual decides
        exact = means.double()
        weighted = _weighted(exact, self.precision)
        statistics = (weighted * exact).sum(dim=2)
        contribution = (weighted.square() / self.self_precision).amax(dim=1)
        return statistics.to(means.dtype), contribution.to(means.dtype)

    def fill(
        self,
        means: Float[Tensor, "batch scale channel"],
        seen: Bool[Tensor, "batch scale channel"],
    ) -> Float[Tensor, "batch scale channel"]:
        """`fill_missing` by the covariance of normal running, in double precision."""
        precision = self.precision[: len(SCALES)]
        return fill_if_incomplete(seen, _fill_exactly, means, seen, precision)


class PcaHead(nn.Module):
    """Hotelling's T2 and the squared prediction error Q of the last row."""

    components: Tensor
    deviation: Tensor
    diagonal: Tensor
    noise: Tensor

    def __init__(self, pca: RowPca, *, noise: float) -> None:
        super().__init__()
        self.register_buffer("noise", torch.tensor(noise))
        self.register_buffer("components", pca.components)
        self.register_buffer("deviation", pca.deviation)
        explained = (pca.components / pca.deviation[:, None]).square().sum(dim=0)
        unexplained = 1.0 - pca.components.square().sum(dim=0)
        self.register_buffer("diagonal", explained + unexplained.clamp(min=0.0) / noise + 1e-6)

    @override
    def forward(
        self, means: Float[Tensor, "batch scale channel"], latent: Float[Tensor, "batch latent"]
    ) -> tuple[Float[Tensor, "batch statistic"], Float[Tensor, "batch channel"]]:
        """T2 and Q, and the reconstruction-based contributions to the combined index."""
        last = means[:, 0]
        statistics = torch.stack([latent.square().sum(dim=1), last.square().sum(dim=1)], dim=1)
        slope = (latent / self.deviation) @ self.components + last / self.noise
        return statistics, slope.square() / self.diagonal

    def fill(
        self,
        means: Float[Tensor, "batch scale channel"],
        seen: Bool[Tensor, "batch scale channel"],
    ) -> Float[Tensor, "batch scale channel"]:
        """As they are: a missing value is the mean, as is usual for the classical statistics."""
        del seen
        return means


def fit_energy_head(
    means: Float[Tensor, "batch scale channel"], rates: Sequence[float] = ()
) -> EnergyHead:
    """Invert the shrunk covariance of residuals that their model was not trained on.

    Args:
        means: out-of-fold residuals of normal running, as `residual_means` gives them, and after
            them their memories.
        rates: those of the memories.
    """
    alike = [1.0] * len(SCALES) + [2.0 / rate for rate in rates]
    precision = np.stack(
        [_precision(means[:, scale].double().numpy(), alike=n) for scale, n in enumerate(alike)]
    )
    return EnergyHead(torch.from_numpy(precision).float())


def _precision(residuals: NDArray[np.float64], *, alike: float) -> NDArray[np.float64]:
    """Inverse of the shrunk covariance; shrunk as a correlation, so that no unit dominates.

    The less independent the residuals, the more it is shrunk: of neighbours, ``alike`` count as
    one. What a residual lacks to the least variance counts as noise of its own: where a model
    explains a channel to the last digit, what is left is rounding, and must not be magnified.
    """
    variance = np.mean(residuals**2, axis=0)
    spread = np.sqrt(np.maximum(variance, VARIANCE_FLOOR))
    scaled = residuals / spread
    shrinkage = min(1.0, alike * float(ledoit_wolf_shrinkage(scaled, assume_centered=True)))
    correlation = shrunk_covariance(empirical_covariance(scaled, assume_centered=True), shrinkage)
    ridge = np.diag(1e-3 + (1.0 - variance / spread**2))
    inverse: NDArray[np.float64] = np.linalg.inv(correlation + ridge) / np.outer(spread, spread)
    return inverse


def fit_pca_head(pca: RowPca, means: Float[Tensor, "batch scale channel"]) -> PcaHead:
    """Take the noise of the combined index from out-of-fold residuals of the last row."""
    return PcaHead(pca, noise=max(float(means[:, 0].square().mean()), VARIANCE_FLOOR))
