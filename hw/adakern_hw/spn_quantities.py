"""What a scale prediction network's design is made of."""

from collections.abc import Iterator

from adakern_spec.cycles import flights, pipeline_latency, pixel_words
from adakern_spec.network import Fold, SpnShape, in_turns
from adakern_spec.numbers import ACTIVATION_BITS, bits_for
from adakern_spec.parameters import CHANNEL_FIELDS, block_size, record_size
from adakern_spec.protocol import Link

from .blocks.meter import COUNTER_BITS
from .blocks.pixels import tag_layout
from .boards.board import Board
from .engines.spn import RESULT_LAYOUT
from .memories import Words, conv_memories, line_memories, queue_memories
from .quantities import (
    QUANTITIES,
    Counted,
    count_average,
    count_conv,
    count_crossing,
    count_memories,
    count_products,
)


def spn_quantities(
    board: Board, shape: SpnShape, folds: tuple[Fold, ...], clock: int, stored: int | None = None
) -> Counted:
    """Quantities of a design; parameters as `prediction.quantities`."""
    counted = dict.fromkeys(QUANTITIES, 0.0)
    counted["design"] = counted["scale head"] = 1
    count_average(counted, shape.outputs, shape.pixels(shape.max_length))
    count_crossing(counted, board.family, clock, shape.in_channels, RESULT_LAYOUT.size)
    if in_turns(shape, folds):
        _count_turns(counted, shape, folds[0])
    else:
        for stage, fold, row in zip(shape.stages, folds, board.rows(shape, folds), strict=True):
            count_conv(counted, stage, fold, row)
    count_memories(counted, board.family, spn_memories(shape, folds, board.link, stored))
    return counted


def _count_turns(counted: Counted, shape: SpnShape, fold: Fold) -> None:
    """Add the stages that take turns, as many as there are."""
    counted["pixel bits"] = ACTIVATION_BITS * shape.in_channels
    counted["control bits"] = sum(bits_for(memory.depth - 1) for memory in _turn_memories(shape, fold))
    count_products(counted, shape.stages[0], fold)


def spn_memories(
    shape: SpnShape, folds: tuple[Fold, ...], link: Link, stored: int | None = None
) -> Iterator[Words]:
    """Memories that depend on shape or folds, each as its block makes it.

    The device keeps ``stored`` bytes: the parameter block unless they are given.
    """
    yield Words(8, block_size(shape) if stored is None else stored)
    if in_turns(shape, folds):
        yield from _turn_memories(shape, folds[0])
        return
    for stage, fold in zip(shape.stages, folds, strict=True):
        yield from conv_memories(stage, fold, shape.height, stage.radius)
    under_way = flights(shape, folds, link)
    yield from line_memories(1, pipeline_latency(shape, folds))
    yield Words(2 * COUNTER_BITS, max(under_way, 2))
    yield from queue_memories(RESULT_LAYOUT.size, under_way)


def _turn_memories(shape: SpnShape, fold: Fold) -> Iterator[Words]:
    """Those of stages that take turns: windows, tags, weights, records of the channels."""
    stages = shape.stages
    places = ((shape.kernel - 1) * shape.height + shape.kernel - 1).bit_length()
    places += (len(stages) - 1).bit_length()
    words = (max(pixel_words(stage, fold) for stage in stages) - 1).bit_length()
    yield Words(fold.simd * ACTIVATION_BITS, 1 << (places + words))
    radius = stages[0].radius
    yield Words(tag_layout(radius).size + 2 * radius.bit_length(), 1 << places)
    yield Words(fold.simd * shape.weight_bits, sum(fold.interval(stage) for stage in stages))
    yield Words(8 * record_size(CHANNEL_FIELDS), sum(stage.out_channels for stage in stages))
