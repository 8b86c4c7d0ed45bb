"""The evidence lower bound (ELBO) of a variational autoencoder, in parts.

Reference:
    D. P. Kingma, M. Welling: Auto-Encoding Variational Bayes, 2014, https://arxiv.org/abs/1312.6114
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def reconstruction_nll(
    observed: Float[Tensor, "batch channel time"],
    reconstruction: Float[Tensor, "batch channel time"],
    present: Bool[Tensor, "batch channel time"],
    log_variance: Float[Tensor, " channel"],
) -> Float[Tensor, " batch"]:
    r"""Negative log-likelihood of the values present, Gaussian with one variance per channel.

    ``sum_i 1/2 (log s_i^2 + (x_i - m_i)^2 / s_i^2)`` without the constant ``1/2 log 2 pi``.

    Example:
        >>> x = torch.tensor([[[1.0, 3.0]]])
        >>> seen = torch.tensor([[[True, False]]])
        >>> reconstruction_nll(x, torch.zeros_like(x), seen, torch.zeros(1)).item()
        0.5
    """
    log_variance = log_variance[:, None]
    squared = (observed - reconstruction).square() * torch.exp(-log_variance)
    return 0.5 * torch.where(present, squared + log_variance, 0.0).sum(dim=(1, 2))


def kl_divergence(
    mean: Float[Tensor, "batch latent"], log_variance: Float[Tensor, "batch latent"]
) -> Float[Tensor, " batch"]:
    """Kullback-Leibler divergence of ``N(mean, exp(log_variance))`` from ``N(0, 1)``, in nats.

    Closed form, appendix B of the reference: ``1/2 sum(mean^2 + var - 1 - log var)``.

    Example:
        >>> kl_divergence(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2)).item()
        0.5
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1)


def annealed_beta(*, step: int, steps: int, beta: float, anneal: float) -> float:
    """Weight of the KL term: rises from 0 to ``beta`` in the first ``anneal`` share of training.

    Example:
        >>> [annealed_beta(step=s, steps=100, beta=0.5, anneal=0.2) for s in (0, 10, 20, 99)]
        [0.0, 0.25, 0.5, 0.5]
    """
    rise = anneal * steps
    return beta if rise <= 0 else beta * min(1.0, step / rise)
