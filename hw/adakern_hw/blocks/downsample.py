"""Between two layers: downsampling, and the blank pixels that push a map out of the next layer."""

from amaranth import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.akm import Downsample as Way
from adakern_spec.akm_cycles import DOWNSAMPLE_CREDITS, downsample_latency
from adakern_spec.numbers import ACTIVATION_BITS, Format

from .credits import Credits
from .delay import DelayLine
from .pacer import Pacer
from .pixels import pixel_layout
from .ram import Queue

VALUES = Format(ACTIVATION_BITS, signed=False)


def larger(left: Value, right: Value) -> Value:
    """The larger of two values, channel by channel."""
    return Mux(left > right, left, right)


class Downsample(wiring.Component):
    """Real pixels that are left of a map, tagged anew; blank pixels end here.

    `MAX2` compares a pixel with the one of the row before, and the larger of them with that of the column
    before, which waits in a line.

    Parameters
    ----------
    way : Downsample
    channels : int
    height : int
        Rows of the maps.
    reach : int
        Columns at which the tags of the output saturate, at least 1. Those of the input reach at least
        twice as far, or as far if no pixel is left out.
    input_reach : int

    Members
    -------
    pixels : In(stream of pixels)
    outputs : Out(stream of pixels)
        Those that are left, `downsample_latency` cycles after the last pixel that they depend on.
    """

    def __init__(self, way: Way, channels: int, height: int, input_reach: int, reach: int) -> None:
        self.way = way
        self.channels = channels
        self.height = height
        self.reach = reach
        self.input_reach = input_reach
        super().__init__(
            {
                "pixels": In(stream.Signature(pixel_layout(VALUES, channels, input_reach))),
                "outputs": Out(stream.Signature(pixel_layout(VALUES, channels, reach))),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from accepting a pixel to offering the output that it completes."""
        return downsample_latency(self.way)

    def elaborate(self, platform):
        m = Module()
        m.submodules.admission = admission = Credits(DOWNSAMPLE_CREDITS)
        m.submodules.queue = queue = Queue(self.outputs.payload.shape(), DOWNSAMPLE_CREDITS)
        wiring.connect(m, queue.output, wiring.flipped(self.outputs))
        pixel = Signal(self.pixels.payload.shape(), reset_less=True)
        present, kept = Signal(), Signal()
        m.d.sync += [pixel.eq(self.pixels.payload), present.eq(admission.accepted)]
        row, column = self._place(m, present & pixel.tags.real, pixel.tags.last)
        odd = self.way is Way.MAX2
        chosen = 1 if self.way is Way.NONE else (row[0] == odd) & (column == odd)
        m.d.comb += [
            kept.eq(present & pixel.tags.real & chosen),
            admission.valid.eq(self.pixels.valid),
            self.pixels.ready.eq(admission.ready),
            admission.returned.eq((self.outputs.valid & self.outputs.ready) + (present & ~kept)),
        ]

        output = queue.input.payload
        tags = Signal.like(output.tags)
        self._tag(m, tags, pixel.tags, row)
        if self.way is Way.MAX2:
            below = present & pixel.tags.real & row[0]
            values, arrived, delayed = (
                self._largest(m, present, pixel.values, below),
                Signal(),
                Signal.like(tags),
            )
            m.d.sync += [arrived.eq(kept), delayed.eq(tags)]
            m.d.comb += [output.values.eq(values), output.tags.eq(delayed), queue.input.valid.eq(arrived)]
        else:
            m.d.comb += [output.values.eq(pixel.values), output.tags.eq(tags), queue.input.valid.eq(kept)]
        return m

    def _place(self, m: Module, real: Value, last: Value) -> tuple[Signal, Signal]:
        """Row of the pixel, and whether its column is an odd one."""
        row, column = Signal(range(max(2, self.height))), Signal()
        with m.If(real):
            m.d.sync += row.eq(row + 1)
            with m.If(row == self.height - 1):
                m.d.sync += [row.eq(0), column.eq(~column & ~last)]
        return row, column

    def _tag(self, m: Module, tags: data.View, old: data.View, row: Signal) -> None:
        """Tags of a pixel that is left: half as many columns lie on either side."""
        halved = int(self.way is not Way.NONE)
        for name in ("before", "after"):
            columns = old[name] >> halved
            m.d.comb += tags[name].eq(Mux(columns > self.reach, self.reach, columns))
        left = self.way.size(self.height) - 1
        last_row = {Way.NONE: self.height - 1, Way.STRIDE2: 2 * left, Way.MAX2: 2 * left + 1}[self.way]
        m.d.comb += [tags.real.eq(1), tags.last.eq((row == last_row) & (tags.after == 0))]

    def _largest(self, m: Module, present: Signal, values: data.View, below: Value) -> data.View:
        """Largest of the 2 × 2 block that a pixel completes, a cycle later."""
        layout = values.shape()
        above, pair = Signal(layout, reset_less=True), Signal(layout, reset_less=True)
        paired = Signal()
        largest = Signal(layout)
        m.submodules.line = line = DelayLine(unsigned(layout.size), self.way.size(self.height))
        m.d.comb += [line.input.eq(pair), line.advance.eq(paired)]
        m.d.sync += paired.eq(below)
        with m.If(present):
            m.d.sync += above.eq(values)
        waiting = layout(line.output)
        for channel in range(self.channels):
            m.d.sync += pair[channel].eq(larger(above[channel], values[channel]))
            m.d.comb += largest[channel].eq(larger(waiting[channel], pair[channel]))
        return largest


class Drain(wiring.Component):
    """Lets real pixels through and, behind each map's last one, sends blank ones before the next map.

    Latency: a pixel accepted in one cycle is offered in the next; pixels at most every ``interval`` cycles.

    Parameters
    ----------
    layout : of a pixel
    blanks : int
        Pixels that push a map through the layer.
    interval : int
        Cycles from one pixel to the next.

    Members
    -------
    pixels : In(stream of real pixels)
    outputs : Out(stream of pixels)
    """

    def __init__(self, layout: data.StructLayout, blanks: int, interval: int) -> None:
        self.layout = layout
        self.blanks = blanks
        self.interval = interval
        super().__init__({"pixels": In(stream.Signature(layout)), "outputs": Out(stream.Signature(layout))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.pacer = pacer = Pacer(self.interval)
        left = Signal(range(self.blanks + 1))
        draining = left != 0
        pixel = Signal(self.layout, reset_less=True)
        accepted = self.pixels.valid & self.pixels.ready
        m.d.comb += [
            self.pixels.ready.eq(pacer.due & ~draining),
            pacer.taken.eq(pacer.due & (draining | self.pixels.valid)),
            pacer.ready.eq(self.outputs.ready),
            self.outputs.valid.eq(pacer.offered),
            self.outputs.payload.eq(pixel),
        ]
        with m.If(pacer.free):
            m.d.sync += pixel.eq(self.pixels.payload)
            with m.If(draining):
                m.d.sync += [pixel.tags.real.eq(0), pixel.tags.last.eq(0)]
        with m.If(accepted & self.pixels.payload.tags.last):
            m.d.sync += left.eq(self.blanks)
        with m.Elif(pacer.due & draining):
            m.d.sync += left.eq(left - 1)
        return m
