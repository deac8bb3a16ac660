"""Formats from data: how many fraction bits each activation and each weight channel gets."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from adakern_spec.errors import InputError, ShapeError
from adakern_spec.network import ConvShape
from adakern_spec.numbers import ACCUMULATOR, SHIFT_MAX, Format

from ..models.encoder import AdaptiveEncoder, predict
from ..models.masking import length_mask
from ..models.spn import ScalePredictionNetwork
from .layers import QuantisedSpn

BATCH = 32
"""Maps calibrated at once: bounds the memory, changes no result."""

_CANDIDATES = 4
"""Formats tried: the one that just holds the largest value, then ever finer ones that saturate it."""


@dataclass(frozen=True)
class Calibration:
    """Data that shows what the network meets: maps [N, C, H, L] float and valid lengths [N].

    For an encoder they are its inputs (C = 1), for an SPN alone its activation maps. A few hundred
    maps are plenty. Values at positions ≥ length do not count.
    """

    maps: Tensor
    lengths: Tensor

    def __post_init__(self) -> None:
        if self.maps.ndim != 4 or self.maps.shape[0] == 0 or self.lengths.shape != self.maps.shape[:1]:
            raise InputError(
                f"maps of shape {tuple(self.maps.shape)} with lengths of shape {tuple(self.lengths.shape)}",
                "calibration data",
                "give at least one map [N, C, H, L] and one length each [N]",
            )
        if not torch.isfinite(self.maps).all():
            raise InputError("non-finite values", "calibration data", "remove those maps")

    def batches(self, size: int = BATCH) -> Iterator[tuple[Tensor, Tensor]]:
        """Maps and lengths, ``size`` at a time."""
        yield from zip(self.maps.split(size), self.lengths.split(size), strict=True)

    def smallest(self) -> float:
        """Smallest value at a valid position or of the padding's zero."""
        return min(
            float((maps * length_mask(lengths, maps.shape[3])).min()) for maps, lengths in self.batches()
        )

    def activation_maps(self, encoder: AdaptiveEncoder) -> "Calibration":
        """What the SPN sees of this data: the activation maps of every iteration of the encoder."""
        maps: list[Tensor] = []
        lengths: list[Tensor] = []
        for batch, batch_lengths in self.batches():
            _, trace = predict(encoder, batch, batch_lengths)
            maps += trace.maps
            lengths += [batch_lengths] * len(trace.maps)
        return Calibration(torch.cat(maps), torch.cat(lengths))


@torch.no_grad()
def float_stages(spn: ScalePredictionNetwork, x: Tensor, lengths: Tensor) -> list[Tensor]:
    """The float SPN's masked input and stage outputs [B, C, H, L], as `QuantisedSpn.stages` gives them."""
    mask = length_mask(lengths, x.shape[3], x.dtype)
    seen = [x * mask]
    for conv in spn.convs:
        seen.append(functional.relu(conv(seen[-1])) * mask)
    return seen


def _squared_errors(values: Tensor, fmt: Format, fractions: Tensor) -> Tensor:
    """Sum of squared rounding errors of ``values`` [co, n] at ``fractions`` [co, k]: [co, k]."""
    step = torch.exp2(-fractions)[:, :, None]
    quantised = torch.clamp(torch.floor(values[:, None] / step + 0.5), fmt.min, fmt.max) * step
    return (values[:, None] - quantised).square().sum(dim=2)


def _candidates(largest: Tensor, fmt: Format, unused: float) -> Tensor:
    """Fraction bits to try, [co, _CANDIDATES]: from the most that hold ``largest`` [co] upwards.

    A channel that is all zero gets ``unused``.
    """
    exact = torch.floor(torch.log2(fmt.max / largest.clamp(min=torch.finfo(largest.dtype).tiny)))
    first = torch.where(largest > 0, exact, unused)
    return first[:, None] + torch.arange(_CANDIDATES, dtype=largest.dtype)


class ActivationRange:
    """Collects what one activation meets and chooses its format by least squared error.

    ``largest`` is known after the first pass over the data; the second adds up the errors.
    """

    def __init__(self) -> None:
        self.largest = torch.zeros(1, dtype=torch.float64)
        self.errors = torch.zeros(1, _CANDIDATES, dtype=torch.float64)

    def see(self, values: Tensor) -> None:
        """First pass."""
        self.largest = torch.maximum(self.largest, values.abs().max().double().view(1))

    def weigh(self, values: Tensor, fmt: Format) -> None:
        """Second pass."""
        self.errors += _squared_errors(values.double().view(1, -1), fmt, self._tried(fmt))

    def fraction(self, fmt: Format) -> int:
        """Fraction bits with the least squared error; the coarsest format among equals."""
        return int(self._tried(fmt)[0, int(self.errors[0].argmin())])

    def _tried(self, fmt: Format) -> Tensor:
        # An activation that is always zero may have any format: that of values up to one.
        return _candidates(self.largest, fmt, unused=math.floor(math.log2(fmt.max)))


def calibrate_activations(
    spn: ScalePredictionNetwork, data: Calibration, formats: list[Format]
) -> tuple[int, ...]:
    """Fraction bits of input and stage outputs, whose formats but for these are ``formats``."""
    return calibrate(lambda: (float_stages(spn, *batch) for batch in data.batches()), formats)


def calibrate(seen: Callable[[], Iterable[Sequence[Tensor]]], formats: Sequence[Format]) -> tuple[int, ...]:
    """Fraction bits by least squared error; ``seen()`` gives, batch by batch, one tensor for each format."""
    ranges = [ActivationRange() for _ in formats]
    for batch in seen():
        for activation, values in zip(ranges, batch, strict=True):
            activation.see(values)
    for batch in seen():
        for activation, values, fmt in zip(ranges, batch, formats, strict=True):
            activation.weigh(values, fmt)
    return tuple(activation.fraction(fmt) for activation, fmt in zip(ranges, formats, strict=True))


def _weight_fractions(weight: Tensor, fmt: Format) -> Tensor:
    """Fraction bits [co] of weights [co, ci, K, K], by least squared error per channel."""
    flat = weight.double().flatten(1)
    tried = _candidates(flat.abs().amax(dim=1), fmt, unused=math.floor(math.log2(fmt.max)))
    best = _squared_errors(flat, fmt, tried).argmin(dim=1, keepdim=True)
    return tried.gather(1, best)[:, 0]


def _bias_fractions(bias: Tensor, stage: ConvShape) -> Tensor:
    """Most fraction bits [co] that an accumulator can have so that its bias leaves room for the products.

    The products get what their worst case over all weights needs, at most half of the range;
    whether the actual weights fit beside the bias is for `SpnParameters` to check.
    """
    inputs = stage.input_format
    products = stage.elements * -stage.weight_format.min * max(-inputs.min, inputs.max)
    room = max(ACCUMULATOR.max - products, ACCUMULATOR.max // 2)
    return torch.floor(torch.log2(room / bias.double().abs()))


def stage_formats(
    stage: ConvShape, weight: Tensor, bias: Tensor, f_x: float, f_y: float, where: str
) -> tuple[float, Tensor]:
    """Fraction bits of a stage's output and, per channel [co], of its accumulator.

    ``f_x`` are the input's; ``f_y`` are wanted for the output. Where the weights are so coarse that the
    accumulator has fewer, the output gets as many as the accumulator: shift[c] = f_x + f_w[c] − f_y ≥ 0.
    A channel's weights are made coarser where the shift would pass SHIFT_MAX or the bias would
    overflow the accumulator. Raises ShapeError, naming the channel, if the latter cannot help.
    """
    f_w = _weight_fractions(weight, stage.weight_format)
    f_y = min(f_y, f_x + float(f_w.min()))
    f_accumulator = torch.minimum(_bias_fractions(bias, stage), f_x + f_w).clamp(max=f_y + SHIFT_MAX)
    if (f_accumulator < f_y).any():
        channel = int((f_accumulator < f_y).nonzero()[0])
        raise ShapeError(
            f"accumulator of more than {ACCUMULATOR.bits} bit (bias {float(bias[channel]):.6g})",
            f"{where}, channel {channel}",
            "train with smaller biases",
        )
    return f_y, f_accumulator


@torch.no_grad()
def set_formats(network: QuantisedSpn, fractions: tuple[int, ...]) -> None:
    """Give ``network`` these activation formats and the best weight formats for its present weights.

    As far as `stage_formats` allows. Raises its ShapeError.
    """
    inputs, *outputs = network.activation_exponents()
    inputs.fill_(fractions[0])
    f_x = float(fractions[0])
    for index, (stage, conv) in enumerate(zip(network.shape.stages, network.stage_convs, strict=True)):
        f_y, f_accumulator = stage_formats(
            stage, conv.weight, conv.bias, f_x, float(fractions[index + 1]), f"spn.convs.{index}"
        )
        network.weight_exponents(index).copy_((f_accumulator - f_x).view(-1, 1, 1, 1))
        outputs[index].fill_(f_y)
        f_x = f_y
