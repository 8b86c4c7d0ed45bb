"""Status of each sensor in the words of NAMUR NE 107."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from features.channels import Channel

GOOD = 0.0
FAILURE = 1.0
OUT_OF_SPECIFICATION = 3.0
UNBOUNDED = 3e38


class SensorStatus(nn.Module):
    """Failure where a window holds no value; out of specification outside the physical range.

    Example:
        >>> status = SensorStatus([Channel(name="level", range=(0.0, 100.0)), Channel(name="flow")])
        >>> status(torch.tensor([[[50.0, 101.0], [float("nan"), float("nan")]]])).tolist()
        [[3.0, 1.0]]
    """

    lowest: Tensor
    highest: Tensor

    def __init__(self, channels: Sequence[Channel]) -> None:
        super().__init__()
        ranges = [channel.range or (-UNBOUNDED, UNBOUNDED) for channel in channels]
        self.register_buffer("lowest", torch.tensor([lowest for lowest, _ in ranges]))
        self.register_buffer("highest", torch.tensor([highest for _, highest in ranges]))

    @override
    def forward(
        self, window: Float[Tensor, "batch channel time"]
    ) -> Float[Tensor, "batch channel"]:
        """NE 107 code of each channel, judged by the window and its last cell."""
        last = window[:, :, -1]
        outside = (last < self.lowest) | (last > self.highest)
        silent = torch.isnan(window).all(dim=2)
        status = torch.where(outside, OUT_OF_SPECIFICATION, GOOD)
        return torch.where(silent, FAILURE, status)
