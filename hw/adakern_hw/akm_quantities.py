"""What a kernel modulation network's design is made of."""

from collections.abc import Iterator, Sequence

from adakern_spec.akm import (
    BETWEEN_FRAC,
    LOGIT,
    TAP,
    AkmShape,
    Downsample,
    LayerFold,
    akm_block_size,
    tap_fields,
)
from adakern_spec.akm_cycles import DOWNSAMPLE_CREDITS, flights, smoother_credits
from adakern_spec.network import ConvShape
from adakern_spec.numbers import ACTIVATION_BITS
from adakern_spec.parameters import record_size

from .blocks.meter import COUNTER_BITS
from .blocks.pixels import tag_layout
from .blocks.smoother import BETWEEN_BITS, BETWEEN_PAIR, LENGTH_PAIR
from .blocks.taps import KernelStore, tap_sum_shape
from .boards.board import Board
from .engines.akm import akm_result_layout
from .memories import Words, conv_memories, line_memories, queue_memories
from .quantities import (
    QUANTITIES,
    Counted,
    count_average,
    count_conv,
    count_crossing,
    count_memories,
    tree_bits,
)


def akm_quantities(
    board: Board, shape: AkmShape, folds: tuple[LayerFold, ...], clock: int, stored: int | None = None
) -> Counted:
    """Quantities of a design; parameters as `prediction.quantities`. A layer's conv is any conv stage."""
    counted = dict.fromkeys(QUANTITIES, 0.0)
    result = akm_result_layout(shape.classes).size
    counted["design"] = 1
    count_average(counted, shape.features, shape.heights[-1] * shape.lengths(shape.max_length)[-1])
    count_crossing(counted, board.family, clock, shape.in_channels, result)
    counted["register bits"] += LOGIT.bits * shape.classes
    layers = zip(shape.stages, shape.layers, folds, board.rows(shape, folds), strict=True)
    for index, (stage, layer, fold, row) in enumerate(layers):
        count_conv(counted, stage, fold.conv, row.conv)
        smoother, pixel = _smoother_bits(shape.radius, fold.lanes), ACTIVATION_BITS * layer.out_channels
        compared = pixel if layer.downsample is Downsample.MAX2 else 0
        drained = ACTIVATION_BITS * stage.in_channels if index else 0
        counted["layers"] += 1
        counted["smoother bits"] += smoother
        counted["compared bits"] += compared
        # Before and behind the smoother, before the downsampling; there the pixel above, the pair, the line.
        counted["register bits"] += smoother + 3 * pixel + 3 * compared + drained
    count_memories(counted, board.family, akm_memories(shape, folds, stored))
    return counted


def _smoother_bits(radius: int, lanes: int) -> int:
    """Registers of a smoother's datapath: in each pass what its line puts out, which of these lie in the map,
    the pairs, the adder tree of their products and its rounded sum."""
    bits = 0
    for value, pair, shift in (
        (ACTIVATION_BITS, LENGTH_PAIR, TAP.frac - BETWEEN_FRAC),
        (BETWEEN_BITS, BETWEEN_PAIR, TAP.frac + BETWEEN_FRAC),
    ):
        taps = radius + 1
        bits += 2 * radius * value + 2 * radius + 1 + taps * pair.width
        bits += tree_bits(taps, pair.width + TAP.bits) + tap_sum_shape(radius, pair, shift).width
    return lanes * bits


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
