"""Scale prediction network: two kernel scales from an activation map."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from adakern_spec.errors import ShapeError
from adakern_spec.network import SpnShape

from .clamping import restoring_clamp
from .masking import length_mask

SCALE_RANGE = (0.5, 2.0)
"""Bounds of a scale (design part 1, "Scale head")."""

Penalty = Literal["l1", "l2"]

_STARTING_BIAS = 0.1
_STARTING_GAIN = 1.0
_STARTING_SCALE = 1.0


_ACTIVE_SHARE = 0.25


def _valid_mean(x: Tensor, lengths: Tensor) -> Tensor:
    """Mean over rows and valid positions, [B, C]; x is zero at positions ≥ length."""
    return x.sum(dim=(2, 3)) / (x.shape[2] * lengths.to(x.dtype))[:, None]


class ScalePredictionNetwork(nn.Module):
    """Convs with ReLU, global average over the valid length, gain and offset, clamp to [0.5, 2].

    ``forward(x, lengths)``: x [B, C, H, L] float, lengths [B] integers in 1..L; returns scales
    [B, 2]: height, then length. With ``shared_scale`` the last conv has one channel, whose scale
    serves both directions. The answer of a map does not depend on its padding.

    ``channels`` are those between the stages, input first. Attributes that the quantiser reads:
    ``convs`` (Conv2d with bias), ``gain`` and ``offset``, one value per output each.
    Raises ShapeError for channels or a kernel that the hardware cannot have, and for a map of
    another channel count. Source: design part 1, "Conv stage" to "Scale head", in floating point.
    """

    def __init__(
        self, channels: Sequence[int] = (8, 8, 8, 2), kernel: int = 3, shared_scale: bool = False
    ) -> None:
        super().__init__()
        outputs = 1 if shared_scale else 2
        if tuple(channels[-1:]) not in ((outputs,), (2,)):
            raise ShapeError(
                f"channels {tuple(channels)}", "scale prediction network", f"end them with {outputs}"
            )
        channels = (*channels[:-1], outputs)
        SpnShape(channels=channels, kernel=kernel)
        self.convs = nn.ModuleList(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2) for inputs, outputs in pairwise(channels)
        )
        # Scales start a little above 1, in the middle of the range on a log axis, where both the
        # bias (through the mean) and the gain already receive a gradient.
        self.gain = nn.Parameter(torch.full((outputs,), _STARTING_GAIN))
        self.offset = nn.Parameter(torch.full((outputs,), _STARTING_SCALE))
        for conv in self.convs:
            assert isinstance(conv, nn.Conv2d)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            # A slightly positive bias keeps the few channels from starting behind a closed ReLU.
            nn.init.constant_(cast(Tensor, conv.bias), _STARTING_BIAS)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels between the stages, input first."""
        convs = [conv for conv in self.convs if isinstance(conv, nn.Conv2d)]
        return (convs[0].in_channels, *(conv.out_channels for conv in convs))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.channels[0]:
            raise ShapeError(
                f"map of shape {tuple(x.shape)}",
                "scale prediction network",
                f"use [B, {self.channels[0]}, H, L]",
            )
        mask = length_mask(lengths, x.shape[3], x.dtype)
        x = x * mask
        for conv in self.convs:
            x = functional.relu(conv(x)) * mask
        scales = restoring_clamp(_valid_mean(x, lengths) * self.gain + self.offset, *SCALE_RANGE)
        return scales.expand(-1, 2)

    @torch.no_grad()
    def centre(self, x: Tensor, lengths: Tensor, spread: float = 0.15) -> None:
        """Data-dependent start: over these maps the scales get mean 1 and standard deviation ``spread``.

        The mean over a whole map hardly differs from map to map, so without this every input begins
        with the same scale and the SPN learns a constant. The last biases move until a quarter of
        the pixels is active: a sparse count differs more between maps than a mean of everything.
        The spread is smaller where it would need an offset below zero, which the hardware's
        unsigned format does not hold. Gains stay as they are where no two maps differ.
        """
        mask = length_mask(lengths, x.shape[3], x.dtype)
        x = x * mask
        last = cast(nn.Conv2d, self.convs[-1])
        for conv in self.convs[:-1]:
            x = functional.relu(conv(x)) * mask
        x = last(x)
        valid = x.transpose(0, 1)[:, mask.expand_as(x[:, :1])[:, 0] > 0]
        threshold = torch.quantile(valid, 1 - _ACTIVE_SHARE, dim=1)
        cast(Tensor, last.bias).sub_(threshold)
        mean = _valid_mean(functional.relu(x - threshold[:, None, None]) * mask, lengths)
        average = mean.mean(dim=0)
        deviation = (mean - average).square().sum(dim=0).div(max(len(mean) - 1, 1)).sqrt()
        wanted = torch.where(deviation > 0, spread / deviation, self.gain)
        self.gain.copy_(torch.minimum(wanted, 1 / average))
        self.offset.copy_(1 - self.gain * average)

    def regularisation(self, kind: Penalty) -> Tensor:
        """Sum of the magnitudes ("l1") or squares ("l2") of the conv weights, a scalar."""
        weights = [conv.weight for conv in self.convs if isinstance(conv, nn.Conv2d)]
        if kind == "l1":
            return torch.stack([weight.abs().sum() for weight in weights]).sum()
        return torch.stack([weight.square().sum() for weight in weights]).sum()
