"""What a build will take of a part, from the network's shape and folds alone.

Every resource is a weighted sum of quantities that follow from shape and folds. The weights are one set
per family, learned from synthesised designs by benchmarks/fit_estimate.py, which writes them to
prediction.json. DSP blocks are counted, not learned. What is predicted are the figures of a
`Footprint`: nextpnr's after packing.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast

from adakern_spec import networks
from adakern_spec.akm import AkmShape
from adakern_spec.cycles import (
    adder_tree_latency,
    conv_credits,
    flights,
    pipeline_latency,
    pixel_words,
    requantisers,
)
from adakern_spec.errors import AdakernError
from adakern_spec.network import ConvShape, Fold, SpnShape, in_turns
from adakern_spec.networks import Folds, Shape
from adakern_spec.numbers import ACTIVATION_BITS, LENGTH_BITS, bits_for
from adakern_spec.parameters import CHANNEL_FIELDS, block_size, record_size
from adakern_spec.protocol import Link

from .blocks.delay import REGISTERS
from .blocks.macs import sum_shape
from .blocks.meter import COUNTER_BITS
from .blocks.multiplier import LogicMultiplierRow
from .blocks.pixels import tag_layout
from .blocks.ram import ICE40_BITS
from .boards.board import Board, BoardError
from .fixed import shape_of
from .footprint import KINDS

WEIGHTS = Path(__file__).with_name("prediction.json")


class Words(NamedTuple):
    """A memory: ``depth`` words of ``width`` bits."""

    width: int
    depth: int


def ecp5_block_rams(memory: Words) -> int:
    """DP16KD of a memory, 0 if it is in LUT RAM, as Yosys 0.70 weighs them: `ECP5_TRADE` to one."""
    modes = ((36, 512), (18, 1_024), (9, 2_048), (4, 4_096), (2, 8_192), (1, 16_384))
    blocks = _tiles(memory, modes)
    return blocks if ecp5_lut_rams(memory) > ECP5_TRADE * blocks else 0


ECP5_TRADE = 23
"""TRELLIS_DPR16X4 (16 words of 4 bits) that Yosys takes rather than a DP16KD."""


def ecp5_lut_rams(memory: Words) -> int:
    """TRELLIS_DPR16X4 of a memory that is in LUT RAM."""
    return -(-memory.width // 4) * -(-memory.depth // 16)


def ice40_block_rams(memory: Words) -> int:
    """SB_RAM40_4K of a memory, 0 if it is registers: `Ram` asks for the one or the other."""
    if memory.depth * memory.width < ICE40_BITS:
        return 0
    return _tiles(memory, ((16, 256), (8, 512), (4, 1_024), (2, 2_048)))


def _tiles(memory: Words, modes: tuple[tuple[int, int], ...]) -> int:
    return min(-(-memory.width // width) * -(-memory.depth // depth) for width, depth in modes)


BLOCK_RAMS = {"ecp5": ecp5_block_rams, "ice40": ice40_block_rams}


def memories(
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
        tags = tag_layout(stage.radius).size
        pixel = ACTIVATION_BITS * stage.in_channels
        if fold.splits_pixels(stage):
            words = stage.in_channels // fold.simd
            used = ((stage.kernel - 1) * shape.height + stage.kernel) * words
            yield Words(fold.simd * ACTIVATION_BITS, 1 << max(1, (used - 1).bit_length()))
        elif shape.height > REGISTERS:
            yield from (Words(pixel, shape.height - 1),) * (stage.kernel - 1)
        delay = stage.radius * (shape.height + 1)
        if delay > REGISTERS:
            yield Words(tags, delay - 1)
        yield from (Words(fold.simd * stage.weight_bits, fold.interval(stage)),) * fold.pe
        lanes = requantisers(stage, fold)
        record = 8 * record_size(CHANNEL_FIELDS)
        yield from (Words(record, stage.out_channels // lanes),) * lanes
        credits = conv_credits(stage, fold)
        yield Words(tags, credits - 1)
        yield Words(ACTIVATION_BITS * stage.out_channels, credits - 1)
    under_way = flights(shape, folds, link)
    yield Words(1, pipeline_latency(shape, folds) - 1)
    yield Words(2 * COUNTER_BITS, max(under_way, 2))
    yield Words(RESULT_BITS, under_way - 1)


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


RESULT_BITS = 2 * COUNTER_BITS + 2 * (16 + 16)


def quantities(
    board: Board, shape: SpnShape, folds: tuple[Fold, ...], clock: int, stored: int | None = None
) -> dict[str, float]:
    """What a design is made of, in bits and pieces, before any family's prices.

    ``clock`` of the engine in Hz; ``stored`` as in `memories`. ``design`` and ``stages`` stand for
    everything that does not depend on the rest, the link above all.
    """
    rows = board.rows(shape, folds)
    counted = dict.fromkeys(QUANTITIES, 0.0)
    counted["design"] = 1
    counted["average"] = shape.outputs * bits_for(shape.pixels(shape.max_length))
    limit = board.family.link_limit
    if limit is not None and clock > limit:
        counted["crossed bits"] = ACTIVATION_BITS * shape.in_channels + LENGTH_BITS + 8 + RESULT_BITS
    if in_turns(shape, folds):
        _turns(counted, shape, folds[0])
    else:
        counted["stages"] = len(folds)
        for stage, fold, row in zip(shape.stages, folds, rows, strict=True):
            _stage(counted, stage, fold)
            copies = row.copies(fold.pe, shape_of(stage.input_format), shape_of(stage.weight_format))
            if fold.pe > 1:
                counted["broadcast bits"] += copies * (
                    fold.simd * ACTIVATION_BITS + bits_for(fold.interval(stage) - 1)
                )
            if row is LogicMultiplierRow:
                counted["logic products"] += fold.multipliers
    blocks = BLOCK_RAMS[board.family.name]
    for memory in memories(shape, folds, board.link, stored):
        taken = blocks(memory)
        counted["block RAMs"] += taken
        if not taken:
            counted["small memory bits"] += memory.width * memory.depth
            counted["small memory outputs"] += memory.width
            counted["LUT RAMs"] += ecp5_lut_rams(memory)
    return counted


def _turns(counted: dict[str, float], shape: SpnShape, fold: Fold) -> None:
    """Add the stages that take turns, as many as there are."""
    counted["turns"] = 1
    counted["pixel bits"] = ACTIVATION_BITS * shape.in_channels
    counted["output bits"] = ACTIVATION_BITS * shape.outputs
    counted["control bits"] = sum(bits_for(memory.depth - 1) for memory in _turn_memories(shape, fold))
    _products(counted, shape.stages[0], fold)


def _stage(counted: dict[str, float], stage: ConvShape, fold: Fold) -> None:
    """Add one conv stage with multipliers of its own."""
    if not fold.splits_pixels(stage):
        counted["window bits"] += stage.elements * ACTIVATION_BITS
        counted["selected bits"] += fold.simd * ACTIVATION_BITS * (fold.steps(stage) - 1)
    counted["pixel bits"] += ACTIVATION_BITS * stage.in_channels
    counted["sum bits"] += fold.pe * sum_shape(stage).width
    counted["requantisers"] += requantisers(stage, fold)
    counted["output bits"] += ACTIVATION_BITS * stage.out_channels
    counted["control bits"] += bits_for(fold.interval(stage))
    _products(counted, stage, fold)


def _products(counted: dict[str, float], stage: ConvShape, fold: Fold) -> None:
    """Add multipliers and adder trees."""
    counted["lane bits"] += fold.simd * ACTIVATION_BITS
    counted["products"] += fold.multipliers
    terms = fold.simd
    for level in range(adder_tree_latency(fold.simd)):
        terms = -(-terms // 2)
        counted["tree bits"] += fold.pe * terms * (ACTIVATION_BITS + stage.weight_bits + level + 1)


QUANTITIES = (
    "design",  # and what no other stands for, the link above all
    "turns",
    "stages",
    "average",
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
    "block RAMs",
    "small memory bits",
    "small memory outputs",
    "LUT RAMs",
    "broadcast bits",
    "crossed bits",
)


class Weights(NamedTuple):
    """How to predict one resource of a family: what each quantity weighs, and the worst error of the
    predictions of samples that the weights had not learned from, relative."""

    weights: Mapping[str, float]
    error: float


@cache
def _learned() -> Mapping[str, Mapping[str, Weights]]:
    """By family and resource."""
    families = json.loads(WEIGHTS.read_text())["families"]
    return {
        family: {kind: Weights(**entry) for kind, entry in kinds.items()}
        for family, kinds in families.items()
    }


def predict(board: Board, shape: Shape, folds: Folds, clock: int | None = None) -> dict[str, int]:
    """Footprint of a build for ``board`` at ``clock`` Hz, the board's unless given, as far as it is known.

    DSP blocks are exact; they are all that is known of a kind of network that was not learned.
    """
    counts = {"dsps": board.dsps(shape, folds)}
    if isinstance(shape, AkmShape):
        return counts
    counted = quantities(board, shape, cast(tuple[Fold, ...], folds), board.clock if clock is None else clock)
    for kind, learned in _learned()[board.family.name].items():
        counts[kind] = round(sum(weight * counted[name] for name, weight in learned.weights.items()))
    return {kind: counts[kind] for kind in KINDS}


UNITS = {"luts": "look-up tables", "registers": "registers", "dsps": "DSP blocks", "block_rams": "block RAMs"}


def lacking(board: Board, needs: Mapping[str, int], *, surely: bool = False) -> str | None:
    """Resource of which the part has too few, None if there is none.

    ``surely``: too few even if the prediction is too high by its worst error.
    """
    for kind, needed in needs.items():
        learned = _learned()[board.family.name].get(kind) if surely else None
        if needed > board.has(kind) * (1 + (learned.error if learned else 0)):
            return kind
    return None


def choices(board: Board, shape: Shape, multipliers: int | None = None) -> Iterator[Folds]:
    """Folds within a budget and the part's DSP blocks, the fastest first."""
    while True:
        try:
            folds = board.folds(shape, multipliers)
        except AdakernError:
            return
        yield folds
        multipliers = networks.multipliers(shape, folds) - 1


def best_folds(board: Board, shape: Shape, multipliers: int | None = None) -> Folds | None:
    """The fastest folds within a budget that are predicted to fit, None if none are."""
    found = choices(board, shape, multipliers)
    return next((folds for folds in found if not lacking(board, predict(board, shape, folds))), None)


def check_fit(board: Board, shape: Shape, folds: Folds, clock: int, boards: Iterable[Board]) -> None:
    """BoardError for what surely does not fit, naming the largest budget or the smallest board that does."""
    needs = predict(board, shape, folds, clock)
    kind = lacking(board, needs, surely=True)
    if kind is None:
        return
    about = "" if kind == "dsps" else "about "
    raise BoardError(
        f"{about}{needs[kind]:,} {UNITS[kind]} needed, the part has {board.has(kind):,}",
        board.name,
        _mend(board, shape, boards),
    )


def _mend(board: Board, shape: Shape, boards: Iterable[Board]) -> str:
    folds = best_folds(board, shape)
    if folds is not None:
        return f"use at most {networks.multipliers(shape, folds)} multipliers"
    for other in sorted(boards, key=lambda other: other.capacity.luts):
        if best_folds(other, shape) is not None:
            return f"no multiplier budget fits; use {other.name} or a smaller network"
    return "no multiplier budget and no board fits; use a smaller network"
