"""What a network costs in cycles, multipliers and memory, before any gateware is made."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from adakern_spec import networks
from adakern_spec.akm import BETWEEN_FRAC, AkmShape, LayerFold, tap_fields
from adakern_spec.errors import InputError
from adakern_spec.network import Fold
from adakern_spec.networks import Shape
from adakern_spec.numbers import ACTIVATION_BITS
from adakern_spec.parameters import CHANNEL_FIELDS
from adakern_spec.protocol import LINK, Link


@dataclass(frozen=True)
class StageEstimate:
    """One conv stage, or layer: its fold, its cycles per pixel and the bits that it holds.

    ``weight_bits``, ``channel_bits`` (bias and shift) and ``tap_bits`` are parameters, ``line_bits`` the
    columns of pixels that a window spans beside the newest one, ``smoother_bits`` those of the smoother.
    ``lanes`` channels go through the smoother in each cycle; without one it is 0.
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
    lanes: int = 0
    tap_bits: int = 0
    smoother_bits: int = 0

    @property
    def memory_bits(self) -> int:
        return self.weight_bits + self.channel_bits + self.line_bits + self.tap_bits + self.smoother_bits


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


def estimate(shape: Shape, multipliers: int, length: int) -> Estimate:
    """Figures of ``shape`` with the folds that a budget of ``multipliers`` gives.

    Raises InputError for a length that the shape does not allow, ShapeError for a budget too small.
    """
    return estimate_folds(shape, networks.folds_for_budget(shape, multipliers), length)


def estimate_folds(
    shape: Shape, folds: Sequence[Fold | LayerFold], length: int, link: Link = LINK
) -> Estimate:
    """The same for folds that are chosen, behind ``link``."""
    if not shape.min_length <= length <= shape.max_length:
        raise InputError(f"length {length}", "estimate", f"use {shape.min_length} to {shape.max_length}")
    used = [*folds] * (len(shape.stages) // len(folds))
    stages = tuple(_stage(shape, index, fold) for index, fold in enumerate(used))
    return Estimate(
        length=length,
        macs=shape.macs(length),
        multipliers=networks.multipliers(shape, folds),
        latency=networks.latency(shape, folds, length),
        interval=networks.interval(shape, folds, length, link),
        utilisation=networks.utilisation(shape, folds, length, link),
        memory_bits=sum(stage.memory_bits for stage in stages) + 8 * networks.block_size(shape),
        stages=stages,
    )


def _stage(shape: Shape, index: int, fold: Fold | LayerFold) -> StageEstimate:
    stage = shape.stages[index]
    conv, height = fold, shape.height
    smoothing = 0
    smoother: dict[str, int] = {}
    if isinstance(shape, AkmShape):
        assert isinstance(fold, LayerFold)
        conv, height = fold.conv, shape.heights[index]
        smoothing = fold.multipliers(shape.radius) - conv.multipliers
        # Columns of the length pass, pixels of the height pass.
        held = 2 * shape.radius * stage.out_channels
        smoother = {
            "lanes": fold.lanes,
            "tap_bits": shape.records(index) * sum(field.bits for field in tap_fields(shape.radius)),
            "smoother_bits": held * (height * ACTIVATION_BITS + ACTIVATION_BITS + BETWEEN_FRAC),
        }
    assert isinstance(conv, Fold)
    return StageEstimate(
        in_channels=stage.in_channels,
        out_channels=stage.out_channels,
        pe=conv.pe,
        simd=conv.simd,
        multipliers=conv.multipliers + smoothing,
        interval=fold.interval(stage),
        weight_bits=stage.out_channels * stage.elements * stage.weight_bits,
        channel_bits=stage.out_channels * sum(field.bits for field in CHANNEL_FIELDS),
        line_bits=(stage.kernel - 1) * height * stage.in_channels * ACTIVATION_BITS,
        **smoother,
    )
