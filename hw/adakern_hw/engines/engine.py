"""What the engines share: ports, restart, measurement, results, the count of maps under way."""

from collections.abc import Callable, Mapping, Sequence

from amaranth import Cat, Module, Mux, ResetInserter, Signal, Value, unsigned
from amaranth.hdl import ShapeLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.numbers import LENGTH_BITS

from ..blocks.conv import ConvStage
from ..blocks.meter import COUNTER_BITS, Meter
from ..blocks.parameters import BYTES, ParameterRouter
from ..blocks.ram import Queue
from ..blocks.sequencer import Sequencer


def measured(answer: Mapping[str, ShapeLike]) -> data.StructLayout:
    """Result of a map: ``answer`` behind what was measured.

    ``cycles`` from the map's first pixel to the answer, ``stalls`` those of them in which the engine waited
    for a pixel: their difference is the latency of a map of this length.
    """
    return data.StructLayout({"cycles": COUNTER_BITS, "stalls": COUNTER_BITS, **answer})


class Engine(wiring.Component):
    """A sequencer, blocks that a map passes through, results.

    Maps of any length that the shape allows follow each other. A consumer that does not take results stops
    new jobs, never a map under way, and nothing is lost. A restart, like a reset, drops the maps under
    way and keeps the parameters.

    Parameters
    ----------
    pixels : layout
        Of a pixel's values.
    result : layout from `measured`
    flights : int
        Maps under way at once, at most.

    Members
    -------
    jobs : In(stream of the next map's length)
    pixels : In(stream of a pixel's values)
        ``height * length`` per job, length-major.
    parameters : In(byte stream)
        A whole parameter block, while ``busy`` is 0; a further one starts over.
    results : Out(stream of result)
        One per job, in order.
    busy : Out(1)
        From accepting a job until two cycles after its result is taken.
    stalled : Out(1)
        A pixel was due in the middle of a map in the cycle before, and not there.
    restart : In(1)
        Passes through the blocks as the pixels do, a register at each, so that it has no far way to go
        and sweeps before it what is under way. From the cycle after it until it has passed no job is accepted
        and no result offered.
    """

    def __init__(self, pixels: data.ArrayLayout, result: data.StructLayout, flights: int) -> None:
        self.result = result
        self.flights = flights
        super().__init__(
            {
                "jobs": In(stream.Signature(unsigned(LENGTH_BITS))),
                "pixels": In(stream.Signature(pixels)),
                "parameters": In(BYTES),
                "results": Out(stream.Signature(result)),
                "busy": Out(1),
                "stalled": Out(1),
                "restart": In(1),
            }
        )

    def assemble(
        self,
        m: Module,
        sequencer: Sequencer,
        blocks: Mapping[str, wiring.Component],
        path: Sequence[tuple[stream.Interface, stream.Interface]],
        loaded: Sequence[tuple[wiring.Component, int]],
        meter: Meter,
        answers: Callable[[Value], Mapping[str, Value]],
    ) -> None:
        """Make everything a submodule and connect it.

        ``blocks`` follow each other from the sequencer on, ``path`` are their input and output streams, and
        ``loaded`` those with parameters, each with its bytes, in the parameter block's order. The last block
        sends as many payloads per map as the result's arrays have elements; ``answers`` takes one apart by
        field.
        """
        router = ParameterRouter([size for _, size in loaded])
        queue = Queue(self.result, self.flights) if self.flights > 1 else None
        swept = {"router": router, "sequencer": sequencer, **blocks, "meter": meter}
        if queue is not None:
            swept["queue"] = queue
        wave = Signal(len(swept))
        sweeping = Signal()
        m.d.sync += [wave.eq(Cat(self.restart, wave)), sweeping.eq(self.restart | wave[:-1].any())]
        for restart, (name, block) in zip(wave, swept.items(), strict=True):
            if isinstance(block, ConvStage):
                m.d.comb += block.restart.eq(restart)
            else:
                block = ResetInserter(restart)(block)
            m.submodules[name] = block

        wiring.connect(m, wiring.flipped(self.parameters), router.bytes)
        for sink, (block, _) in zip(router.sinks, loaded, strict=True):
            wiring.connect(m, sink, block.parameters)
        m.d.comb += [
            sequencer.jobs.payload.eq(self.jobs.payload),
            sequencer.jobs.valid.eq(self.jobs.valid & ~sweeping),
            self.jobs.ready.eq(sequencer.jobs.ready & ~sweeping),
        ]
        wiring.connect(m, wiring.flipped(self.pixels), sequencer.pixels)
        flow = sequencer.tagged
        for entrance, exit_ in path:
            wiring.connect(m, flow, entrance)
            flow = exit_
        result = self._results(m, sequencer, flow, answers, meter, queue, sweeping)
        state = [*result, *self._admit(m, sequencer)]
        # With the meter, so that it counts no answer of before behind its own restart.
        with m.If(wave[list(swept).index("meter")]):
            m.d.sync += [register.eq(0) for register in state]

    def _results(
        self,
        m: Module,
        sequencer: Sequencer,
        source: stream.Interface,
        answers: Callable[[Value], Mapping[str, Value]],
        meter: Meter,
        queue: Queue | None,
        sweeping: Signal,
    ) -> tuple[Signal, ...]:
        """Collect the answer, measure the map, queue the result.

        Without a queue the result stays in its registers: no other map begins before it is taken. While a
        restart is ``sweeping`` none is offered: it would be taken for that of the next map.
        Returns the registers that hold state: a restart clears them.
        """
        result = Signal(self.result)
        answer = Signal(source.payload.shape(), reset_less=True)
        parts = answers(answer)
        count = self.result[next(iter(parts))].shape.length
        answered, place = Signal(), Signal(range(count))
        last = place == count - 1
        finished, first, ended, stalled = (
            Signal(3, name=name) for name in ("finished", "first", "ended", "stalled")
        )
        m.d.comb += [
            source.ready.eq(1),
            meter.first.eq(first[-1]),
            meter.ended.eq(ended[-1]),
            meter.stalled.eq(stalled[-1]),
            self.stalled.eq(stalled[0]),
            meter.answered.eq(finished[-2]),
            result.cycles.eq(meter.cycles),
            result.stalls.eq(meter.stalls),
        ]
        waiting = Signal()
        if queue is not None:
            m.d.comb += [
                queue.input.payload.eq(result),
                queue.input.valid.eq(finished[-1]),
                queue.output.ready.eq(self.results.ready),
                self.results.payload.eq(queue.output.payload),
                self.results.valid.eq(queue.output.valid & ~sweeping),
            ]
        else:
            m.d.comb += [self.results.payload.eq(result), self.results.valid.eq(waiting & ~sweeping)]
            m.d.sync += waiting.eq(finished[-1] | (waiting & ~self.results.ready))
        # What the meter counts reaches it three cycles late each: it is near none of it.
        m.d.sync += [
            first.eq(Cat(sequencer.first, first)),
            ended.eq(Cat(sequencer.last, ended)),
            stalled.eq(Cat(sequencer.stalled, stalled)),
            answered.eq(source.valid),
            answer.eq(source.payload),
            finished.eq(Cat(answered & last, finished)),
        ]
        for name, part in parts.items():
            held = Signal.like(result[name].as_value(), name=f"held_{name}", reset_less=True)
            m.d.comb += result[name].as_value().eq(held)
            with m.If(answered):
                m.d.sync += held.eq(Cat(held, part)[len(part) :])
        with m.If(answered):
            m.d.sync += place.eq(Mux(last, 0, place + 1))
        return first, ended, stalled, answered, place, finished, waiting

    def _admit(self, m: Module, sequencer: Sequencer) -> tuple[Signal, ...]:
        """Count the maps under way. Returns the registers, as above."""
        # The next job is accepted two cycles after this one at the earliest, so the count may lag by one.
        under_way = Signal(range(self.flights + 1))
        accepted, returned = Signal(), Signal()
        m.d.comb += [
            sequencer.room.eq(under_way != self.flights),
            self.busy.eq((under_way != 0) | accepted),
        ]
        m.d.sync += [
            accepted.eq(self.jobs.valid & self.jobs.ready),
            returned.eq(self.results.valid & self.results.ready),
            under_way.eq(under_way + accepted - returned),
        ]
        return accepted, returned, under_way
