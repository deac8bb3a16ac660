"""Designs that `fit_estimate` learns from, by family and kind of network."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from adakern_hw.bitstream import Order
from adakern_hw.boards import find_board
from adakern_spec.akm import AkmLayer, AkmShape, Downsample, LayerFold
from adakern_spec.network import Fold, SpnShape
from adakern_spec.networks import Folds

BOARDS = {"ecp5": "ulx3s-85f", "ice40": "icebreaker"}
"""Board whose part and clock a family's samples are taken with."""


class SpnDesign(NamedTuple):
    """A scale prediction network; ``multipliers`` is a budget, ``mhz`` the clock: the board's by default."""

    channels: tuple[int, ...]
    height: int
    multipliers: int
    kernel: int = 3
    weight_bits: int = 8
    input_signed: bool = False
    mhz: float | None = None

    @property
    def shape(self) -> SpnShape:
        return SpnShape(self.channels, self.height, self.kernel, self.weight_bits, self.input_signed)


class AkmDesign(NamedTuple):
    """A kernel modulation network: output channels and downsampling of each layer; maps are square unless
    their ``length`` is given. ``multipliers`` and ``mhz`` as above."""

    in_channels: int
    height: int
    layers: tuple[tuple[int, str], ...]
    multipliers: int
    radius: int
    classes: int = 5
    per_channel: bool = True
    kernel: int = 3
    weight_bits: int = 8
    input_signed: bool = False
    length: int | None = None
    mhz: float | None = None

    @property
    def shape(self) -> AkmShape:
        return AkmShape(
            self.in_channels,
            self.height,
            tuple(AkmLayer(channels, self.kernel, Downsample(way)) for channels, way in self.layers),
            self.classes,
            self.radius,
            self.per_channel,
            self.weight_bits,
            self.input_signed,
            self.length or self.height,
        )


Design = SpnDesign | AkmDesign

SMALLEST = AkmDesign(1, 4, ((2, "none"),), 5, radius=1, classes=2)

ENGINES: dict[tuple[str, str], tuple[Design, ...]] = {
    ("ecp5", "spn"): (
        SpnDesign((1, 1), 4, 1),
        SpnDesign((4, 4, 2), 16, 6),
        SpnDesign((3, 5, 2), 31, 20, input_signed=True),
        SpnDesign((8, 8, 2), 16, 36),
        SpnDesign((8, 8, 8, 2), 14, 9),
        SpnDesign((16, 8, 1), 8, 12),
        SpnDesign((2, 4, 4, 2), 12, 10, kernel=5),
        SpnDesign((6, 6, 2), 64, 18, weight_bits=4, input_signed=True),
        SpnDesign((8, 8, 2), 16, 4),
        SpnDesign((8, 8, 8, 2), 16, 36, weight_bits=4),
        SpnDesign((8, 8, 8, 2), 16, 324, weight_bits=4),
        SpnDesign((12, 12, 2), 10, 72),
    ),
    ("ecp5", "akm"): (
        SMALLEST,
        AkmDesign(2, 8, ((4, "stride2"), (4, "none")), 16, radius=2, classes=3),
        AkmDesign(1, 28, ((8, "stride2"), (16, "max2")), 32, radius=6),
        AkmDesign(
            3, 32, ((8, "max2"), (8, "max2"), (8, "none")), 60, radius=3, classes=10, per_channel=False
        ),
        AkmDesign(4, 16, ((8, "none"),), 120, radius=6, classes=2),
        AkmDesign(8, 12, ((16, "stride2"), (16, "none")), 80, radius=2, length=100),
        AkmDesign(1, 64, ((4, "max2"), (8, "none")), 40, radius=4, kernel=5, length=65_535),
        AkmDesign(
            2, 20, ((6, "none"), (12, "stride2")), 30, radius=1, classes=6, per_channel=False, weight_bits=4
        ),
        AkmDesign(1, 28, ((16, "max2"), (16, "max2"), (16, "none"), (16, "none")), 44, radius=2),
        AkmDesign(6, 10, ((12, "none"), (12, "none")), 100, radius=5, classes=12, input_signed=True),
        AkmDesign(3, 32, ((16, "stride2"), (32, "max2")), 64, radius=3, classes=10),
        AkmDesign(1, 28, ((32, "none"),), 20, radius=6, per_channel=False),
        AkmDesign(16, 8, ((8, "none"), (4, "none")), 100, radius=2, classes=3, kernel=1),
        AkmDesign(4, 14, ((4, "none"), (4, "stride2"), (4, "none"), (4, "none")), 80, radius=4, classes=2),
    ),
    ("ice40", "spn"): (
        SpnDesign((1, 1), 4, 1),
        SpnDesign((1, 1), 16, 8),
        SpnDesign((2, 2, 2), 16, 8),
        SpnDesign((4, 4, 2), 16, 2),
        SpnDesign((8, 8, 8, 2), 16, 4),
        SpnDesign((3, 6, 2), 31, 8),
        SpnDesign((8, 8, 2), 10, 8, weight_bits=4),
        SpnDesign((16, 16, 1), 12, 8),
        SpnDesign((6, 6, 6, 2), 24, 2, kernel=5),
    ),
}
"""Designs whose engine is synthesised by itself."""

WHOLE: dict[tuple[str, str], tuple[Design, ...]] = {
    ("ecp5", "spn"): (
        SpnDesign((1, 1), 4, 1, mhz=62.5),
        SpnDesign((5, 8, 2), 14, 14),
        SpnDesign((8, 8, 8, 2), 16, 144),
    ),
    ("ecp5", "akm"): (
        SMALLEST._replace(mhz=62.5),
        AkmDesign(1, 28, ((8, "stride2"), (8, "max2"), (8, "none")), 48, radius=4),
    ),
    ("ice40", "spn"): (
        SpnDesign((1, 1), 4, 1),
        SpnDesign((4, 4, 2), 14, 4),
        SpnDesign((8, 8, 8, 2), 16, 8),
    ),
}
"""Designs that are built whole; the first is an engine by itself too."""


def read_design(fields: dict[str, Any]) -> Design:
    """A design from JSON."""
    if "layers" in fields:
        return AkmDesign(**fields | {"layers": tuple(map(tuple, fields["layers"]))})
    return SpnDesign(**fields | {"channels": tuple(fields["channels"])})


def read_folds(folds: Sequence[Any]) -> Folds:
    """Folds from JSON: their fields in order."""
    return tuple(
        LayerFold(Fold(*first), rest[0]) if isinstance(first, list) else Fold(first, *rest)
        for first, *rest in folds
    )


def order_of(family: str, design: Design) -> Order:
    """The build of a design."""
    board, shape = find_board(BOARDS[family]), design.shape
    clock = board.clock if design.mhz is None else round(1e6 * design.mhz)
    return Order(board, shape, board.folds(shape, design.multipliers), clock)
