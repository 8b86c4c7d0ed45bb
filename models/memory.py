"""Long memories of the residual: what is wrong by little, but wrong the same way for hours.

A multivariate exponentially weighted moving average of the residual vector. The averages of normal
running cancel out, those of a small lasting deviation do not; and unlike averages of a distance
they keep the direction in which the machine errs.

Reference:
    C. A. Lowry, W. H. Woodall, C. W. Champ, S. E. Rigdon: A multivariate exponentially weighted
    moving average control chart, 1992, https://doi.org/10.2307/1269551
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from models.head import VARIANCE_FLOOR
from models.smoothing import Smoothing

RATES = (0.05, 0.02)
"""Weights of the newest residual."""
SUPPORT = 50
"""Windows of calibration for each window that a memory holds, about, at least."""
DEVIATIONS = 4.0
"""Standard deviations of a channel's residual beyond which the residual is cut."""


class ResidualMemory(nn.Module):
    """Averages of the last cell's residual at each rate, with their memory as state.

    A residual with a channel beyond its limit is shortened as a whole, by one factor, until that
    channel is at its limit: one spike must not be remembered for hours, and what is cut channel by
    channel points elsewhere, at the channels that were only dragged along.

    Example:
        >>> memory = ResidualMemory((0.5,), torch.tensor([4.0, 4.0]))
        >>> residual, ones = torch.tensor([[2.0, 0.0], [8.0, 2.0]]), torch.ones(2)
        >>> memory(residual, torch.zeros(2), ones, ones)[0].tolist()  # [8, 2] counts as [4, 1]
        [[[1.0, 0.0]], [[2.5, 0.5]]]
    """

    limit: Tensor

    def __init__(self, rates: Sequence[float], limit: Float[Tensor, " channel"]) -> None:
        super().__init__()
        self.rates = tuple(rates)
        self.averages = nn.ModuleList(Smoothing(rate) for rate in rates)
        self.register_buffer("limit", limit)
        self.state_size = len(self.rates) * len(limit)

    @override
    def forward(
        self,
        residual: Float[Tensor, "batch channel"],
        state: Float[Tensor, " state"],
        scored: Float[Tensor, " batch"],
        kept: Float[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch rate channel"], Float[Tensor, " state"]]:
        """Averages after each window, and the state that the next call starts from."""
        if not self.rates:
            return residual.unsqueeze(1)[:, :0], state
        excess = (residual.abs() / self.limit).amax(dim=1, keepdim=True)
        cut = residual / excess.clamp(min=1.0)
        before = state.reshape(len(self.rates), -1)
        after = [
            average(cut, before[place], scored, kept) for place, average in enumerate(self.averages)
        ]
        averages = torch.stack([average for average, _ in after], dim=1)
        return averages, torch.cat([last for _, last in after])


def supported_rates(rates: Sequence[float], windows: int) -> tuple[float, ...]:
    """Those rates whose memory the calibration data can tell from chance.

    Args:
        rates: weights of the newest window.
        windows: of normal running that the memory is calibrated on.

    Example:
        >>> [supported_rates(RATES, windows) for windows in (999, 1_000, 2_500)]
        [(), (0.05,), (0.05, 0.02)]
    """
    return tuple(rate for rate in rates if windows * rate >= SUPPORT)


def residual_limit(last: Float[Tensor, "batch channel"]) -> Float[Tensor, " channel"]:
    """Limit of each channel, from residuals that their model was not trained on.

    Args:
        last: residuals of the last cell in normal running.
    """
    variance = last.double().square().mean(dim=0).clamp(min=VARIANCE_FLOOR)
    return (DEVIATIONS * variance.sqrt()).float()
