"""What a design is made of, in bits and pieces, before any family's prices: pieces of every network."""

from collections.abc import Iterable

from adakern_spec.cycles import adder_tree_latency, requantisers
from adakern_spec.network import ConvShape, Fold
from adakern_spec.numbers import ACTIVATION_BITS, LENGTH_BITS, bits_for

from .blocks.macs import sum_shape
from .blocks.multiplier import LogicMultiplierRow, MultiplierRow
from .boards.board import Family
from .fixed import shape_of
from .memories import BLOCK_RAMS, Words, ecp5_lut_rams

Counted = dict[str, float]
"""How much there is of each quantity."""

MEMORY_QUANTITIES = ("block RAMs", "small memory bits", "small memory outputs", "LUT RAMs")

CONV_QUANTITIES = (
    "stages",
    "window bits",
    "selected bits",
    "pixel bits",
    "lane bits",
    "products",
    "tree bits",
    "sum bits",
    "requantisers",
    "output bits",
    "control bits",
    "logic products",
    "broadcast bits",
)


def count_memories(counted: Counted, family: Family, memories: Iterable[Words]) -> None:
    """Add memories, as what the family makes of them."""
    for memory in memories:
        taken = BLOCK_RAMS[family.name](memory)
        counted["block RAMs"] += taken
        if not taken:
            counted["small memory bits"] += memory.width * memory.depth
            counted["small memory outputs"] += memory.width
            counted["LUT RAMs"] += ecp5_lut_rams(memory)


def count_crossing(counted: Counted, family: Family, clock: int, in_channels: int, result: int) -> None:
    """Add what an engine takes to cross from the link's clock, if its own is faster; ``result`` in bits."""
    if family.link_limit is not None and clock > family.link_limit:
        counted["crossed bits"] = ACTIVATION_BITS * in_channels + LENGTH_BITS + 8 + result


def count_conv(counted: Counted, stage: ConvShape, fold: Fold, row: type[MultiplierRow]) -> None:
    """Add one conv stage with multipliers of its own, memories aside."""
    counted["stages"] += 1
    if not fold.splits_pixels(stage):
        counted["window bits"] += stage.elements * ACTIVATION_BITS
        counted["selected bits"] += fold.simd * ACTIVATION_BITS * (fold.steps(stage) - 1)
    counted["pixel bits"] += ACTIVATION_BITS * stage.in_channels
    counted["sum bits"] += fold.pe * sum_shape(stage).width
    counted["requantisers"] += requantisers(stage, fold)
    counted["output bits"] += ACTIVATION_BITS * stage.out_channels
    counted["control bits"] += bits_for(fold.interval(stage))
    count_products(counted, stage, fold)
    if fold.pe > 1:
        copies = row.copies(fold.pe, shape_of(stage.input_format), shape_of(stage.weight_format))
        counted["broadcast bits"] += copies * (
            fold.simd * ACTIVATION_BITS + bits_for(fold.interval(stage) - 1)
        )
    if row is LogicMultiplierRow:
        counted["logic products"] += fold.multipliers


def count_products(counted: Counted, stage: ConvShape, fold: Fold) -> None:
    """Add multipliers and adder trees."""
    counted["lane bits"] += fold.simd * ACTIVATION_BITS
    counted["products"] += fold.multipliers
    terms = fold.simd
    for level in range(adder_tree_latency(fold.simd)):
        terms = -(-terms // 2)
        counted["tree bits"] += fold.pe * terms * (ACTIVATION_BITS + stage.weight_bits + level + 1)
