"""Execution of requests, one after another (docs/protocol.md, "Requests")."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import WritePort
from amaranth.lib.wiring import In, Out

from adakern_spec import protocol
from adakern_spec.networks import Shape, block_size
from adakern_spec.numbers import LENGTH_BITS
from adakern_spec.protocol import LINK, ErrorCode, Link, Request

from .answer import Answer
from .countdown import Countdown
from .layouts import REPLY_LENGTH, Layouts
from .ledger import CRC_PLACE, JOB_PLACE, JOB_SIZE, VALID_PLACE
from .request import RequestInHand
from .store import address_shape
from .writer import ADDRESS, CODE, ENTRY, RECORD, Record

JOB_ADDRESS = unsigned((JOB_SIZE - 1).bit_length())
"""Byte of a job number."""

NOTHING = 0
"""A type that no request has."""


class _Registers:
    """What the states of the `Dispatcher` share besides the request in hand and its answer."""

    def __init__(self, shape: Shape) -> None:
        # The engine has parameters.
        self.valid = Signal(reset_less=True)
        # The open job; ``left`` bytes of its map are to come, ``behind`` the DATA in hand if that is taken;
        # below zero it is an ``overrun``. The number of the next job goes into the ``entry`` of the ledger
        # unless a job is open: ``blocked``.
        self.open_job = Signal()
        self.entry = Signal(ENTRY)
        self.blocked = Signal(reset_less=True)
        self.left = Signal(range(shape.map_bytes(shape.max_length) + 1), reset_less=True)
        self.overrun = Signal(reset_less=True)
        self.behind = Signal.like(self.left)
        # The engine is being loaded.
        self.loading = Signal()
        # A wait for the engine, its end by time-out, and what that end brings about.
        self.waits = Signal()
        self.abort = Signal()
        self.aborting = Signal()


class Dispatcher(wiring.Component):
    """Executes the requests of `RequestWindow` and has each answered, except the DATA that completes
    a map: its slot goes to `ResultCollector`.

    Everything that it waits for from the engine has ``timeout`` cycles to come; otherwise the reply is
    TIMEOUT, ``abort`` pulses (the engine resets, jobs without a result fail) and the open job is closed. No
    request is begun or executed until every job without a result has its answer.
    Whether there are committed parameters survives resets, as the engine's parameters and the ledger do.

    Latency: DATA goes on at a byte per cycle; from the last byte of one to the first of the next pass fewer
    cycles than the `PixelFeeder` bridges, so a stream of maps never starves the engine.

    Parameters
    ----------
    shape : SpnShape or AkmShape
    timeout : int
        Cycles.
    link : Link

    Members
    -------
    requests, data
        From `RequestWindow`.
    replies : Out(stream of {"record", "size", "code", "slot"})
        To `ReplyWriter`.
    ledger : In(WritePort)
    store_seek, store_rewind, store_write, store_reads, store_bytes, store_last, store_crc, store_settled,
    store_drain
        To and from `ParameterStore`; while a reply is written its bytes go to the writer.
    jobs : Out(stream of the length)
    bytes : Out(stream of 8 bits)
        Maps.
    parameters : Out(stream of 8 bits)
    busy : In(1)
        From the engine.
    pending : Out(stream of the slot)
    results_idle, expired : In(1)
        From `ResultCollector`.
    abort : Out(1)
    """

    def __init__(self, shape: Shape, timeout: int, link: Link = LINK) -> None:
        self.shape = shape
        self.link = link
        layouts = Layouts(link)
        reply = {"record": RECORD, "size": REPLY_LENGTH, "code": CODE, "slot": layouts.slot}
        self.timeout = timeout
        self.size = block_size(shape)
        super().__init__(
            {
                "requests": In(stream.Signature(layouts.request)),
                "data": In(stream.Signature(8)),
                "replies": Out(stream.Signature(data.StructLayout(reply))),
                "ledger": In(WritePort.Signature(addr_width=ADDRESS.width, shape=8)),
                "store_seek": Out(stream.Signature(address_shape(self.size), always_ready=True)),
                "store_rewind": Out(1),
                "store_write": Out(stream.Signature(8, always_ready=True)),
                "store_reads": Out(1),
                "store_bytes": In(stream.Signature(8)),
                "store_last": In(1),
                "store_crc": In(8),
                "store_settled": In(1),
                "store_drain": Out(1),
                "jobs": Out(stream.Signature(unsigned(LENGTH_BITS))),
                "bytes": Out(stream.Signature(8)),
                "parameters": Out(stream.Signature(8)),
                "busy": In(1),
                "pending": Out(stream.Signature(layouts.slot)),
                "results_idle": In(1),
                "expired": In(1),
                "abort": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        request = RequestInHand(self.shape, self.link)
        registers = _Registers(self.shape)
        answer = Answer()
        request.classify(m)
        self._watch(m, registers)
        self._connect(m, request, registers, answer)
        with m.FSM():
            self._arguments(m, request, registers, answer)
            self._execute(m, request, registers, answer)
            self._open(m, request, registers, answer)
            self._write(m, request, registers, answer)
            self._commit(m, request, registers, answer)
            self._stream(m, request, registers, answer)
            self._reply(m, request, answer)
        with m.If(registers.abort):
            m.d.sync += [registers.aborting.eq(1), registers.open_job.eq(0), self.jobs.valid.eq(0)]
        return m

    def _watch(self, m: Module, registers: _Registers) -> None:
        """Every wait for the engine runs against the timer."""
        waits, abort = registers.waits, registers.abort
        timer = Countdown(self.timeout)
        m.d.comb += abort.eq(self.expired | (waits & timer.over))
        m.d.sync += self.abort.eq(abort)
        timer.run(m, waits)
        # Until the engine is reset and the last job of before has failed; a job of after must not fail too.
        with m.If(~self.abort & self.results_idle):
            m.d.sync += registers.aborting.eq(0)

    def _connect(self, m: Module, request: RequestInHand, registers: _Registers, answer: Answer) -> None:
        """Payloads of the ports, and what each transfer through them changes."""
        m.d.comb += [
            self.store_seek.payload.eq(request.address),
            self.store_write.payload.eq(self.data.payload),
            self.bytes.payload.eq(self.data.payload),
            self.parameters.payload.eq(self.store_bytes.payload),
            self.pending.payload.eq(request.slot),
            self.replies.payload.record.eq(answer.record),
            self.replies.payload.size.eq(request.size),
            self.replies.payload.code.eq(answer.code),
            self.replies.payload.slot.eq(request.slot),
            self.ledger.addr.eq(JOB_PLACE + Cat((-request.needed)[: JOB_ADDRESS.width], registers.entry)),
            self.ledger.data.eq(self.data.payload),
        ]
        with m.If(self.jobs.ready):
            m.d.sync += self.jobs.valid.eq(0)
        with m.If(self.data.valid & self.data.ready):
            m.d.sync += request.remaining.eq(request.remaining - 1)

    def _arguments(self, m: Module, request: RequestInHand, registers: _Registers, answer: Answer) -> None:
        """Take a request and its arguments."""
        with m.State("IDLE"):
            m.d.comb += self.requests.ready.eq(~registers.aborting)
            m.d.sync += registers.loading.eq(0)
            request.take(m, self.requests.payload)
            with m.If(self.requests.valid & ~registers.aborting):
                m.next = "CHECK"
        with m.State("CHECK"):
            m.d.sync += [
                request.needed.eq(request.expected),
                Cat(registers.behind, registers.overrun).eq(registers.left - request.remaining),
                registers.blocked.eq(registers.open_job),
            ]
            with m.If(~request.known):
                answer.refuse(m, ErrorCode.UNKNOWN_TYPE)
            with m.Elif(~request.fits):
                answer.refuse(m, ErrorCode.BAD_LENGTH)
            with m.Elif(request.expected == 0):
                m.next = "EXECUTE"
            with m.Else():
                m.next = "ARGUMENTS"
        with m.State("ARGUMENTS"):
            m.d.comb += self.data.ready.eq(1)
            with m.If(self.data.valid):
                request.shift(m, self.data.payload)
                numbers = (request.kind == Request.JOB) & (request.needed > JOB_SIZE)
                m.d.comb += self.ledger.en.eq(numbers & ~registers.blocked)
                with m.If(request.needed == 1):
                    m.next = "RANGE"
        with m.State("RANGE"):
            m.d.comb += self.store_seek.valid.eq(1)
            request.judge(m)
            m.next = "EXECUTE"

    def _execute(self, m: Module, request: RequestInHand, registers: _Registers, answer: Answer) -> None:
        """Refuse the request or begin with it."""
        aborted = registers.abort | registers.aborting
        with m.State("EXECUTE"), m.Switch(Mux(aborted, NOTHING, request.kind)):
            with m.Case(Request.IDENTITY):
                answer.respond(m, Record.IDENTITY)
            with m.Case(Request.COUNTERS):
                answer.respond(m, Record.COUNTERS)
            with m.Case(Request.PARAMETER_WRITE):
                with m.If(request.beyond):
                    answer.refuse(m, ErrorCode.BAD_ADDRESS)
                with m.Else():
                    m.next = "WRITE"
            with m.Case(Request.PARAMETER_READ):
                with m.If(request.size > protocol.REPLY_PAYLOAD_MAX):
                    answer.refuse(m, ErrorCode.BAD_LENGTH)
                with m.Elif(request.beyond):
                    answer.refuse(m, ErrorCode.BAD_ADDRESS)
                with m.Else():
                    answer.respond(m, Record.READ)
            with m.Case(Request.PARAMETER_COMMIT):
                with m.If(registers.open_job):
                    answer.refuse(m, ErrorCode.JOB_OPEN)
                with m.Else():
                    m.next = "SETTLE"
            with m.Case(Request.JOB):
                with m.If(registers.blocked):
                    answer.refuse(m, ErrorCode.JOB_OPEN)
                with m.Elif(~registers.valid):
                    answer.refuse(m, ErrorCode.NO_PARAMETERS)
                with m.Elif(request.bad_job):
                    answer.refuse(m, ErrorCode.BAD_JOB)
                with m.Else():
                    m.next = "OPEN"
            with m.Case(Request.DATA):
                with m.If(~registers.open_job):
                    answer.refuse(m, ErrorCode.NO_JOB)
                with m.Elif(registers.overrun):
                    answer.refuse(m, ErrorCode.OVERRUN)
                with m.Else():
                    m.d.sync += registers.left.eq(registers.behind)
                    m.next = "STREAM"

    def _open(self, m: Module, request: RequestInHand, registers: _Registers, answer: Answer) -> None:
        """JOB: hand the length to the engine."""
        with m.State("OPEN"):
            # A short map may lie in the feeder whole while the engine has yet to begin it.
            m.d.comb += registers.waits.eq(self.jobs.valid)
            with m.If(registers.abort):
                answer.refuse(m, ErrorCode.TIMEOUT)
            with m.Elif(~self.jobs.valid):
                m.d.sync += [
                    registers.open_job.eq(1),
                    registers.left.eq(request.map_bytes),
                    self.jobs.payload.eq(request.length),
                    self.jobs.valid.eq(1),
                ]
                answer.respond(m, Record.EMPTY)

    def _write(self, m: Module, request: RequestInHand, registers: _Registers, answer: Answer) -> None:
        """PARAMETER_WRITE: the payload goes into the store."""
        with m.State("WRITE"):
            m.d.comb += [self.data.ready.eq(1), self.store_write.valid.eq(self.data.valid)]
            with m.If((request.remaining == 0) | (self.data.valid & (request.remaining == 1))):
                answer.respond(m, Record.EMPTY)

    def _commit(self, m: Module, request: RequestInHand, registers: _Registers, answer: Answer) -> None:
        """PARAMETER_COMMIT: once the engine is idle, check the store's content and load it."""
        waits, loading, ledger = registers.waits, registers.loading, self.ledger
        digit, differs = Signal(range(protocol.CRC_SIZE)), Signal()
        with m.State("SETTLE"):
            m.d.comb += waits.eq(1)
            with m.If(registers.abort):
                answer.refuse(m, ErrorCode.TIMEOUT)
            with m.Elif(self.results_idle & ~self.busy & ~self.jobs.valid):
                m.next = "FETCH"
        with m.State("FETCH"):
            m.d.comb += self.store_rewind.eq(1)
            m.next = "LOAD"
        with m.State("LOAD"):
            # First pass: the CRC alone. Second pass: into the engine.
            m.d.comb += [
                self.store_reads.eq(1),
                self.parameters.valid.eq(loading & self.store_bytes.valid),
                self.store_bytes.ready.eq(~loading | self.parameters.ready),
                waits.eq(~(self.store_bytes.valid & self.store_bytes.ready)),
            ]
            with m.If(registers.abort):
                answer.refuse(m, ErrorCode.TIMEOUT)
            with m.Elif(~waits & self.store_last):
                m.next = "COMPARE"
        with m.State("COMPARE"), m.If(self.store_settled):
            # Byte by byte, least significant first; those of the store are noted as the engine's.
            m.d.comb += [
                self.store_drain.eq(1),
                ledger.addr.eq(CRC_PLACE + digit),
                ledger.data.eq(self.store_crc),
                ledger.en.eq(loading),
            ]
            m.d.sync += [digit.eq(digit + 1), differs.eq(differs | (self.store_crc != request.digit))]
            request.shift(m, request.digit)
            with m.If(digit == protocol.CRC_SIZE - 1):
                m.next = "JUDGE"
        with m.State("JUDGE"):
            m.d.comb += [ledger.addr.eq(VALID_PLACE), ledger.data.eq(loading), ledger.en.eq(~differs)]
            m.d.sync += differs.eq(0)
            with m.If(differs):
                answer.refuse(m, ErrorCode.BAD_DIGEST)
            with m.Else():
                # Once the engine is being loaded it holds neither the old parameters nor the new.
                m.d.sync += [loading.eq(1), registers.valid.eq(loading)]
                m.next = "FETCH"
                with m.If(loading):
                    answer.respond(m, Record.COMMIT)

    def _stream(self, m: Module, request: RequestInHand, registers: _Registers, answer: Answer) -> None:
        """DATA: the payload goes to the engine; behind a map's last byte, the slot to the collector."""
        waits, left = registers.waits, registers.left
        with m.State("STREAM"):
            m.d.comb += [
                self.bytes.valid.eq(self.data.valid),
                self.data.ready.eq(self.bytes.ready),
                waits.eq(~(self.data.valid & self.bytes.ready)),
            ]
            with m.If(registers.abort):
                answer.refuse(m, ErrorCode.TIMEOUT)
            with m.Elif(~waits & (request.remaining == 1)):
                with m.If(left == 0):
                    m.d.sync += registers.open_job.eq(0)
                    m.next = "PEND"
                with m.Else():
                    answer.respond(m, Record.EMPTY)
        with m.State("PEND"):
            m.d.comb += self.pending.valid.eq(1)
            with m.If(self.pending.ready):
                m.d.sync += registers.entry.eq(registers.entry + 1)
                m.next = "IDLE"

    def _reply(self, m: Module, request: RequestInHand, answer: Answer) -> None:
        """Discard what is left of a refused request, then have the answer written."""
        with m.State("DRAIN"):
            m.d.comb += self.data.ready.eq(1)
            with m.If(request.remaining == 0):
                answer.respond(m, Record.ERROR)
        with m.State("RESPOND"):
            m.d.comb += self.replies.valid.eq(1)
            with m.If(self.replies.ready):
                m.next = "IDLE"
