"""What every network has that gateware can be built for, whichever kind it is."""

from collections.abc import Sequence
from typing import Any

from . import akm, akm_cycles, cycles, network, parameters, protocol
from .akm import AkmShape, LayerFold
from .network import Fold, SpnShape
from .protocol import LINK, Link

Shape = SpnShape | AkmShape

Folds = tuple[Fold, ...] | tuple[LayerFold, ...]
"""One per stage, or one per layer."""


def block_size(shape: Shape) -> int:
    """Bytes of the parameter block."""
    return akm.akm_block_size(shape) if isinstance(shape, AkmShape) else parameters.block_size(shape)


def result_fields(shape: Shape) -> tuple[protocol.Field, ...]:
    """Result of a map."""
    return akm.akm_result_fields(shape) if isinstance(shape, AkmShape) else protocol.RESULT_FIELDS


def usual_length(shape: Shape) -> int:
    """Length that figures are told for: the reference's, or that of whole images."""
    usual = network.REFERENCE_LENGTH if isinstance(shape, SpnShape) else shape.max_length
    return min(usual, shape.max_length)


def folds_for_budget(shape: Shape, multipliers: int) -> Folds:
    """The fastest folds within ``multipliers``; ShapeError if even the slowest take more."""
    if isinstance(shape, AkmShape):
        return akm.layer_folds_for_budget(shape, multipliers)
    return network.folds_for_budget(shape, multipliers)


def latency(shape: Shape, folds: Sequence[Any], length: int) -> int:
    """Cycles from a map's first pixel to its result, without those spent waiting for pixels."""
    if isinstance(shape, AkmShape):
        return akm_cycles.latency(shape, folds, length)
    return cycles.latency(shape, folds, length)


def interval(shape: Shape, folds: Sequence[Any], length: int, link: Link = LINK) -> int:
    """Cycles per map of ``length`` back to back."""
    if isinstance(shape, AkmShape):
        return akm_cycles.interval(shape, folds, length)
    return cycles.interval(shape, folds, length, link)


def pace(shape: Shape, folds: Sequence[Any]) -> int:
    """Cycles per pixel."""
    return akm_cycles.pace(shape, folds) if isinstance(shape, AkmShape) else cycles.pace(shape, folds)


def multipliers(shape: Shape, folds: Sequence[Any]) -> int:
    """Multipliers of all stages."""
    return akm_cycles.multipliers(shape, folds) if isinstance(shape, AkmShape) else cycles.multipliers(folds)


def utilisation(shape: Shape, folds: Sequence[Any], length: int, link: Link = LINK) -> float:
    """Useful products of the convs per multiplier of theirs and cycle, back to back."""
    if isinstance(shape, AkmShape):
        return akm_cycles.utilisation(shape, folds, length)
    return cycles.utilisation(shape, folds, length, link)
