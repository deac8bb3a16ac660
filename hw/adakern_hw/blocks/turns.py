"""Conv stages that take turns at the same multipliers (design part 1, "Conv stage")."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.cycles import (
    SHIFT_REQUANTISE_INTERVAL,
    pace,
    pixel_words,
    turn_latency,
    turns_latency,
)
from adakern_spec.network import Fold, SpnShape
from adakern_spec.numbers import ACTIVATION_BITS
from adakern_spec.parameters import CHANNEL_FIELDS, record_size

from .multiplier import MultiplierRow
from .parameters import BYTES, ParameterRouter
from .pixels import pixel_layout, tag_layout
from .ram import Ram
from .turn_array import STEP, TurnArray


class TurnOrder(wiring.Component):
    """Steps of all stages for one pixel: from the last stage, channel and element of the window to the first.

    Parameters
    ----------
    shape : SpnShape
    fold : Fold

    Members
    -------
    start : In(1)
        The first step comes in the next cycle or, if its channel is too fast to be requantised, later.
    newest : In
        Place of the newest pixel, in pixels of a circular memory; from the cycle after ``start`` on.
    step : Out(STEP)
    stage, column, row : Out
        Of the step; column and row of the window.
    place, word : Out
        Where its elements lie: pixel of the stage, word of the pixel.
    end : Out(1)
        The last step of all.
    """

    def __init__(self, shape: SpnShape, fold: Fold) -> None:
        self.shape = shape
        self.words = [pixel_words(stage, fold) for stage in shape.stages]
        self.rests = [max(0, SHIFT_REQUANTISE_INTERVAL - fold.steps(stage)) for stage in shape.stages]
        place = range((shape.kernel - 1) * shape.height + shape.kernel)
        super().__init__(
            {
                "start": In(1),
                "newest": In(place),
                "step": Out(STEP),
                "stage": Out(range(len(shape.stages)), init=len(shape.stages) - 1),
                "column": Out(range(shape.kernel), init=shape.kernel - 1),
                "row": Out(range(shape.kernel), init=shape.kernel - 1),
                "place": Out(place),
                "word": Out(range(max(self.words)), init=self.words[-1] - 1),
                "end": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shape, kernel = self.shape, self.shape.kernel
        channels = [stage.out_channels for stage in shape.stages]
        channel = Signal(range(max(channels)), init=channels[-1] - 1)
        rest = Signal(range(max(self.rests) + 1), init=self.rests[-1])
        running, first = Signal(), Signal(init=1)
        word_ends, row_ends, column_ends = self.word == 0, self.row == 0, self.column == 0
        turn_ends = self.step.last & (channel == 0)

        def of_stage(values: list[int], then: Value) -> Value:
            """Value of the stage, or of the one whose turn is next if ``then``."""
            return Mux(then, Array([*values[-1:], *values[:-1]])[self.stage], Array(values)[self.stage])

        m.d.comb += [
            self.step.valid.eq(running & (rest == 0)),
            self.step.first.eq(first),
            self.step.last.eq(word_ends & row_ends & column_ends),
            self.end.eq(self.step.valid & turn_ends & (self.stage == 0)),
        ]
        with m.If(self.step.valid):
            last_word = of_stage([words - 1 for words in self.words], turn_ends)
            m.d.sync += [first.eq(self.step.last), self.word.eq(Mux(word_ends, last_word, self.word - 1))]
            with m.If(word_ends):
                m.d.sync += [
                    self.row.eq(Mux(row_ends, kernel - 1, self.row - 1)),
                    self.place.eq(self.place - Mux(row_ends, shape.height - kernel + 1, 1)),
                ]
            with m.If(word_ends & row_ends):
                m.d.sync += self.column.eq(Mux(column_ends, kernel - 1, self.column - 1))
            with m.If(self.step.last):
                m.d.sync += [
                    self.place.eq(self.newest),
                    rest.eq(of_stage(self.rests, turn_ends)),
                    channel.eq(
                        Mux(turn_ends, of_stage([count - 1 for count in channels], turn_ends), channel - 1)
                    ),
                ]
            with m.If(turn_ends):
                m.d.sync += self.stage.eq(Mux(self.stage == 0, len(channels) - 1, self.stage - 1))
            with m.If(self.end):
                m.d.sync += running.eq(0)
        with m.Elif(running):
            m.d.sync += rest.eq(rest - 1)
        with m.If(self.start):
            m.d.sync += [running.eq(1), self.place.eq(self.newest + 1)]
        return m


class StagesInTurn(wiring.Component):
    """All conv stages of a network at one row of multipliers.

    For each pixel every stage has its turn, the last stage first: it works on what the one before made of the
    pixel before, so none waits for another. The last values of a pixel are in memory when the next one is
    accepted. The windows of all stages lie in one memory, with the newest pixel of each at the same place.

    Blank pixels may stand anywhere but inside a map; the first outputs after a reset are blank.

    Parameters
    ----------
    shape : SpnShape
    fold : Fold
        One that `in_turns` allows.
    multiplier : subclass of MultiplierRow

    Members
    -------
    pixels : In(stream of pixels of the first stage's input)
    outputs : Out(stream of pixels of the last stage's output)
        One for each pixel, that of ``delay`` pixels ago.
    parameters : In(byte stream)
        All stages' parts of the parameter block; not while pixels are under way.
    """

    def __init__(self, shape: SpnShape, fold: Fold, multiplier: type[MultiplierRow] = MultiplierRow) -> None:
        self.shape = shape
        self.fold = fold
        self.multiplier = multiplier
        first, last = shape.stages[0], shape.stages[-1]
        self.radius = first.radius
        self.input_layout = pixel_layout(first.input_format, first.in_channels, self.radius)
        self.output_layout = pixel_layout(last.output_format, last.out_channels, self.radius)
        rows = {"above": range(self.radius + 1), "below": range(self.radius + 1)} if self.radius else {}
        # Rows on either side of a pixel's own, as its tags count the columns.
        self.place_layout = data.StructLayout({"tags": tag_layout(self.radius), **rows})
        super().__init__(
            {
                "pixels": In(stream.Signature(self.input_layout)),
                "outputs": Out(stream.Signature(self.output_layout)),
                "parameters": In(BYTES),
            }
        )

    @property
    def delay(self) -> int:
        """Pixels from an input to the output of the same place."""
        return len(self.shape.stages) * (self._delay + 1) - 1

    @property
    def _delay(self) -> int:
        """Pixels from the newest one to the centre of a window."""
        return self.radius * (self.shape.height + 1)

    @property
    def interval(self) -> int:
        """Cycles between two pixels."""
        return pace(self.shape, (self.fold,))

    @property
    def latency(self) -> int:
        """Cycles from accepting a pixel to offering the output that it completes."""
        return turns_latency(self.shape, self.fold)

    def elaborate(self, platform):
        m = Module()
        m.submodules.order = order = TurnOrder(self.shape, self.fold)
        m.submodules.array = array = TurnArray(self.shape, self.fold, self.multiplier)
        self._load(m, array)
        bits = [len(order.word), len(order.place), len(order.stage)]
        width = self.fold.simd * ACTIVATION_BITS
        m.submodules.memory = memory = Ram(unsigned(width), 1 << sum(bits), granularity=ACTIVATION_BITS)
        m.submodules.tags = tags = Ram(self.place_layout, 1 << sum(bits[1:]))

        # Whatever is made of a pixel goes to the place behind the newest.
        newest, following = Signal.like(order.newest), Signal.like(order.newest)
        draining = Signal(range(turn_latency(self.fold) + 1))
        busy, accepted = Signal(), Signal()
        m.d.comb += [following.eq(newest + 1), order.newest.eq(newest), order.start.eq(accepted)]
        with m.If(accepted):
            m.d.sync += [newest.eq(following), busy.eq(1)]
        with m.If(order.end):
            m.d.sync += draining.eq(turn_latency(self.fold))
        with m.Elif(draining != 0):
            m.d.sync += [draining.eq(draining - 1), busy.eq(draining != 1)]

        m.d.comb += [
            array.step.eq(order.step),
            memory.read.addr.eq(Cat(order.word, order.place, order.stage)),
            array.lanes.eq(memory.read.data),
            tags.read.addr.eq(Cat((newest - self._delay)[: bits[1]], order.stage)),
        ]
        self._tags(m, order, array, tags, accepted, following)
        self._values(m, array, memory, bits[0], accepted, busy, following)
        return m

    def _tags(
        self, m: Module, order: TurnOrder, array: TurnArray, tags: Ram, accepted: Signal, following: Signal
    ) -> None:
        """Tags of the pixel and of each stage's output, which are its centre's; the steps that count."""
        shape, radius = self.shape, self.radius
        last_stage = len(shape.stages) - 1
        row = Signal(range(shape.height))
        with m.If(accepted & self.pixels.p.tags.real):
            m.d.sync += row.eq(Mux(row == shape.height - 1, 0, row + 1))
        pushed = Signal(range(self._delay + 3))
        with m.If(accepted & (pushed != self._delay + 2)):
            m.d.sync += pushed.eq(pushed + 1)

        stage, column, line = (
            Signal.like(port, reset_less=True) for port in (order.stage, order.column, order.row)
        )
        valid = Signal()
        m.d.sync += [
            stage.eq(order.stage),
            column.eq(order.column),
            line.eq(order.row),
            valid.eq(order.step.valid),
        ]
        centre = Signal(self.place_layout)
        # Before that the centre's tags are older than the reset; all but the first stage lag by a pixel.
        known = Mux(stage == 0, pushed > self._delay, pushed > self._delay + 1)
        m.d.comb += [
            centre.eq(tags.read.data),
            centre.tags.real.eq(tags.read.data.tags.real & known),
            tags.write.data.eq(centre),
            tags.write.addr.eq(Cat(following, stage + 1)),
            tags.write.en.eq(accepted | (valid & (stage != last_stage))),
        ]
        with m.If(accepted):
            m.d.comb += [tags.write.addr.eq(following), tags.write.data.tags.eq(self.pixels.p.tags)]
            if radius:
                m.d.comb += [
                    tags.write.data.above.eq(Array([min(h, radius) for h in range(shape.height)])[row]),
                    tags.write.data.below.eq(
                        Array([min(shape.height - 1 - h, radius) for h in range(shape.height)])[row]
                    ),
                ]
        with m.If(valid & (stage == last_stage)):
            m.d.sync += self.outputs.p.tags.eq(centre.tags)

        offsets = range(-radius, radius + 1)
        columns = [_reaches(centre.tags, "before", "after", offset) for offset in offsets]
        lines = [_reaches(centre, "above", "below", offset) for offset in offsets]
        m.d.comb += array.inside.eq(valid & Array(columns)[column] & Array(lines)[line])

    def _values(
        self,
        m: Module,
        array: TurnArray,
        memory: Ram,
        word_bits: int,
        accepted: Signal,
        busy: Signal,
        following: Signal,
    ) -> None:
        """The pixel's words into memory, then each value that the stages make of it."""
        simd, stages = self.fold.simd, self.shape.stages
        words = pixel_words(stages[0], self.fold)
        loaded = Signal(range(words))
        free, offered = Signal(), Signal()
        m.d.comb += [
            free.eq(~busy & (~self.outputs.valid | self.outputs.ready)),
            offered.eq(self.pixels.valid & free),
            self.pixels.ready.eq(free & (loaded == words - 1)),
            accepted.eq(self.pixels.valid & self.pixels.ready),
        ]
        with m.If(offered):
            m.d.sync += loaded.eq(Mux(accepted, 0, loaded + 1))

        last_stage = len(stages) - 1
        counts = [stage.out_channels for stage in stages]
        stage = Signal(range(len(stages)), init=last_stage)
        channel = Signal(range(max(counts)), init=counts[-1] - 1)
        with m.If(array.done):
            m.d.sync += channel.eq(channel - 1)
            with m.If(channel == 0):
                before = [count - 1 for count in (*counts[-1:], *counts[:-1])]
                m.d.sync += [
                    channel.eq(Array(before)[stage]),
                    stage.eq(Mux(stage == 0, last_stage, stage - 1)),
                ]

        pixel = self.pixels.p.values.as_value()
        width = len(memory.write.data)
        lane = Array([1 << index % simd for index in range(max(counts))])[channel]
        word = Signal(word_bits)
        m.d.comb += memory.write.addr.eq(Cat(word, following, Mux(busy, stage + 1, 0)))
        with m.If(busy):
            m.d.comb += [
                word.eq(Array([index // simd for index in range(max(counts))])[channel]),
                memory.write.data.eq(array.value.replicate(simd)),
                memory.write.en.eq(Mux(array.done & (stage != last_stage), lane, 0)),
            ]
        with m.Else():
            m.d.comb += [
                word.eq(loaded),
                memory.write.data.eq(pixel.word_select(loaded, width)),
                memory.write.en.eq(offered.replicate(simd)),
            ]

        values = self.outputs.p.values.as_value()
        with m.If(self.outputs.ready):
            m.d.sync += self.outputs.valid.eq(0)
        with m.If(array.done & (stage == last_stage)):
            m.d.sync += values.eq(Cat(array.value, values))
            with m.If(channel == 0):
                m.d.sync += self.outputs.valid.eq(1)

    def _load(self, m: Module, array: TurnArray) -> None:
        """Deal the parameters of the stages, weights and channels by turns, to the two memories."""
        sizes = [
            size
            for stage in self.shape.stages
            for size in (
                stage.out_channels * stage.elements,
                stage.out_channels * record_size(CHANNEL_FIELDS),
            )
        ]
        m.submodules.router = router = ParameterRouter(sizes)
        wiring.connect(m, wiring.flipped(self.parameters), router.bytes)
        for memory, sinks in ((array.weights, router.sinks[::2]), (array.channels, router.sinks[1::2])):
            m.d.comb += [
                memory.payload.eq(sinks[0].payload),
                memory.valid.eq(Cat(sink.valid for sink in sinks).any()),
            ]
            m.d.comb += [sink.ready.eq(1) for sink in sinks]


def _reaches(view: data.View, before: str, after: str, offset: int) -> Value:
    """Whether the neighbour at ``offset`` lies inside, as the counts on either side say."""
    if offset < 0:
        return view[before] >= -offset
    return view[after] >= offset if offset else Const(1)
