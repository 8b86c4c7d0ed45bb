"""Exponentially weighted moving averages over consecutive windows, with their memory as state."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

RATE = 0.15
"""Weight of the newest window."""
LONG_RATE = 0.04
"""The same, of the average that goes back furthest."""
LIMIT = 10.0
"""Scores above this count as this: one spike must not be remembered for hours."""


class Smoothing(nn.Module):
    r"""``e_k = (1 - rate) kept_k e_(k-1) + rate u_k`` for the windows that are scored.

    A window that is not scored leaves the average as it was. The batch is solved in one step,
    ``e = W u + w e_0`` with a lower triangular ``W``, so that one call with many windows equals
    many calls with one.

    Example:
        >>> smoothing = Smoothing(rate=0.5)
        >>> u, scored = torch.tensor([[4.0], [8.0], [8.0]]), torch.tensor([1.0, 1.0, 0.0])
        >>> smoothing(u, torch.zeros(1), scored, torch.ones(3))[0].flatten().tolist()
        [2.0, 5.0, 5.0]
    """

    def __init__(self, rate: float = RATE) -> None:
        super().__init__()
        self.rate = rate

    @override
    def forward(
        self,
        values: Float[Tensor, "batch statistic"],
        state: Float[Tensor, " statistic"],
        scored: Float[Tensor, " batch"],
        kept: Float[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch statistic"], Float[Tensor, " statistic"]]:
        """Averages after each window, and the state that the next call starts from.

        Args:
            values: what is averaged.
            state: averages before the first window.
            scored: 1 where a window counts, else 0.
            kept: share of the average before it that a window leaves, above 0; less than 1 where a
                fault is over (`models.recovery`).
        """
        forgetting = math.log1p(-self.rate)
        passed = torch.cumsum(scored, dim=0)  # whole numbers: their differences are exact
        lost = torch.cumsum(scored * torch.log(kept.double()), dim=0)
        number = torch.arange(values.shape[0], device=values.device)
        earlier = number.unsqueeze(1) >= number.unsqueeze(0)
        between = torch.where(earlier, passed.unsqueeze(1) - passed.unsqueeze(0), 0.0) * forgetting
        between = between + (lost.unsqueeze(1) - lost.unsqueeze(0)).to(between.dtype)
        weights = torch.where(earlier, torch.exp(between), 0.0)
        averages = (weights * (self.rate * scored)) @ values
        from_state = torch.exp(passed * forgetting + lost.to(passed.dtype))
        averages = averages + from_state.unsqueeze(1) * state
        return averages, averages[-1]


class SurpriseAverages(nn.Module):
    """Averages of some statistics at one rate, of others at another, with their memory as state.

    Example:
        >>> averages = SurpriseAverages({0.5: (0, 1), 0.25: (1,)})
        >>> one = torch.ones(1)
        >>> averages(torch.tensor([[4.0, 8.0]]), torch.zeros(3), one, one)[0].tolist()
        [[2.0, 4.0, 2.0]]
    """

    def __init__(self, columns: Mapping[float, Sequence[int]]) -> None:
        """Args: columns: rate to the numbers of the statistics that are averaged at it."""
        super().__init__()
        self.columns = tuple(tuple(numbers) for numbers in columns.values())
        self.averages = nn.ModuleList(Smoothing(rate) for rate in columns)
        self.state_size = sum(len(numbers) for numbers in self.columns)

    @override
    def forward(
        self,
        values: Float[Tensor, "batch statistic"],
        state: Float[Tensor, " state"],
        scored: Float[Tensor, " batch"],
        kept: Float[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch average"], Float[Tensor, " state"]]:
        """Averages after each window, and the state that the next call starts from."""
        states = torch.split(state, [len(numbers) for numbers in self.columns])
        after = [
            average(values[:, list(numbers)], before, scored, kept)
            for average, numbers, before in zip(self.averages, self.columns, states, strict=True)
        ]
        return torch.cat([part for part, _ in after], dim=1), torch.cat([last for _, last in after])
