"""Rounding shift and requantisation (design part 1)."""

from amaranth import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.cycles import (
    BIT_SHIFTS,
    BYTE_SHIFTS,
    REQUANTISE_LATENCY,
    ROUND_SHIFT_LATENCY,
    SHIFT_REQUANTISE_LATENCY,
)
from adakern_spec.numbers import ACCUMULATOR, ACCUMULATOR_BITS, BIAS, Format
from adakern_spec.parameters import SHIFT_BITS

from ..fixed import saturate, shape_of


def rounded(value: Value, shift: int) -> Value:
    """``rs(value, shift)`` with a shift that never changes."""
    return (value + (1 << shift >> 1)) >> shift


class RoundShift(wiring.Component):
    """``rs(value, shift)`` in ``latency`` cycles, a new pair in each.

    Uses rs(v, s) = floor((floor(2v / 2^s) + 1) / 2), which needs no shifted half and is right for
    s = 0 too. The shifter takes two ranks: multiples of 8, then the rest.

    Members
    -------
    value : In(shape)
    shift : In(0 … SHIFT_MAX)
    result : Out(shape)
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        super().__init__({"value": In(shape), "shift": In(SHIFT_BITS), "result": Out(shape)})

    @property
    def latency(self) -> int:
        return ROUND_SHIFT_LATENCY

    def elaborate(self, platform):
        m = Module()
        low = 3
        doubled = Shape(self.shape.width + 1, self.shape.signed)
        coarse = Signal(doubled, reset_less=True)
        fine = Signal(doubled, reset_less=True)
        fine_shift = Signal(low, reset_less=True)
        result = Signal(self.shape, reset_less=True)
        m.d.sync += [
            coarse.eq((self.value << 1) >> Cat(C(0, low), self.shift[low:])),
            fine_shift.eq(self.shift[:low]),
            fine.eq(coarse >> fine_shift),
            result.eq((fine + 1) >> 1),
        ]
        m.d.comb += self.result.eq(result)
        return m


class Requantise(wiring.Component):
    """``saturate(rs(sum + bias, shift))`` in ``latency`` cycles, a new value in each.

    The accumulator ``sum + bias`` has 32 bits: a network that needs more is refused when it is
    quantised.

    Members
    -------
    sum : In(shape)
    bias : In(signed 32 bit)
    shift : In(0 … SHIFT_MAX)
    result : Out(fmt)
    """

    def __init__(self, shape: Shape, fmt: Format) -> None:
        self.format = fmt
        super().__init__(
            {
                "sum": In(shape),
                "bias": In(shape_of(BIAS)),
                "shift": In(unsigned(SHIFT_BITS)),
                "result": Out(shape_of(fmt)),
            }
        )

    @property
    def latency(self) -> int:
        return REQUANTISE_LATENCY

    def elaborate(self, platform):
        m = Module()
        m.submodules.round_shift = round_shift = RoundShift(signed(ACCUMULATOR_BITS))
        total = Signal(signed(ACCUMULATOR_BITS), reset_less=True)
        shift = Signal(SHIFT_BITS, reset_less=True)
        result = Signal(shape_of(self.format), reset_less=True)
        m.d.comb += [
            round_shift.value.eq(total),
            round_shift.shift.eq(shift),
            self.result.eq(result),
        ]
        m.d.sync += [
            total.eq(self.sum + self.bias),
            shift.eq(self.shift),
            result.eq(saturate(round_shift.result, self.format)),
        ]
        return m


class ShiftRequantise(wiring.Component):
    """``saturate(rs(sum, shift))`` of an unsigned format, ``latency`` cycles after ``start``.

    For sums at least SHIFT_REQUANTISE_INTERVAL cycles apart, doubled as in `RoundShift`: one register shifts
    by bytes, the next one takes over what may still count and shifts by bits. A sum below 0 is 0 there,
    one that is too large stays so whatever its shift.

    Members
    -------
    start : In(1)
    sum : In(signed 32 bit)
        Bias included.
    shift : In(0 … SHIFT_MAX)
    result : Out(fmt)
        While ``done`` is 1.
    done : Out(1)
    """

    def __init__(self, fmt: Format) -> None:
        self.format = fmt
        super().__init__(
            {
                "start": In(1),
                "sum": In(shape_of(ACCUMULATOR)),
                "shift": In(unsigned(SHIFT_BITS)),
                "result": Out(shape_of(fmt)),
                "done": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        return SHIFT_REQUANTISE_LATENCY

    def elaborate(self, platform):
        m = Module()
        bits = self.format.bits
        age = Signal(self.latency)
        m.d.sync += age.eq(Cat(self.start, age))

        doubled = Signal(ACCUMULATOR_BITS, reset_less=True)
        negative = Signal(reset_less=True)
        coarse = Signal(range(BYTE_SHIFTS + 1), reset_less=True)
        fine = Signal(range(BIT_SHIFTS + 1), reset_less=True)
        with m.If(self.start):
            m.d.sync += [
                doubled.eq(self.sum << 1),
                negative.eq(self.sum[-1]),
                coarse.eq(self.shift[3:]),
                fine.eq(self.shift[:3]),
            ]
        with m.Elif(coarse != 0):
            m.d.sync += [doubled.eq(doubled >> 8), coarse.eq(coarse - 1)]

        few = Signal(bits + 1 + BIT_SHIFTS, reset_less=True)
        left = Signal.like(fine)
        large = doubled[len(few) :].any()
        with m.If(age[BYTE_SHIFTS]):
            m.d.sync += [few.eq(Mux(negative, 0, doubled | large.replicate(len(few)))), left.eq(fine)]
        with m.Elif(left != 0):
            m.d.sync += [few.eq(few >> 1), left.eq(left - 1)]

        rounded = few[: bits + 1] + 1
        exceeds = rounded[-1] | few[bits + 1 :].any()
        m.d.comb += [
            self.result.eq(Mux(exceeds, self.format.max, rounded[1:])),
            self.done.eq(age[-1]),
        ]
        return m
