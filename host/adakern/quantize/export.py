"""Integers of a calibrated network: what the hardware loads."""

import math

import numpy as np
from torch import Tensor

from adakern_spec.errors import ShapeError
from adakern_spec.numbers import (
    BIAS,
    GAIN,
    KERNEL,
    MEAN_EXTRA_BITS,
    SCALE,
    SHIFT_MAX,
    Format,
)

from ..models.pooling import AdaptiveAnisotropicPool
from ..parameters import SpnParameters
from .layers import QuantisedSpn


def to_parameters(
    network: QuantisedSpn, pool: AdaptiveAnisotropicPool
) -> tuple[SpnParameters, tuple[int, ...]]:
    """Parameters, and the fraction bits of the input and of each stage's output.

    Raises ShapeError for an accumulator over 32 bit, a gain or an offset that the hardware's formats do
    not hold, naming the channel.
    """
    fractions = tuple(int(exponent) for exponent in network.activation_exponents())
    weights, biases, shifts = [], [], []
    for index, (stage, conv) in enumerate(zip(network.shape.stages, network.stage_convs, strict=True)):
        f_w = network.weight_exponents(index)
        f_accumulator = fractions[index] + f_w.flatten()
        weights.append(integers_of(conv.weight, f_w, stage.weight_format))
        biases.append(integers_of(conv.bias, f_accumulator, BIAS))
        shifts.append((f_accumulator - fractions[index + 1]).numpy().astype(np.int64))
    head = [
        _head(gain, offset, fractions[-1], f"spn output {output}")
        for output, (gain, offset) in enumerate(
            zip(network.gain.tolist(), network.offset.tolist(), strict=True)
        )
    ]
    gain, gain_shift, offset = np.array(head, np.int64).T
    parameters = SpnParameters(
        shape=network.shape,
        weights=tuple(weights),
        biases=tuple(biases),
        shifts=tuple(shifts),
        gain=gain,
        gain_shift=gain_shift,
        offset=offset,
        base=np.array([pool.base_height, pool.base_length], np.int64),
        k_min=np.array([KERNEL.quantise(pool.k_min)] * 2, np.int64),
        k_max=np.array([KERNEL.quantise(pool.k_max)] * 2, np.int64),
    )
    return parameters, fractions


def integers_of(values: Tensor, fraction: Tensor, fmt: Format) -> np.ndarray:
    """floor(v · 2^f + 1/2), saturated; ``fraction`` broadcast against ``values``."""
    scaled = values.detach().double().numpy() * np.exp2(fraction.double().numpy())
    return np.clip(np.floor(scaled + 0.5), fmt.min, fmt.max).astype(np.int64)


def _head(gain: float, offset: float, f_y: int, where: str) -> tuple[int, int, int]:
    """(gain, gain_shift, offset) with the largest shift, hence precision, that the 16-bit gain allows.

    The mean carries f_y + MEAN_EXTRA_BITS fraction bits and the scale SCALE.frac, so
    gain_q / 2^gain_shift = gain · 2^(SCALE.frac − MEAN_EXTRA_BITS − f_y).
    """
    offset_q = math.floor(offset * 2.0**SCALE.frac + 0.5)
    if not SCALE.min <= offset_q <= SCALE.max:
        raise ShapeError(
            f"offset {offset:.6g}", where, f"train with offsets from 0 to {SCALE.value(SCALE.max):.4f}"
        )
    ratio = gain * 2.0 ** (SCALE.frac - MEAN_EXTRA_BITS - f_y)
    for gain_shift in range(SHIFT_MAX, -1, -1):
        gain_q = math.floor(ratio * 2.0**gain_shift + 0.5)
        if GAIN.min <= gain_q <= GAIN.max:
            return gain_q, gain_shift, offset_q
    raise ShapeError(
        f"gain {gain:.6g} on means of {f_y} fraction bits",
        where,
        "train with smaller gains or larger weights",
    )
