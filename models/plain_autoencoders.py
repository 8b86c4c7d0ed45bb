"""Plain autoencoders to compare with: a window in, the squared error of its last row out.

No variational part, no masks, no whitening, no smoothing: what the scoring head adds is what they
lack. Both are trained on the squared error of the whole window.

References:
    P. Malhotra et al.: LSTM-based encoder-decoder for multi-sensor anomaly detection, 2016,
    https://arxiv.org/abs/1607.00148
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn
from typing_extensions import override

from models.rivals import Rival, Rows, Scale, Statistics, fit_scale

WIDTH = 32
LATENT = 16
EPOCHS = 20
LEAST_STEPS, MOST_STEPS = 150, 1000
"""Steps of the optimiser, whatever the epochs: bounds the cost."""
BATCH = 32
LEARNING_RATE = 2e-3
SCORED_AT_ONCE = 1024


class LstmAutoencoder(nn.Module):
    """The encoder's last state, repeated over time, is decoded by a second LSTM."""

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        self.length = length
        self.encoder = nn.LSTM(channels, WIDTH, batch_first=True)
        self.decoder = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.write = nn.Linear(WIDTH, channels)

    @override
    def forward(
        self, values: Float[Tensor, "batch channel time"]
    ) -> Float[Tensor, "batch channel time"]:
        """Reconstruct windows in standard units."""
        _, (state, _) = self.encoder(values.transpose(1, 2))
        repeated = state[-1].unsqueeze(1).expand(-1, self.length, -1)
        hidden, _ = self.decoder(repeated)
        written: Tensor = self.write(hidden)
        return written.transpose(1, 2)


class ConvAutoencoder(nn.Module):
    """Two convolutions with stride 2, a bottleneck, and the way back."""

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        self.length = length
        shortened = (((length + 1) // 2) + 1) // 2
        self.layers = nn.Sequential(
            nn.Conv1d(channels, WIDTH, kernel_size=5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv1d(WIDTH, WIDTH, kernel_size=5, stride=2, padding=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(WIDTH * shortened, LATENT),
            nn.Linear(LATENT, WIDTH * shortened),
            nn.Unflatten(1, (WIDTH, shortened)),
            nn.ReLU(),
            nn.ConvTranspose1d(WIDTH, WIDTH, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose1d(WIDTH, channels, kernel_size=4, stride=2, padding=1),
        )

    @override
    def forward(
        self, values: Float[Tensor, "batch channel time"]
    ) -> Float[Tensor, "batch channel time"]:
        """Reconstruct windows in standard units."""
        written: Tensor = self.layers(values)
        return written[:, :, : self.length]


def lstm_autoencoder(length: int) -> Rival:
    """LSTM autoencoder on windows of ``length`` rows."""
    return _rival("lstm_autoencoder", "LSTM autoencoder", LstmAutoencoder, length)


def conv_autoencoder(length: int) -> Rival:
    """Convolutional autoencoder on windows of ``length`` rows."""
    return _rival("conv_autoencoder", "conv autoencoder", ConvAutoencoder, length)


def _rival(name: str, title: str, make: Callable[[int, int], nn.Module], length: int) -> Rival:
    return Rival(
        name,
        title,
        lambda runs, seed: _fit_autoencoder(runs, make, length, seed),
        lookback=length - 1,
        is_seeded=True,
    )


@dataclass(frozen=True)
class _FittedAutoencoder:
    scale: Scale
    network: nn.Module
    length: int

    def score(self, run: Rows) -> Statistics:
        statistics = np.full((len(run), 1), np.nan)
        windows = _windows(self.scale.standardise(run), self.length)
        with torch.no_grad():
            errors = [
                (self.network(part) - part)[:, :, -1].square().mean(dim=1)
                for part in torch.split(windows, SCORED_AT_ONCE)
                if len(part)
            ]
        if errors:
            statistics[self.length - 1 :, 0] = torch.cat(errors).double().numpy()
        return statistics


def _windows(rows: Rows, length: int) -> Float[Tensor, "batch channel time"]:
    if len(rows) < length:
        return torch.empty(0, rows.shape[1], length)
    return torch.from_numpy(sliding_window_view(rows.astype(np.float32), length, axis=0).copy())


def _fit_autoencoder(
    runs: Sequence[Rows], make: Callable[[int, int], nn.Module], length: int, seed: int
) -> _FittedAutoencoder:
    scale = fit_scale(runs)
    windows = torch.cat([_windows(scale.standardise(run), length) for run in runs])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make(windows.shape[1], length)
        _train(network, windows)
    return _FittedAutoencoder(scale, network.eval(), length)


def _train(network: nn.Module, windows: Float[Tensor, "batch channel time"]) -> None:
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    steps = min(max(EPOCHS * len(windows) // BATCH, LEAST_STEPS), MOST_STEPS)
    epochs = 1 + steps * BATCH // len(windows)
    order = torch.cat([torch.randperm(len(windows)) for _ in range(epochs)])
    for chosen in torch.split(order[: steps * BATCH], BATCH):
        batch = windows[chosen]
        loss = (network(batch) - batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
