"""Random conv stages for tests and for `verify`: ordinary ones, and ones at the limits of their formats."""

from collections.abc import Sequence

import numpy as np

from adakern_spec.network import ConvShape
from adakern_spec.numbers import ACCUMULATOR, BIAS, SHIFT_MAX

from .parameter_block import Stages, accumulator_bounds

Stage = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Weights, bias and shift."""


def random_stages(stages: Sequence[ConvShape], rng: np.random.Generator, extreme: bool) -> Stages:
    """Weights, biases and shifts of all stages; an ordinary one spreads its outputs over their format."""
    if extreme:
        drawn = [_extreme_stage(stage, rng) for stage in stages]
    else:
        drawn = [_ordinary_stage(stage, index == 0, rng) for index, stage in enumerate(stages)]
    weights, biases, shifts = zip(*drawn, strict=True)
    return weights, biases, shifts


def _ordinary_stage(stage: ConvShape, first: bool, rng: np.random.Generator) -> Stage:
    """Weights of a bell shape; bias and shift put the outputs into the middle of their format."""
    fmt, inputs = stage.weight_format, stage.input_format
    size = (stage.out_channels, stage.in_channels, stage.kernel, stage.kernel)
    weights = np.clip(np.rint(rng.normal(0, fmt.max / 2.5, size)), fmt.min, fmt.max).astype(np.int64)
    # Uniform inputs; behind a stage like this one, mean and deviation of about a fifth of its outputs'.
    outputs = stage.output_format
    mean = (inputs.min + inputs.max) / 2 if first else outputs.max / 5
    deviation = (inputs.max - inputs.min) / 12**0.5 if first else outputs.max / 5
    spread = np.sqrt(np.square(weights).sum((1, 2, 3))) * deviation + 1
    centre = rng.uniform(0.2, 1, stage.out_channels) * spread
    bias = np.rint(centre - mean * weights.sum((1, 2, 3))).astype(np.int64)
    shift = np.clip(np.ceil(np.log2(spread / (outputs.max / 3.2))), 0, SHIFT_MAX).astype(np.int64)
    return weights, bias, shift


def _extreme_stage(stage: ConvShape, rng: np.random.Generator) -> Stage:
    """Per channel: all weights at one limit or mixed limits; bias as far out as 32 bit allow."""
    fmt = stage.weight_format
    size = (stage.out_channels, stage.in_channels, stage.kernel, stage.kernel)
    mixed = np.where(rng.integers(0, 2, size) == 1, fmt.max, fmt.min)
    one_limit = np.where(rng.integers(0, 2, stage.out_channels) == 1, fmt.max, fmt.min)
    uniform = np.broadcast_to(one_limit[:, None, None, None], size)
    weights = np.where(rng.integers(0, 2, (stage.out_channels, 1, 1, 1)) == 1, mixed, uniform).astype(
        np.int64
    )
    zero = np.zeros(stage.out_channels, np.int64)
    low, high = accumulator_bounds(stage, weights, zero)
    biases = np.stack([ACCUMULATOR.max - high, ACCUMULATOR.min - low, zero, -(high + low) // 2])
    shifts = np.stack([zero, zero + SHIFT_MAX, zero + 8, zero + ACCUMULATOR.bits // 2])
    channels = np.arange(stage.out_channels)
    bias = np.clip(biases, BIAS.min, BIAS.max)[rng.integers(0, len(biases), stage.out_channels), channels]
    return weights, bias, shifts[rng.integers(0, len(shifts), stage.out_channels), channels]
