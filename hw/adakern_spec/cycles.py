"""Cycles of the SPN engine as closed formulas (design part 3).

The constants are the register ranks of the gateware's blocks, which take them from here; tests hold
every formula to the simulation, exactly.

All stages run in lock-step: one pixel every `pace` cycles, that of the slowest stage, blank pixels of
the padding included. So a map's result comes a fixed time after its first pixel, whatever is in front
of it or behind; waiting for the link adds exactly the cycles waited.

Stages that take turns at the same multipliers (`network.in_turns`) share the cycles of a pixel as well, and
maps then come one at a time.
"""

from collections.abc import Sequence

from .network import ConvShape, Fold, SpnShape, in_turns
from .numbers import BASE, MEAN, SHIFT_MAX
from .parameters import DIRECTIONS
from .protocol import LINK, Link

MULTIPLIER_LATENCY = 3
"""Input, pipeline and output registers of a DSP block."""

FAN_OUT = 3
"""Registers that a register of a broadcast drives."""

ROUND_SHIFT_LATENCY = 3
"""Coarse shift, fine shift, rounding."""

REQUANTISE_LATENCY = 1 + ROUND_SHIFT_LATENCY + 1
"""Bias, rounding shift, saturation."""

BYTE_SHIFTS = SHIFT_MAX // 8
BIT_SHIFTS = 7
"""Of the requantisation by shifts: by bytes, then by bits."""

SHIFT_REQUANTISE_INTERVAL = 1 + BIT_SHIFTS
SHIFT_REQUANTISE_LATENCY = 1 + BYTE_SHIFTS + SHIFT_REQUANTISE_INTERVAL
"""From a sum to its value: taken, shifted by bytes, taken over, shifted by bits."""

FIFO_LATENCY = 2
"""Cycles from writing into an empty queue to its output."""

SEQUENCER_LATENCY = 1


def adder_tree_latency(terms: int) -> int:
    """Ranks of a registered binary tree."""
    return (terms - 1).bit_length()


def broadcast_latency(places: int) -> int:
    """Ranks of a tree of registers from one to ``places``, FAN_OUT at each."""
    ranks = 0
    while FAN_OUT**ranks < places:
        ranks += 1
    return ranks


def mac_latency(stage: ConvShape, fold: Fold) -> int:
    """Cycles from loading a window to the sums of the first group.

    Window, selection, mask, broadcast, products, adder tree, accumulation of every step.
    """
    return (
        3
        + broadcast_latency(fold.pe)
        + MULTIPLIER_LATENCY
        + adder_tree_latency(fold.simd)
        + fold.steps(stage)
    )


def requantisers(stage: ConvShape, fold: Fold) -> int:
    """Fewest that serve a group's sums before the next group's come."""
    return next(n for n in range(1, fold.pe + 1) if fold.pe % n == 0 and fold.pe // n <= fold.steps(stage))


def conv_latency(stage: ConvShape, fold: Fold) -> int:
    """Cycles from accepting a pixel to offering the output that it completes.

    Input register, sums of the last group, held, one requantised value after another, queue.
    """
    last_group = fold.interval(stage) - fold.steps(stage)
    serial = 1 + fold.pe // requantisers(stage, fold) + REQUANTISE_LATENCY
    return 1 + mac_latency(stage, fold) + last_group + 1 + serial + FIFO_LATENCY


def conv_credits(stage: ConvShape, fold: Fold) -> int:
    """Pixels under way in a stage that accepts one every interval; at least what its queue needs."""
    return max(4, -(-(conv_latency(stage, fold) + 1) // fold.interval(stage)))


def turn(stage: ConvShape, fold: Fold) -> int:
    """Cycles of a stage's turn at shared multipliers: its channels, none too fast to be requantised."""
    return stage.out_channels * max(fold.steps(stage), SHIFT_REQUANTISE_INTERVAL)


def turn_latency(fold: Fold) -> int:
    """Cycles from the last step of a channel to its value.

    Memory, product, adder tree, accumulation, requantisation.
    """
    return 1 + MULTIPLIER_LATENCY + adder_tree_latency(fold.simd) + 1 + SHIFT_REQUANTISE_LATENCY


def pixel_words(stage: ConvShape, fold: Fold) -> int:
    """Words of ``simd`` elements that a pixel has."""
    return stage.in_channels // fold.simd


def turns_latency(shape: SpnShape, fold: Fold) -> int:
    """Cycles from accepting a pixel to offering the output that it completes: the last stage's turn."""
    return 1 + turn(shape.stages[-1], fold) + turn_latency(fold)


def pace(shape: SpnShape, folds: Sequence[Fold]) -> int:
    """Cycles from one pixel to the next: those of the slowest stage.

    Stages that take turns need their cycles one after the other, before them those in which the pixel goes
    into memory, behind them those until the last value is there.
    """
    if in_turns(shape, folds):
        turns = sum(turn(stage, folds[0]) for stage in shape.stages)
        return pixel_words(shape.stages[0], folds[0]) + turns + turn_latency(folds[0])
    return max(fold.interval(stage) for stage, fold in zip(shape.stages, folds, strict=True))


def padding(shape: SpnShape, folds: Sequence[Fold]) -> int:
    """Pixels, blank or the next map's, that must follow a map to push it through all stages.

    Where stages take turns each works on what the one before made of the pixel before.
    """
    behind = len(shape.stages) - 1 if in_turns(shape, folds) else 0
    return behind + sum(stage.radius * (shape.height + 1) for stage in shape.stages)


def bytes_behind(link: Link) -> int:
    """Bytes that the window lets follow a map without a result in any case.

    The window holds that map's last DATA, which is open until the map's result, whole short maps of a JOB
    and a DATA each, and a further JOB with DATA, each as full as its map allows: the whole maps' bytes
    are not counted.
    """
    maps = max(0, (link.window - 3) // 2)
    return max(0, link.window - 2 - 2 * maps) * link.payload


def overlaps(shape: SpnShape, folds: Sequence[Fold], link: Link) -> bool:
    """Whether a map may begin while the one before is still pushed out.

    Once it has begun only its own pixels push, and they must come within the window: otherwise host and
    device wait for each other. Where stages take turns the next job is accepted behind the result, which
    saves all that keeps two maps apart.
    """
    return not in_turns(shape, folds) and padding(shape, folds) * shape.in_channels <= bytes_behind(link)


SERIAL_OVERHEAD = 1
"""Cycles of a serial divider or multiplier beside one for each bit: accepting the operands."""

AVERAGE_LATENCY = 3 + MEAN.bits + SERIAL_OVERHEAD
"""From a map's last pixel to its first mean: input, totals and numerator registers, division."""

SCALE_LATENCY = MEAN.bits + SERIAL_OVERHEAD + ROUND_SHIFT_LATENCY + 4
"""From a mean to its scale: multiplication, rounding shift, its end, offset, comparison, clamp."""

KERNEL_LATENCY = 1 + BASE.bits + SERIAL_OVERHEAD + 3
"""From a scale to its kernel size: multiplication, rounding, comparison, clamp."""


def head_latency(shape: SpnShape) -> int:
    """Cycles from the map's last pixel, offered to the global average, to the answer.

    The slower unit works twice, with a cycle to send and one to fetch the next parameters: the scale
    head for two outputs, else the kernel sizes, which have the scale already.
    """
    once = AVERAGE_LATENCY + SCALE_LATENCY + KERNEL_LATENCY
    return once + (SCALE_LATENCY + 2 if shape.outputs == len(DIRECTIONS) else KERNEL_LATENCY + 1)


def pipeline_latency(shape: SpnShape, folds: Sequence[Fold]) -> int:
    """Cycles from accepting the last pixel that pushes a map through to the map's answer."""
    if in_turns(shape, folds):
        stages = pixel_words(shape.stages[0], folds[0]) - 1 + turns_latency(shape, folds[0])
    else:
        stages = sum(conv_latency(stage, fold) for stage, fold in zip(shape.stages, folds, strict=True))
    return SEQUENCER_LATENCY + stages + head_latency(shape)


def separation(shape: SpnShape, folds: Sequence[Fold]) -> int:
    """Columns from the end of a map to the end of the next, so that the head has finished."""
    return -(-head_latency(shape) // (shape.height * pace(shape, folds)))


def latency(shape: SpnShape, folds: Sequence[Fold], length: int) -> int:
    """Cycles from a map's first pixel to its result, without those spent waiting for pixels."""
    pixels = shape.pixels(length) - 1 + padding(shape, folds)
    return pixels * pace(shape, folds) + pipeline_latency(shape, folds)


NEXT_JOB = 8
"""Cycles from a map's answer to the first pixel of one whose job is accepted behind the result."""


def interval(shape: SpnShape, folds: Sequence[Fold], length: int, link: Link = LINK) -> int:
    """Cycles per map of ``length`` back to back."""
    if in_turns(shape, folds):
        return latency(shape, folds, length) + NEXT_JOB
    held_back = shape.pixels(max(0, separation(shape, folds) - length))
    if not overlaps(shape, folds, link):
        held_back = max(held_back, padding(shape, folds))
    return (shape.pixels(length) + held_back) * pace(shape, folds)


def flights(shape: SpnShape, folds: Sequence[Fold], link: Link = LINK) -> int:
    """Maps under way that back-to-back streaming needs.

    The most are under way where the time between them stops to shrink with their length. One more for
    the job that is accepted ahead, one for the result on its way out. Where stages take turns a single one.
    """
    if in_turns(shape, folds):
        return 1
    shortest = separation(shape, folds)
    return -(-latency(shape, folds, shortest) // interval(shape, folds, shortest, link)) + 2


def multipliers(folds: Sequence[Fold]) -> int:
    """Multipliers of all stages; one per product in a cycle."""
    return sum(fold.multipliers for fold in folds)


def utilisation(shape: SpnShape, folds: Sequence[Fold], length: int, link: Link = LINK) -> float:
    """Useful products per multiplier and cycle, back to back."""
    return shape.macs(length) / (multipliers(folds) * interval(shape, folds, length, link))
