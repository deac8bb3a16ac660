"""Anisotropic pooling with a kernel size per sample that need not be an integer."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adakern_spec.errors import ShapeError
from adakern_spec.numbers import BASE, KERNEL

from .clamping import restoring_clamp
from .masking import length_mask

PoolMode = Literal["avg", "max"]

_TILE = 64
"""Positions pooled by one banded matrix: the work per position is _TILE + 2·radius."""


def _split_radius(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """n = floor(r) and f = r − n of r = (k − 1)/2; the gradient in k runs through f."""
    radius = (kernel - 1) / 2
    whole = radius.detach().floor()
    return whole, radius - whole


def _box_band(kernel: Tensor, reach: int, tile: int) -> Tensor:
    """Banded matrix [B, tile + 2·reach, tile] of the box weights over k.

    Column j holds output j's weights: 1 for |d| ≤ n, f for |d| = n + 1, all divided by k.
    """
    whole, fraction = (part[:, None, None] for part in _split_radius(kernel))
    inputs = torch.arange(tile + 2 * reach, device=kernel.device) - reach
    outputs = torch.arange(tile, device=kernel.device)
    distance = (inputs[:, None] - outputs[None, :]).abs()[None]
    weights = (distance <= whole).to(kernel.dtype) + (distance == whole + 1).to(kernel.dtype) * fraction
    return weights / kernel[:, None, None]


def _average_last(x: Tensor, kernel: Tensor) -> Tensor:
    """Fractional box average along the last dimension, zero padded; x [B, R, L], kernel [B]."""
    batch, rows, positions = x.shape
    tile = min(positions, _TILE)
    tiles = math.ceil(positions / tile)
    # Farther than the map is long, every input is padding.
    reach = min(math.ceil((float(kernel.detach().max()) - 1) / 2), positions - 1)
    padded = functional.pad(x, (reach, tiles * tile - positions + reach))
    windows = padded.unfold(2, tile + 2 * reach, tile).reshape(batch, rows * tiles, -1)
    pooled = torch.bmm(windows, _box_band(kernel, reach, tile))
    return pooled.view(batch, rows, tiles * tile)[:, :, :positions]


def _max_last(x: Tensor, kernel: Tensor) -> Tensor:
    """Maximum along the last dimension, interpolated between the two neighbouring odd windows.

    With M_n the maximum over |d| ≤ n: (1 − f)·M_n + f·M_(n+1), positions outside counting as zero.
    """
    whole, fraction = (part[:, None, None] for part in _split_radius(kernel))
    positions = x.shape[2]
    widest = x
    pooled = x
    for distance in range(1, int(whole.max()) + 2):
        if distance < positions:
            before = functional.pad(x, (distance, 0))[:, :, :positions]
            after = functional.pad(x, (0, distance))[:, :, distance:]
            wider = torch.maximum(widest, torch.maximum(before, after))
        else:
            wider = functional.relu(widest)
        step = wider - widest
        pooled = pooled + torch.where(distance <= whole, step, (distance == whole + 1) * fraction * step)
        widest = wider
    return pooled


def _pool(x: Tensor, kernel_height: Tensor, kernel_length: Tensor, mode: PoolMode) -> Tensor:
    batch, channels, height, length = x.shape
    along = _average_last if mode == "avg" else _max_last
    x = along(x.reshape(batch, channels * height, length), kernel_length)
    x = x.reshape(batch, channels, height, length).transpose(2, 3)
    x = along(x.reshape(batch, channels * length, height), kernel_height)
    return x.reshape(batch, channels, length, height).transpose(2, 3)


def fractional_box_pool(x: Tensor, kernel_height: Tensor, kernel_length: Tensor) -> Tensor:
    """Average over a box whose sides need not be integers, stride 1, zero padded.

    x [B, C, H, L]; ``kernel_height`` and ``kernel_length`` [B], each at least 1; returns x's shape.
    Along a direction the weights are 1 for |d| ≤ n and f for |d| = n + 1, with n + f = (k − 1)/2;
    the sum is divided by k_h·k_l. At odd integers this is avg_pool2d with count_include_pad.
    Differentiable in x and both sizes (at an odd size, the derivative to the right). Work and
    memory grow linearly with L. Raises ShapeError for a size below 1.
    Source: design part 1, "Fractional box pool".
    """
    if min(float(kernel_height.min()), float(kernel_length.min())) < 1:
        raise ShapeError("pooling kernel smaller than 1", "fractional box pool", "use sizes of 1 or more")
    return _pool(x, kernel_height, kernel_length, "avg")


class AdaptiveAnisotropicPool(nn.Module):
    """Pool every map of a batch with a kernel of its own, k = clamp(base·scale, k_min, k_max).

    ``forward(x, scales, lengths)``: x [B, C, H, L], scales [B, 2] (height, length), lengths [B];
    returns x's shape, zero at positions ≥ length. ``mode`` "avg" is the fractional box pool;
    "max" interpolates between the maxima over the two neighbouring odd windows, with everything
    outside the map counting as zero. The bounds hold for both directions. The gradient passes
    the clamp wherever a descent step leads back inside.
    Raises ShapeError for sizes that the hardware's formats do not hold.
    Source: design part 1, "Kernel size" and "Fractional box pool".
    """

    def __init__(
        self, base_height: int, base_length: int, k_min: float, k_max: float, mode: PoolMode = "avg"
    ) -> None:
        super().__init__()
        for name, base in (("base_height", base_height), ("base_length", base_length)):
            if not 1 <= base <= BASE.max or int(base) != base:
                raise ShapeError(f"{name} {base}", "adaptive pool", f"use an integer from 1 to {BASE.max}")
        largest = KERNEL.value(KERNEL.max)
        if not 1 <= k_min <= k_max <= largest:
            raise ShapeError(
                f"k_min {k_min}, k_max {k_max}",
                "adaptive pool",
                f"use 1 <= k_min <= k_max <= {largest}",
            )
        if mode not in ("avg", "max"):
            raise ShapeError(f"pool mode {mode!r}", "adaptive pool", 'use "avg" or "max"')
        self.base_height = base_height
        self.base_length = base_length
        self.k_min = k_min
        self.k_max = k_max
        self.mode = mode

    def kernel_sizes(self, scales: Tensor) -> Tensor:
        """Kernel sizes [B, 2] (height, length) of scales [B, 2]."""
        base = scales.new_tensor([self.base_height, self.base_length])
        return restoring_clamp(scales * base, self.k_min, self.k_max)

    def forward(self, x: Tensor, scales: Tensor, lengths: Tensor) -> Tensor:
        mask = length_mask(lengths, x.shape[3], x.dtype)
        kernel_height, kernel_length = self.kernel_sizes(scales).unbind(1)
        return _pool(x * mask, kernel_height, kernel_length, self.mode) * mask
