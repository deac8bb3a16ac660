"""Pace of a stream: how soon its next payload is due."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .hints import COPY


class Pacer(wiring.Component):
    """Handshake of an output register that is filled at most every ``interval`` cycles.

    What is taken in one cycle is offered in the next.

    Members
    -------
    taken : In(1)
        The register is filled in this cycle; only if ``due``.
    ready : In(1)
        Of the stream at the output.
    free : Out(1)
        The register may be filled: it is empty, or its content goes now.
    due : Out(1)
        It may, and the interval has passed.
    offered : Out(1)
        The register is full.
    """

    taken: In(1)
    ready: In(1)
    free: Out(1)
    due: Out(1)
    offered: Out(1)

    def __init__(self, interval: int) -> None:
        self.interval = interval
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        countdown = Signal(range(self.interval))
        elapsed = Signal(init=1)
        sent, offered = Signal(), Signal(attrs={COPY: 1})
        # Only at a payload per cycle may the one before be taken in the very cycle in which the next is due.
        m.d.comb += [
            self.free.eq(~sent if self.interval > 1 else ~sent | self.ready),
            self.due.eq(elapsed & self.free),
            self.offered.eq(offered),
        ]
        with m.If(self.taken):
            m.d.sync += [
                countdown.eq(self.interval - 1),
                elapsed.eq(self.interval == 1),
                sent.eq(1),
                offered.eq(1),
            ]
        with m.Else():
            with m.If(countdown != 0):
                m.d.sync += countdown.eq(countdown - 1)
            m.d.sync += elapsed.eq(countdown <= 1)
            with m.If(self.ready):
                m.d.sync += [sent.eq(0), offered.eq(0)]
        return m
