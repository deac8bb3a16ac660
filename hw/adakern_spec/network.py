"""Shapes of the networks that gateware can be built for, and how their multipliers are folded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .errors import ShapeError
from .numbers import ACTIVATION_BITS, LENGTH_BITS, Format


@dataclass(frozen=True)
class ConvShape:
    """One conv stage: odd kernel, stride 1, zero "same" padding (design part 1, "Conv stage").

    ``elements`` of a window are ordered along the length first, then the height, then the
    channel: ``e = (kl * kernel + kh) * in_channels + ci``, as the pixels stream.
    """

    in_channels: int
    out_channels: int
    kernel: int = 3
    weight_bits: int = 8
    input_signed: bool = False
    relu: bool = True

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ShapeError(
                f"kernel {self.kernel} is even or not positive", "conv", "use an odd kernel size"
            )
        if self.in_channels < 1 or self.out_channels < 1:
            raise ShapeError(
                f"{self.in_channels} -> {self.out_channels} channels", "conv", "use at least one each"
            )
        if self.weight_bits not in (4, 8):
            raise ShapeError(f"weights of {self.weight_bits} bits", "conv", "use 8 or 4")

    @property
    def elements(self) -> int:
        """Products per output value: kernel² · in_channels."""
        return self.kernel**2 * self.in_channels

    @property
    def macs(self) -> int:
        """Multiply-accumulates per output pixel."""
        return self.elements * self.out_channels

    @property
    def radius(self) -> int:
        return self.kernel // 2

    @property
    def input_format(self) -> Format:
        return Format(ACTIVATION_BITS, self.input_signed)

    @property
    def output_format(self) -> Format:
        return Format(ACTIVATION_BITS, signed=not self.relu)

    @property
    def weight_format(self) -> Format:
        return Format(self.weight_bits, signed=True)


@dataclass(frozen=True)
class Fold:
    """How a conv stage shares its multipliers over time.

    ``simd`` elements of the window meet ``pe`` output channels in each cycle. ``shared``: all stages of a
    network take turns at the multipliers.
    """

    pe: int
    simd: int
    shared: bool = False

    @property
    def multipliers(self) -> int:
        return self.pe * self.simd

    def steps(self, shape: ConvShape) -> int:
        """Cycles per group of ``pe`` output channels."""
        return shape.elements // self.simd

    def groups(self, shape: ConvShape) -> int:
        """Groups of output channels."""
        return shape.out_channels // self.pe

    def splits_pixels(self, shape: ConvShape) -> bool:
        """Whether each step takes a part of one pixel, so that one word of memory has its elements."""
        return self.simd < shape.in_channels and shape.in_channels % self.simd == 0

    def takes_turns(self, shape: ConvShape) -> bool:
        """Whether a stage can use multipliers that other stages use too: for one channel at a time, a pixel
        or a part of one in each step, unsigned as every stage's own output."""
        return self.pe == 1 and shape.in_channels % self.simd == 0 and not shape.input_signed

    def interval(self, shape: ConvShape) -> int:
        """Initiation interval: cycles per pixel."""
        return self.steps(shape) * self.groups(shape)

    def check(self, shape: ConvShape) -> None:
        """Refuse a fold that does not divide the stage evenly."""
        if self.pe < 1 or shape.out_channels % self.pe or self.simd < 1 or shape.elements % self.simd:
            raise ShapeError(
                f"fold of {self.pe} channels × {self.simd} elements does not divide "
                f"{shape.out_channels} × {shape.elements}",
                "conv",
                "use divisors",
            )


@dataclass(frozen=True)
class SpnShape:
    """Scale prediction network: what a bitstream is built for.

    ``channels`` are those between the stages, input first: (8, 8, 8, 2) is the reference.
    The last is 2 (height, length) or 1 (one shared scale). ``height`` is the number of rows of
    the map; a valid length may be anything from 1 to ``max_length``.
    """

    channels: tuple[int, ...] = (8, 8, 8, 2)
    height: int = 16
    kernel: int = 3
    weight_bits: int = 8
    input_signed: bool = False
    max_length: int = (1 << LENGTH_BITS) - 1
    min_length: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if len(self.channels) < 2:
            raise ShapeError("no conv stage", "network shape", "give at least two channel counts")
        if self.channels[-1] not in (1, 2):
            raise ShapeError(
                f"{self.channels[-1]} outputs",
                "network shape",
                "end with 2 (height, length) or 1 (shared scale)",
            )
        if self.height < 1:
            raise ShapeError(f"height {self.height}", "network shape", "use at least one row")
        if not 1 <= self.max_length < 1 << LENGTH_BITS:
            raise ShapeError(
                f"longest length {self.max_length}", "network shape", f"use 1 to {(1 << LENGTH_BITS) - 1}"
            )
        for stage in self.stages:
            stage.__post_init__()

    @property
    def stages(self) -> tuple[ConvShape, ...]:
        """The conv stages, all with a ReLU."""
        return tuple(
            ConvShape(ci, co, self.kernel, self.weight_bits, self.input_signed and index == 0)
            for index, (ci, co) in enumerate(zip(self.channels, self.channels[1:], strict=False))
        )

    @property
    def in_channels(self) -> int:
        return self.channels[0]

    @property
    def outputs(self) -> int:
        return self.channels[-1]

    def pixels(self, length: int) -> int:
        """Pixels of a map of ``length`` valid positions."""
        return self.height * length

    def map_bytes(self, length: int) -> int:
        """Bytes of such a map on the link, one per value."""
        return self.pixels(length) * self.in_channels

    def macs(self, length: int) -> int:
        """Multiply-accumulates of one map."""
        return self.pixels(length) * sum(stage.macs for stage in self.stages)


REFERENCE = SpnShape()
"""8→8→8→2 channels, 3×3, 16 rows: the network of the figures in docs/benchmarks.md."""

REFERENCE_LENGTH = 128


def in_turns(shape: SpnShape, folds: Sequence[Fold]) -> bool:
    """Whether all stages take turns at the multipliers of a single fold.

    Raises ShapeError for folds that are neither one for each stage nor a single one that serves them all.
    """
    shared = any(fold.shared for fold in folds)
    if not shared and len(folds) == len(shape.stages):
        return False
    if shared and len(folds) == 1 and all(folds[0].takes_turns(stage) for stage in shape.stages):
        return True
    raise ShapeError(
        f"{len(folds)} folds for {len(shape.stages)} stages",
        "engine",
        "give one for each, or a shared one of a single channel and a part of every stage's pixels",
    )


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def fold_for_interval(shape: ConvShape, interval: int) -> Fold:
    """Fewest multipliers that need at most ``interval`` cycles per pixel.

    Among equals the one with the most output channels wins: its adder trees are shallowest.
    """
    folds = [
        Fold(pe, simd)
        for pe in _divisors(shape.out_channels)
        for simd in _divisors(shape.elements)
        if Fold(pe, simd).interval(shape) <= interval
    ]
    if not folds:
        raise ShapeError(f"{interval} cycles per pixel", "conv fold", "use at least one")
    return min(folds, key=lambda fold: (fold.multipliers, -fold.pe))


def folds_for_interval(shape: SpnShape, interval: int) -> tuple[Fold, ...]:
    """Folds of every stage for a target of cycles per pixel."""
    return tuple(fold_for_interval(stage, interval) for stage in shape.stages)


def folds_for_budget(shape: SpnShape, multipliers: int) -> tuple[Fold, ...]:
    """Folds with the fewest cycles per pixel that ``multipliers`` allow.

    The slowest stage sets the pace, so every stage gets just what that pace needs
    (design part 3).
    """
    smallest = len(shape.stages)
    if multipliers < smallest:
        raise ShapeError(
            f"{multipliers} multipliers", "multiplier budget", f"use at least {smallest}, one per stage"
        )
    candidates = sorted(
        {
            Fold(pe, simd).interval(stage)
            for stage in shape.stages
            for pe in _divisors(stage.out_channels)
            for simd in _divisors(stage.elements)
        }
    )
    for interval in candidates:
        try:
            folds = folds_for_interval(shape, interval)
        except ShapeError:
            continue
        if sum(fold.multipliers for fold in folds) <= multipliers:
            return folds
    raise AssertionError("one multiplier per stage always fits")
