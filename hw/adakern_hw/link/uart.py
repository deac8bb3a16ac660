"""UART with 8 data bits, no parity, one stop bit, at any baud rate up to a quarter of the clock."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import cdc, stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.errors import ShapeError

from .layouts import LINE_BYTE

CYCLES_PER_BIT_MIN = 4
"""Below this, one cycle of uncertainty about the start edge is too much of a bit."""

CYCLES_PER_BIT_VOTE = 8
"""From here on the three samples of a vote lie well within a bit."""

RESOLUTION = 1e-4
"""Largest relative error of the baud rate; 8N1 tolerates about 5% between both ends."""

FRAME_BITS = 10
"""Start, eight data, stop."""

BREAK_BITS = FRAME_BITS + 1
"""A line low for this long is a BREAK: longer than any byte with its start bit."""


class BaudDivider:
    """Fractional divider: an accumulator of ``bits`` bits that grows by ``step`` in each cycle and carries
    once per bit, so the error never adds up over bits.

    Parameters
    ----------
    clock_hz, baud : int

    Raises
    ------
    ShapeError
        If a bit is shorter than `CYCLES_PER_BIT_MIN` cycles.
    """

    def __init__(self, clock_hz: int, baud: int) -> None:
        if not 0 < baud * CYCLES_PER_BIT_MIN <= clock_hz:
            raise ShapeError(
                f"{baud} baud", f"UART at {clock_hz} Hz", f"use at most {clock_hz // CYCLES_PER_BIT_MIN}"
            )
        # Rounding the step is an error of at most 1 / (2 * step): enough bits make the step long enough.
        self.bits = 1
        while abs(self._step(clock_hz, baud) * clock_hz / (baud << self.bits) - 1) > RESOLUTION:
            self.bits += 1
        self.step = self._step(clock_hz, baud)
        self.cycles_per_bit = (1 << self.bits) / self.step

    def _step(self, clock_hz: int, baud: int) -> int:
        return ((baud << self.bits) + clock_hz // 2) // clock_hz


class UartReceiver(wiring.Component):
    """Bytes from a UART's line.

    Each bit is sampled in its middle (by a vote of three cycles if a bit has at least
    `CYCLES_PER_BIT_VOTE`). A byte whose stop bit is low is marked ``error``; so is the byte behind a
    loss: one that takes the place of a byte that was not taken in time.

    Latency: a byte about 4 cycles after the middle of its stop bit, 1 more with the vote.

    Parameters
    ----------
    clock_hz, baud : int

    Members
    -------
    pin : In(1)
        Asynchronous.
    bytes : Out(stream of LINE_BYTE)
    line_break : Out(1)
        Pulses once the line has been low for `BREAK_BITS` bits.
    """

    pin: In(1)
    bytes: Out(stream.Signature(LINE_BYTE))
    line_break: Out(1)

    def __init__(self, clock_hz: int, baud: int) -> None:
        self.divider = BaudDivider(clock_hz, baud)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        divider = self.divider
        synchronous = Signal(init=1)
        m.submodules += cdc.FFSynchronizer(self.pin, synchronous, init=1)
        level = Signal(init=1)
        if divider.cycles_per_bit >= CYCLES_PER_BIT_VOTE:
            recent = Signal(2, init=0b11)
            m.d.sync += [
                recent.eq(Cat(synchronous, recent[0])),
                level.eq((recent[0] & recent[1]) | (synchronous & (recent[0] | recent[1]))),
            ]
        else:
            m.d.sync += level.eq(synchronous)

        phase = Signal(divider.bits, reset_less=True)
        tick = Signal()
        active = Signal()
        count = Signal(range(BREAK_BITS + 1))
        shift = Signal(8, reset_less=True)
        m.d.sync += [Cat(phase, tick).eq(phase + divider.step), self.line_break.eq(0)]
        with m.If(self.bytes.ready):
            m.d.sync += self.bytes.valid.eq(0)
        with m.If(~active):
            # Bit n is sampled (n + 1/2) bits less one cycle after this one, rounded up to whole cycles;
            # the edge lies up to a cycle before this one: together that is the middle, one cycle either way.
            half = (1 << (divider.bits - 1)) + 2 * divider.step
            m.d.sync += [phase.eq(half % (1 << divider.bits)), tick.eq(half >> divider.bits), count.eq(0)]
            with m.If(~level):
                m.d.sync += active.eq(1)
        with m.Elif(tick):
            m.d.sync += count.eq(count + 1)
            with m.If((count == 0) & level):
                # A glitch, not a start bit.
                m.d.sync += active.eq(0)
            with m.Elif(count < FRAME_BITS - 1):
                m.d.sync += shift.eq(Cat(shift[1:], level))
            with m.Elif(count == FRAME_BITS - 1):
                m.d.sync += [
                    self.bytes.valid.eq(1),
                    self.bytes.payload.data.eq(shift),
                    self.bytes.payload.error.eq(~level | (self.bytes.valid & ~self.bytes.ready)),
                ]
                with m.If(level):
                    m.d.sync += active.eq(0)
            with m.Else():
                # The stop bit was low: wait for the line to rise, and see whether it is a BREAK.
                with m.If(level):
                    m.d.sync += active.eq(0)
                with m.Elif(count == BREAK_BITS - 1):
                    m.d.sync += self.line_break.eq(1)
                with m.Else():
                    m.d.sync += count.eq(count)
        return m


class UartTransmitter(wiring.Component):
    """Bytes to a UART's line, back to back if they come so.

    Latency: the start bit begins in the cycle after the byte was taken, which is at most a bit's time after
    it was offered to an idle line.

    Parameters
    ----------
    clock_hz, baud : int

    Members
    -------
    bytes : In(stream of 8 bits)
    pin : Out(1)
    clear : In(1)
        The far end can take a byte (CTS, active high here); tie to 1 without flow control.
    """

    bytes: In(stream.Signature(8))
    pin: Out(1, init=1)
    clear: In(1, init=1)

    def __init__(self, clock_hz: int, baud: int) -> None:
        self.divider = BaudDivider(clock_hz, baud)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        divider = self.divider
        clear = Signal()
        m.submodules += cdc.FFSynchronizer(self.clear, clear)
        phase = Signal(divider.bits)
        tick = Signal()
        frame = Signal(FRAME_BITS - 1, init=-1)
        left = Signal(range(FRAME_BITS + 1))
        m.d.sync += Cat(phase, tick).eq(phase + divider.step)
        m.d.comb += self.bytes.ready.eq(tick & clear & (left <= 1))
        with m.If(tick):
            m.d.sync += [
                self.pin.eq(frame[0]),
                frame.eq(Cat(frame[1:], 1)),
                left.eq(Mux(left == 0, 0, left - 1)),
            ]
            with m.If(self.bytes.valid & self.bytes.ready):
                # The start bit goes out now, then data and stop bit.
                m.d.sync += [self.pin.eq(0), frame.eq(Cat(self.bytes.payload, 1)), left.eq(FRAME_BITS)]
        return m
