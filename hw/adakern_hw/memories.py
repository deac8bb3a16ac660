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


DPR16X4, DP16KD = 4.0, 128.0
"""What Yosys 0.70 takes the ECP5's memories to cost (lattice/lutrams_trellis.txt, brams_16kd.txt)."""

BYTE = 9
"""Bits of a block RAM that are written together."""


def ecp5_block_rams(memory: Words) -> int:
    """DP16KD of a memory, 0 if it is in LUT RAM: what costs less, as Yosys' memory_libmap has it."""
    modes = ((1, 16_384), (2, 8_192), (4, 4_096), (9, 2_048), (18, 1_024), (36, 512))
    cost, blocks = min(_mapped(memory, Words(*mode), DP16KD) for mode in modes)
    return blocks if cost < _mapped(memory, Words(4, 16), DPR16X4)[0] else 0


def ecp5_lut_rams(memory: Words) -> int:
    """TRELLIS_DPR16X4 of a memory that is in LUT RAM; a single word is registers."""
    return 0 if memory.depth == 1 else _mapped(memory, Words(4, 16), DPR16X4)[1]


def _mapped(memory: Words, block: Words, price: float) -> tuple[float, int]:
    """Cost and count of the blocks that a memory takes; half a point for each bit that is selected among
    rows of blocks, and for each row's write enable."""
    rows = -(-memory.depth // block.depth)
    byte = min(block.width, BYTE)
    blocks = -(-rows * -(-memory.width // byte) * byte // block.width)
    selected = (rows - 1) * memory.width + (rows if rows > 1 else 0)
    return price * blocks + selected / 2, blocks


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
