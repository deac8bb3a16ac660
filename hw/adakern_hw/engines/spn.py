"""Scale prediction network: maps in, scales and kernel sizes out."""

from amaranth import Cat, Module, ResetInserter, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec import cycles
from adakern_spec.errors import ShapeError
from adakern_spec.network import Fold, SpnShape, in_turns
from adakern_spec.numbers import KERNEL, LENGTH_BITS, SCALE
from adakern_spec.parameters import DIRECTION_FIELDS, DIRECTIONS, HEAD_FIELDS, record_size, stage_size
from adakern_spec.protocol import LINK, Link

from ..blocks.conv import ConvStage
from ..blocks.meter import COUNTER_BITS, Meter, make_meter
from ..blocks.multiplier import MultiplierRow
from ..blocks.parameters import BYTES, ParameterRouter
from ..blocks.pixels import input_layout
from ..blocks.ram import Queue
from ..blocks.scale import GlobalAverage, KernelSize, ScaleHead
from ..blocks.sequencer import Sequencer
from ..blocks.turns import StagesInTurn
from ..fixed import shape_of

RESULT_LAYOUT = data.StructLayout(
    {
        "cycles": COUNTER_BITS,
        "stalls": COUNTER_BITS,
        "scales": data.ArrayLayout(shape_of(SCALE), len(DIRECTIONS)),
        "kernels": data.ArrayLayout(shape_of(KERNEL), len(DIRECTIONS)),
    }
)
"""Answer for a map, height first. ``cycles`` from the map's first pixel to the answer, ``stalls`` those
of them in which the engine waited for a pixel: their difference is `adakern_spec.cycles.latency`."""


class SpnEngine(wiring.Component):
    """Conv stages in lock-step, global average, scale head, kernel sizes.

    Maps of any length up to ``max_length`` follow each other without a bubble; timing:
    `adakern_spec.cycles`. A single fold for several stages makes them take turns at its multipliers; then
    maps come one at a time. A consumer that does not take results stops new jobs, never a map under way, and
    nothing is lost. A restart, like a reset, drops the maps under way and keeps the parameters.

    Parameters
    ----------
    shape : SpnShape
    folds : tuple of Fold
        One per stage, or one that all of them can use (`in_turns`).
    multipliers : subclasses of MultiplierRow
        Those of each fold; plain ones if not given.

    Members
    -------
    jobs : In(stream of the next map's length, 1 … max_length)
    pixels : In(stream of a pixel's values)
        ``height * length`` per job, length-major.
    parameters : In(byte stream)
        A whole parameter block, while ``busy`` is 0; a further one starts over.
    results : Out(stream of RESULT_LAYOUT)
        One per job, in order.
    busy : Out(1)
        From accepting a job until two cycles after its result is taken.
    stalled : Out(1)
        A pixel was due in the middle of a map in the cycle before, and not there.
    restart : In(1)
        Passes through the blocks as the pixels do, a register at each, so that it has no far way to go
        and sweeps before it what is under way. Until it has passed no job is accepted.
    """

    def __init__(
        self,
        shape: SpnShape,
        folds: tuple[Fold, ...],
        multipliers: tuple[type[MultiplierRow], ...] | None = None,
        link: Link = LINK,
    ) -> None:
        self.link = link
        self.multipliers = (MultiplierRow,) * len(folds) if multipliers is None else multipliers
        self.in_turns = in_turns(shape, folds)
        if len(self.multipliers) != len(folds):
            raise ShapeError(
                f"{len(self.multipliers)} multipliers", "engine", f"give {len(folds)}, one per fold"
            )
        self.shape = shape
        self.folds = folds
        super().__init__(
            {
                "jobs": In(stream.Signature(unsigned(LENGTH_BITS))),
                "pixels": In(stream.Signature(input_layout(shape))),
                "parameters": In(BYTES),
                "results": Out(stream.Signature(RESULT_LAYOUT)),
                "busy": Out(1),
                "stalled": Out(1),
                "restart": In(1),
            }
        )

    def latency(self, length: int) -> int:
        """Cycles from a map's first pixel to its answer, stalls aside."""
        return cycles.latency(self.shape, self.folds, length)

    def interval(self, length: int) -> int:
        """Cycles per map of ``length`` back to back."""
        return cycles.interval(self.shape, self.folds, length, self.link)

    @property
    def flights(self) -> int:
        """Maps under way at once, at most."""
        return cycles.flights(self.shape, self.folds, self.link)

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        sequencer = Sequencer(shape, self.folds, self.link)
        stages: list[ConvStage | StagesInTurn]
        if self.in_turns:
            stages = [StagesInTurn(shape, self.folds[0], self.multipliers[0])]
            sizes = [sum(map(stage_size, shape.stages))]
        else:
            stages = [
                ConvStage(stage, fold, shape.height, multiplier)
                for stage, fold, multiplier in zip(shape.stages, self.folds, self.multipliers, strict=True)
            ]
            sizes = [*map(stage_size, shape.stages)]
        average = GlobalAverage(shape, single=self.in_turns)
        head = ScaleHead(shape.outputs)
        kernel = KernelSize(shape.outputs)
        router = ParameterRouter(
            [
                *sizes,
                shape.outputs * record_size(HEAD_FIELDS),
                len(DIRECTIONS) * record_size(DIRECTION_FIELDS),
            ]
        )
        meter = make_meter(cycles.pipeline_latency(shape, self.folds), self.flights)
        queue = Queue(RESULT_LAYOUT, self.flights) if self.flights > 1 else None
        swept = {"router": router, "sequencer": sequencer}
        swept |= {f"stage_{index}": stage for index, stage in enumerate(stages)}
        swept |= {"average": average, "head": head, "kernel": kernel, "meter": meter}
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
        blocks: list[ConvStage | StagesInTurn | ScaleHead | KernelSize] = [*stages, head, kernel]
        for sink, block in zip(router.sinks, blocks, strict=True):
            wiring.connect(m, sink, block.parameters)

        m.d.comb += [
            sequencer.jobs.payload.eq(self.jobs.payload),
            sequencer.jobs.valid.eq(self.jobs.valid & ~sweeping),
            self.jobs.ready.eq(sequencer.jobs.ready & ~sweeping),
        ]
        wiring.connect(m, wiring.flipped(self.pixels), sequencer.pixels)
        pixels = sequencer.tagged
        for stage in stages:
            wiring.connect(m, pixels, stage.pixels)
            pixels = stage.outputs
        wiring.connect(m, pixels, average.pixels)
        wiring.connect(m, average.means, head.means)
        wiring.connect(m, head.scales, kernel.scales)
        state = self._results(m, sequencer, kernel, meter, queue)
        with m.If(wave[-1]):
            m.d.sync += [register.eq(0) for register in state]
        return m

    def _results(
        self,
        m: Module,
        sequencer: Sequencer,
        kernel: KernelSize,
        meter: Meter,
        queue: Queue | None,
    ) -> tuple[Signal, ...]:
        """Collect the answer, measure the map, queue the result; keep count of the maps under way.

        Without a queue the result stays in its registers: no other map begins before it is taken.
        Returns the registers that hold state: a restart clears them.
        """
        result = Signal(RESULT_LAYOUT)
        scales = Signal.like(result.scales.as_value(), reset_less=True)
        kernels = Signal.like(result.kernels.as_value(), reset_less=True)
        size = Signal(kernel.sizes.payload.shape(), reset_less=True)
        sized, second = Signal(), Signal()
        finished, first, stalled = Signal(3), Signal(3), Signal(3)
        m.d.comb += [
            kernel.sizes.ready.eq(1),
            meter.first.eq(first[-1]),
            meter.stalled.eq(stalled[-1]),
            self.stalled.eq(stalled[0]),
            meter.answered.eq(finished[-2]),
            result.cycles.eq(meter.cycles),
            result.stalls.eq(meter.stalls),
            result.scales.as_value().eq(scales),
            result.kernels.as_value().eq(kernels),
        ]
        waiting = Signal()
        if queue is not None:
            m.d.comb += [queue.input.payload.eq(result), queue.input.valid.eq(finished[-1])]
            wiring.connect(m, queue.output, wiring.flipped(self.results))
        else:
            m.d.comb += [self.results.payload.eq(result), self.results.valid.eq(waiting)]
            m.d.sync += waiting.eq(finished[-1] | (waiting & ~self.results.ready))
        # First pixel, stall and answer reach the meter three cycles late each: it is near none of them.
        m.d.sync += [
            first.eq(Cat(sequencer.first, first)),
            stalled.eq(Cat(sequencer.stalled, stalled)),
            sized.eq(kernel.sizes.valid),
            size.eq(kernel.sizes.payload),
            finished.eq(Cat(sized & second, finished)),
        ]
        with m.If(sized):
            m.d.sync += second.eq(~second)
            for register, value in ((scales, size.scale), (kernels, size.kernel)):
                m.d.sync += register.eq((register >> len(value)) | (value << (len(register) - len(value))))

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
        return accepted, returned, first, stalled, sized, second, finished, waiting, under_way
