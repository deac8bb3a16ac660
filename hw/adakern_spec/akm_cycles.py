"""Cycles of the kernel modulation engine as closed formulas; tests hold each to the simulation, exactly."""

from .akm import Downsample
from .cycles import FIFO_LATENCY, MULTIPLIER_LATENCY, SERIAL_OVERHEAD, adder_tree_latency
from .numbers import ACTIVATION_BITS


def tap_sum_latency(radius: int) -> int:
    """Cycles from pairs of values to the rounded sum of their products with the taps."""
    return MULTIPLIER_LATENCY + adder_tree_latency(radius + 1) + 1


def smoother_latency(radius: int, groups: int) -> int:
    """Cycles from accepting a pixel to offering the output that it completes, in ``groups`` of channels.

    Input register, masks (2), pairs, sum of each pass, pairs, saturation; then the other groups, queue.
    """
    return 1 + 2 + 1 + tap_sum_latency(radius) + 1 + tap_sum_latency(radius) + 1 + groups - 1 + FIFO_LATENCY


def smoother_credits(radius: int, groups: int) -> int:
    """Pixels under way in a smoother that accepts one every ``groups`` cycles; at least a queue."""
    return max(3, -(-(smoother_latency(radius, groups) + 1) // groups))


def downsample_latency(way: Downsample) -> int:
    """Cycles from accepting a pixel to offering the output that it completes."""
    return (2 if way is Downsample.MAX2 else 1) + FIFO_LATENCY


DOWNSAMPLE_CREDITS = downsample_latency(Downsample.MAX2) + 1
"""Pixels under way in a downsampler that accepts one in every cycle."""

PRODUCT_CYCLES = ACTIVATION_BITS + SERIAL_OVERHEAD + 3
"""Of the classifier: weight read, multiplication, sum, sum kept."""


def classifier_latency(features: int, classes: int) -> int:
    """Cycles from the first mean to the last logit: each mean is taken, then meets every class."""
    return features * (1 + classes * PRODUCT_CYCLES) - 1
