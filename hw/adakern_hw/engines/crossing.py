"""An engine at a clock of its own, behind the ports that it has at the link's."""

from amaranth import DomainRenamer, Module, ResetInserter, Signal
from amaranth.hdl import ShapeLike
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ..blocks.hints import COPY

ENGINE = "engine"
"""Clock domain of an engine behind an `EngineCrossing`; without a reset."""

HOLD = 16
"""Cycles of the link's clock for which the engine and the crossings stay in reset: many times what a level
takes to the other domain and back."""

SETTLING = 16
"""Cycles between the last parameter byte and the next job: the byte is in its memory by then."""

STREAMS = {"jobs": In, "pixels": In, "parameters": In, "results": Out}
"""The engine's streams and their directions."""

ON_THE_WAY = 2
"""Jobs or results in a crossing: one held, one offered."""


class StreamCrossing(wiring.Component):
    """Hands payloads from one clock domain to another, one at a time.

    The payload rests in a register of the writer's while a toggle tells the reader of it, and a second
    toggle the writer that it was taken (two-phase handshake). So a payload takes about four cycles of
    each domain: far less than a link needs for a pixel. Both sides must be reset together, and longer
    than a toggle takes (HOLD).

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.
    write, read : str
        Clock domains of the input and the output.

    Members
    -------
    input : In(stream)
    output : Out(stream)
    """

    def __init__(self, shape: ShapeLike, write: str, read: str) -> None:
        self.shape = shape
        self.write = write
        self.read = read
        super().__init__({"input": In(stream.Signature(shape)), "output": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        held = Signal(self.shape, reset_less=True)
        payload = Signal(self.shape, reset_less=True)
        sent, arrived = Signal(), Signal()
        taken, acknowledged = Signal(), Signal()
        m.submodules.there = FFSynchronizer(sent, arrived, o_domain=self.read)
        m.submodules.back = FFSynchronizer(taken, acknowledged, o_domain=self.write)

        # Each handshake has a register for the neighbour and one for here: they may be far apart.
        free, offered = Signal(attrs={COPY: 1}), Signal(attrs={COPY: 1})
        m.d.comb += self.input.ready.eq(offered)
        with m.If(self.input.valid & free):
            m.d[self.write] += [held.eq(self.input.payload), sent.eq(~sent), free.eq(0), offered.eq(0)]
        with m.Else():
            m.d[self.write] += [free.eq(sent == acknowledged), offered.eq(sent == acknowledged)]

        full, valid = Signal(attrs={COPY: 1}), Signal(attrs={COPY: 1})
        m.d.comb += [self.output.payload.eq(payload), self.output.valid.eq(valid)]
        with m.If(self.output.ready):
            m.d[self.read] += [full.eq(0), valid.eq(0)]
        fetch = Signal()
        m.d[self.read] += fetch.eq((arrived != taken) & ~full & ~fetch)
        with m.If(fetch):
            m.d[self.read] += [payload.eq(held), full.eq(1), valid.eq(1), taken.eq(~taken)]
        return m


class EngineCrossing(wiring.Component):
    """The ports of an engine in the domain ``sync``, the engine itself in the domain ENGINE.

    A serial link is slower than an engine by orders of magnitude, so it need not meet the engine's
    clock. A restart drops the maps under way and keeps the parameters.
    ENGINE's clock must not be slower than that of ``sync``; otherwise they need not be related.

    Latency: a job, pixel, parameter or result is about four cycles of each clock on its way. ``cycles``
    and ``stalls`` of a result count the engine's clock.

    Parameters
    ----------
    engine : Component
        With the ports of `SpnEngine`.

    Members
    -------
    As those of the engine; ``stalled`` comes some cycles late.
    """

    def __init__(self, engine: wiring.Component) -> None:
        self.engine = engine
        super().__init__(engine.signature)

    def elaborate(self, platform):
        m = Module()
        engine = self.engine
        hold = Signal(range(HOLD + 1), init=HOLD)
        halt = Signal(init=1)
        halted = Signal(init=1)
        with m.If(hold != 0):
            m.d.sync += hold.eq(hold - 1)
        with m.If(self.restart):
            m.d.sync += [hold.eq(HOLD), halt.eq(1)]
        with m.Else():
            m.d.sync += halt.eq(hold != 0)
        m.submodules.halt_there = FFSynchronizer(halt, halted, o_domain=ENGINE, init=1)

        m.submodules.engine = DomainRenamer(ENGINE)(engine)
        m.d.comb += engine.restart.eq(halted)
        for name, flow in STREAMS.items():
            inner, outer = getattr(engine, name), getattr(self, name)
            domains = ("sync", ENGINE) if flow is In else (ENGINE, "sync")
            crossing = StreamCrossing(inner.payload.shape(), *domains)
            m.submodules[name] = ResetInserter({"sync": halt, ENGINE: halted})(crossing)
            if flow is Out:
                wiring.connect(m, inner, crossing.input)
                wiring.connect(m, crossing.output, wiring.flipped(outer))
                continue
            wiring.connect(m, crossing.output, inner)
            allowed = self._admission(m, name, halt)
            m.d.comb += [
                crossing.input.payload.eq(outer.payload),
                crossing.input.valid.eq(outer.valid & allowed),
                outer.ready.eq(crossing.input.ready & allowed),
            ]
        m.submodules.stalled_back = FFSynchronizer(engine.stalled, self.stalled)
        self._count(m)
        return m

    def _admission(self, m: Module, name: str, halt: Signal) -> Signal:
        """Whether the stream may pass: not in a reset, and no job while parameters are under way."""
        if name != "jobs":
            return ~halt
        settling = Signal(range(SETTLING + 1))
        with m.If(self.parameters.valid):
            m.d.sync += settling.eq(SETTLING)
        with m.Elif(settling != 0):
            m.d.sync += settling.eq(settling - 1)
        return ~halt & (settling == 0)

    def _count(self, m: Module) -> None:
        """``busy`` from the jobs accepted and the results taken."""
        under_way = Signal(range(self.engine.flights + 2 * ON_THE_WAY + 1))
        accepted = self.jobs.valid & self.jobs.ready
        returned = self.results.valid & self.results.ready
        m.d.sync += under_way.eq(under_way + accepted - returned)
        with m.If(self.restart):
            m.d.sync += under_way.eq(0)
        m.d.comb += self.busy.eq(under_way != 0)
