"""Bytes of maps on their way to the engine."""

from amaranth import Cat, Module, Shape, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.network import ConvShape
from adakern_spec.numbers import ACTIVATION_BITS

from ..blocks.ram import Queue


class PixelFeeder(wiring.Component):
    """Packs bytes into pixels, first channel first, behind a buffer that bridges the gap between packets.

    Latency: a pixel 3 cycles after its last byte; a byte per cycle. The buffer holds ``DEPTH`` bytes: more
    than the cycles that the dispatcher needs from one DATA packet to the next, so an engine slower than a
    byte per cycle never waits.

    Parameters
    ----------
    stage : ConvShape
        The engine's first stage.

    Members
    -------
    bytes : In(stream of 8 bits)
    pixels : Out(stream of in_channels activations)
    """

    DEPTH = 64

    def __init__(self, stage: ConvShape) -> None:
        self.channels = stage.in_channels
        shape = Shape(ACTIVATION_BITS, stage.input_signed)
        super().__init__(
            {
                "bytes": In(stream.Signature(unsigned(ACTIVATION_BITS))),
                "pixels": Out(stream.Signature(data.ArrayLayout(shape, stage.in_channels))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = buffer = Queue(unsigned(ACTIVATION_BITS), self.DEPTH)
        wiring.connect(m, wiring.flipped(self.bytes), buffer.input)
        gathered = Signal(ACTIVATION_BITS * self.channels, reset_less=True)
        count = Signal(range(self.channels))
        full = Signal()
        byte = buffer.output
        m.d.comb += [
            self.pixels.payload.eq(gathered),
            self.pixels.valid.eq(full),
            byte.ready.eq(~full | self.pixels.ready),
        ]
        with m.If(self.pixels.ready):
            m.d.sync += full.eq(0)
        with m.If(byte.valid & byte.ready):
            last = count == self.channels - 1
            m.d.sync += [
                gathered.eq(Cat(gathered, byte.payload)[ACTIVATION_BITS:]),
                count.eq(count + 1),
                full.eq(last),
            ]
            with m.If(last):
                m.d.sync += count.eq(0)
        return m
