"""Whether what was wrong is over: the window still shows it, its last quarter does not any more.

Long memories would go on alarming for as long as they reach back. What they hold of a past that has
ended is forgotten at once, so that the alarm ends soon after the fault.

Reference:
    G. Capizzi, G. Masarotto: An adaptive exponentially weighted moving average control chart, 2003,
    https://doi.org/10.1198/004017003000000023: a large step back ends a memory. Here the step is
    read off the window alone, so that many windows are still solved in one go.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from models.head import SCALES, VARIANCE_FLOOR

QUARTER, WINDOW = SCALES.index("quarter"), SCALES.index("window")
STEP_BACK = (5.0, 8.0)
"""Standard deviations by which a channel has come back: where it begins to be over, and is."""
ORDINARY = (4.0, 6.0)
"""Standard deviations of the last quarter up to which it may be over, and from which it is not."""
FORGOTTEN = 0.5
"""Share of the memories that a window takes away where it is over."""


class Recovery(nn.Module):
    """Share of the memories that each window leaves: all of them, or less where a fault is over.

    Example:
        >>> recovery = Recovery(torch.ones(2, 2))
        >>> wrong, over = [[9.0, 0.1], [9.0, 0.2], [9.0, 0.1]], [[0.5, 0.1], [0.5, 0.2], [9.0, 0.1]]
        >>> recovery(torch.tensor([wrong, over])).tolist()
        [1.0, 0.5]
    """

    deviations: Tensor

    def __init__(self, deviations: Float[Tensor, "2 channel"]) -> None:
        """Args: deviations: of the last quarter's mean residual, and from it to the window's."""
        super().__init__()
        self.register_buffer("deviations", deviations)

    @override
    def forward(self, means: Float[Tensor, "batch scale channel"]) -> Float[Tensor, " batch"]:
        """Share that is left; means as `models.head.residual_means` gives them."""
        quarter, window = means[:, QUARTER].abs(), means[:, WINDOW].abs()
        now = (quarter / self.deviations[0]).amax(dim=1)
        back = ((window - quarter) / self.deviations[1]).amax(dim=1)
        return 1.0 - FORGOTTEN * ramp(back, STEP_BACK) * (1.0 - ramp(now, ORDINARY))


def ramp(values: Float[Tensor, "..."], between: tuple[float, float]) -> Float[Tensor, "..."]:
    """0 below, 1 above, and in between as far as the value is: no step that rounding decides.

    Example:
        >>> ramp(torch.tensor([1.0, 2.5, 9.0]), (2.0, 4.0)).tolist()
        [0.0, 0.25, 1.0]
    """
    low, high = between
    return ((values - low) / (high - low)).clamp(0.0, 1.0)


def fit_recovery(means: Float[Tensor, "batch scale channel"]) -> Recovery:
    """Take the deviations from residuals of normal running that their model was not trained on."""
    quarter, window = means[:, QUARTER].double(), means[:, WINDOW].double()
    variances = torch.stack([part.square().mean(dim=0) for part in (quarter, window - quarter)])
    return Recovery(variances.clamp(min=VARIANCE_FLOOR).sqrt().float())
