"""An engine with the ports of `SpnEngine` that only adds up what it gets, to test the link by itself."""

from amaranth import Const, Module, Mux, ResetInserter, Shape, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_hw.engines.spn import RESULT_LAYOUT
from adakern_spec.network import SpnShape
from adakern_spec.numbers import ACTIVATION_BITS, LENGTH_BITS
from adakern_spec.parameters import block_size


class StubEngine(wiring.Component):
    """Sums of the map and of the parameters in place of scales and kernels.

    ``scales`` are (sum of the map's unsigned bytes, number of maps since reset), ``kernels`` (sum of the
    parameter block's bytes, length), all modulo 2**16.

    Parameters
    ----------
    shape : SpnShape
    interval : int
        Cycles per pixel.
    delay : int
        Cycles from the last pixel to the result.
    stuck_length : int
        A job of this length takes no pixel, one of the next length gives no result: never a real one.
    """

    flights = 1
    """Maps under way at once."""

    def __init__(self, shape: SpnShape, interval: int = 1, delay: int = 20, stuck_length: int = 0) -> None:
        self.shape = shape
        self.interval = interval
        self.delay = delay
        self.stuck_length = stuck_length
        pixel = data.ArrayLayout(Shape(ACTIVATION_BITS, shape.input_signed), shape.in_channels)
        super().__init__(
            {
                "jobs": In(stream.Signature(unsigned(LENGTH_BITS))),
                "pixels": In(stream.Signature(pixel)),
                "parameters": In(stream.Signature(8)),
                "results": Out(stream.Signature(RESULT_LAYOUT)),
                "busy": Out(1),
                "stalled": Out(1),
                "restart": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.body = ResetInserter(self.restart)(self._body())
        return m

    def _body(self) -> Module:
        m = Module()
        loaded = Signal(16, reset_less=True)
        position = Signal(range(block_size(self.shape)))
        m.d.comb += self.parameters.ready.eq(1)
        with m.If(self.parameters.valid):
            last = position == block_size(self.shape) - 1
            m.d.sync += [
                loaded.eq(Mux(position == 0, 0, loaded) + self.parameters.payload),
                position.eq(Mux(last, 0, position + 1)),
            ]

        length = Signal(LENGTH_BITS)
        left = Signal(range(self.shape.pixels(self.shape.max_length) + 1))
        total = Signal(16)
        maps = Signal(16)
        pace = Signal(range(self.interval))
        wait = Signal(range(self.delay + 1))
        cycles = Signal(32)
        stalls = Signal(32)
        result = self.results.payload
        values = [
            data.View(self.pixels.payload.shape(), self.pixels.payload)[c]
            for c in range(self.shape.in_channels)
        ]
        m.d.comb += [
            result.cycles.eq(cycles),
            result.stalls.eq(stalls),
            result.scales[0].eq(total),
            result.scales[1].eq(maps),
            result.kernels[0].eq(loaded),
            result.kernels[1].eq(length),
        ]
        with m.If(pace != 0):
            m.d.sync += pace.eq(pace - 1)
        # A result that is offered does not change.
        with m.If(~self.results.valid):
            m.d.sync += cycles.eq(cycles + 1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.jobs.ready.eq(1)
                m.d.sync += [
                    length.eq(self.jobs.payload),
                    left.eq(self.jobs.payload * self.shape.height),
                    total.eq(0),
                    stalls.eq(0),
                    wait.eq(self.delay),
                ]
                with m.If(self.jobs.valid):
                    m.next = "MAP"
            with m.State("MAP"):
                stuck = (length == self.stuck_length) if self.stuck_length else Const(0)
                m.d.comb += [
                    self.busy.eq(1),
                    self.pixels.ready.eq((pace == 0) & ~stuck),
                    self.stalled.eq((pace == 0) & ~self.pixels.valid & (left != length * self.shape.height)),
                ]
                with m.If(left == length * self.shape.height):
                    m.d.sync += cycles.eq(1)
                with m.If(self.stalled):
                    m.d.sync += stalls.eq(stalls + 1)
                with m.If(self.pixels.valid & self.pixels.ready):
                    m.d.sync += [
                        pace.eq(self.interval - 1),
                        left.eq(left - 1),
                        total.eq(total + sum(value.as_unsigned() for value in values)),
                    ]
                    with m.If(left == 1):
                        m.d.sync += maps.eq(maps + 1)
                        m.next = "RESULT"
            with m.State("RESULT"):
                mute = (length == self.stuck_length + 1) if self.stuck_length else Const(0)
                m.d.comb += [self.busy.eq(1), self.results.valid.eq((wait == 0) & ~mute)]
                with m.If(wait != 0):
                    m.d.sync += wait.eq(wait - 1)
                with m.If(self.results.valid & self.results.ready):
                    m.next = "IDLE"
        return m
