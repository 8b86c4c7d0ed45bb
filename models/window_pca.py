"""Linear rivals: principal components of whole windows, and of single rows."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from typing_extensions import override

from models.completion import fill_if_incomplete

WINDOW_COMPONENTS = 16
FILLING_STEPS = 4
"""Steps towards what the missing values must have been."""
TINY = 1e-30
"""Curvature of a step of length 0, where nothing is missing, at least."""
OVERSAMPLED = 8
"""Directions that are sought besides, so that the leading ones are found well."""
LEFT_OVER = 4
"""Values of a window for each component, at least: what explains all of it detects nothing."""
ROW_VARIANCE = 0.9
"""Share of the variance that the principal components of single rows keep."""
LEAST_VARIANCE = 1e-6
"""Of a principal component, in standard units squared: constant channels have none."""


class WindowPca(nn.Module):
    """Projection of a window on the leading principal components of windows.

    The linear twin of the autoencoder: latent = components times window. Missing values are those
    that the present ones foretell, if the latent and what is left over are normally distributed
    (probabilistic PCA: M. E. Tipping, C. M. Bishop, 1999, https://doi.org/10.1111/1467-9868.00196).
    """

    components: Tensor
    ridge: Tensor

    def __init__(
        self,
        components: Float[Tensor, "latent channel time"],
        ridge: Float[Tensor, " latent"] | None = None,
    ) -> None:
        """Args: ridge: variance of what is left over, as a share of each latent's; None = none."""
        super().__init__()
        self.register_buffer("components", components)
        nothing = torch.zeros(len(components))
        self.register_buffer("ridge", nothing if ridge is None else ridge)

    @override
    def forward(
        self,
        values: Float[Tensor, "batch channel time"],
        present: Bool[Tensor, "batch channel time"],
    ) -> tuple[Float[Tensor, "batch channel time"], Float[Tensor, "batch latent"]]:
        """Reconstruction, and the latent of the window with its missing values filled in.

        In double precision: what is left over may be a thousandth of the values, and is what
        counts.
        """
        flat, observed = self.components.double().flatten(1), values.double().flatten(1)
        seen, ridge = present.flatten(1).to(observed.dtype), self.ridge.double()
        filled = fill_if_incomplete(present, _fill, observed, seen, flat, ridge)
        latent = nn.functional.linear(filled, flat)
        rebuilt = (latent @ flat).reshape(-1, *self.components.shape[1:])
        return rebuilt.to(values.dtype), latent.to(values.dtype)


def _fill(
    observed: Float[Tensor, "batch value"],
    seen: Float[Tensor, "batch value"],
    flat: Float[Tensor, "latent value"],
    ridge: Float[Tensor, " latent"],
) -> Float[Tensor, "batch value"]:
    """The values seen, and what they foretell of the others."""
    foretold = _foretell(observed * seen, seen, flat, ridge) @ flat
    return observed * seen + foretold * (1.0 - seen)


def _foretell(
    observed: Float[Tensor, "batch value"],
    seen: Float[Tensor, "batch value"],
    flat: Float[Tensor, "latent value"],
    ridge: Float[Tensor, " latent"],
) -> Float[Tensor, "batch latent"]:
    """Mean of the latent given the values seen, by conjugate gradients.

    ``(C S C' + ridge) latent = C S values``; where nothing is missing, ``1 + ridge`` is the whole
    matrix, and the first step is exact.
    """
    left = nn.functional.linear(observed, flat)
    latent = torch.zeros_like(left)
    slope = left / (1.0 + ridge)
    step, size = slope, (left * slope).sum(dim=1, keepdim=True)
    for _ in range(FILLING_STEPS):
        image = nn.functional.linear((step @ flat) * seen, flat) + ridge * step
        length = size / (step * image).sum(dim=1, keepdim=True).clamp(min=TINY)
        latent, left = latent + length * step, left - length * image
        slope = left / (1.0 + ridge)
        before, size = size, (left * slope).sum(dim=1, keepdim=True)
        step = slope + size / before.clamp(min=TINY) * step
    return latent


class RowPca(nn.Module):
    """Principal components of single rows, applied to every row of the window.

    Its latent is that of the window's last row, divided by its standard deviation.
    """

    components: Tensor
    deviation: Tensor

    def __init__(
        self, components: Float[Tensor, "latent channel"], deviation: Float[Tensor, " latent"]
    ) -> None:
        super().__init__()
        self.register_buffer("components", components)
        self.register_buffer("deviation", deviation)

    @override
    def forward(
        self,
        values: Float[Tensor, "batch channel time"],
        present: Bool[Tensor, "batch channel time"],
    ) -> tuple[Float[Tensor, "batch channel time"], Float[Tensor, "batch latent"]]:
        """Reconstruction of each row, and standardised scores of the last one."""
        del present  # the normaliser has put the mean in their place
        scores = torch.matmul(self.components, values)
        reconstruction = torch.matmul(self.components.T, scores)
        return reconstruction, scores[:, :, -1] / self.deviation


def fit_window_pca(windows: Float[Tensor, "batch channel time"], *, seed: int) -> WindowPca:
    """Find the leading principal components of standardised windows.

    Args:
        windows: normal running in standard units, 0 where missing.
        seed: of the randomised decomposition (Halko, Martinsson, Tropp 2011,
            https://arxiv.org/abs/0909.4061).
    """
    count = min(WINDOW_COMPONENTS, windows.shape[0] - 1, max(1, windows[0].numel() // LEFT_OVER))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tried = min(count + OVERSAMPLED, windows.shape[0], windows[0].numel())
        _, _, directions = torch.pca_lowrank(windows.flatten(1), q=tried, center=False, niter=6)
    components = directions[:, :count].T
    latent = windows.flatten(1) @ components.T
    explained = latent.double().square().mean(dim=0)
    left = (windows.double().square().mean(dim=0).sum() - explained.sum()).clamp(min=0.0)
    variance = left / max(windows[0].numel() - count, 1)
    ridge = (variance / explained.clamp(min=LEAST_VARIANCE)).float()
    return WindowPca(components.reshape(count, *windows.shape[1:]).contiguous(), ridge)


def fit_row_pca(rows: Float[Tensor, "row channel"]) -> RowPca:
    """Find the principal components of standardised rows that keep 90% of their variance.

    Args:
        rows: normal running in standard units, 0 where missing.
    """
    covariance = (rows.double().T @ rows.double()) / len(rows)
    variances, directions = torch.linalg.eigh(covariance)
    variances, directions = variances.flip(0), directions.flip(1)
    variances = variances.clamp(min=LEAST_VARIANCE)
    share = torch.cumsum(variances, 0) / variances.sum()
    kept = min(int((share < ROW_VARIANCE).sum()) + 1, len(variances))
    return RowPca(directions[:, :kept].T.float().contiguous(), variances[:kept].sqrt().float())
