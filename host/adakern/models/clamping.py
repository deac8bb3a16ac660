"""A clamp whose gradient does not die at its bounds."""

from typing import Any, cast

import torch
from torch import Tensor


class _RestoringClamp(torch.autograd.Function):
    """torch.clamp forward; backward drops only the gradient that pushes further outside."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(value)
        ctx.low, ctx.high = low, high
        return value.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (value,) = ctx.saved_tensors
        (gradient,) = gradients
        # A descent step moves the value by -gradient: below `low` it helps if the gradient is
        # negative, above `high` if it is positive.
        blocked = ((value < ctx.low) & (gradient > 0)) | ((value > ctx.high) & (gradient < 0))
        return gradient.masked_fill(blocked, 0.0), None, None


def restoring_clamp(value: Tensor, low: float, high: float) -> Tensor:
    """Clamp to [low, high]; outside, the gradient passes wherever a descent step leads back inside.

    Inside and at the bounds the gradient is torch.clamp's. A saturated value can therefore always
    return, and is never pushed further out.
    """
    return cast(Tensor, _RestoringClamp.apply(value, low, high))
