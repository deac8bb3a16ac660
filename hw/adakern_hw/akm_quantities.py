"""What a kernel modulation network's design is made of."""

from collections.abc import Iterator, Sequence

from adakern_spec.akm import LOGIT, AkmShape, Downsample, LayerFold, akm_block_size, tap_fields
from adakern_spec.akm_cycles import DOWNSAMPLE_CREDITS, flights, smoother_credits
from adakern_spec.network import ConvShape
from adakern_spec.numbers import ACTIVATION_BITS, bits_for
from adakern_spec.parameters import record_size

from .blocks.meter import COUNTER_BITS
from .blocks.pixels import tag_layout
from .blocks.smoother import BETWEEN_BITS
from .blocks.taps import KernelStore
from .boards.board import Board
from .engines.akm import akm_result_layout
from .memories import Words, conv_memories, line_memories, queue_memories
from .quantities import (
    CONV_QUANTITIES,
    MEMORY_QUANTITIES,
    Counted,
    count_conv,
    count_crossing,
    count_memories,
)

AKM_QUANTITIES = (
    "design",  # and what no other stands for, the link above all
    "average",
    "result bits",
    "taps",
    "line bits",
    "compared bits",
    *CONV_QUANTITIES,
    *MEMORY_QUANTITIES,
    "crossed bits",
)


def akm_quantities(
    board: Board, shape: AkmShape, folds: tuple[LayerFold, ...], clock: int, stored: int | None = None
) -> Counted:
    """Quantities of a design; parameters as `prediction.quantities`.

    The conv of a layer counts as any conv stage. ``stages`` and ``output bits`` stand for the control, and
    the registers of a pixel, of the layer's other blocks as well. ``taps`` are the multipliers of the
    smoothers, each with its pair, its term of the sum and its tap; ``line bits`` what waits in their lines'
    registers; ``compared bits`` those of the downsampling by the largest.
    """
    counted = dict.fromkeys(AKM_QUANTITIES, 0.0)
    result = akm_result_layout(shape.classes).size
    counted["design"] = 1
    counted["average"] = shape.features * bits_for(shape.heights[-1] * shape.lengths(shape.max_length)[-1])
    counted["result bits"] = result
    count_crossing(counted, board.family, clock, shape.in_channels, result)
    rows = board.rows(shape, folds)
    for stage, layer, fold, row in zip(shape.stages, shape.layers, folds, rows, strict=True):
        count_conv(counted, stage, fold.conv, row.conv)
        counted["taps"] += 2 * (shape.radius + 1) * fold.lanes
        counted["line bits"] += 2 * shape.radius * fold.lanes * (ACTIVATION_BITS + BETWEEN_BITS)
        if layer.downsample is Downsample.MAX2:
            counted["compared bits"] += ACTIVATION_BITS * layer.out_channels
    count_memories(counted, board.family, akm_memories(shape, folds, stored))
    return counted


def akm_memories(shape: AkmShape, folds: Sequence[LayerFold], stored: int | None = None) -> Iterator[Words]:
    """Memories that depend on shape or folds, each as its block makes it; ``stored`` as in `spn_memories`."""
    yield Words(8, akm_block_size(shape) if stored is None else stored)
    layers = zip(shape.stages, shape.layers, folds, strict=True)
    for index, (stage, layer, fold) in enumerate(layers):
        height, reach = shape.heights[index], shape.reaches[index]
        pixel = ACTIVATION_BITS * stage.out_channels
        yield from conv_memories(stage, fold.conv, height, reach)
        yield from _smoother_memories(shape, stage, fold.lanes, height, reach)
        yield from queue_memories(pixel + tag_layout(shape.reaches[index + 1]).size, DOWNSAMPLE_CREDITS)
        if layer.downsample is Downsample.MAX2:
            yield from line_memories(pixel, Downsample.MAX2.size(height))
    yield Words(ACTIVATION_BITS, shape.features * shape.classes)
    yield from (Words(LOGIT.bits, shape.classes),) * 2
    under_way = flights(shape, folds)
    yield from (Words(COUNTER_BITS, max(under_way, 2)),) * 2
    yield from queue_memories(akm_result_layout(shape.classes).size, under_way)


def _smoother_memories(
    shape: AkmShape, stage: ConvShape, lanes: int, height: int, reach: int
) -> Iterator[Words]:
    """Of a `GaussianSmoother`: tags, lines of both passes, kernel records, queues."""
    radius, groups = shape.radius, stage.out_channels // lanes
    tags = tag_layout(reach).size
    yield from line_memories(tags, radius * height)
    yield from line_memories(tags, radius)
    yield from line_memories(2 * radius * lanes * ACTIVATION_BITS, height * groups)
    yield from line_memories(2 * radius * lanes * BETWEEN_BITS, groups)
    depth, together = (groups, lanes) if shape.per_channel else (1, 1)
    fields = tap_fields(radius)
    for part in KernelStore.PARTS:
        size = record_size(tuple(field for field in fields if field.name.startswith(part)))
        yield from (Words(8 * size, depth),) * together
    credits = smoother_credits(radius, groups)
    yield from queue_memories(tags, credits)
    yield from queue_memories(ACTIVATION_BITS * stage.out_channels, credits)
