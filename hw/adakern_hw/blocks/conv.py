"""Conv stage: window generator, folded multipliers, requantisation (design part 1, "Conv stage")."""

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.cycles import conv_credits, conv_latency, requantisers
from adakern_spec.network import ConvShape, Fold
from adakern_spec.parameters import CHANNEL_FIELDS, record_size

from .broadcast import spread_restart
from .credits import Credits
from .hints import COPY
from .macs import MacArray, sum_shape
from .multiplier import MultiplierRow
from .parameters import BYTES, ParameterRouter, RecordStore
from .pixels import pixel_layout
from .ram import Queue
from .rounding import Requantise
from .window import make_window


class SerialRequantiser(wiring.Component):
    """Turns the sums of a group into output values, a few channels per cycle.

    A group's sums have ``steps`` cycles until the next ones come, so ``requantisers`` lanes suffice
    where every sum of its own would idle most of the time.

    Members
    -------
    sums : In(sum).array(pe)
    done : In(1).array(pe)
    channels : In(byte stream)
        Bias and shift of each output channel.
    values : Out(values of a pixel)
        While ``valid`` is 1.
    valid : Out(1)
    """

    REACH = 8
    """Bits of a sum that one copy of the slot's number chooses."""

    def __init__(self, shape: ConvShape, fold: Fold) -> None:
        self.shape = shape
        self.fold = fold
        self.lanes = requantisers(shape, fold)
        self.slots = fold.pe // self.lanes
        self.layout = pixel_layout(shape.output_format, shape.out_channels, shape.radius)["values"].shape
        super().__init__(
            {
                "sums": In(sum_shape(shape)).array(fold.pe),
                "done": In(1).array(fold.pe),
                "channels": In(BYTES),
                "values": Out(self.layout),
                "valid": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = RecordStore(CHANNEL_FIELDS, self.shape.out_channels, self.lanes)
        wiring.connect(m, wiring.flipped(self.channels), store.bytes)

        held = [Signal.like(total, name=f"held_{i}", reset_less=True) for i, total in enumerate(self.sums)]
        active = Signal()
        slot = Signal(range(self.slots))
        turn = Signal(range(store.depth))
        last_slot, last_turn = Signal(), Signal()
        m.d.comb += [
            last_slot.eq(slot == self.slots - 1),
            last_turn.eq(turn == store.depth - 1),
            store.address.eq(turn),
        ]
        with m.If(active):
            m.d.sync += [
                slot.eq(Mux(last_slot, 0, slot + 1)),
                turn.eq(Mux(last_turn, 0, turn + 1)),
                active.eq(~last_slot),
            ]
        with m.If(self.done[0]):
            m.d.sync += active.eq(1)
        for register, total, done in zip(held, self.sums, self.done, strict=True):
            with m.If(done):
                m.d.sync += register.eq(total)

        results = []
        for lane in range(self.lanes):
            m.submodules[f"requantise_{lane}"] = requantise = Requantise(
                sum_shape(self.shape), self.shape.output_format
            )
            value = Signal(sum_shape(self.shape), name=f"sum_{lane}", reset_less=True)
            self._choose(m, value, held[lane :: self.lanes], active)
            m.d.comb += [
                requantise.sum.eq(value),
                requantise.bias.eq(store.records[lane].bias),
                requantise.shift.eq(store.records[lane].shift),
            ]
            results.append(requantise.result)
        delay = 1 + requantise.latency

        taken = Signal(delay)
        finished = Signal(delay + 1)
        values = Signal(self.layout, reset_less=True)
        m.d.sync += [taken.eq(Cat(active, taken)), finished.eq(Cat(active & last_turn, finished))]
        with m.If(taken[-1]):
            m.d.sync += values.as_value().eq(Cat(values.as_value()[len(Cat(results)) :], results))
        m.d.comb += [self.values.eq(values), self.valid.eq(finished[-1])]
        return m

    def _choose(self, m: Module, value: Signal, sums: list[Signal], active: Signal) -> None:
        """Each of ``sums`` in its slot. Every few bits have a copy of the slot's number near them."""
        for first in range(0, len(value), self.REACH):
            slot = Signal(range(self.slots), name=f"slot_{value.name}_{first}", attrs={COPY: 1})
            with m.If(active):
                m.d.sync += slot.eq(Mux(slot == self.slots - 1, 0, slot + 1))
            bits = [total[first : first + self.REACH] for total in sums]
            m.d.sync += value[first : first + self.REACH].eq(Array(bits)[slot])


class ConvStage(wiring.Component):
    """One output pixel for one input pixel, blank for blank.

    The output for a pixel comes ``delay`` pixels later, when its whole neighbourhood has passed; so a
    map must be followed by as many pixels, blank or the next map's, and blank pixels may stand
    anywhere but inside a map. The first outputs after a reset are blank.

    A pixel is accepted at most every ``interval`` cycles, and only if the output queue has room for
    everything under way: the pipeline behind never stalls.

    Parameters
    ----------
    shape : ConvShape
    fold : Fold
    height : int
        Rows of the maps.
    multiplier : subclass of MultiplierRow
    reach : int
        Columns at which the pixels' tags saturate, at least the kernel's radius, which is the default.

    Members
    -------
    pixels : In(stream of pixels with ``in_channels`` values)
    outputs : Out(stream of pixels with ``out_channels`` values)
    parameters : In(byte stream)
        This stage's part of the parameter block; not while pixels are under way.
    restart : In(1)
        A cycle later everything but the parameters is as after a reset.
    """

    def __init__(
        self,
        shape: ConvShape,
        fold: Fold,
        height: int,
        multiplier: type[MultiplierRow] = MultiplierRow,
        reach: int | None = None,
    ) -> None:
        fold.check(shape)
        self.shape = shape
        self.fold = fold
        self.height = height
        self.multiplier = multiplier
        self.reach = shape.radius if reach is None else reach
        self.input_layout = pixel_layout(shape.input_format, shape.in_channels, self.reach)
        self.output_layout = pixel_layout(shape.output_format, shape.out_channels, self.reach)
        super().__init__(
            {
                "pixels": In(stream.Signature(self.input_layout)),
                "outputs": Out(stream.Signature(self.output_layout)),
                "parameters": In(BYTES),
                "restart": In(1),
            }
        )

    @property
    def delay(self) -> int:
        """Pixels from an input to the output of the same place."""
        return self.shape.radius * (self.height + 1)

    @property
    def interval(self) -> int:
        """Cycles between two pixels."""
        return self.fold.interval(self.shape)

    @property
    def latency(self) -> int:
        """Cycles from accepting a pixel to offering the output that it completes."""
        return conv_latency(self.shape, self.fold)

    def elaborate(self, platform):
        m = Module()
        window = make_window(self.shape, self.fold, self.height, self.reach)
        macs = MacArray(self.shape, self.fold, self.multiplier)
        requantiser = SerialRequantiser(self.shape, self.fold)
        credits = conv_credits(self.shape, self.fold)
        tags, queue = Queue(window.centre.shape(), credits), Queue(requantiser.layout, credits)
        router = ParameterRouter(
            [
                self.shape.out_channels * self.shape.elements,
                self.shape.out_channels * record_size(CHANNEL_FIELDS),
            ]
        )
        admission = Credits(credits, self.interval)
        blocks = {"window": window, "macs": macs, "requantiser": requantiser, "router": router}
        blocks["admission"] = admission
        restart = spread_restart(m, self.restart, blocks | {"tag_queue": tags, "queue": queue})
        wiring.connect(m, wiring.flipped(self.parameters), router.bytes)
        wiring.connect(m, router.sinks[0], macs.weights)
        wiring.connect(m, router.sinks[1], requantiser.channels)

        m.d.comb += [
            window.pixel.eq(self.pixels.payload),
            window.step.eq(macs.step),
            macs.load.eq(window.load),
            macs.lanes.eq(window.lanes),
        ]
        for sinks, sources in ((requantiser.sums, macs.sums), (requantiser.done, macs.done)):
            m.d.comb += [sink.eq(source) for sink, source in zip(sinks, sources, strict=True)]

        # Tags are in no hurry: their values take far longer.
        moved, arrived = Signal(), Signal()
        centre = Signal.like(window.centre, reset_less=True)
        m.d.sync += [moved.eq(window.load), arrived.eq(moved), centre.eq(window.centre)]
        m.d.comb += [tags.input.payload.eq(centre), tags.input.valid.eq(arrived)]
        m.d.comb += [queue.input.payload.eq(requantiser.values), queue.input.valid.eq(requantiser.valid)]
        self._outputs(m, tags, queue)
        m.d.comb += [
            admission.valid.eq(self.pixels.valid),
            admission.returned.eq(self.outputs.valid & self.outputs.ready),
            self.pixels.ready.eq(admission.ready),
            window.push.eq(admission.accepted),
        ]
        with m.If(restart):
            m.d.sync += [moved.eq(0), arrived.eq(0)]
        return m

    def _outputs(self, m: Module, tags: Queue, queue: Queue) -> None:
        """Tags wait for the values of their pixel."""
        pop = self.outputs.valid & self.outputs.ready
        m.d.comb += [
            self.outputs.payload.values.eq(queue.output.payload),
            self.outputs.payload.tags.eq(tags.output.payload),
            self.outputs.valid.eq(queue.output.valid),
            tags.output.ready.eq(pop),
            queue.output.ready.eq(pop),
        ]
