"""Engineering units to standard units, and back."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from typing_extensions import override

CONSTANT = 1e-6
"""A channel that moves by less than this share of its mean is constant: float32 sees no more."""
CONSTANT_SCALE = 1e-3
"""Scale of a constant channel, as a share of its mean, or of 1 where that is 0."""
LIMIT = 1e6
"""Values further than this from the mean, in standard units, count as this: squares stay finite."""


class Normalizer(nn.Module):
    """Mean and spread of each channel in normal running.

    Missing values (NaN) become 0 and are marked absent; 0 is the mean of normal running.

    Example:
        >>> normalizer = Normalizer(torch.tensor([10.0]), torch.tensor([2.0]))
        >>> values, present = normalizer(torch.tensor([[[12.0, float("nan")]]]))
        >>> values.tolist(), present.tolist()
        ([[[1.0, 0.0]]], [[[True, False]]])
    """

    mean: Tensor
    scale: Tensor
    used: Tensor

    def __init__(
        self,
        mean: Float[Tensor, " channel"],
        scale: Float[Tensor, " channel"],
        used: Bool[Tensor, " channel"] | None = None,
    ) -> None:
        """Args: used: channels that count; all others are absent. None = all count."""
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        every = torch.ones_like(mean, dtype=torch.bool)
        self.register_buffer("used", every if used is None else used)

    @override
    def forward(
        self, window: Float[Tensor, "batch channel time"]
    ) -> tuple[Float[Tensor, "batch channel time"], Bool[Tensor, "batch channel time"]]:
        """Standardise a window of engineering units.

        Returns:
            The values in standard deviations from the mean, 0 where missing or not used; and
            where a value was present and is used.
        """
        present = ~torch.isnan(window) & self.used[:, None]
        values = ((window - self.mean[:, None]) / self.scale[:, None]).clamp(-LIMIT, LIMIT)
        return torch.where(present, values, torch.zeros_like(values)), present

    def restore(
        self, values: Float[Tensor, "batch channel time"]
    ) -> Float[Tensor, "batch channel time"]:
        """Standard units to engineering units."""
        return values * self.scale[:, None] + self.mean[:, None]


def fit_normalizer(
    cells: Float[Tensor, "row channel"], used: Bool[Tensor, " channel"] | None = None
) -> Normalizer:
    """Take mean and standard deviation of the values present, channel by channel.

    Args:
        cells: normal running, engineering units, NaN = missing. A channel without any value gets
            mean 0 and scale 1, a constant one a thousandth of its mean as scale.
        used: channels that count; None = all.
    """
    present = ~torch.isnan(cells)
    count = present.sum(dim=0).clamp(min=1)
    values = torch.where(present, cells.double(), 0.0)
    mean = values.sum(dim=0) / count
    deviations = torch.where(present, cells.double() - mean, 0.0)
    deviation = (deviations.square().sum(dim=0) / count).sqrt()
    size = torch.where(mean == 0, 1.0, mean.abs())
    scale = torch.where(deviation > CONSTANT * size, deviation, CONSTANT_SCALE * size)
    scale = torch.where(present.any(dim=0), scale, 1.0)
    return Normalizer(mean.float(), scale.float(), used)
