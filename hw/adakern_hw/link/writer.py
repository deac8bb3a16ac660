"""Replies as bytes, whatever they are made of."""

import enum

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import ReadPort
from amaranth.lib.wiring import In, Out

from adakern_spec import protocol
from adakern_spec.networks import Shape, result_fields
from adakern_spec.protocol import Link, Status, fields_size

from ..engines.networks import result_layout
from .layouts import REPLY_LENGTH, Layouts
from .ledger import CRC_PLACE, JOB_PLACE, JOB_SIZE, RING, SIZE

ADDRESS = unsigned((SIZE - 1).bit_length())
"""Place in the ledger."""

ENTRY = unsigned((RING - 1).bit_length())
"""Place in the ledger's ring of job numbers."""


class Record(enum.IntEnum):
    """What a reply says."""

    EMPTY = 0
    ERROR = 1
    """An ErrorCode, with the status ERROR; all others have the status OK."""
    IDENTITY = 2
    COMMIT = 3
    """The CRC of the parameters in the engine."""
    READ = 4
    """Bytes of the parameter store, which has been told which."""
    COUNTERS = 5
    RESULT = 6


RECORD = unsigned(max(Record).bit_length())
CODE = unsigned(max(protocol.ErrorCode).bit_length())
HEAD = fields_size(protocol.RESULT_FIELDS[:2])
"""Bytes of a result that the ledger holds: job number and parameters' CRC; the engine has the others."""

SIZES = {
    Record.EMPTY: 0,
    Record.ERROR: 1,
    Record.IDENTITY: fields_size(protocol.IDENTITY_FIELDS),
    Record.COMMIT: fields_size(protocol.PARAMETER_COMMIT_REPLY_FIELDS),
    Record.COUNTERS: fields_size(protocol.COUNTER_FIELDS),
}
"""Bytes of the replies that are the same for every network."""


class ReplyWriter(wiring.Component):
    """Writes replies into the `ReplyStore`, one at a time, byte by byte.

    What is to be written stays as it is until it is taken, which it is with its last part.
    ``results`` go first: they must never wait for the execution of a request, which may itself wait for the
    engine to give its result. ``abort`` makes an end of a result that is being written; it is not taken.

    Latency: the final part comes `latency` cycles after a reply is offered, 2 for each byte.

    Parameters
    ----------
    shape : SpnShape or AkmShape
        What a result says.
    link : Link

    Members
    -------
    answers : In(stream of {"record": Record, "size": of READ, "code": of ERROR, "slot"})
    results : In(stream of {"record": RESULT or ERROR, "code", "slot", "entry": of the job number})
    abort : In(1)
    ledger : In(ReadPort)
    result : In(`result_layout`)
        While a result is offered.
    store, counters : In(stream of 8 bits)
    reading, counting : Out(1)
        Bytes of the store or the counters are being written.
    parts : Out(stream of REPLY_PART, always ready)
    """

    def __init__(self, shape: Shape, link: Link) -> None:
        self.sizes = SIZES | {Record.RESULT: fields_size(result_fields(shape))}
        layouts = Layouts(link)
        answer = {"record": RECORD, "size": REPLY_LENGTH, "code": CODE, "slot": layouts.slot}
        result = {"record": RECORD, "code": CODE, "slot": layouts.slot, "entry": ENTRY}
        super().__init__(
            {
                "answers": In(stream.Signature(data.StructLayout(answer))),
                "results": In(stream.Signature(data.StructLayout(result))),
                "abort": In(1),
                "ledger": In(ReadPort.Signature(addr_width=ADDRESS.width, shape=8)),
                "result": In(result_layout(shape)),
                "store": In(stream.Signature(8)),
                "counters": In(stream.Signature(8)),
                "reading": Out(1),
                "counting": Out(1),
                "parts": Out(stream.Signature(layouts.reply_part, always_ready=True)),
            }
        )

    def latency(self, record: Record) -> int:
        """Cycles from the offer of a reply to its final part, if its bytes are there."""
        return 4 + 2 * self.sizes[record]

    def elaborate(self, platform):
        m = Module()
        answers, results, parts = self.answers, self.results, self.parts
        # Which of the two is served, and what it says.
        busy, serves_result = Signal(), Signal()
        record = Signal(RECORD, reset_less=True)
        size, code, slot = Signal(REPLY_LENGTH), Signal(CODE), Signal.like(answers.payload.slot)
        with m.If(serves_result):
            m.d.comb += [code.eq(results.payload.code), slot.eq(results.payload.slot)]
        with m.Else():
            m.d.comb += [code.eq(answers.payload.code), slot.eq(answers.payload.slot)]

        address, index = Signal(ADDRESS, reset_less=True), Signal(REPLY_LENGTH, reset_less=True)
        first = Signal(ADDRESS)
        byte = Signal(8)
        due = Signal(init=1)
        # The result's bytes as the reply counts them.
        place = Signal(range(self.sizes[Record.RESULT] - HEAD))
        measured = Cat(self.result, Const(0, 8 * (1 << len(place)) - len(Value.cast(self.result))))
        measured = measured.rotate_left(8 * HEAD)
        m.d.comb += [
            place.eq(index),
            self.ledger.addr.eq(address),
            self.ledger.en.eq(1),
            byte.eq(self.ledger.data),
            parts.payload.index.eq(index),
            self.reading.eq(busy & (record == Record.READ)),
            self.counting.eq(busy & (record == Record.COUNTERS)),
        ]
        with m.Switch(record):
            for name, count in self.sizes.items():
                with m.Case(name):
                    m.d.comb += size.eq(count)
            with m.Default():
                m.d.comb += size.eq(answers.payload.size)
        with m.Switch(record):
            with m.Case(Record.ERROR):
                m.d.comb += byte.eq(code)
            with m.Case(Record.READ):
                m.d.comb += [byte.eq(self.store.payload), due.eq(self.store.valid)]
            with m.Case(Record.COUNTERS):
                m.d.comb += [byte.eq(self.counters.payload), due.eq(self.counters.valid)]
            with m.Case(Record.COMMIT):
                m.d.comb += first.eq(CRC_PLACE)
            with m.Case(Record.RESULT):
                m.d.comb += first.eq(Cat(Const(0, range(JOB_SIZE)), results.payload.entry) | JOB_PLACE)
                with m.If(index >= HEAD):
                    m.d.comb += byte.eq(measured.word_select(place, 8))

        done, fetches, aborted = Signal(), Signal(), Signal()
        following, ended = Signal(REPLY_LENGTH), Signal(reset_less=True)
        m.d.comb += [
            aborted.eq(self.abort & serves_result),
            following.eq(index + parts.valid),
            done.eq(fetches & ended & ~aborted),
            answers.ready.eq(done & ~serves_result),
            results.ready.eq(done & serves_result),
            self.store.ready.eq(fetches & ~ended & (record == Record.READ)),
            self.counters.ready.eq(fetches & ~ended & (record == Record.COUNTERS)),
        ]
        m.d.sync += parts.valid.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [
                    serves_result.eq(results.valid),
                    record.eq(Mux(results.valid, results.payload.record, answers.payload.record)),
                    index.eq(0),
                ]
                with m.If(results.valid | answers.valid):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += busy.eq(1)
                m.d.sync += address.eq(first)
                m.next = "SEEK"
                with m.If(aborted):
                    m.next = "IDLE"
            with m.State("SEEK"):
                # The ledger reads; the byte before goes out.
                m.d.comb += busy.eq(1)
                m.d.sync += [index.eq(following), ended.eq(following == size)]
                m.next = "FETCH"
                with m.If(aborted):
                    m.next = "IDLE"
            with m.State("FETCH"):
                m.d.comb += [busy.eq(1), fetches.eq(1)]
                status = Mux(record == Record.ERROR, Status.ERROR, Status.OK)
                m.d.sync += [
                    parts.payload.slot.eq(slot),
                    parts.payload.data.eq(Mux(done, status, byte)),
                    parts.payload.final.eq(done),
                    parts.valid.eq(done | due),
                ]
                with m.If(done):
                    m.next = "IDLE"
                with m.Elif(due):
                    m.d.sync += address.eq(address + 1)
                    with m.If((record == Record.RESULT) & (index == JOB_SIZE - 1)):
                        m.d.sync += address.eq(CRC_PLACE)
                    m.next = "SEEK"
                with m.If(aborted):
                    m.next = "IDLE"
        with m.If(aborted):
            m.d.sync += parts.valid.eq(0)
        return m
