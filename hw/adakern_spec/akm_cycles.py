"""Cycles of the kernel modulation engine as closed formulas; tests hold each to the simulation, exactly.

Inside a layer maps never overlap: behind each of them blank pixels push it out before the next one comes.
Different layers work on different maps. Between maps lies so much (`separation`) that none ever waits for the
one before; waiting for the link adds exactly the cycles waited.
"""

from collections.abc import Sequence

from .akm import AkmShape, Downsample, LayerFold
from .cycles import (
    AVERAGE_LATENCY,
    FIFO_LATENCY,
    MULTIPLIER_LATENCY,
    SEQUENCER_LATENCY,
    SERIAL_OVERHEAD,
    adder_tree_latency,
    conv_latency,
)
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


DRAIN_LATENCY = 1
"""Cycles from a layer's output to its successor's input."""


def blanks(shape: AkmShape) -> tuple[int, ...]:
    """Pixels, all of them blank, that must follow a map in each layer to push it through."""
    layers = zip(shape.stages, shape.heights, strict=False)
    return tuple((stage.radius + shape.radius) * (height + 1) for stage, height in layers)


def paces(shape: AkmShape, folds: Sequence[LayerFold]) -> tuple[int, ...]:
    """Cycles from one pixel to the next in each layer, so that none is too fast for it or for a later one.

    Pixels that a downsampling layer lets through are at least twice as far apart.
    """
    found: list[int] = []
    behind = 1
    for fold, stage, layer in reversed(list(zip(folds, shape.stages, shape.layers, strict=True))):
        apart = 1 if layer.downsample is Downsample.NONE else 2
        behind = max(fold.interval(stage), -(-behind // apart))
        found.insert(0, behind)
    return tuple(found)


def pace(shape: AkmShape, folds: Sequence[LayerFold]) -> int:
    """Cycles from one pixel of a map to the next."""
    return paces(shape, folds)[0]


def head_latency(shape: AkmShape) -> int:
    """Cycles from the map's last pixel, offered to the global average, to the answer."""
    return AVERAGE_LATENCY + classifier_latency(shape.features, shape.classes)


def separation(shape: AkmShape, folds: Sequence[LayerFold]) -> int:
    """Blank pixels between two maps at the first layer.

    What lies between a map's last pixel and the next one's first grows from layer to layer: the last one
    needs a layer's blank pixels to get through, the first one as many real ones. So if it is enough for
    every layer's blank pixels and for the head, no map ever waits for the one before.
    """
    drains = zip(blanks(shape), paces(shape, folds), strict=True)
    longest = max(*((count + 1) * pace_ for count, pace_ in drains), head_latency(shape))
    return -(-longest // pace(shape, folds)) - 1


def _left_out(way: Downsample, height: int, length: int) -> int:
    """Pixels of a map behind the last one that a pixel of the downsampled map depends on."""
    row, column = way.size(height) - 1, way.size(length) - 1
    if way is not Downsample.NONE:
        row, column = 2 * row, 2 * column
    if way is Downsample.MAX2:
        row, column = row + 1, column + 1
    return height * length - 1 - (column * height + row)


def layer_latency(shape: AkmShape, folds: Sequence[LayerFold], index: int) -> int:
    """Cycles from a pixel to the output that it completes."""
    stage, layer, fold = shape.stages[index], shape.layers[index], folds[index]
    smoother = smoother_latency(shape.radius, stage.out_channels // fold.lanes)
    return conv_latency(stage, fold.conv) + smoother + downsample_latency(layer.downsample)


def latency(shape: AkmShape, folds: Sequence[LayerFold], length: int) -> int:
    """Cycles from a map's first pixel to its result, without those spent waiting for pixels.

    The map's pixels at the pace, then in one layer after the other what pushes its last output out.
    """
    apart = paces(shape, folds)
    sizes = zip(shape.layers, shape.heights, shape.lengths(length), strict=False)
    pushes = [
        count - _left_out(layer.downsample, height, columns)
        for count, (layer, height, columns) in zip(blanks(shape), sizes, strict=True)
    ]
    through = sum(count * cycles for count, cycles in zip(pushes, apart, strict=True))
    layers = range(len(shape.layers))
    pipeline = sum(layer_latency(shape, folds, index) for index in layers) + DRAIN_LATENCY * (len(layers) - 1)
    first = (shape.pixels(length) - 1) * apart[0] + SEQUENCER_LATENCY
    return first + through + pipeline + head_latency(shape)


def interval(shape: AkmShape, folds: Sequence[LayerFold], length: int) -> int:
    """Cycles per map of ``length`` back to back."""
    return (shape.pixels(length) + separation(shape, folds)) * pace(shape, folds)


def flights(shape: AkmShape, folds: Sequence[LayerFold]) -> int:
    """Maps under way that back-to-back streaming needs, at most.

    Short maps lie closest. Which of their pixels are left out depends on the length: a column's worth in each
    layer. One more for the job that is accepted ahead, one for the result on its way out.
    """
    shortest = shape.min_length
    columns = sum(height * pace_ for height, pace_ in zip(shape.heights, paces(shape, folds), strict=False))
    longest = latency(shape, folds, shortest) + columns
    return -(-longest // interval(shape, folds, shortest)) + 2


def multipliers(shape: AkmShape, folds: Sequence[LayerFold]) -> int:
    """Multipliers of all convs and smoothers."""
    return sum(fold.multipliers(shape.radius) for fold in folds)


def smoother_products(shape: AkmShape, length: int) -> int:
    """Products of all smoothers per map: radius + 1 per direction, pixel and channel."""
    sizes = zip(shape.stages, shape.heights, shape.lengths(length), strict=False)
    return sum(2 * (shape.radius + 1) * stage.out_channels * rows * columns for stage, rows, columns in sizes)


def utilisation(shape: AkmShape, folds: Sequence[LayerFold], length: int) -> float:
    """Useful products of convs and smoothers per multiplier and cycle, back to back."""
    products = shape.macs(length) - shape.classes * shape.features + smoother_products(shape, length)
    return products / (multipliers(shape, folds) * interval(shape, folds, length))
