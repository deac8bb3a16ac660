"""What every network has that gateware can be built for, whichever kind it is."""

from . import akm, network, parameters, protocol
from .akm import AkmShape, LayerFold
from .network import Fold, SpnShape

Shape = SpnShape | AkmShape

Folds = tuple[Fold, ...] | tuple[LayerFold, ...]
"""One per stage, or one per layer."""


def block_size(shape: Shape) -> int:
    """Bytes of the parameter block."""
    return akm.akm_block_size(shape) if isinstance(shape, AkmShape) else parameters.block_size(shape)


def result_fields(shape: Shape) -> tuple[protocol.Field, ...]:
    """Result of a map."""
    return akm.akm_result_fields(shape) if isinstance(shape, AkmShape) else protocol.RESULT_FIELDS


def folds_for_budget(shape: Shape, multipliers: int) -> Folds:
    """The fastest folds within ``multipliers``; ShapeError if even the slowest take more."""
    if isinstance(shape, AkmShape):
        return akm.layer_folds_for_budget(shape, multipliers)
    return network.folds_for_budget(shape, multipliers)
