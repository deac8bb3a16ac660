"""Meter: how long each map took, and how much of that was waiting for the link."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .delay import DelayLine
from .ram import Ram

COUNTER_BITS = 32


class Meter(wiring.Component):
    """Counts cycles and stalls of the maps under way.

    Members
    -------
    first, ended : In(1)
        The first, the last pixel of a map is accepted in this cycle.
    stalled : In(1)
    answered : In(1)
        The oldest map's answer is there in this cycle.
    cycles, stalls : Out(COUNTER_BITS)
        Of the map that was answered, in the next cycle: the cycles from ``first`` to ``answered`` and
        those of them stalled.
    """

    first: In(1)
    ended: In(1)
    stalled: In(1)
    answered: In(1)
    cycles: Out(COUNTER_BITS)
    stalls: Out(COUNTER_BITS)


class SingleMapMeter(Meter):
    """One map at a time; its numbers stay until the next one begins."""

    def elaborate(self, platform):
        m = Module()
        running = Signal()
        with m.If(self.first):
            m.d.sync += [running.eq(1), self.cycles.eq(1), self.stalls.eq(0)]
        with m.Elif(self.answered):
            m.d.sync += running.eq(0)
        with m.Elif(running):
            m.d.sync += [self.cycles.eq(self.cycles + 1), self.stalls.eq(self.stalls + self.stalled)]
        return m


class MapMeter(Meter):
    """Several maps at a time, of which the next may push out the one before.

    The engine is a pure delay behind its first stage, so a stall holds a map up only if it comes
    before the pixel that pushes the map out, ``pipeline`` cycles ahead of its answer: stalls are
    counted with that delay at the end of a map and without it at the start.

    Parameters
    ----------
    pipeline : int
        Cycles from that pixel to the answer.
    flights : int
        Most maps under way.
    """

    def __init__(self, pipeline: int, flights: int) -> None:
        self.pipeline = pipeline
        self.flights = flights
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.late = late = DelayLine(1, self.pipeline, blank=True)
        # The oldest start is read all the time, and there long before its map is answered.
        depth = max(self.flights, 2)
        m.submodules.starts = starts = Ram(2 * COUNTER_BITS, depth)
        tail, head = Signal(range(depth)), Signal(range(depth))
        now = Signal(COUNTER_BITS)
        stalls = Signal(COUNTER_BITS)
        late_stalls = Signal(COUNTER_BITS)
        m.d.comb += [
            late.advance.eq(1),
            late.input.eq(self.stalled),
            starts.write.addr.eq(tail),
            starts.write.data.eq(stalls << COUNTER_BITS | now),
            starts.write.en.eq(self.first),
            starts.read.addr.eq(head),
            starts.read.en.eq(1),
        ]
        for event, pointer in ((self.first, tail), (self.answered, head)):
            with m.If(event):
                m.d.sync += pointer.eq(Mux(pointer == depth - 1, 0, pointer + 1))
        m.d.sync += [
            now.eq(now + 1),
            self.cycles.eq(now - starts.read.data[:COUNTER_BITS]),
            self.stalls.eq(late_stalls - starts.read.data[COUNTER_BITS:]),
        ]
        with m.If(self.stalled):
            m.d.sync += stalls.eq(stalls + 1)
        with m.If(late.output):
            m.d.sync += late_stalls.eq(late_stalls + 1)
        return m


class DrainedMapMeter(Meter):
    """Several maps at a time, pushed out by blank pixels alone: only stalls before a map's end hold it up.

    Parameters
    ----------
    flights : int
        Most maps under way.
    """

    def __init__(self, flights: int) -> None:
        self.flights = flights
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        # The oldest map's numbers are read all the time, and there long before it is answered.
        depth = max(self.flights, 2)
        m.submodules.starts = starts = Ram(COUNTER_BITS, depth)
        m.submodules.waits = waits = Ram(COUNTER_BITS, depth)
        now, stalls = Signal(COUNTER_BITS), Signal(COUNTER_BITS)
        head = Signal(range(depth))
        # A map of one pixel ends as it begins.
        waited = Mux(self.first, 0, stalls)
        for memory, event, value in ((starts, self.first, now), (waits, self.ended, waited)):
            tail = Signal(range(depth))
            m.d.comb += [
                memory.write.addr.eq(tail),
                memory.write.data.eq(value),
                memory.write.en.eq(event),
                memory.read.addr.eq(head),
                memory.read.en.eq(1),
            ]
            with m.If(event):
                m.d.sync += tail.eq(Mux(tail == depth - 1, 0, tail + 1))
        with m.If(self.answered):
            m.d.sync += head.eq(Mux(head == depth - 1, 0, head + 1))
        m.d.sync += [
            now.eq(now + 1),
            self.cycles.eq(now - starts.read.data),
            self.stalls.eq(waits.read.data),
        ]
        with m.If(self.first):
            m.d.sync += stalls.eq(0)
        with m.Elif(self.stalled):
            m.d.sync += stalls.eq(stalls + 1)
        return m


def make_meter(pipeline: int, flights: int) -> Meter:
    """Meter for at most ``flights`` maps under way."""
    return SingleMapMeter() if flights == 1 else MapMeter(pipeline, flights)
