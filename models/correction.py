"""A linear model and what an autoencoder adds to it, so that both are never worse than the first.

Where a window-PCA explains normal running, the autoencoder learns what it leaves over. How much of
that is taken is decided on normal running that neither has seen, and beyond what it ever said in
training it is cut: on operating points that were never seen a network may say anything.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from typing_extensions import override

from models.config import ModelConfig
from models.training import TrainingLogger, TrainingWindows, fit_vae, left_over
from models.vae import ConvVae
from models.window_pca import WindowPca, fit_window_pca

BATCH = 256


class CorrectedPca(nn.Module):
    """Window-PCA, frozen, plus a share of the autoencoder's bounded correction."""

    limit: Tensor
    gain: Tensor

    def __init__(self, pca: WindowPca, vae: ConvVae, limit: Float[Tensor, " channel"]) -> None:
        super().__init__()
        self.pca = pca
        self.vae = vae
        self.register_buffer("limit", limit)
        self.register_buffer("gain", torch.ones(()))

    def correct(
        self,
        values: Float[Tensor, "batch channel time"],
        present: Bool[Tensor, "batch channel time"],
    ) -> tuple[
        Float[Tensor, "batch channel time"],
        Float[Tensor, "batch channel time"],
        Float[Tensor, "batch latent"],
    ]:
        """The linear expectation, all of the correction, and the latent behind that."""
        linear, _ = self.pca(values, present)
        filled = torch.where(present, values, linear)
        correction, latent = self.vae(filled, torch.ones_like(present))
        limit = self.limit[:, None]
        return linear, torch.minimum(torch.maximum(correction, -limit), limit), latent

    @override
    def forward(
        self,
        values: Float[Tensor, "batch channel time"],
        present: Bool[Tensor, "batch channel time"],
    ) -> tuple[Float[Tensor, "batch channel time"], Float[Tensor, "batch latent"]]:
        """Expected window and the autoencoder's latent."""
        linear, correction, latent = self.correct(values, present)
        return linear + self.gain * correction, latent


def fit_corrected_pca(
    source: TrainingWindows,
    linear_windows: Float[Tensor, "batch channel time"],
    config: ModelConfig,
    *,
    seed: int,
    logger: TrainingLogger | None = None,
) -> CorrectedPca:
    """Fit the linear model, then the autoencoder on what it leaves over.

    Args:
        source: the windows that both may see.
        linear_windows: some of them, in standard units, that the components are taken from.
        config: sizes, epochs, beta and augmentation.
        seed: of both.
        logger: takes the losses of each epoch; None = nowhere.
    """
    pca = fit_window_pca(linear_windows, seed=seed)
    vae = fit_vae(source, config, seed=seed, linear=pca, logger=logger)
    return bound_correction(pca, vae, linear_windows)


def bound_correction(
    pca: WindowPca, vae: ConvVae, windows: Float[Tensor, "batch channel time"]
) -> CorrectedPca:
    """Put both together: no correction is larger than any that the autoencoder makes of windows.

    Args:
        pca: the linear model.
        vae: learned what that leaves over.
        windows: of the training, in standard units.
    """
    corrected = CorrectedPca(pca, vae, torch.full((len(windows[0]),), torch.inf))
    limit = torch.zeros(len(windows[0]))
    with torch.no_grad():
        for batch in torch.split(windows, BATCH):
            _, correction, _ = corrected.correct(batch, torch.ones_like(batch, dtype=torch.bool))
            limit = torch.maximum(limit, correction.abs().amax(dim=(0, 2)))
    corrected.limit.copy_(limit)
    return corrected.eval()


def find_gain(unseen: Sequence[tuple[CorrectedPca, Tensor, Tensor]]) -> float:
    """Share of the corrections that explains most of normal running which they were not made from.

    The slope of a regression through the origin of what the linear models leave over on the
    corrections, not below 0 and not above 1.

    Args:
        unseen: models, each with windows that it has not seen, (batch, channel, time) in its
            standard units, and where a value is present.
    """
    shared, own = 0.0, 0.0
    with torch.no_grad():
        for model, windows, seen in unseen:
            for values, present in zip(
                torch.split(windows, BATCH), torch.split(seen, BATCH), strict=True
            ):
                _, correction, _ = model.correct(values, present)
                correction = torch.where(present, correction, 0.0)
                shared += float((left_over(model.pca, values, present) * correction).sum())
                own += float(correction.square().sum())
    return min(max(shared / own, 0.0), 1.0) if own > 0 else 0.0
