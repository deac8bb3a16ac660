"""Admission to a pipeline that never stalls."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .hints import COPY


class Credits(wiring.Component):
    """Accepts what the queue at the pipeline's end has room for, at most every ``interval`` cycles.

    ``ready`` is a register, so that nothing combinational reaches back into the block before, which has a
    copy of its own.

    Parameters
    ----------
    credits : int
        Places in the queue.
    interval : int

    Members
    -------
    valid : In(1)
        Of the stream at the pipeline's start.
    ready : Out(1)
    accepted : Out(1)
    returned : In(0 … 2)
        Places that become free in this cycle.
    """

    valid: In(1)
    ready: Out(1)
    accepted: Out(1)
    returned: In(2)

    def __init__(self, credits: int, interval: int = 1) -> None:
        self.credits = credits
        self.interval = interval
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        free = Signal(range(self.credits + 1), init=self.credits)
        countdown = Signal(range(self.interval))
        ready = Signal(init=1, attrs={COPY: 1})
        offered = Signal(init=1, attrs={COPY: 1})
        ready_next = Signal()
        free_next = free - self.accepted + self.returned
        m.d.comb += [self.accepted.eq(self.valid & ready), self.ready.eq(offered)]
        m.d.sync += [free.eq(free_next), ready.eq(ready_next), offered.eq(ready_next)]
        if self.interval == 1:
            m.d.comb += ready_next.eq(free_next != 0)
        else:
            returns = self.returned.any()
            m.d.comb += ready_next.eq(~self.accepted & (countdown <= 1) & ((free != 0) | returns))
            with m.If(self.accepted):
                m.d.sync += countdown.eq(self.interval - 1)
            with m.Elif(countdown != 0):
                m.d.sync += countdown.eq(countdown - 1)
        return m
