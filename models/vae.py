"""Causal convolutional variational autoencoder of windows of several channels.

References:
    D. P. Kingma, M. Welling: Auto-Encoding Variational Bayes, 2014, https://arxiv.org/abs/1312.6114
    S. Bai, J. Z. Kolter, V. Koltun: An Empirical Evaluation of Generic Convolutional and Recurrent
    Networks for Sequence Modeling, 2018, https://arxiv.org/abs/1803.01271
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

KERNEL = 3
INPUT_LIMIT = 6.0
"""Values further than this from the mean, in standard deviations, look the same to the encoder."""
LOG_VARIANCE_LIMITS = (-8.0, 4.0)


class CausalConv(nn.Module):
    """1-D convolution that sees the present and the past, never the future.

    Example:
        >>> layer = CausalConv(1, 1, dilation=2)
        >>> layer(torch.zeros(1, 1, 8)).shape
        torch.Size([1, 1, 8])
    """

    def __init__(self, inputs: int, outputs: int, *, dilation: int) -> None:
        super().__init__()
        self.past = (KERNEL - 1) * dilation
        self.convolution = nn.Conv1d(inputs, outputs, KERNEL, dilation=dilation)

    @override
    def forward(self, x: Float[Tensor, "batch inputs time"]) -> Float[Tensor, "batch outputs time"]:
        convolved: Tensor = self.convolution(functional.pad(x, (self.past, 0)))
        return convolved


class ResidualBlock(nn.Module):
    """Causal convolution with a non-linearity, added to its input."""

    def __init__(self, width: int, *, dilation: int) -> None:
        super().__init__()
        self.convolution = CausalConv(width, width, dilation=dilation)

    @override
    def forward(self, x: Float[Tensor, "batch width time"]) -> Float[Tensor, "batch width time"]:
        return x + functional.gelu(self.convolution(x))


def dilations(length: int) -> list[int]:
    """Dilations 1, 2, 4, ... whose stacked convolutions see a whole window.

    Example:
        >>> dilations(32)
        [1, 2, 4, 8, 16]
    """
    wanted = [1]
    while 1 + (KERNEL - 1) * sum(wanted) < length:
        wanted.append(2 * wanted[-1])
    return wanted


class ConvVae(nn.Module):
    """Encoder, reparameterisation and decoder.

    The encoder reads values and which of them are missing; the last step of its causal
    convolutions has seen the whole window and gives mean and log-variance of the latent. The
    decoder spreads a latent over the window. `forward` is the mean path: nothing is drawn.
    """

    log_variance: nn.Parameter
    offset: Tensor

    def __init__(self, *, channels: int, length: int, width: int, latent: int) -> None:
        super().__init__()
        self.shape = (width, length)
        self.read = nn.Conv1d(2 * channels, width, 1)
        self.encoder = nn.Sequential(*(ResidualBlock(width, dilation=d) for d in dilations(length)))
        self.to_latent = nn.Linear(width, 2 * latent)
        self.from_latent = nn.Linear(latent, width)
        self.position = nn.Parameter(0.1 * torch.randn(width, length))
        self.decoder = nn.Sequential(*(ResidualBlock(width, dilation=d) for d in (1, 2)))
        self.write = nn.Conv1d(width, channels, 1)
        self.log_variance = nn.Parameter(torch.zeros(channels))
        self.register_buffer("offset", torch.zeros(channels, length))

    def encode(
        self,
        values: Float[Tensor, "batch channel time"],
        present: Bool[Tensor, "batch channel time"],
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch latent"]]:
        """Mean and log-variance of the approximate posterior of the latent."""
        seen = values.clamp(-INPUT_LIMIT, INPUT_LIMIT)
        inputs = torch.cat([seen, (~present).to(values.dtype)], dim=1)
        hidden = self.encoder(functional.gelu(self.read(inputs)))
        mean, log_variance = self.to_latent(hidden[:, :, -1]).chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE_LIMITS)

    def decode(self, latent: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch channel time"]:
        """Mean of the likelihood: the expected window of this latent."""
        hidden = self.from_latent(latent).unsqueeze(2) + self.position
        expected: Tensor = self.write(self.decoder(hidden)) + self.offset
        return expected

    @override
    def forward(
        self,
        values: Float[Tensor, "batch channel time"],
        present: Bool[Tensor, "batch channel time"],
    ) -> tuple[Float[Tensor, "batch channel time"], Float[Tensor, "batch latent"]]:
        """Reconstruction by the mean of the latent, and that mean."""
        mean, _ = self.encode(values, present)
        return self.decode(mean), mean


def reparameterise(
    mean: Float[Tensor, "batch latent"],
    log_variance: Float[Tensor, "batch latent"],
    noise: Float[Tensor, "batch latent"],
) -> Float[Tensor, "batch latent"]:
    """Draw from ``N(mean, exp(log_variance))`` so that gradients reach mean and variance.

    Args:
        mean: mean of the posterior.
        log_variance: logarithm of its variance.
        noise: draws from ``N(0, 1)``; an argument, so that a seed decides it.

    Example:
        >>> reparameterise(torch.ones(1, 1), torch.zeros(1, 1), torch.full((1, 1), 2.0)).item()
        3.0
    """
    return mean + torch.exp(0.5 * log_variance) * noise
