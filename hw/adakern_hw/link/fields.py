"""Records of the protocol as bytes of a reply."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.protocol import Field

from .layouts import REPLY_LENGTH, REPLY_PART, SLOT, STATUS, record_layout

CHUNK = 8
"""Most bytes that are taken from a record at once."""


class RecordWriter(wiring.Component):
    """Writes one of several records into a reply, byte by byte.

    A record is read field by field, each in one cycle (in chunks of 8 bytes if it is longer), so a
    field never tears although it may count on meanwhile.

    Latency: the first byte 2 cycles after the start, then one per cycle and one more per field; the final
    part after `latency` cycles.

    Parameters
    ----------
    records : dict from name to fields
        What can be written. An empty record is a reply without payload.

    Members
    -------
    start : In(stream of {"record": its place in ``records``, "slot", "status"})
    values : In(struct of the records by name)
    parts : Out(stream of REPLY_PART)
    """

    def __init__(self, records: dict[str, tuple[Field, ...]]) -> None:
        self.records = records
        self.command = data.StructLayout(
            {"record": unsigned(max(1, (len(records) - 1).bit_length())), "slot": SLOT, "status": STATUS}
        )
        layout = data.StructLayout({name: record_layout(fields) for name, fields in records.items()})
        super().__init__(
            {
                "start": In(stream.Signature(self.command)),
                "values": In(layout),
                "parts": Out(stream.Signature(REPLY_PART)),
            }
        )

    def index(self, record: str) -> int:
        """Number of a record in ``start``."""
        return list(self.records).index(record)

    def latency(self, record: str) -> int:
        """Cycles from the start to the final part, if no part has to wait."""
        chunks = self._chunks(record)
        return 2 + len(chunks) + sum(size for _, size in chunks)

    def _chunks(self, name: str) -> list[tuple[object, int]]:
        """Value and size in bytes of each chunk of a record."""
        chunks = []
        for field in self.records[name]:
            value = self.values[name][field.name]
            for first in range(0, field.size, CHUNK):
                size = min(CHUNK, field.size - first)
                chunks.append((value[8 * first : 8 * (first + size)], size))
        return chunks

    def elaborate(self, platform):
        m = Module()
        tables = [self._chunks(name) for name in self.records]
        total = sum(len(table) for table in tables)
        firsts, position = [], 0
        for table in tables:
            firsts.append(position)
            position += len(table)

        command = Signal(self.command, reset_less=True)
        chunk = Signal(range(max(2, total + 1)))
        stop = Signal.like(chunk)
        shift = Signal(8 * CHUNK, reset_less=True)
        left = Signal(range(CHUNK + 1))
        index = Signal(REPLY_LENGTH)
        m.d.comb += [
            self.parts.payload.slot.eq(command.slot),
            self.parts.payload.index.eq(index),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.start.ready.eq(1)
                m.d.sync += [command.eq(self.start.payload), index.eq(0)]
                with m.Switch(self.start.payload.record):
                    for number, table in enumerate(tables):
                        with m.Case(number):
                            m.d.sync += [chunk.eq(firsts[number]), stop.eq(firsts[number] + len(table))]
                with m.If(self.start.valid):
                    m.next = "TAKE"
            with m.State("TAKE"):
                with m.Switch(chunk):
                    for number, (value, size) in enumerate(chunk for table in tables for chunk in table):
                        with m.Case(number):
                            m.d.sync += [shift.eq(value), left.eq(size)]
                m.d.sync += chunk.eq(chunk + 1)
                m.next = "WRITE"
                with m.If(chunk == stop):
                    m.next = "FINISH"
            with m.State("WRITE"):
                m.d.comb += [self.parts.valid.eq(1), self.parts.payload.data.eq(shift[:8])]
                with m.If(self.parts.ready):
                    m.d.sync += [shift.eq(shift >> 8), left.eq(left - 1), index.eq(index + 1)]
                    with m.If(left == 1):
                        m.next = "TAKE"
            with m.State("FINISH"):
                m.d.comb += [
                    self.parts.valid.eq(1),
                    self.parts.payload.final.eq(1),
                    self.parts.payload.data.eq(command.status),
                ]
                with m.If(self.parts.ready):
                    m.next = "IDLE"
        return m
