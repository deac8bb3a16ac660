"""Gaussian smoother: separable, line-buffered, taps loaded at run time (design part 1)."""

from amaranth import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.akm import BETWEEN_FRAC, TAP
from adakern_spec.akm_cycles import smoother_credits, smoother_latency, tap_sum_latency
from adakern_spec.errors import ShapeError
from adakern_spec.numbers import ACTIVATION_BITS, Format

from ..fixed import saturate
from .credits import Credits
from .delay import DelayLine
from .multiplier import MultiplierRow
from .parameters import BYTES
from .pixels import pixel_layout, tag_layout
from .ram import Queue
from .taps import KernelStore, TapSum

INPUT = Format(ACTIVATION_BITS, signed=True)
OUTPUT = Format(ACTIVATION_BITS, signed=False)

BETWEEN_BITS = ACTIVATION_BITS + BETWEEN_FRAC
"""Bits between the passes: taps that sum to one make no value larger."""

LENGTH_PAIR, BETWEEN_PAIR = signed(ACTIVATION_BITS + 1), signed(BETWEEN_BITS + 1)
"""Pairs of values in the two passes."""

WINDOW = 3
LENGTH_PAIRS = WINDOW + 1
"""Cycles from accepting a pixel to its first group beside its columns, and to the length pass."""


class GaussianSmoother(wiring.Component):
    """One output pixel for one input pixel, blank for blank, ``lanes`` channels in each cycle.

    Length pass, then height pass, the gate in the height's taps; arithmetic: `adakern_spec.akm`. The pixels
    of a pair of equal taps are added before the multiplier. The lines of the length pass are one memory: a
    word holds the last ``2 * radius`` columns of a row and of a group of channels, and is read, shifted and
    written back each time that the group comes round. Those of the height pass hold ``2 * radius`` pixels.

    The output for a pixel comes ``delay`` pixels later; so a map must be followed by as many pixels,
    blank or the next map's, and blank pixels may stand anywhere but inside a map. The first outputs after a
    reset are blank. The pipeline never stalls: a pixel is accepted every ``interval`` cycles if the output
    queue has room for it.

    Parameters
    ----------
    channels : int
    height : int
        Rows of the maps.
    radius : int
        Largest of the kernels.
    lanes : int
        Divides the channels.
    per_channel : bool
        Whether each channel has a kernel record, or one serves all.
    reach : int
        Columns at which the pixels' tags saturate, at least ``radius``, which is the default.
    multiplier : subclass of MultiplierRow

    Members
    -------
    pixels : In(stream of pixels, signed values)
    outputs : Out(stream of pixels, unsigned values)
    parameters : In(byte stream)
        The layer's kernel records; not while pixels are under way.
    """

    def __init__(
        self,
        channels: int,
        height: int,
        radius: int,
        lanes: int,
        *,
        per_channel: bool = True,
        reach: int | None = None,
        multiplier: type[MultiplierRow] = MultiplierRow,
    ) -> None:
        if lanes < 1 or channels % lanes:
            raise ShapeError(f"{lanes} lanes for {channels} channels", "smoother", "use a divisor")
        self.channels = channels
        self.height = height
        self.radius = radius
        self.lanes = lanes
        self.groups = channels // lanes
        self.per_channel = per_channel
        self.reach = radius if reach is None else reach
        self.multiplier = multiplier
        super().__init__(
            {
                "pixels": In(stream.Signature(pixel_layout(INPUT, channels, self.reach))),
                "outputs": Out(stream.Signature(pixel_layout(OUTPUT, channels, self.reach))),
                "parameters": In(BYTES),
            }
        )

    @property
    def delay(self) -> int:
        """Pixels from an input to the output of the same place."""
        return self.radius * (self.height + 1)

    @property
    def interval(self) -> int:
        """Cycles between two pixels."""
        return self.groups

    @property
    def latency(self) -> int:
        """Cycles from accepting a pixel to offering the output that it completes."""
        return smoother_latency(self.radius, self.groups)

    @property
    def _between(self) -> int:
        """Cycles from accepting a pixel to the length pass of its first group."""
        return LENGTH_PAIRS + tap_sum_latency(self.radius)

    @property
    def _finished(self) -> int:
        """Cycles from accepting a pixel to the output of its first group."""
        return self._between + 1 + tap_sum_latency(self.radius) + 1

    def elaborate(self, platform):
        m = Module()
        credits = smoother_credits(self.radius, self.groups)
        m.submodules.admission = admission = Credits(credits, self.interval)
        m.submodules.kernels = kernels = KernelStore(self.radius, self.channels, self.lanes, self.per_channel)
        m.submodules.tag_queue = tags = Queue(tag_layout(self.reach), credits)
        m.submodules.queue = queue = Queue(self.outputs.payload.values.shape(), credits)
        wiring.connect(m, wiring.flipped(self.parameters), kernels.bytes)

        # Bit i of each: i + 1 cycles after the pixel is accepted, for the group that is there then.
        group = Signal(range(self.groups))
        active = Signal()
        first, push = Signal(self._between), Signal(self._between)
        final = Signal(self._finished)
        last = group == self.groups - 1
        m.d.comb += [first[0].eq(active & (group == 0)), push[0].eq(active), final[0].eq(active & last)]
        m.d.sync += [first[1:].eq(first), push[1:].eq(push), final[1:].eq(final)]
        with m.If(admission.accepted):
            m.d.sync += [active.eq(1), group.eq(0)]
        with m.Elif(last):
            m.d.sync += active.eq(0)
        with m.If(active & ~last):
            m.d.sync += group.eq(group + 1)

        pop = self.outputs.valid & self.outputs.ready
        m.d.comb += [
            admission.valid.eq(self.pixels.valid),
            admission.returned.eq(pop),
            self.pixels.ready.eq(admission.ready),
            self.outputs.valid.eq(queue.output.valid),
            self.outputs.payload.values.eq(queue.output.payload),
            self.outputs.payload.tags.eq(tags.output.payload),
            queue.output.ready.eq(pop),
            tags.output.ready.eq(pop),
        ]
        centre, ends = self._tags(m, admission.accepted, first, tags)
        between = self._length_pass(m, kernels, group, push, centre, admission.accepted)
        outputs = self._height_pass(m, kernels, first, push, ends, between)
        values = Signal(queue.input.payload.shape(), reset_less=True)
        m.d.sync += values.as_value().eq(Cat(values.as_value(), outputs)[len(Cat(outputs)) :])
        m.d.comb += [queue.input.payload.eq(values), queue.input.valid.eq(final[-1])]
        return m

    def _tags(self, m: Module, accepted: Value, first: Signal, queue: Queue) -> tuple[Value, Value]:
        """Tags of the length pass' centre, a cycle after ``first``; whether the height pass' centre is real,
        with ``first``. Those of the output go into the queue."""
        layout = tag_layout(self.reach)
        newest = Signal(layout, reset_less=True)
        with m.If(accepted):
            m.d.sync += newest.eq(self.pixels.payload.tags)
        m.submodules.column_tags = columns = DelayLine(layout, self.radius * self.height, blank=True)
        m.submodules.row_tags = rows = DelayLine(layout, self.radius, blank=True)
        centre, output = Signal(layout, reset_less=True), Signal(layout, reset_less=True)
        m.d.comb += [
            columns.input.eq(newest),
            rows.input.eq(columns.output),
            columns.advance.eq(first[0]),
            rows.advance.eq(first[0]),
            queue.input.payload.eq(output),
            queue.input.valid.eq(first[1]),
        ]
        with m.If(first[0]):
            m.d.sync += [centre.eq(columns.output), output.eq(rows.output)]
        return centre, rows.output.real

    def _length_pass(
        self, m: Module, kernels: KernelStore, group: Signal, push: Signal, centre: Value, accepted: Value
    ) -> list[Value]:
        """Values between the passes, ``_between`` cycles after the pixel is accepted."""
        radius, lanes, bits = self.radius, self.lanes, ACTIVATION_BITS
        waiting = Signal(self.channels * bits, reset_less=True)
        with m.If(accepted):
            m.d.sync += waiting.eq(self.pixels.payload.values)
        with m.Else():
            m.d.sync += waiting.eq(waiting >> lanes * bits)
        value, place = waiting[: lanes * bits], group
        for rank in range(1, WINDOW):
            delayed = Signal(lanes * bits, name=f"value_{rank}", reset_less=True)
            group_delayed = Signal.like(group, name=f"group_{rank}", reset_less=True)
            m.d.sync += [delayed.eq(value), group_delayed.eq(place)]
            value, place = delayed, group_delayed
        m.submodules.columns = columns = DelayLine(
            unsigned(2 * radius * lanes * bits), self.height * self.groups
        )
        window = Cat(value, columns.output)
        m.d.comb += [
            columns.input.eq(window),
            columns.advance.eq(push[WINDOW - 1]),
            kernels.border_group.eq(group),
            kernels.length_group.eq(place),
        ]

        pass_ = TapSum(radius, lanes, LENGTH_PAIR, TAP.frac - BETWEEN_FRAC, self.multiplier)
        m.submodules.length_pass = pass_
        for lane in range(lanes):
            border = kernels.borders[lane]
            copy, copied = Signal(name=f"copy_{lane}"), Signal(name=f"copied_{lane}", reset_less=True)
            m.d.comb += copy.eq((centre.before < border) | (centre.after < border))
            # The newest column is the last one behind the centre.
            values = [window[(k * lanes + lane) * bits :][:bits].as_signed() for k in range(2 * radius + 1)]
            inside = Signal(2 * radius + 1, name=f"inside_{lane}", reset_less=True)
            for k in range(1, radius + 1):
                m.d.sync += [
                    inside[radius - k].eq((centre.after >= k) & ~copy),
                    inside[radius + k].eq((centre.before >= k) & ~copy),
                ]
            m.d.sync += copied.eq(copy)
            self._pair(m, f"length_{lane}", pass_.pairs[lane], values, inside)
            once = Signal(name=f"once_{lane}", reset_less=True)
            m.d.sync += once.eq(copied)
            taps = kernels.length_taps[lane]
            m.d.comb += pass_.taps[lane][0].eq(Mux(once, 1 << TAP.frac, taps[0]))
            m.d.comb += [pass_.taps[lane][k].eq(taps[k]) for k in range(1, radius + 1)]
        # One lane's value is exact in fewer bits than its sum.
        return [total[:BETWEEN_BITS].as_signed() for total in pass_.sums]

    def _pair(self, m: Module, name: str, pairs: list[Value], values: list[Value], inside: Signal) -> None:
        """Add what lies as far on either side of the centre; registered."""
        for k in range(self.radius + 1):
            pair = Signal(pairs[k].shape(), name=f"{name}_{k}", reset_less=True)
            terms = [Mux(inside[place], values[place], 0) for place in (self.radius - k, self.radius + k)]
            m.d.sync += pair.eq(terms[0] + terms[1] if k else values[self.radius])
            m.d.comb += pairs[k].eq(pair)

    def _height_pass(
        self, m: Module, kernels: KernelStore, first: Signal, push: Signal, real: Value, between: list[Value]
    ) -> list[Value]:
        """Output values of the lanes; a cycle later they are finished."""
        radius, lanes = self.radius, self.lanes
        start = self._between - 1
        group = Signal(range(self.groups))
        with m.If(push[start]):
            m.d.sync += group.eq(Mux(group == self.groups - 1, 0, group + 1))
        m.submodules.rows = rows = DelayLine(unsigned(2 * radius * lanes * BETWEEN_BITS), self.groups)
        window = Cat(*between, rows.output)
        m.d.comb += [
            rows.input.eq(window),
            rows.advance.eq(push[start]),
            kernels.height_group.eq(group),
        ]

        # Rows of the map on either side of the centre; they are there when its first group is.
        counts = Signal(start)
        row = Signal(range(self.height))
        inside = Signal(2 * radius + 1, reset_less=True)
        m.d.sync += counts.eq(Cat(first[0] & real, counts))
        with m.If(first[start - 1]):
            for k in range(1, radius + 1):
                m.d.sync += [inside[radius - k].eq(row + k < self.height), inside[radius + k].eq(row >= k)]
        with m.If(counts[start - 2]):
            m.d.sync += row.eq(Mux(row == self.height - 1, 0, row + 1))

        pass_ = TapSum(radius, lanes, BETWEEN_PAIR, TAP.frac + BETWEEN_FRAC, self.multiplier)
        m.submodules.height_pass = pass_
        for lane in range(lanes):
            values = [
                window[(k * lanes + lane) * BETWEEN_BITS :][:BETWEEN_BITS].as_signed()
                for k in range(2 * radius + 1)
            ]
            self._pair(m, f"height_{lane}", pass_.pairs[lane], values, inside)
            m.d.comb += [pass_.taps[lane][k].eq(kernels.height_taps[lane][k]) for k in range(radius + 1)]
        return [saturate(total, OUTPUT)[:ACTIVATION_BITS] for total in pass_.sums]
