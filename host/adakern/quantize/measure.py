"""Measures the integer network against the float one."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from adakern_spec.numbers import MEAN_EXTRA_BITS, SCALE, SCALE_MAX, SCALE_MIN, Format

from ..models.masking import length_mask
from ..models.spn import SCALE_RANGE, ScalePredictionNetwork
from ..parameters import SpnParameters
from ..report.comparison import LayerComparison, LayerMeter
from .calibration import Calibration, float_stages
from .golden import GoldenNetwork


def layer_formats(parameters: SpnParameters, fractions: Sequence[int]) -> dict[str, Format]:
    """Format of the input, of each stage's output and of the scales, by the names of the reports."""
    stages = parameters.shape.stages
    bare = [stages[0].input_format, *(stage.output_format for stage in stages)]
    names = ["input", *(f"conv {index}" for index in range(len(stages)))]
    formats = {
        name: Format(fmt.bits, fmt.signed, frac)
        for name, fmt, frac in zip(names, bare, fractions, strict=True)
    }
    return formats | {"scale": SCALE}


def to_integers(values: Tensor, fmt: Format) -> Tensor:
    """floor(v · 2^frac + 1/2) as float64, not saturated."""
    return torch.floor(values.double() * 2.0**fmt.frac + 0.5)


@dataclass(frozen=True)
class LayerValues:
    """One layer over a batch: ``floats`` float64, ``integers``, ``cut`` (saturated there) and ``valid``.

    Equal shapes: [B, C, H, L], or [B, 2] for the scales.
    """

    floats: Tensor
    integers: Tensor
    cut: Tensor
    valid: Tensor


@torch.no_grad()
def layer_values(
    parameters: SpnParameters, fractions: Sequence[int], spn: ScalePredictionNetwork, data: Calibration
) -> Iterator[tuple[LayerValues, ...]]:
    """For each batch of ``data`` every layer's integers and float values, in the order of `layer_formats`.

    The integers come from the golden model; each layer gets the integers of the one before, so the
    errors add up along the network. A scale counts as cut at a bound of the clamp.
    """
    spn = copy.deepcopy(spn).double()
    network = GoldenNetwork(parameters)
    fmt = layer_formats(parameters, fractions)["input"]
    for maps, lengths in data.batches():
        mask = length_mask(lengths, maps.shape[3]).bool()
        wide = to_integers(maps, fmt)
        quantised = wide.clamp(fmt.min, fmt.max)
        result = network(quantised, lengths)
        integers = [quantised * mask, *(stage.outputs for stage in result.stages)]
        cut = [wide != quantised, *(stage.rounded > stage.outputs for stage in result.stages)]
        stages = zip(float_stages(spn, maps.double(), lengths), integers, cut, strict=True)
        clamped = (result.scales == SCALE_MIN) | (result.scales == SCALE_MAX)
        yield (
            *(LayerValues(*values, mask.expand_as(values[0])) for values in stages),
            LayerValues(spn(maps.double(), lengths), result.scales, clamped, torch.ones_like(clamped)),
        )


def compare(
    formats: Mapping[str, Format], batches: Iterable[tuple[LayerValues, ...]]
) -> tuple[LayerComparison, ...]:
    """Comparison of every layer over the valid positions of all batches of `layer_values`."""
    meters = [LayerMeter(name, fmt) for name, fmt in formats.items()]
    for layers in batches:
        for meter, layer in zip(meters, layers, strict=True):
            valid = layer.valid
            meter.add(layer.floats[valid].numpy(), layer.integers[valid].numpy(), int(layer.cut[valid].sum()))
    return tuple(meter.result() for meter in meters)


@torch.no_grad()
def error_shares(
    parameters: SpnParameters, fractions: Sequence[int], spn: ScalePredictionNetwork, data: Calibration
) -> tuple[float, ...]:
    """Each layer's share of the final error, in the order of `layer_formats`; they sum to one.

    With e_i the mean squared error of the scales when layer i alone computes with its integers
    and all others in floating point, the share is e_i / Σ e (all zero where nothing errs).
    ``spn`` is the float network: the one that was given, or after quantisation-aware training the
    trained one before its rounding, since its layers have learned to answer for one another.
    """
    spn = copy.deepcopy(spn).double()
    formats = layer_formats(parameters, fractions)
    errors = dict.fromkeys(formats, 0.0)
    for maps, lengths in data.batches():
        exact = spn(maps.double(), lengths)
        for name in errors:
            mixed = _scales_with(name, parameters, formats, spn, maps.double(), lengths)
            errors[name] += float((mixed - exact).square().sum())
    total = sum(errors.values())
    return tuple(error / total if total else 0.0 for error in errors.values())


def _scales_with(
    layer: str,
    integers: SpnParameters,
    formats: dict[str, Format],
    spn: ScalePredictionNetwork,
    maps: Tensor,
    lengths: Tensor,
) -> Tensor:
    """Scales [B, 2] with ``layer`` alone in integer arithmetic; all float64."""
    mask = length_mask(lengths, maps.shape[3], maps.dtype)
    values = maps * mask
    *activations, scale = formats.items()
    if layer == "input":
        values = _quantised(values, formats["input"])
    for index, (name, fmt) in enumerate(activations[1:]):
        conv = spn.convs[index]
        if layer == name:
            # Without its input's rounding the accumulator is that of the rounded weights and bias.
            f_x = activations[index][1].frac
            f_accumulator = torch.tensor(integers.shifts[index]) + fmt.frac
            weight = torch.tensor(integers.weights[index]) * torch.exp2(f_x - f_accumulator.double()).view(
                -1, 1, 1, 1
            )
            bias = torch.tensor(integers.biases[index]) * torch.exp2(-f_accumulator.double())
            values = functional.conv2d(values, weight, bias, padding=weight.shape[2] // 2)
            values = _quantised(functional.relu(values), fmt) * mask
        else:
            values = functional.relu(conv(values)) * mask
    mean = values.sum(dim=(2, 3)) / (maps.shape[2] * lengths.double())[:, None]
    if layer != scale[0]:
        return (mean * spn.gain + spn.offset).clamp(*SCALE_RANGE).expand(-1, 2)
    mean_format = Format(scale[1].bits, signed=False, frac=activations[-1][1].frac + MEAN_EXTRA_BITS)
    product = to_integers(mean, mean_format) * torch.tensor(integers.gain)
    raw = torch.floor(product * torch.exp2(-torch.tensor(integers.gain_shift).double()) + 0.5)
    raw = raw + torch.tensor(integers.offset)
    return (raw.clamp(SCALE_MIN, SCALE_MAX) * 2.0**-SCALE.frac).expand(-1, 2)


def _quantised(values: Tensor, fmt: Format) -> Tensor:
    return to_integers(values, fmt).clamp(fmt.min, fmt.max) * 2.0**-fmt.frac
