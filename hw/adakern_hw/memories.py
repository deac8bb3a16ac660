"""Memories of a design, from shape and folds alone, and what a part makes of each."""

from collections.abc import Iterator
from typing import NamedTuple

from adakern_spec.cycles import conv_credits, requantisers
from adakern_spec.network import ConvShape, Fold
from adakern_spec.numbers import ACTIVATION_BITS
from adakern_spec.parameters import CHANNEL_FIELDS, record_size

from .blocks import delay, ram
from .blocks.pixels import tag_layout


class Words(NamedTuple):
    """A memory: ``depth`` words of ``width`` bits."""

    width: int
    depth: int


ECP5_TRADE = 23
"""TRELLIS_DPR16X4 (16 words of 4 bits) that Yosys takes rather than a DP16KD."""


def ecp5_block_rams(memory: Words) -> int:
    """DP16KD of a memory, 0 if it is in LUT RAM, as Yosys 0.70 weighs them: `ECP5_TRADE` to one."""
    modes = ((36, 512), (18, 1_024), (9, 2_048), (4, 4_096), (2, 8_192), (1, 16_384))
    blocks = _tiles(memory, modes)
    return blocks if ecp5_lut_rams(memory) > ECP5_TRADE * blocks else 0


def ecp5_lut_rams(memory: Words) -> int:
    """TRELLIS_DPR16X4 of a memory that is in LUT RAM."""
    return -(-memory.width // 4) * -(-memory.depth // 16)


def ice40_block_rams(memory: Words) -> int:
    """SB_RAM40_4K of a memory, 0 if it is registers: `Ram` asks for the one or the other."""
    if memory.depth * memory.width < ram.ICE40_BITS:
        return 0
    return _tiles(memory, ((16, 256), (8, 512), (4, 1_024), (2, 2_048)))


def _tiles(memory: Words, modes: tuple[tuple[int, int], ...]) -> int:
    return min(-(-memory.width // width) * -(-memory.depth // depth) for width, depth in modes)


BLOCK_RAMS = {"ecp5": ecp5_block_rams, "ice40": ice40_block_rams}


def line_memories(width: int, depth: int) -> Iterator[Words]:
    """Of a `DelayLine`: none if it is registers."""
    if depth > delay.REGISTERS:
        yield Words(width, depth - 1)


def queue_memories(width: int, depth: int) -> Iterator[Words]:
    """Of a `Queue`: none if it is registers."""
    if depth > ram.REGISTERS:
        yield Words(width, depth - 1)


def conv_memories(stage: ConvShape, fold: Fold, height: int, reach: int) -> Iterator[Words]:
    """Of a `ConvStage`: lines, tags, weights, records of the channels, queues."""
    tags = tag_layout(reach).size
    if fold.splits_pixels(stage):
        words = stage.in_channels // fold.simd
        used = ((stage.kernel - 1) * height + stage.kernel) * words
        yield Words(fold.simd * ACTIVATION_BITS, 1 << max(1, (used - 1).bit_length()))
    else:
        for _ in range(stage.kernel - 1):
            yield from line_memories(ACTIVATION_BITS * stage.in_channels, height)
    yield from line_memories(tags, stage.radius * (height + 1))
    yield from (Words(fold.simd * stage.weight_bits, fold.interval(stage)),) * fold.pe
    lanes = requantisers(stage, fold)
    yield from (Words(8 * record_size(CHANNEL_FIELDS), stage.out_channels // lanes),) * lanes
    credits = conv_credits(stage, fold)
    yield from queue_memories(tags, credits)
    yield from queue_memories(ACTIVATION_BITS * stage.out_channels, credits)
