"""Records of the protocol as bytes of a reply."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.protocol import Field, Link, fields_size

from .layouts import REPLY_LENGTH, STATUS, Layouts, record_layout


class RecordWriter(wiring.Component):
    """Writes one of several records into a reply, byte by byte.

    The values of the record stay as they are from its start to its final part.

    Latency: the first byte 2 cycles after the start, then one per cycle; the final part after `latency`
    cycles.

    Parameters
    ----------
    records : dict from name to fields
        What can be written. An empty record is a reply without payload.
    link : Link

    Members
    -------
    start : In(stream of {"record": its place in ``records``, "slot", "status"})
    values : In(struct of the records by name)
    parts : Out(stream of REPLY_PART)
    """

    def __init__(self, records: dict[str, tuple[Field, ...]], link: Link) -> None:
        self.records = records
        layouts = Layouts(link)
        self.command = data.StructLayout(
            {
                "record": unsigned(max(1, (len(records) - 1).bit_length())),
                "slot": layouts.slot,
                "status": STATUS,
            }
        )
        layout = data.StructLayout({name: record_layout(fields) for name, fields in records.items()})
        super().__init__(
            {
                "start": In(stream.Signature(self.command)),
                "values": In(layout),
                "parts": Out(stream.Signature(layouts.reply_part)),
            }
        )

    def index(self, record: str) -> int:
        """Number of a record in ``start``."""
        return list(self.records).index(record)

    def latency(self, record: str) -> int:
        """Cycles from the start to the final part, if no part has to wait."""
        return 2 + fields_size(self.records[record])

    def elaborate(self, platform):
        m = Module()
        sizes = [fields_size(fields) for fields in self.records.values()]
        # The bytes of all records one after another; those of one begin at its place.
        places = [sum(sizes[:number]) for number in range(len(sizes))]
        command = Signal(self.command, reset_less=True)
        place = Signal(range(sum(sizes) + 2), reset_less=True)
        left = Signal(range(max(sizes) + 1), reset_less=True)
        index = Signal(REPLY_LENGTH, reset_less=True)
        byte = Signal(8, reset_less=True)
        fetch = Signal()
        m.d.comb += [
            self.parts.payload.slot.eq(command.slot),
            self.parts.payload.index.eq(index),
            self.parts.payload.data.eq(byte),
        ]
        with m.If(fetch):
            m.d.sync += place.eq(place + 1)
            with m.Switch(place):
                for number, (name, size) in enumerate(zip(self.records, sizes, strict=True)):
                    content = self.values[name].as_value()
                    for offset in range(size):
                        with m.Case(places[number] + offset):
                            m.d.sync += byte.eq(content[8 * offset : 8 * (offset + 1)])
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.start.ready.eq(1)
                m.d.sync += [command.eq(self.start.payload), index.eq(0)]
                with m.Switch(self.start.payload.record):
                    for number, size in enumerate(sizes):
                        with m.Case(number):
                            m.d.sync += [place.eq(places[number]), left.eq(size)]
                with m.If(self.start.valid):
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += fetch.eq(1)
                m.next = "WRITE"
                with m.If(left == 0):
                    m.d.sync += byte.eq(command.status)
                    m.next = "FINISH"
            with m.State("WRITE"):
                m.d.comb += [self.parts.valid.eq(1), fetch.eq(self.parts.ready)]
                with m.If(self.parts.ready):
                    m.d.sync += [left.eq(left - 1), index.eq(index + 1)]
                    with m.If(left == 1):
                        m.d.sync += byte.eq(command.status)
                        m.next = "FINISH"
            with m.State("FINISH"):
                m.d.comb += [self.parts.valid.eq(1), self.parts.payload.final.eq(1)]
                with m.If(self.parts.ready):
                    m.next = "IDLE"
        return m
