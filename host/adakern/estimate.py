"""What a network costs in cycles, multipliers and memory, before any gateware is made."""

from dataclasses import asdict, dataclass
from typing import Any

from adakern_spec import cycles
from adakern_spec.errors import InputError
from adakern_spec.network import Fold, SpnShape, folds_for_budget
from adakern_spec.numbers import ACTIVATION_BITS
from adakern_spec.parameters import CHANNEL_FIELDS, block_size


@dataclass(frozen=True)
class StageEstimate:
    """One conv stage: its fold, its cycles per pixel and the bits that it holds.

    ``weight_bits`` and ``channel_bits`` (bias and shift) are parameters, ``line_bits`` the columns of
    pixels that a window spans beside the newest one.
    """

    in_channels: int
    out_channels: int
    pe: int
    simd: int
    multipliers: int
    interval: int
    weight_bits: int
    channel_bits: int
    line_bits: int

    @property
    def memory_bits(self) -> int:
        return self.weight_bits + self.channel_bits + self.line_bits


@dataclass(frozen=True)
class Estimate:
    """Figures of one network at one multiplier budget for maps of ``length`` positions.

    ``latency`` are the cycles from a map's first pixel to its result, ``interval`` those per map
    back to back (`adakern_spec.cycles`, equal to the simulation); ``utilisation`` is useful MACs over
    multipliers times interval. ``memory_bits`` add the stages' and the link's copy of the parameters.
    """

    length: int
    macs: int
    multipliers: int
    latency: int
    interval: int
    utilisation: float
    memory_bits: int
    stages: tuple[StageEstimate, ...]

    def to_json(self) -> dict[str, Any]:
        stages = [asdict(stage) | {"memory_bits": stage.memory_bits} for stage in self.stages]
        return asdict(self) | {"stages": stages}


def estimate(shape: SpnShape, multipliers: int, length: int) -> Estimate:
    """Figures of ``shape`` with the folds that a budget of ``multipliers`` gives.

    Raises InputError for a length that the shape does not allow, ShapeError for a budget too small.
    """
    if not 1 <= length <= shape.max_length:
        raise InputError(f"length {length}", "estimate", f"use 1 to {shape.max_length}")
    folds = folds_for_budget(shape, multipliers)
    stages = tuple(_stage(shape, index, fold) for index, fold in enumerate(folds))
    return Estimate(
        length=length,
        macs=shape.macs(length),
        multipliers=cycles.multipliers(folds),
        latency=cycles.latency(shape, folds, length),
        interval=cycles.interval(shape, folds, length),
        utilisation=cycles.utilisation(shape, folds, length),
        memory_bits=sum(stage.memory_bits for stage in stages) + 8 * block_size(shape),
        stages=stages,
    )


def _stage(shape: SpnShape, index: int, fold: Fold) -> StageEstimate:
    stage = shape.stages[index]
    return StageEstimate(
        in_channels=stage.in_channels,
        out_channels=stage.out_channels,
        pe=fold.pe,
        simd=fold.simd,
        multipliers=fold.multipliers,
        interval=fold.interval(stage),
        weight_bits=stage.out_channels * stage.elements * stage.weight_bits,
        channel_bits=stage.out_channels * sum(field.bits for field in CHANNEL_FIELDS),
        line_bits=(stage.kernel - 1) * shape.height * stage.in_channels * ACTIVATION_BITS,
    )
