"""Folds and DSP blocks of kernel modulation networks on a part."""

from collections.abc import Sequence

from adakern_spec.akm import TAP, AkmShape, LayerFold, fastest_layer_folds, slowest_layer_folds
from adakern_spec.akm_cycles import multipliers
from adakern_spec.network import ConvShape

from ..blocks.multiplier import MultiplierRow
from ..blocks.smoother import BETWEEN_PAIR, LENGTH_PAIR
from ..engines.akm import LayerMultipliers
from ..fixed import shape_of


def layer_blocks(row: type[MultiplierRow], stage: ConvShape, fold: LayerFold, radius: int) -> int:
    """DSP blocks of a layer: conv, then both passes of the smoother."""
    conv = row.blocks(
        fold.conv.simd, fold.conv.pe, shape_of(stage.input_format), shape_of(stage.weight_format)
    )
    taps = (radius + 1) * fold.lanes
    return conv + sum(row.blocks(taps, 1, pair, shape_of(TAP)) for pair in (LENGTH_PAIR, BETWEEN_PAIR))


def blocks(row: type[MultiplierRow], shape: AkmShape, folds: Sequence[LayerFold]) -> int:
    """DSP blocks of all layers."""
    layers = zip(shape.stages, folds, strict=True)
    return sum(layer_blocks(row, stage, fold, shape.radius) for stage, fold in layers)


def fastest_folds(
    row: type[MultiplierRow], shape: AkmShape, dsps: int, budget: int | None
) -> tuple[LayerFold, ...] | None:
    """The fastest folds within ``dsps`` blocks and a budget of multipliers; None if there are none."""

    def allowed(folds: tuple[LayerFold, ...]) -> bool:
        within = budget is None or multipliers(shape, folds) <= budget
        return within and blocks(row, shape, folds) <= dsps

    return fastest_layer_folds(shape, allowed)


def least(row: type[MultiplierRow], shape: AkmShape) -> int:
    """Fewest DSP blocks that any folds take."""
    return blocks(row, shape, slowest_layer_folds(shape))


def layer_rows(row: type[MultiplierRow], shape: AkmShape) -> tuple[LayerMultipliers, ...]:
    """The same kind of multipliers in all layers."""
    return (LayerMultipliers(row, row),) * len(shape.layers)
