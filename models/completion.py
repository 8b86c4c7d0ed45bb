"""Fill what is missing, only where something is: most windows are whole, and filling takes long."""

from collections.abc import Callable

import torch
from jaxtyping import Bool
from torch import Tensor


def fill_if_incomplete(
    present: Bool[Tensor, "..."], fill: Callable[..., Tensor], *operands: Tensor
) -> Tensor:
    """The first operand as it is if all is present, else what ``fill`` makes of the operands.

    Where nothing is missing, filling must leave the first operand as it is: then this is the same,
    sooner. An exported graph has both, and decides for each batch.

    Args:
        present: where a value is.
        fill: takes the operands, returns a new tensor like the first.
        operands: all tensors that ``fill`` needs, none a view of another.

    Example:
        >>> whole, holed = torch.tensor([True, True]), torch.tensor([True, False])
        >>> values = torch.tensor([3.0, 0.0])
        >>> fill = lambda values, mean: torch.where(holed, values, mean)
        >>> fill_if_incomplete(holed, fill, values, torch.tensor(7.0)).tolist()
        [3.0, 7.0]
        >>> fill_if_incomplete(whole, fill, values, torch.tensor(7.0)).tolist()
        [3.0, 0.0]
    """
    if torch.compiler.is_exporting():
        either: Tensor = torch.cond(present.all(), _first, fill, operands)
        return either
    return operands[0] if bool(present.all()) else fill(*operands)


def _first(*operands: Tensor) -> Tensor:
    return operands[0].clone()
