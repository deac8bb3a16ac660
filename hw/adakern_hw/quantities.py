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

QUANTITIES = (
    "design",  # and what no other stands for, the link above all
    "scale head",
    "stages",
    "layers",
    "average bits",
    "window bits",
    "pixel bits",
    "lane bits",
    "products",
    "tree bits",
    "sum bits",
    "control bits",
    "smoother bits",
    "compared bits",
    "register bits",
    "logic products",
    "block RAMs",
    "small memory bits",
    "LUT RAMs",
    "crossed bits",
)
"""``design``, ``stages`` and ``layers``, which are those that smooth, stand for everything that does not
depend on the rest. ``register bits`` are those of all datapaths as their blocks declare them."""

REQUANTISER_RANKS = 5
"""Registers as wide as a sum."""


def count_memories(counted: Counted, family: Family, memories: Iterable[Words]) -> None:
    """Add memories, as what the family makes of them."""
    for memory in memories:
        taken = BLOCK_RAMS[family.name](memory)
        counted["block RAMs"] += taken
        if not taken:
            counted["small memory bits"] += memory.width * memory.depth
            counted["LUT RAMs"] += ecp5_lut_rams(memory)
            # Behind the memory; a single word is registers itself.
            counted["register bits"] += memory.width * (2 if memory.depth == 1 else 1)


def count_crossing(counted: Counted, family: Family, clock: int, in_channels: int, result: int) -> None:
    """Add what an engine takes to cross from the link's clock, if its own is faster; ``result`` in bits."""
    if family.link_limit is not None and clock > family.link_limit:
        counted["crossed bits"] = ACTIVATION_BITS * in_channels + LENGTH_BITS + 8 + result


def count_average(counted: Counted, channels: int, pixels: int) -> None:
    """Add a global average over at most ``pixels``: sums, and where they are handed over to."""
    counted["average bits"] = channels * (bits_for(pixels) + ACTIVATION_BITS)
    counted["register bits"] += 2 * counted["average bits"]


def count_conv(counted: Counted, stage: ConvShape, fold: Fold, row: type[MultiplierRow]) -> None:
    """Add one conv stage with multipliers of its own, memories aside."""
    pixel, address = ACTIVATION_BITS * stage.in_channels, bits_for(fold.interval(stage) - 1)
    sums, lanes = sum_shape(stage).width, requantisers(stage, fold)
    before = dict(counted)
    counted["stages"] += 1
    counted["pixel bits"] += pixel
    counted["control bits"] += bits_for(fold.interval(stage))
    counted["sum bits"] += fold.pe * sums
    count_products(counted, stage, fold)
    if row is LogicMultiplierRow:
        counted["logic products"] += fold.multipliers
    lines = copies = 0
    if not fold.splits_pixels(stage):
        counted["window bits"] += ACTIVATION_BITS * stage.elements
        lines = stage.kernel - 1
    if fold.pe > 1:
        copies = row.copies(fold.pe, shape_of(stage.input_format), shape_of(stage.weight_format))
    added = {name: counted[name] - before[name] for name in ("window bits", "tree bits", "sum bits")}
    counted["register bits"] += (
        (1 + lines) * pixel
        # The window, and the copy that shifts.
        + 2 * added["window bits"]
        + (1 + copies) * fold.simd * ACTIVATION_BITS
        # Weights on their way into their memories, and the addresses.
        + 2 * fold.simd * stage.weight_bits
        + (copies + fold.pe) * address
        + added["tree bits"]
        # Accumulated, then held.
        + 2 * added["sum bits"]
        + REQUANTISER_RANKS * lanes * sums
        + ACTIVATION_BITS * stage.out_channels
    )


def count_products(counted: Counted, stage: ConvShape, fold: Fold) -> None:
    """Add multipliers and adder trees."""
    counted["lane bits"] += fold.simd * ACTIVATION_BITS
    counted["products"] += fold.multipliers
    counted["tree bits"] += fold.pe * tree_bits(fold.simd, ACTIVATION_BITS + stage.weight_bits)


def tree_bits(terms: int, width: int) -> int:
    """Registers of an adder tree over terms of ``width`` bits."""
    bits = 0
    for level in range(adder_tree_latency(terms)):
        terms = -(-terms // 2)
        bits += terms * (width + level + 1)
    return bits
