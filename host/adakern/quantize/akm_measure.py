"""Measures an integer kernel modulation network against the float one."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from adakern_spec.akm import LOGIT
from adakern_spec.numbers import ACTIVATION_BITS, MEAN_EXTRA_BITS, Format

from ..akm_parameters import AkmParameters
from ..artifact import quantise_maps
from ..models.akm_network import AkmNetwork
from ..reference.akm import AkmReference
from ..reference.smoother import smooth as smooth_integers
from ..report.comparison import LayerComparison
from .akm_layers import convolve, convs_of, downsample, float_layers, smooth
from .measure import LayerValues, compare


def layer_formats(parameters: AkmParameters, fractions: Sequence[int]) -> dict[str, Format]:
    """Format of the input, of each layer's output and of the logits, by the names of the reports."""
    first, *layers, logit = fractions
    formats = {"input": Format(ACTIVATION_BITS, parameters.shape.input_signed, first)}
    formats |= {f"layer {index}": Format(ACTIVATION_BITS, False, frac) for index, frac in enumerate(layers)}
    return formats | {"logit": Format(LOGIT.bits, LOGIT.signed, logit)}


def compare_layers(
    parameters: AkmParameters, fractions: Sequence[int], network: AkmNetwork, batches: Sequence[Tensor]
) -> tuple[LayerComparison, ...]:
    """Every layer over all batches of images; a layer's values are those behind the ReLU, not downsampled.

    Each layer gets the integers of the one before, so the errors add up along the network. A value counts
    as saturated where the conv's output was cut.
    """
    formats = layer_formats(parameters, fractions)
    return compare(formats, layer_values(parameters, fractions, network, batches))


def layer_values(
    parameters: AkmParameters, fractions: Sequence[int], network: AkmNetwork, batches: Sequence[Tensor]
) -> Iterator[tuple[LayerValues, ...]]:
    """For each batch of images every layer's integers and float values, in the order of `layer_formats`."""
    inputs = layer_formats(parameters, fractions)["input"]
    reference = AkmReference(parameters)
    for batch in batches:
        layers, logits = float_layers(network, batch.double())
        quantised = quantise_maps(batch.numpy(), inputs)
        result = reference.run(list(quantised), trace=True)
        scaled = torch.floor(batch.double() * 2.0**inputs.frac + 0.5)
        rows = [_values(batch.double(), quantised, (scaled < inputs.min) | (scaled > inputs.max))]
        for index, layer in enumerate(layers):
            conv, smoothed = (
                np.concatenate([getattr(traced[index], name) for traced in result.layers])
                for name in ("conv", "smoothed")
            )
            cut = torch.from_numpy((conv == -128) | (conv == 127))
            rows.append(_values(layer.smoothed, smoothed, cut))
        rows.append(_values(logits, result.logits, torch.zeros_like(logits, dtype=torch.bool)))
        yield tuple(rows)


def _values(floats: Tensor, integers: np.ndarray, cut: Tensor) -> LayerValues:
    valid = torch.ones_like(floats, dtype=torch.bool)
    return LayerValues(floats, torch.from_numpy(integers.astype(np.float64)), cut, valid)


@torch.no_grad()
def error_shares(
    parameters: AkmParameters, fractions: Sequence[int], network: AkmNetwork, batches: Sequence[Tensor]
) -> tuple[float, ...]:
    """Each layer's share of the squared error of the logits, in the order of `layer_formats`.

    As `adakern.quantize.measure.error_shares`: with one layer in integers and all others in float.
    """
    formats = layer_formats(parameters, fractions)
    errors = dict.fromkeys(formats, 0.0)
    for batch in batches:
        exact = network(batch.double())
        for name in errors:
            mixed = _logits_with(name, parameters, fractions, network, batch.double())
            errors[name] += float((mixed - exact).square().sum())
    total = sum(errors.values())
    return tuple(error / total if total else 0.0 for error in errors.values())


def _logits_with(
    layer: str, integers: AkmParameters, fractions: Sequence[int], network: AkmNetwork, x: Tensor
) -> Tensor:
    """Logits [B, classes] with ``layer`` alone in integer arithmetic."""
    formats = layer_formats(integers, fractions)
    if layer == "input":
        fmt = formats["input"]
        x = torch.from_numpy(quantise_maps(x.numpy(), fmt).astype(np.float64)) * 2.0**-fmt.frac
    for index, (conv, way) in enumerate(zip(convs_of(network), network.config.downsample, strict=True)):
        if layer == f"layer {index}":
            x = _layer_alone(integers, index, fractions, x)
        else:
            x = smooth(conv, convolve(conv, x))
        x = downsample(x, way)
    means = x.mean(dim=(2, 3))
    if layer != "logit":
        return network.classifier(means)
    rounded = torch.floor(means * 2.0 ** (fractions[-2] + MEAN_EXTRA_BITS) + 0.5)
    weights, biases = (torch.tensor(v).double() for v in (integers.class_weights, integers.class_biases))
    return (rounded @ weights.T + biases) * 2.0 ** -fractions[-1]


def _layer_alone(integers: AkmParameters, index: int, fractions: Sequence[int], x: Tensor) -> Tensor:
    """A layer in integers behind inputs that are not rounded."""
    f_y = fractions[index + 1]
    f_accumulator = torch.tensor(integers.shifts[index]) + f_y
    f_w = (f_accumulator - fractions[index]).double()
    weight = torch.tensor(integers.weights[index]) * torch.exp2(-f_w).view(-1, 1, 1, 1)
    bias = torch.tensor(integers.biases[index]) * torch.exp2(-f_accumulator.double())
    y = torch.nn.functional.conv2d(x, weight, bias, padding=weight.shape[2] // 2)
    rounded = torch.floor(y * 2.0**f_y + 0.5).clamp(-128, 127).numpy().astype(np.int8)
    smoothed = smooth_integers(rounded, integers.kernels(index))
    return torch.from_numpy(smoothed.astype(np.float64)) * 2.0**-f_y
