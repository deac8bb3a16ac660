"""The scale prediction network in Brevitas' quantised layers, with the hardware's rounding.

Everything Brevitas would learn about scales is taken out: a scale is 2^-exponent with an exponent that
`calibration` chooses, so that shifts stay within what the hardware has.
"""

import copy
from collections.abc import Sequence
from typing import Any

import brevitas.nn as qnn
import torch
from brevitas.inject import ExtendedInjector
from brevitas.quant import Int32Bias
from brevitas.quant.fixed_point import (
    Int8ActPerTensorFixedPoint,
    Int8WeightPerChannelFixedPoint,
    Uint8ActPerTensorFixedPoint,
)
from brevitas.quant_tensor import IntQuantTensor
from torch import Tensor, nn

from adakern_spec.network import ConvShape, SpnShape
from adakern_spec.numbers import ACTIVATION_BITS, BIAS_BITS

from ..models.clamping import restoring_clamp
from ..models.masking import length_mask
from ..models.spn import SCALE_RANGE, ScalePredictionNetwork


class _RoundHalfUp(nn.Module):
    """floor(x + 1/2) with a straight-through gradient; Brevitas' own rounds halves to even."""

    def __init__(self) -> None:  # Brevitas injects by argument names: nn.Module's own has none
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x + (torch.floor(x + 0.5) - x).detach()


class PowerOfTwoScale(nn.Module):
    """Scale 2^-exponent, one exponent per entry of ``scaling_shape`` (() for one per tensor)."""

    exponent: Tensor

    def __init__(self, scaling_shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("exponent", torch.zeros(tuple(scaling_shape)))

    def forward(self, x: Tensor, threshold: Tensor) -> Tensor:
        return torch.exp2(-self.exponent).to(x.dtype)


class _Unit(nn.Module):
    """Brevitas divides a scale by the integer range; here the scale is that of one step already."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, bit_width: Tensor) -> Tensor:
        return torch.ones((), dtype=bit_width.dtype)


class _Hardware(ExtendedInjector):
    """What every quantiser of the hardware shares."""

    float_to_int_impl = _RoundHalfUp
    scaling_impl = PowerOfTwoScale
    int_scaling_impl = _Unit


class HardwareWeight(_Hardware, Int8WeightPerChannelFixedPoint):
    """Signed weights, an exponent per output channel."""

    narrow_range = False


class HardwareBias(Int32Bias):
    """Signed bias at the accumulator's scale."""

    float_to_int_impl = _RoundHalfUp
    bit_width = BIAS_BITS


class HardwareInput(_Hardware, Int8ActPerTensorFixedPoint):
    """Signed input."""

    bit_width = ACTIVATION_BITS


class HardwareActivation(_Hardware, Uint8ActPerTensorFixedPoint):
    """Unsigned activation behind a ReLU."""

    bit_width = ACTIVATION_BITS


def _stage_conv(stage: ConvShape) -> qnn.QuantConv2d:
    return qnn.QuantConv2d(
        stage.in_channels,
        stage.out_channels,
        stage.kernel,
        padding=stage.radius,
        weight_quant=HardwareWeight,
        weight_bit_width=stage.weight_bits,
        bias_quant=HardwareBias,
        return_quant_tensor=True,
    )


def float_convs(spn: ScalePredictionNetwork) -> list[nn.Conv2d]:
    """The convs of a network that `support.checked_kernel` has let through."""
    return [conv for conv in spn.convs if isinstance(conv, nn.Conv2d)]


class QuantisedSpn(nn.Module):
    """Scale prediction network with quantised weights and activations, trainable through the rounding.

    ``forward(x, lengths)``: x [B, C, H, L] float, lengths [B]; returns scales [B, 2]. ``stages(x, lengths)``
    gives the dequantised input and stage outputs. Convs and activations compute the very values of the
    integer arithmetic (in float64 exactly); gain and offset stay in floating point.
    """

    def __init__(self, shape: SpnShape) -> None:
        super().__init__()
        self.shape = shape
        first = HardwareInput if shape.input_signed else HardwareActivation
        self.input = qnn.QuantIdentity(act_quant=first, return_quant_tensor=True)
        self.convs = nn.ModuleList(_stage_conv(stage) for stage in shape.stages)
        self.activations = nn.ModuleList(
            qnn.QuantReLU(act_quant=HardwareActivation, return_quant_tensor=True) for _ in shape.stages
        )
        self.gain = nn.Parameter(torch.ones(shape.outputs))
        self.offset = nn.Parameter(torch.ones(shape.outputs))

    def stages(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        """Dequantised input and output of each stage, zero at positions ≥ length."""
        mask = length_mask(lengths, x.shape[3], x.dtype)
        values = _masked(self.input(x), mask)
        seen = [values.value]
        for conv, activation in zip(self.stage_convs, self.activations, strict=True):
            values = _masked(activation(conv(values).value), mask)
            seen.append(values.value)
        return seen

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        last = self.stages(x, lengths)[-1]
        mean = last.sum(dim=(2, 3)) / (x.shape[2] * lengths.to(x.dtype))[:, None]
        return restoring_clamp(mean * self.gain + self.offset, *SCALE_RANGE).expand(-1, 2)

    @property
    def stage_convs(self) -> list[qnn.QuantConv2d]:
        """The convs, with their type."""
        return list(self.convs)

    @torch.no_grad()
    def copy_float(self, spn: ScalePredictionNetwork) -> None:
        """Take the parameters of the float network; a conv without bias gives zeros."""
        for conv, source in zip(self.stage_convs, float_convs(spn), strict=True):
            conv.weight.copy_(source.weight)
            conv.bias.zero_()
            if source.bias is not None:
                conv.bias.copy_(source.bias)
        self.gain.copy_(spn.gain)
        self.offset.copy_(spn.offset)

    @torch.no_grad()
    def to_float(self, like: ScalePredictionNetwork) -> ScalePredictionNetwork:
        """Float network with the present parameters before rounding, otherwise as ``like``."""
        spn = copy.deepcopy(like)
        for target, conv in zip(float_convs(spn), self.stage_convs, strict=True):
            target.weight.copy_(conv.weight)
            target.bias = nn.Parameter(conv.bias.detach().clone())
        spn.gain.copy_(self.gain)
        spn.offset.copy_(self.offset)
        return spn

    def weight_exponents(self, stage: int) -> Tensor:
        """Buffer of the stage's exponents, [co, 1, 1, 1]."""
        return _exponent(self.stage_convs[stage].weight_quant)

    def activation_exponents(self) -> list[Tensor]:
        """Buffers of the exponents of the input and of each stage's output, scalars."""
        quantisers: list[Any] = [self.input, *self.activations]
        return [_exponent(quantiser.act_quant.fused_activation_quant_proxy) for quantiser in quantisers]


def _exponent(proxy: Any) -> Tensor:
    """The exponent of the PowerOfTwoScale that was injected into a Brevitas proxy."""
    exponent: Tensor = proxy.tensor_quant.scaling_impl.exponent
    return exponent


def _masked(values: IntQuantTensor, mask: Tensor) -> IntQuantTensor:
    return IntQuantTensor(
        values.value * mask, values.scale, values.zero_point, values.bit_width, values.signed, values.training
    )
