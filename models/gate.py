"""Whether the machine is in a regime that is scored: running, and past its start-up."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from features.channels import Channel, channel_names
from features.grid import WindowConfig
from models.config import RegimeConfig

UNBOUNDED = 3e38


class RegimeGate(nn.Module):
    """Counts the cells since the machine began to run; opens with the first after the start-up.

    A missing value of a running condition's channel does not stop the count. The count is carried
    from call to call in one number of state; 0 means that nothing is known yet.
    """

    above: Tensor
    below: Tensor
    index: Tensor

    def __init__(
        self, channels: Sequence[Channel], regime: RegimeConfig, window: WindowConfig
    ) -> None:
        super().__init__()
        self.startup_cells = math.ceil(regime.startup_ignore_s / window.sample_period_s)
        self.hop = window.hop
        names = channel_names(tuple(channels))
        limits = [
            (
                names.index(condition.channel),
                -UNBOUNDED if condition.above is None else condition.above,
                UNBOUNDED if condition.below is None else condition.below,
            )
            for condition in regime.running
        ]
        self.conditions = len(limits)
        self.register_buffer(
            "index", torch.tensor([limit[0] for limit in limits], dtype=torch.long)
        )
        self.register_buffer("above", torch.tensor([limit[1] for limit in limits]))
        self.register_buffer("below", torch.tensor([limit[2] for limit in limits]))

    @override
    def forward(
        self, window: Float[Tensor, "batch channel time"], state: Float[Tensor, " 1"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " 1"]]:
        """1 where the window is scored, else 0; and the count after the last window."""
        length = window.shape[2]
        trailing = self._trailing_cells(window)
        number = torch.arange(window.shape[0], device=window.device)
        earlier = number.unsqueeze(1) >= number.unsqueeze(0)
        broken = (trailing < length).unsqueeze(0) & earlier
        latest = torch.where(broken, number.unsqueeze(0), -1).amax(dim=1)
        since_break = trailing[latest.clamp(min=0)] + self.hop * (number - latest)
        unbroken = torch.maximum(state + self.hop * (number + 1), length + self.hop * number)
        cells = torch.where(latest >= 0, since_break.to(window.dtype), unbroken)
        scored = (cells > self.startup_cells).to(window.dtype)
        most = self.startup_cells + length + 1  # beyond, only "long enough" matters
        return scored, cells[-1:].clamp(max=float(most))

    def _trailing_cells(self, window: Float[Tensor, "batch channel time"]) -> Tensor:
        """Cells at the end of each window in which the machine runs without a break."""
        length = window.shape[2]
        if not self.conditions:
            return torch.full((window.shape[0],), length, device=window.device)
        values = window[:, self.index]
        holds = (values > self.above[:, None]) & (values < self.below[:, None])
        stopped = (~(holds | torch.isnan(values))).any(dim=1)
        position = torch.arange(1, length + 1, device=window.device)
        return length - torch.where(stopped, position, 0).amax(dim=1)
