"""Adaptive kernel modulation: a convolution whose output is smoothed and gated by two learned numbers."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from adakern_spec.akm import RADIUS
from adakern_spec.errors import ShapeError

from .smoothing import Border, check_border, gaussian_smooth

MAX_RADIUS = RADIUS
"""Largest radius of the smoother unless told otherwise, as the gateware builds it."""

STARTING_SIGMA = 0.5
"""In the middle of radius 1, [1/3, 2/3): both radius changes are far, and the derivative of the outer tap,
exp(-1/2σ²)/σ³, is within 7% of its maximum (at σ = 1/√3). Of standard normal starts, half have σ > 2/3 and
blur small maps away layer by layer, a quarter have σ < 1/3, where the radius is 0 and r has no gradient."""

STARTING_GATE = 2.0
"""sigmoid(2) = 0.88: four layers keep 60% of the signal (at s = 0 they would keep 6%), and the gate's
derivative, 0.105, is still 42% of its maximum."""

OPTIONS = ("per_channel", "border", "max_radius", "sigma", "gate")
"""Of an AKM layer, beside those of its convolution."""


class AKMConv2d(nn.Conv2d):
    """``y = sigmoid(s) · G_r(conv(x))``: nn.Conv2d, then Gaussian smoothing of width |r|, then a gate.

    Takes nn.Conv2d's arguments with their meaning (``padding_mode`` is the convolution's; the smoother's
    border is ``border``'s), x [B, C, H, L] or [C, H, L], and beside them, by name:

    - ``per_channel``: r and s [out_channels], else one of each for the layer
    - ``border``: "zero" smooths in both directions, zero padded; "copy" along the last dimension alone,
      the outermost ``radius`` columns untouched
    - ``max_radius``: where int(3σ) is above it the taps are cut off (`gaussian_taps`)
    - ``sigma``, ``gate``: what |r| and s start from

    The gradient in r is exact wherever int(3σ) does not change. Where it does, each direction jumps by at
    most 4·e/(1 + 2·e) = 4.3% of the largest input, e = exp(-9/2) being the new outer tap against the middle
    one; in mode "copy" the two columns that join the border jump from smoothed to untouched. Below σ = 1/3
    the smoother is the identity and r has gradient 0.
    Raises ShapeError for an unknown border, a max_radius below 0 and a start that is not finite.
    Source: design, "Kernel modulation"; part 1, "Gaussian smoother" and "Gate".
    """

    def __init__(
        self,
        *arguments: Any,
        per_channel: bool = True,
        border: Border = "zero",
        max_radius: int = MAX_RADIUS,
        sigma: float = STARTING_SIGMA,
        gate: float = STARTING_GATE,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        check_border(border, "AKM layer")
        if max_radius < 0:
            raise ShapeError(f"max_radius {max_radius}", "AKM layer", "use 0 or more")
        if not (math.isfinite(sigma) and math.isfinite(gate)):
            raise ShapeError(f"start at sigma {sigma}, gate {gate}", "AKM layer", "use finite values")
        self.per_channel = per_channel
        self.border: Border = border
        self.max_radius = max_radius
        shape = (self.out_channels,) if per_channel else ()
        self.r = nn.Parameter(torch.full(shape, sigma, dtype=self.weight.dtype, device=self.weight.device))
        self.s = nn.Parameter(torch.full(shape, gate, dtype=self.weight.dtype, device=self.weight.device))

    def forward(self, input: Tensor, keep_every: int = 1) -> Tensor:
        """Of the result every ``keep_every``-th row and column, from the first on."""
        x = super().forward(input)
        smoothed = gaussian_smooth(
            x if x.ndim == 4 else x[None],
            self.r,
            torch.sigmoid(self.s),
            max_radius=self.max_radius,
            border=self.border,
            keep_every=keep_every,
        )
        return smoothed if x.ndim == 4 else smoothed[0]

    def extra_repr(self) -> str:
        shape = "per channel" if self.per_channel else "per layer"
        return f"{super().extra_repr()}, r and s {shape}, border={self.border}, max_radius={self.max_radius}"


def convert(module: nn.Module, **options: Any) -> nn.Module:
    """Turn every nn.Conv2d in ``module`` into an AKMConv2d with the same weights; returns the module.

    ``options`` are AKMConv2d's own (`OPTIONS`). Every convolution is changed in place and stays the same
    object, with its Parameters, hooks, masks, buffers, device, dtype and training mode; so an optimiser keeps
    the weights that it has, and one used in two places is converted once. Classes derived from nn.Conv2d,
    AKMConv2d too, stay as they are: what they compute is not known to be a plain convolution.
    Raises ShapeError as AKMConv2d does and for another option, before anything is changed.
    """
    if unknown := options.keys() - set(OPTIONS):
        raise ShapeError(f"option {min(unknown)!r}", "convert", "use " + ", ".join(OPTIONS))
    convs = [conv for conv in module.modules() if type(conv) is nn.Conv2d]
    for conv, modulation in [(conv, _modulation(conv, options)) for conv in convs]:
        conv.__class__ = AKMConv2d
        for name in ("per_channel", "border", "max_radius", "r", "s"):
            setattr(conv, name, getattr(modulation, name))
    return module


def _modulation(conv: nn.Conv2d, options: dict[str, Any]) -> AKMConv2d:
    """A layer of so many channels, for all but its convolution."""
    weight = conv.weight
    return AKMConv2d(1, conv.out_channels, 1, bias=False, device=weight.device, dtype=weight.dtype, **options)
