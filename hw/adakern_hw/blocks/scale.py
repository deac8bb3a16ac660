"""From the last stage's pixels to scales and kernel sizes (design part 1)."""

from amaranth import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.numbers import (
    ACTIVATION_BITS,
    BASE,
    GAIN,
    KERNEL,
    KERNEL_SHIFT,
    MEAN,
    MEAN_EXTRA_BITS,
    SCALE,
    SCALE_MAX,
    SCALE_MIN,
    Format,
    bits_for,
)
from adakern_spec.parameters import DIRECTION_FIELDS, DIRECTIONS, HEAD_FIELDS

from ..fixed import shape_of
from .parameters import BYTES, RecordStore
from .pixels import pixel_layout
from .rounding import RoundShift
from .serial import Divider, SerialMultiplier

INPUT = Format(ACTIVATION_BITS, signed=False)
"""What is averaged, behind a ReLU."""

SIZE_LAYOUT = data.StructLayout({"scale": shape_of(SCALE), "kernel": shape_of(KERNEL)})
"""Answer for one direction."""


class GlobalAverage(wiring.Component):
    """``mean = floor((S * 2^8 + floor(N / 2)) / N)`` per channel over the real pixels of a map.

    The sums are handed over at the map's last pixel, so the next map streams while the divider works;
    the input waits only if that map ends before the divider has finished. With ``single`` nothing is handed
    over: no map may begin before the means of the one before are there.

    Bits: S has 8 more than the count of the longest map's pixels; a mean is at most 255 * 2^8.

    Parameters
    ----------
    channels : int
    reach : int
        Columns at which the pixels' tags saturate.
    most : int
        Pixels of the longest map.
    single : bool

    Members
    -------
    pixels : In(stream of pixels)
    means : Out(stream of MEAN)
        One per channel, in order.
    """

    def __init__(self, channels: int, reach: int, most: int, single: bool = False) -> None:
        self.channels = channels
        self.single = single
        self.layout = pixel_layout(INPUT, channels, reach)
        self.count_bits = bits_for(most)
        super().__init__(
            {
                "pixels": In(stream.Signature(self.layout)),
                "means": Out(stream.Signature(shape_of(MEAN))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        outputs = self.channels
        m.submodules.divider = divider = Divider(self.count_bits, MEAN.bits)
        wiring.connect(m, divider.quotients, wiring.flipped(self.means))

        pixel = Signal(self.layout, reset_less=True)
        present = Signal()
        held = Signal()
        take = Signal()
        m.d.comb += [
            take.eq(present if self.single else present & ~(pixel.tags.last & held)),
            self.pixels.ready.eq(~present | take),
        ]
        with m.If(self.pixels.ready):
            m.d.sync += [present.eq(self.pixels.valid & self.pixels.p.tags.real), pixel.eq(self.pixels.p)]

        sums = [Signal(self.count_bits + INPUT.bits, name=f"sum_{i}") for i in range(outputs)]
        count = Signal(self.count_bits)
        totals, total_count = sums, count
        if not self.single:
            totals = [Signal.like(s, name=f"total_{i}", reset_less=True) for i, s in enumerate(sums)]
            total_count = Signal(self.count_bits, reset_less=True)
        with m.If(take):
            for register, total, value in zip(
                (*sums, count), (*totals, total_count), (*pixel.values, 1), strict=True
            ):
                m.d.sync += register.eq(register + value)
                if not self.single:
                    with m.If(pixel.tags.last):
                        m.d.sync += [total.eq(register + value), register.eq(0)]
            with m.If(pixel.tags.last):
                m.d.sync += held.eq(1)

        index = Signal(range(outputs))
        operands = Signal(divider.operand_layout, reset_less=True)
        offered = Signal()
        values = [
            operands.numerator.eq((Array(totals)[index] << MEAN_EXTRA_BITS) + (total_count >> 1)),
            operands.denominator.eq(total_count),
        ]
        m.d.comb += [divider.operands.payload.eq(operands), divider.operands.valid.eq(offered)]
        if self.single:
            m.d.comb += values
        with m.If(held & ~offered):
            m.d.sync += offered.eq(1)
            if not self.single:
                m.d.sync += values
        with m.If(offered & divider.operands.ready):
            m.d.sync += [offered.eq(0), index.eq(index + 1)]
            with m.If(index == outputs - 1):
                m.d.sync += [held.eq(0), index.eq(0)]
                if self.single:
                    m.d.sync += [register.eq(0) for register in (count, *sums)]
        return m


class ScaleHead(wiring.Component):
    """``scale = clamp(rs(mean * gain, gain_shift) + offset, 0.5, 2.0)``, one output after the other.

    Members
    -------
    means : In(stream of MEAN)
    scales : Out(stream of SCALE)
    parameters : In(byte stream)
        HEAD_FIELDS of each output.
    """

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs
        super().__init__(
            {
                "means": In(stream.Signature(shape_of(MEAN))),
                "scales": Out(stream.Signature(shape_of(SCALE))),
                "parameters": In(BYTES),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = RecordStore(HEAD_FIELDS, self.outputs)
        m.submodules.multiplier = multiplier = SerialMultiplier(shape_of(GAIN), MEAN.bits)
        m.submodules.round_shift = round_shift = RoundShift(multiplier.product)
        wiring.connect(m, wiring.flipped(self.parameters), store.bytes)

        index = Signal(range(self.outputs))
        record = store.records[0]
        wait = Signal(range(round_shift.latency))
        total = Signal((round_shift.result + record.offset).shape(), reset_less=True)
        below, above = Signal(reset_less=True), Signal(reset_less=True)
        scale = Signal(shape_of(SCALE), reset_less=True)
        m.d.comb += [
            store.address.eq(index),
            multiplier.operands.p.a.eq(record.gain),
            multiplier.operands.p.b.eq(self.means.payload),
            round_shift.value.eq(multiplier.products.payload),
            round_shift.shift.eq(record.gain_shift),
            self.scales.payload.eq(scale),
        ]
        with m.FSM():
            with m.State("FETCH"):
                m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.comb += [
                    multiplier.operands.valid.eq(self.means.valid),
                    self.means.ready.eq(multiplier.operands.ready),
                ]
                m.d.sync += wait.eq(round_shift.latency - 1)
                with m.If(multiplier.products.valid):
                    m.next = "ROUND"
            with m.State("ROUND"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.next = "OFFSET"
            with m.State("OFFSET"):
                m.d.comb += multiplier.products.ready.eq(1)
                m.d.sync += total.eq(round_shift.result + record.offset)
                m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.sync += [below.eq(total < SCALE_MIN), above.eq(total > SCALE_MAX)]
                m.next = "CLAMP"
            with m.State("CLAMP"):
                m.d.sync += scale.eq(Mux(below, SCALE_MIN, Mux(above, SCALE_MAX, total)))
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.scales.valid.eq(1)
                with m.If(self.scales.ready):
                    m.d.sync += index.eq(Mux(index == self.outputs - 1, 0, index + 1))
                    m.next = "FETCH"
        return m


class KernelSize(wiring.Component):
    """``k = clamp(rs(base * scale, 6), k_min, k_max)`` for height, then length.

    Members
    -------
    scales : In(stream of SCALE)
        ``outputs`` per map; a single one serves both directions.
    sizes : Out(stream of scale and kernel)
        Two per map.
    parameters : In(byte stream)
        DIRECTION_FIELDS of both directions.
    """

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs
        super().__init__(
            {
                "scales": In(stream.Signature(shape_of(SCALE))),
                "sizes": Out(stream.Signature(SIZE_LAYOUT)),
                "parameters": In(BYTES),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = RecordStore(DIRECTION_FIELDS, len(DIRECTIONS))
        m.submodules.multiplier = multiplier = SerialMultiplier(shape_of(SCALE), BASE.bits)
        wiring.connect(m, wiring.flipped(self.parameters), store.bytes)

        direction = Signal(range(len(DIRECTIONS)))
        record = store.records[0]
        scale = Signal(shape_of(SCALE), reset_less=True)
        rounded = Signal(multiplier.product.width - KERNEL_SHIFT + 1, reset_less=True)
        kernel = Signal(shape_of(KERNEL), reset_less=True)
        below, above = Signal(reset_less=True), Signal(reset_less=True)
        half = 1 << (KERNEL_SHIFT - 1)
        m.d.comb += [
            store.address.eq(direction),
            multiplier.operands.p.a.eq(scale),
            multiplier.operands.p.b.eq(record.base),
            self.sizes.p.scale.eq(scale),
            self.sizes.p.kernel.eq(kernel),
        ]
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += self.scales.ready.eq(1)
                m.d.sync += scale.eq(self.scales.payload)
                with m.If(self.scales.valid):
                    m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.comb += multiplier.operands.valid.eq(1)
                m.next = "ROUND"
            with m.State("ROUND"):
                m.d.comb += multiplier.products.ready.eq(1)
                m.d.sync += rounded.eq((multiplier.products.payload + half) >> KERNEL_SHIFT)
                with m.If(multiplier.products.valid):
                    m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.sync += [below.eq(rounded < record.k_min), above.eq(rounded > record.k_max)]
                m.next = "CLAMP"
            with m.State("CLAMP"):
                m.d.sync += kernel.eq(Mux(below, record.k_min, Mux(above, record.k_max, rounded)))
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.sizes.valid.eq(1)
                with m.If(self.sizes.ready):
                    m.d.sync += direction.eq(direction + 1)
                    if self.outputs == len(DIRECTIONS):
                        m.next = "TAKE"
                    else:
                        with m.If(direction == 0):
                            m.next = "FETCH"
                        with m.Else():
                            m.next = "TAKE"
            if self.outputs != len(DIRECTIONS):
                with m.State("FETCH"):
                    m.next = "MULTIPLY"
        return m
