"""What a board and its FPGA offer to a build."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.build import Platform

from adakern_spec.akm import AkmShape, LayerFold
from adakern_spec.errors import AdakernError
from adakern_spec.network import ConvShape, Fold, SpnShape
from adakern_spec.networks import Shape
from adakern_spec.protocol import LINK, Link

from ..blocks.dsp import Ecp5MultiplierRow, Ice40MultiplierRow
from ..blocks.multiplier import LogicMultiplierRow, MultiplierRow
from ..fixed import shape_of
from . import layers
from .dsp_sites import SiteLine, place_rows
from .pll import Ecp5Pll, Ice40Pll, Pll, find_pll


class BoardError(AdakernError):
    """A board that is unknown or cannot hold what it is asked to."""


@dataclass(frozen=True)
class Family:
    """FPGA family: its primitives and the tools that know it.

    ``synthesis`` are options of the Yosys command that Amaranth's platform writes, ``routing`` nextpnr's
    options beside the part, ``routed`` the one that names its result. ``constraints`` and ``product``
    are suffixes of the files for nextpnr and of the bitstream; ``preamble`` are the bytes that every
    bitstream of the family has near its start. ``sites`` are nextpnr's names for what a footprint counts.
    ``in_turns``: the parts have no room for a datapath of each stage. ``link_limit`` is the fastest clock in
    Hz that the link is run at; an engine with a faster one gets it for itself.
    """

    name: str
    multiplier: type[MultiplierRow]
    pll: type[Ecp5Pll] | type[Ice40Pll]
    synthesis: tuple[str, ...]
    place_and_route: str
    routing: tuple[str, ...]
    routed: str
    pack: str
    pack_options: tuple[str, ...]
    constraints: str
    product: str
    preamble: bytes
    sites: Mapping[str, str]
    in_turns: bool = False
    link_limit: int | None = None


ECP5 = Family(
    name="ecp5",
    multiplier=Ecp5MultiplierRow,
    pll=Ecp5Pll,
    synthesis=(),
    place_and_route="nextpnr-ecp5",
    # From one placement of 144 multipliers router 1 made 157 MHz, router 2 123 (nextpnr 0.11.1).
    routing=("--router", "router1"),
    routed="--textcfg",
    pack="ecppack",
    pack_options=("--compress",),
    constraints=".lpf",
    product=".bit",
    preamble=bytes.fromhex("bdb3"),
    sites={"luts": "TRELLIS_COMB", "dsps": "MULT18X18D", "block_rams": "DP16KD"},
    # A block RAM without its output register takes 5.8 ns from clock to output.
    link_limit=62_500_000,
)
ICE40 = Family(
    name="ice40",
    multiplier=Ice40MultiplierRow,
    pll=Ice40Pll,
    # The eight registers of a tile share an enable: enables of fewer would leave too many cells empty.
    synthesis=("-device u", "-dffe_min_ce_use 8"),
    place_and_route="nextpnr-ice40",
    routing=(),
    routed="--asc",
    pack="icepack",
    pack_options=(),
    constraints=".pcf",
    product=".bin",
    preamble=bytes.fromhex("7eaa997e"),
    sites={"luts": "ICESTORM_LC", "dsps": "ICESTORM_DSP", "block_rams": "ICESTORM_RAM"},
    in_turns=True,
)
FAMILIES = {family.name: family for family in (ECP5, ICE40)}

LOGIC_SHARE = 1 / 32
"""Most of a part's look-up tables that multipliers may take beside its DSP blocks."""


ECP5_VERIFY_ID = bytes.fromhex("e2000000")
"""Configuration command before the part's IDCODE (Lattice FPGA-TN-02039)."""


@dataclass(frozen=True)
class Capacity:
    """What the part has: look-up tables of four inputs (as many registers), DSP blocks, block RAMs."""

    luts: int
    dsps: int
    block_rams: int


@dataclass(frozen=True)
class Board:
    """One board: everything that a build has to know about it.

    ``platform`` makes its amaranth-boards platform, ``device`` are nextpnr's options for the part.
    ``oscillator`` is the frequency at the platform's default clock, ``clock`` the one that the PLL makes
    of it unless a build asks for another, in Hz. ``uart`` is the resource of the link, run at ``baud``.
    ``loader`` is the board's name in openFPGALoader. ``identity`` are bytes that every bitstream for the
    part has near its start, if its family's bitstreams name the part. ``dsp_sites`` are the places of the
    part's DSP blocks; without them the placer chooses. ``link`` is what the part has room for.
    """

    name: str
    about: str
    family: Family
    platform: Callable[[], Platform]
    device: tuple[str, ...]
    capacity: Capacity
    oscillator: int
    clock: int
    baud: int
    loader: str
    uart: tuple[str, int] = ("uart", 0)
    identity: bytes = b""
    dsp_sites: tuple[SiteLine, ...] = ()
    link: Link = LINK

    def has(self, kind: str) -> int:
        """How many of a footprint's resource the part has; a register beside each look-up table."""
        return int(vars(self.capacity)["luts" if kind == "registers" else kind])

    def make_pll(self, clock: int) -> Pll:
        """PLL setting for ``clock`` Hz; ClockError if there is none."""
        return find_pll(self.family.pll, self.oscillator, clock)

    def rows(self, shape: Shape, folds: tuple[Any, ...]) -> tuple[Any, ...]:
        """The multipliers of each fold: DSP blocks, where there are enough.

        Where there are not, stages with 4-bit weights take logic, those with the fewest products first,
        as long as it is no more than LOGIC_SHARE of the part. Those of a layer are all DSP blocks.
        """
        if isinstance(shape, AkmShape):
            return layers.layer_rows(self.family.multiplier, shape)
        rows: list[type[MultiplierRow]] = [self.family.multiplier] * len(folds)
        spare = int(self.capacity.luts * LOGIC_SHARE) // LogicMultiplierRow.LUTS
        for index in sorted(range(len(folds)), key=lambda index: folds[index].multipliers):
            products = folds[index].multipliers
            if _blocks(rows, shape, folds) <= self.capacity.dsps or products > spare:
                break
            if shape.weight_bits == LogicMultiplierRow.BITS:
                rows[index] = LogicMultiplierRow
                spare -= products
        return tuple(rows)

    def placed_rows(self, shape: Shape, folds: tuple[Any, ...]) -> tuple[Any, ...]:
        """`rows` with their blocks at places of the part, if those are known and enough.

        The placer chooses for layers, whose smoothers lie between their convs.
        """
        rows = self.rows(shape, folds)
        if isinstance(shape, AkmShape):
            return rows
        blocks = _blocks(rows, shape, folds)
        if not sum(map(len, self.dsp_sites)) >= blocks > 0:
            return rows
        counts = [_stage_blocks(*served) for served in _served(rows, shape, folds)]
        lanes = [
            fold.simd for fold, count in zip(folds, counts, strict=True) for _ in range(count // fold.simd)
        ]
        sites = iter(place_rows(self.dsp_sites, lanes))
        return tuple(
            row.at(tuple(site for _ in range(count // fold.simd) for site in next(sites)))
            if issubclass(row, Ecp5MultiplierRow)
            else row
            for row, fold, count in zip(rows, folds, counts, strict=True)
        )

    def dsps(self, shape: Shape, folds: tuple[Any, ...]) -> int:
        """DSP blocks that the multipliers of ``folds`` take; different folds share none."""
        if isinstance(shape, AkmShape):
            return layers.blocks(self.family.multiplier, shape, folds)
        return _blocks(self.rows(shape, folds), shape, folds)

    def folds(self, shape: Shape, multipliers: int | None = None) -> tuple[Any, ...]:
        """The fastest folds that the part's DSP blocks, and ``multipliers`` if given, allow.

        Every stage gets the fewest DSP blocks for the pace of the slowest (design part 3), unless they take
        turns, where the family wants it and the network can.
        """
        if isinstance(shape, AkmShape):
            return self._layer_folds(shape, multipliers)
        shared = [(fold,) for fold in _shared_folds(shape) if self.family.in_turns]
        for folds in reversed(shared):
            if self._allows(shape, folds, multipliers):
                return folds
        choices = [_folds(stage) for stage in shape.stages]
        for pace in sorted(
            {
                fold.interval(stage)
                for stage, folds in zip(shape.stages, choices, strict=True)
                for fold in folds
            }
        ):
            fast = [
                [fold for fold in folds if fold.interval(stage) <= pace]
                for stage, folds in zip(shape.stages, choices, strict=True)
            ]
            if not all(fast):
                continue
            chosen = tuple(
                _cheapest(self.family, stage, folds) for stage, folds in zip(shape.stages, fast, strict=True)
            )
            if self._allows(shape, chosen, multipliers):
                return chosen
        raise BoardError(
            f"{len(shape.stages)} stages need a multiplier each; "
            f"there are {self.capacity.dsps} DSP blocks, asked for {multipliers or 'all'}",
            self.name,
            "allow more multipliers or use a larger board",
        )

    def _layer_folds(self, shape: AkmShape, multipliers: int | None) -> tuple[LayerFold, ...]:
        row, dsps = self.family.multiplier, self.capacity.dsps
        folds = layers.fastest_folds(row, shape, dsps, multipliers)
        if folds is None:
            least = layers.least(row, shape)
            raise BoardError(
                f"{len(shape.layers)} layers that smooth over a radius of {shape.radius} need {least} DSP "
                f"blocks; there are {dsps}, asked for {multipliers or 'all'}",
                self.name,
                "use a smaller radius, allow more multipliers or use a larger board",
            )
        return folds

    def _allows(self, shape: SpnShape, folds: tuple[Fold, ...], multipliers: int | None) -> bool:
        within = multipliers is None or sum(fold.multipliers for fold in folds) <= multipliers
        return within and self.dsps(shape, folds) <= self.capacity.dsps


def _served(
    rows: Sequence[type[MultiplierRow]], shape: SpnShape, folds: tuple[Fold, ...]
) -> Iterator[tuple[type[MultiplierRow], ConvShape, Fold]]:
    """Multipliers with their fold and a stage that uses them: the first of all that take turns."""
    return zip(rows, shape.stages[: len(folds)], folds, strict=True)


def _blocks(rows: Sequence[type[MultiplierRow]], shape: SpnShape, folds: tuple[Fold, ...]) -> int:
    """DSP blocks of folds with these multipliers."""
    return sum(_stage_blocks(*served) for served in _served(rows, shape, folds))


def _stage_blocks(row: type[MultiplierRow], stage: ConvShape, fold: Fold) -> int:
    return row.blocks(fold.simd, fold.pe, shape_of(stage.input_format), shape_of(stage.weight_format))


def _cheapest(family: Family, stage: ConvShape, folds: list[Fold]) -> Fold:
    """The fold of the fewest DSP blocks, then multipliers, then the one with the shallowest adder trees."""
    return min(
        folds, key=lambda fold: (_stage_blocks(family.multiplier, stage, fold), fold.multipliers, -fold.pe)
    )


def _folds(stage: ConvShape) -> list[Fold]:
    """Every fold that divides the stage."""
    return [
        Fold(pe, simd)
        for pe in range(1, stage.out_channels + 1)
        for simd in range(1, stage.elements + 1)
        if stage.out_channels % pe == 0 and stage.elements % simd == 0
    ]


def _shared_folds(shape: SpnShape) -> list[Fold]:
    """Folds that the stages can take turns at, the slowest first."""
    folds = [Fold(1, simd, shared=True) for simd in range(1, shape.in_channels + 1)]
    return [fold for fold in folds if all(fold.takes_turns(stage) for stage in shape.stages)]
