"""Golden model: the quantised network in PyTorch, integer for integer.

Written from the design alone, on PyTorch's own convolution: what the integer reference, the benches
and the gateware are compared with.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from adakern_spec.numbers import KERNEL_SHIFT, MEAN_EXTRA_BITS, SCALE_MAX, SCALE_MIN

from ..artifact import Artifact
from ..models.masking import length_mask
from ..parameters import SpnParameters


class GoldenStage(NamedTuple):
    """One conv stage's integers, int64 [B, co, H, L], zero at positions ≥ length."""

    accumulators: Tensor
    rounded: Tensor
    """rs(accumulator, shift), ahead of saturation and ReLU."""
    outputs: Tensor


class GoldenResult(NamedTuple):
    """Answer of the golden model; all int64."""

    scales: Tensor
    """UQ2.14 [B, 2]: height, length."""
    kernels: Tensor
    """UQ8.8 [B, 2]: height, length."""
    means: Tensor
    """Means of the last stage's channels with MEAN_EXTRA_BITS extra bits [B, outputs]."""
    stages: tuple[GoldenStage, ...]


def _rs(values: Tensor, shift: Tensor) -> Tensor:
    """floor((v + 2^(s−1)) / 2^s), v itself at s = 0."""
    return (values + ((1 << shift) >> 1)) >> shift


class GoldenNetwork(nn.Module):
    """The integer network as a torch module.

    ``forward(maps, lengths)``: maps [B, C, H, L] integers in the input's format (any dtype), lengths [B];
    returns a GoldenResult. Convolutions run in float64, where every accumulator of up to 32 bit is
    exact; everything else in int64. Source: design part 1.
    """

    def __init__(self, parameters: SpnParameters) -> None:
        super().__init__()
        self.integers = parameters

    def forward(self, maps: Tensor, lengths: Tensor) -> GoldenResult:
        integers, shape = self.integers, self.integers.shape
        mask = length_mask(lengths, maps.shape[3], torch.int64)
        values = maps.to(torch.int64) * mask
        stages = []
        for stage, weights, biases, shifts in zip(
            shape.stages, integers.weights, integers.biases, integers.shifts, strict=True
        ):
            products = functional.conv2d(
                values.double(), torch.tensor(weights, dtype=torch.float64), padding=stage.radius
            )
            accumulators = products.to(torch.int64) + torch.tensor(biases).view(-1, 1, 1)
            rounded = _rs(accumulators, torch.tensor(shifts).view(-1, 1, 1))
            values = rounded.clamp(stage.output_format.min, stage.output_format.max) * mask
            stages.append(GoldenStage(accumulators * mask, rounded * mask, values))
        count = (shape.height * lengths.to(torch.int64))[:, None]
        total = values.sum(dim=(2, 3)) << MEAN_EXTRA_BITS
        means = torch.div(total + count // 2, count, rounding_mode="floor")
        gain, gain_shift, offset, base, k_min, k_max = (
            torch.tensor(getattr(integers, name))
            for name in ("gain", "gain_shift", "offset", "base", "k_min", "k_max")
        )
        raw = _rs(means * gain, gain_shift) + offset
        scales = raw.clamp(SCALE_MIN, SCALE_MAX).expand(-1, 2)
        kernels = _rs(base * scales, torch.tensor(KERNEL_SHIFT)).clamp(k_min, k_max)
        return GoldenResult(scales, kernels, means, tuple(stages))


def golden(artifact: Artifact) -> GoldenNetwork:
    """Golden model of a quantised network."""
    return GoldenNetwork(artifact.parameters)
