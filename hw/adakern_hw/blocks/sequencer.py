"""Sequencer: turns jobs and bare pixels into the paced pixel stream of the conv stages."""

from dataclasses import dataclass

from amaranth import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.network import ConvShape
from adakern_spec.numbers import LENGTH_BITS

from .pacer import Pacer
from .pixels import input_layout, pixel_layout


@dataclass(frozen=True)
class Schedule:
    """When the pixels of maps come, and what they are told.

    ``stage`` is the one that takes them, ``height`` its rows, ``reach`` the columns at which their tags
    saturate. Pixels come every ``pace`` cycles, behind a map ``drain`` blank ones. The next map may begin
    ahead of them if maps ``overlap``; it ends at least ``separation`` columns after the one before. With
    ``single`` none of this is needed: maps come one at a time.
    """

    stage: ConvShape
    height: int
    reach: int
    pace: int
    drain: int
    overlap: bool = False
    separation: int = 1
    single: bool = False


class Sequencer(wiring.Component):
    """Tags the pixels of each job's map and sends one every ``pace`` cycles.

    After a map, blank pixels push it through the stages, unless the next map is there and does that: it
    may if maps overlap, otherwise it begins behind the last blank pixel.
    Inside a map nothing but its own pixels is sent: if one is missing, all stages wait. A map so short
    that it would end before the head has finished the one before is held back by whole columns.

    Latency: a pixel accepted in one cycle is offered in the next.

    Parameters
    ----------
    schedule : Schedule

    Members
    -------
    jobs : In(stream of the next map's length, 1 … max_length)
        One is accepted ahead, so that maps follow each other without a gap, unless they come one at a time.
    room : In(1)
        Another job may be accepted.
    pixels : In(stream of a pixel's values)
        ``height * length`` per job, length-major.
    tagged : Out(stream of pixels)
    first, last : Out(1)
        The first, the last pixel of a map is accepted in this cycle.
    stalled : Out(1)
        A pixel is due in the middle of a map and not there.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        fmt, channels = schedule.stage.input_format, schedule.stage.in_channels
        super().__init__(
            {
                "jobs": In(stream.Signature(unsigned(LENGTH_BITS))),
                "room": In(1),
                "pixels": In(stream.Signature(input_layout(schedule.stage))),
                "tagged": Out(stream.Signature(pixel_layout(fmt, channels, schedule.reach))),
                "first": Out(1),
                "last": Out(1),
                "stalled": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.pacer = pacer = Pacer(self.schedule.pace)
        due, free = pacer.due, pacer.free
        accepted, blank = Signal(), Signal()
        m.d.comb += [
            pacer.taken.eq(accepted | blank),
            pacer.ready.eq(self.tagged.ready),
            self.tagged.valid.eq(pacer.offered),
        ]

        drain = self.schedule.drain
        undrained = Signal(range(drain + 1))
        loaded = Signal()
        begun = Signal()
        may_begin = Signal()
        pushes = Const(1) if self.schedule.single or self.schedule.overlap else undrained == 0
        m.d.comb += [
            self.pixels.ready.eq(due & loaded & (begun | (may_begin & pushes))),
            accepted.eq(self.pixels.ready & self.pixels.valid),
            self.first.eq(accepted & ~begun),
            self.stalled.eq(due & begun & ~self.pixels.valid),
        ]
        last, long, few = self._map(m, loaded, begun, accepted, free)
        m.d.comb += self.last.eq(accepted & last)
        if self.schedule.single:
            m.d.comb += may_begin.eq(1)
        else:
            self._separate(m, may_begin, long, few, self.last)

        m.d.comb += blank.eq(due & ~begun & ~accepted & (undrained != 0))
        with m.If(accepted):
            m.d.sync += undrained.eq(drain)
        with m.Elif(blank):
            m.d.sync += undrained.eq(undrained - 1)
        return m

    def _map(
        self, m: Module, loaded: Signal, begun: Signal, accepted: Signal, free: Value
    ) -> tuple[Signal, Signal, Value]:
        """Place of the next pixel in its map: whether it is the last; whether the map is so long that it
        need not be held back, and if not, the columns after the pixel's own."""
        height, reach = self.schedule.height, self.schedule.reach
        columns = self.schedule.separation
        row = Signal(range(height))
        before = Signal(range(reach + 1))
        columns_after = Signal(LENGTH_BITS, reset_less=True)
        # What is asked of ``columns_after``, which is too wide to be compared in the cycle that asks.
        last_column, long = Signal(), Signal(reset_less=True)
        after = Signal(range(reach + 1), reset_less=True)
        last_row, last = Signal(init=height == 1), Signal()
        m.d.comb += last.eq(last_row & last_column)
        # Nothing is decided in the cycle after a pixel, unless there is a pixel in every cycle.
        counted: Signal = accepted
        if self.schedule.pace > 1:
            counted = Signal()
            m.d.sync += counted.eq(accepted)
        with m.If(counted):
            m.d.sync += [begun.eq(1), row.eq(Mux(last_row, 0, row + 1))]
            m.d.sync += last_row.eq(Const(1) if height == 1 else row == height - 2)
            with m.If(last_row):
                m.d.sync += [
                    before.eq(Mux(before == reach, reach, before + 1)),
                    columns_after.eq(columns_after - 1),
                    last_column.eq(columns_after == 1),
                    after.eq(Mux(columns_after > reach, reach, columns_after - 1)),
                ]
            with m.If(last):
                m.d.sync += [loaded.eq(0), begun.eq(0)]
        length, begins = self._job(m, loaded, counted & last)
        with m.If(begins):
            m.d.sync += [
                loaded.eq(1),
                before.eq(0),
                columns_after.eq(length - 1),
                last_column.eq(length == 1),
                after.eq(Mux(length > reach, reach, length - 1)),
                long.eq(length >= columns),
            ]

        payload = Signal.like(self.tagged.payload, reset_less=True)
        tags = payload.tags
        m.d.comb += self.tagged.payload.eq(payload)
        with m.If(free):
            m.d.sync += [
                payload.values.eq(self.pixels.payload),
                tags.real.eq(accepted),
                tags.last.eq(accepted & last),
            ]
            if reach:
                m.d.sync += [tags.before.eq(before), tags.after.eq(after)]
        # A map that is not long has fewer than ``columns`` columns.
        few = columns_after[: (columns - 1).bit_length()]
        return last, long, few

    def _job(self, m: Module, loaded: Signal, ends: Value) -> tuple[Value, Value]:
        """Length of the next map, and whether it takes the place of the one before in this cycle."""
        if self.schedule.single:
            m.d.comb += self.jobs.ready.eq(~loaded & self.room)
            return self.jobs.payload, self.jobs.valid & self.jobs.ready
        length = Signal(LENGTH_BITS, reset_less=True)
        ahead = Signal()
        m.d.comb += self.jobs.ready.eq(~ahead & self.room)
        with m.If(self.jobs.ready):
            m.d.sync += [ahead.eq(self.jobs.valid), length.eq(self.jobs.payload)]
        begins = ahead & (~loaded | ends)
        with m.If(begins):
            m.d.sync += ahead.eq(0)
        return length, begins

    def _separate(self, m: Module, may_begin: Signal, long: Signal, few: Value, ended: Signal) -> None:
        """Hold a map back that would end less than `separation` columns after the one before."""
        columns = self.schedule.separation
        interval = self.schedule.pace
        column = self.schedule.height * interval
        owed = Signal(range(columns))
        timer = Signal(range(column + interval - 1))
        m.d.comb += may_begin.eq(long | (few >= owed))
        with m.If(ended):
            # The first pixel is due one interval after the last map's last.
            m.d.sync += [owed.eq(columns - 1), timer.eq(column + interval - 2)]
        with m.Elif(owed != 0):
            m.d.sync += timer.eq(timer - 1)
            with m.If(timer == 0):
                m.d.sync += [timer.eq(column - 1), owed.eq(owed - 1)]
