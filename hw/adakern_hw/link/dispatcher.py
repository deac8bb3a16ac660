"""Execution of requests, one after another (docs/protocol.md, "Requests")."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec import protocol
from adakern_spec.network import SpnShape
from adakern_spec.numbers import LENGTH_BITS
from adakern_spec.parameters import block_size
from adakern_spec.protocol import ErrorCode, Field, Request, Status

from .fields import RecordWriter
from .layouts import LENGTH, PENDING, REPLY_PART, REQUEST, SLOT, record_layout
from .store import read_layout, write_layout

ARGUMENTS: dict[Request, tuple[tuple[Field, ...], bool]] = {
    Request.IDENTITY: ((), False),
    Request.PARAMETER_WRITE: (protocol.PARAMETER_ADDRESS_FIELDS, True),
    Request.PARAMETER_READ: (protocol.PARAMETER_READ_FIELDS, False),
    Request.PARAMETER_COMMIT: (protocol.PARAMETER_COMMIT_FIELDS, False),
    Request.JOB: (protocol.JOB_FIELDS, False),
    Request.DATA: ((), True),
    Request.COUNTERS: ((), False),
}
"""Fields at the start of each payload, and whether more bytes follow."""

NOTHING = 0
"""A type that no request has."""

RECORDS: dict[str, tuple[Field, ...]] = {
    "empty": (),
    "error": (Field("code", 1),),
    "identity": protocol.IDENTITY_FIELDS,
    "counters": protocol.COUNTER_FIELDS,
    "commit": protocol.PARAMETER_COMMIT_REPLY_FIELDS,
}
"""Payloads of replies that are a record."""


class Dispatcher(wiring.Component):
    """Executes the requests of `RequestWindow` and replies to each, except to the DATA that completes
    a map: its slot goes to `ResultCollector`.

    Everything that it waits for from the engine has ``timeout`` cycles to come; otherwise the reply is
    TIMEOUT, ``abort`` pulses (the engine resets, jobs without a result fail) and the open job is closed. No
    request is begun or executed until every job without a result has its answer.
    The committed parameters' CRC and validity survive resets, as the engine's parameters do.

    Latency: DATA goes on at a byte per cycle; from the last byte of one to the first of the next pass fewer
    cycles than the `PixelFeeder` bridges, so a stream of maps never starves the engine.

    Parameters
    ----------
    shape : SpnShape
    identity : dict from name to value
        IDENTITY_FIELDS but the last two, which are live.
    timeout : int
        Cycles.

    Members
    -------
    requests, data
        From `RequestWindow`.
    parts : Out(stream of REPLY_PART)
    store_write, store_read, store_bytes, store_crc
        To and from `ParameterStore`.
    jobs : Out(stream of the length)
    bytes : Out(stream of 8 bits)
        Maps.
    parameters : Out(stream of 8 bits)
    busy : In(1)
        From the engine.
    pending : Out(stream of PENDING)
    results_idle, expired : In(1)
        From `ResultCollector`.
    counters : In(record of COUNTER_FIELDS)
    parameter_crc : Out(32)
        CRC of the parameters in the engine.
    abort : Out(1)
    store_reset : Out(1)
        The store is left in the middle of a read.
    """

    def __init__(self, shape: SpnShape, identity: dict[str, int | bytes], timeout: int) -> None:
        self.shape = shape
        self.identity = identity
        self.timeout = timeout
        self.size = block_size(shape)
        super().__init__(
            {
                "requests": In(stream.Signature(REQUEST)),
                "data": In(stream.Signature(8)),
                "parts": Out(stream.Signature(REPLY_PART)),
                "store_write": Out(stream.Signature(write_layout(self.size), always_ready=True)),
                "store_read": Out(stream.Signature(read_layout(self.size))),
                "store_bytes": In(stream.Signature(8)),
                "store_crc": In(32),
                "jobs": Out(stream.Signature(unsigned(LENGTH_BITS))),
                "bytes": Out(stream.Signature(8)),
                "parameters": Out(stream.Signature(8)),
                "busy": In(1),
                "pending": Out(stream.Signature(PENDING)),
                "results_idle": In(1),
                "expired": In(1),
                "counters": In(record_layout(protocol.COUNTER_FIELDS)),
                "parameter_crc": Out(32),
                "abort": Out(1),
                "store_reset": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.writer = writer = RecordWriter(RECORDS)

        kind = Signal(8, reset_less=True)
        slot = Signal(SLOT, reset_less=True)
        remaining = Signal(LENGTH)
        needed = Signal(range(9))
        known = Signal()
        fits = Signal()

        # Arguments shift in from the top, so those of n bytes end up in the top n bytes.
        arguments = Signal(64, reset_less=True)

        def argument(request: Request):
            fields = ARGUMENTS[request][0]
            layout = record_layout(fields)
            return layout(arguments[64 - layout.size :])

        valid = Signal(reset_less=True)
        loaded_crc = Signal(32, reset_less=True)
        open_job = Signal()
        job = Signal(32, reset_less=True)
        left = Signal(range(self.shape.map_bytes(self.shape.max_length) + 1), reset_less=True)

        code = Signal(8, reset_less=True)
        record = Signal(range(len(RECORDS)), reset_less=True)
        status = Signal(Status, reset_less=True)
        m.d.comb += [
            writer.start.payload.record.eq(record),
            writer.start.payload.status.eq(status),
            writer.start.payload.slot.eq(slot),
            writer.values.error.code.eq(code),
            writer.values.commit.crc.eq(self.parameter_crc),
            writer.values.counters.eq(self.counters),
            self.parameter_crc.eq(loaded_crc),
        ]
        for field in protocol.IDENTITY_FIELDS:
            live = {"parameter_crc": self.parameter_crc, "parameters_valid": valid}
            value = live[field.name] if field.name in live else self.identity[field.name]
            if isinstance(value, bytes):
                value = int.from_bytes(value, "little")
            m.d.comb += writer.values.identity[field.name].eq(value)

        def respond(name: str, outcome: Status = Status.OK):
            m.d.sync += [record.eq(writer.index(name)), status.eq(outcome)]
            m.next = "RESPOND"

        def refuse(reason: ErrorCode):
            m.d.sync += code.eq(reason)
            m.next = "DRAIN"

        # Every wait for the engine runs against the timer.
        timer = Signal(range(self.timeout + 1))
        waits = Signal()
        expired = Signal()
        abort = Signal()
        m.d.comb += [expired.eq(timer == self.timeout), abort.eq(self.expired | (waits & expired))]
        m.d.sync += [timer.eq(Mux(waits, timer + 1, 0)), self.abort.eq(abort), self.store_reset.eq(0)]
        # Until the engine is reset and the last job of before has failed; a job of after must not fail too.
        aborting = Signal()
        with m.If(~self.abort & self.results_idle):
            m.d.sync += aborting.eq(0)

        write = argument(Request.PARAMETER_WRITE)
        read = argument(Request.PARAMETER_READ)
        opened = argument(Request.JOB)
        beyond = Signal(reset_less=True)
        bad_job = Signal(reset_less=True)
        overrun = Signal(reset_less=True)
        map_bytes = Signal.like(left)
        address = Signal.like(self.store_write.payload.address)
        index = Signal.like(self.parts.payload.index)
        loading = Signal()
        count = Signal.like(self.store_read.payload.count)
        address_bits = len(self.store_read.payload.count)

        def reaches_beyond(first, size):
            return (first[address_bits:] != 0) | (first[:address_bits] + size > self.size)

        m.d.comb += [
            self.store_write.payload.address.eq(address),
            self.store_write.payload.data.eq(self.data.payload),
            self.store_read.payload.address.eq(Mux(kind == Request.PARAMETER_READ, read.address, 0)),
            self.store_read.payload.count.eq(Mux(kind == Request.PARAMETER_READ, read.size, self.size)),
            self.bytes.payload.eq(self.data.payload),
            self.parameters.payload.eq(self.store_bytes.payload),
            self.pending.payload.slot.eq(slot),
            self.pending.payload.job.eq(job),
            self.parts.payload.eq(writer.parts.payload),
            self.parts.valid.eq(writer.parts.valid),
            writer.parts.ready.eq(self.parts.ready),
        ]
        with m.If(self.jobs.ready):
            m.d.sync += self.jobs.valid.eq(0)
        with m.If(self.data.valid & self.data.ready):
            m.d.sync += remaining.eq(remaining - 1)

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.requests.ready.eq(~aborting)
                request = self.requests.payload
                m.d.sync += [
                    kind.eq(request.type),
                    slot.eq(request.slot),
                    remaining.eq(request.length),
                    known.eq(0),
                    index.eq(0),
                    loading.eq(0),
                ]
                with m.Switch(request.type):
                    for number, (fields, more) in ARGUMENTS.items():
                        size = protocol.fields_size(fields)
                        with m.Case(number):
                            fit = (request.length >= max(size, 1)) if more else (request.length == size)
                            m.d.sync += [known.eq(1), needed.eq(size), fits.eq(fit)]
                with m.If(self.requests.valid & ~aborting):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += overrun.eq(remaining > left)
                with m.If(~known):
                    refuse(ErrorCode.UNKNOWN_TYPE)
                with m.Elif(~fits):
                    refuse(ErrorCode.BAD_LENGTH)
                with m.Elif(needed == 0):
                    m.next = "EXECUTE"
                with m.Else():
                    m.next = "ARGUMENTS"
            with m.State("ARGUMENTS"):
                m.d.comb += self.data.ready.eq(1)
                with m.If(self.data.valid):
                    m.d.sync += [arguments.eq(Cat(arguments[8:], self.data.payload)), needed.eq(needed - 1)]
                    with m.If(needed == 1):
                        m.next = "RANGE"
            with m.State("RANGE"):
                m.d.sync += [
                    address.eq(write.address),
                    beyond.eq(
                        Mux(
                            kind == Request.PARAMETER_READ,
                            reaches_beyond(read.address, read.size),
                            reaches_beyond(write.address, remaining),
                        )
                    ),
                    bad_job.eq((opened.length == 0) | (opened.length > self.shape.max_length)),
                    map_bytes.eq(opened.length[:LENGTH_BITS] * self.shape.map_bytes(1)),
                ]
                m.next = "EXECUTE"
            with m.State("EXECUTE"):
                with m.Switch(Mux(abort | aborting, NOTHING, kind)):
                    with m.Case(Request.IDENTITY):
                        respond("identity")
                    with m.Case(Request.COUNTERS):
                        respond("counters")
                    with m.Case(Request.PARAMETER_WRITE):
                        with m.If(beyond):
                            refuse(ErrorCode.BAD_ADDRESS)
                        with m.Else():
                            m.d.sync += valid.eq(0)
                            m.next = "WRITE"
                    with m.Case(Request.PARAMETER_READ):
                        with m.If(read.size > protocol.REPLY_PAYLOAD_MAX):
                            refuse(ErrorCode.BAD_LENGTH)
                        with m.Elif(beyond):
                            refuse(ErrorCode.BAD_ADDRESS)
                        with m.Else():
                            # The reply before this one goes first.
                            m.d.comb += self.store_read.valid.eq(writer.start.ready)
                            with m.If(self.store_read.valid & self.store_read.ready):
                                m.next = "READ"
                    with m.Case(Request.PARAMETER_COMMIT):
                        with m.If(open_job):
                            refuse(ErrorCode.JOB_OPEN)
                        with m.Else():
                            m.next = "SETTLE"
                    with m.Case(Request.JOB):
                        with m.If(open_job):
                            refuse(ErrorCode.JOB_OPEN)
                        with m.Elif(~valid):
                            refuse(ErrorCode.NO_PARAMETERS)
                        with m.Elif(bad_job):
                            refuse(ErrorCode.BAD_JOB)
                        with m.Else():
                            m.next = "OPEN"
                    with m.Case(Request.DATA):
                        with m.If(~open_job):
                            refuse(ErrorCode.NO_JOB)
                        with m.Elif(overrun):
                            refuse(ErrorCode.OVERRUN)
                        with m.Else():
                            m.next = "STREAM"
            with m.State("OPEN"):
                # A short map may lie in the feeder whole while the engine has yet to begin it.
                m.d.comb += waits.eq(self.jobs.valid)
                with m.If(abort):
                    refuse(ErrorCode.TIMEOUT)
                with m.Elif(~self.jobs.valid):
                    m.d.sync += [
                        open_job.eq(1),
                        job.eq(opened.job),
                        left.eq(map_bytes),
                        self.jobs.payload.eq(opened.length),
                        self.jobs.valid.eq(1),
                    ]
                    respond("empty")
            with m.State("WRITE"):
                m.d.comb += [self.data.ready.eq(1), self.store_write.valid.eq(self.data.valid)]
                with m.If(self.data.valid):
                    m.d.sync += address.eq(address + 1)
                with m.If((remaining == 0) | (self.data.valid & (remaining == 1))):
                    respond("empty")
            with m.State("READ"):
                m.d.comb += [
                    self.parts.payload.slot.eq(slot),
                    self.parts.payload.index.eq(index),
                    self.parts.payload.data.eq(Mux(index == read.size, Status.OK, self.store_bytes.payload)),
                    self.parts.payload.final.eq(index == read.size),
                    self.parts.valid.eq((index == read.size) | self.store_bytes.valid),
                    self.store_bytes.ready.eq((index != read.size) & self.parts.ready),
                ]
                with m.If(self.parts.valid & self.parts.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == read.size):
                        m.next = "IDLE"
            with m.State("SETTLE"):
                m.d.comb += waits.eq(1)
                with m.If(abort):
                    refuse(ErrorCode.TIMEOUT)
                with m.Elif(self.results_idle & ~self.busy & ~self.jobs.valid):
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += self.store_read.valid.eq(1)
                m.d.sync += count.eq(self.size)
                with m.If(self.store_read.ready):
                    m.next = "LOAD"
            with m.State("LOAD"):
                # First pass: the CRC alone. Second pass: into the engine.
                m.d.comb += [
                    self.parameters.valid.eq(loading & self.store_bytes.valid),
                    self.store_bytes.ready.eq(~loading | self.parameters.ready),
                    waits.eq(~(self.store_bytes.valid & self.store_bytes.ready)),
                ]
                with m.If(abort):
                    m.d.sync += self.store_reset.eq(1)
                    refuse(ErrorCode.TIMEOUT)
                with m.Elif(~waits):
                    m.d.sync += count.eq(count - 1)
                    with m.If(count == 1):
                        m.next = "COMPARE"
            with m.State("COMPARE"):
                with m.If(self.store_crc != argument(Request.PARAMETER_COMMIT).crc):
                    refuse(ErrorCode.BAD_DIGEST)
                with m.Elif(~loading):
                    m.d.sync += [loading.eq(1), valid.eq(0)]
                    m.next = "FETCH"
                with m.Else():
                    m.d.sync += [valid.eq(1), loaded_crc.eq(self.store_crc)]
                    respond("commit")
            with m.State("STREAM"):
                m.d.comb += [
                    self.bytes.valid.eq(self.data.valid),
                    self.data.ready.eq(self.bytes.ready),
                    waits.eq(~(self.data.valid & self.bytes.ready)),
                ]
                with m.If(abort):
                    refuse(ErrorCode.TIMEOUT)
                with m.Elif(~waits):
                    m.d.sync += left.eq(left - 1)
                    with m.If(remaining == 1):
                        with m.If(left == 1):
                            m.d.sync += open_job.eq(0)
                            m.next = "PEND"
                        with m.Else():
                            respond("empty")
            with m.State("PEND"):
                m.d.comb += self.pending.valid.eq(1)
                with m.If(self.pending.ready):
                    m.next = "IDLE"
            with m.State("DRAIN"):
                m.d.comb += self.data.ready.eq(1)
                with m.If(remaining == 0):
                    respond("error", Status.ERROR)
            with m.State("RESPOND"):
                m.d.comb += writer.start.valid.eq(1)
                with m.If(writer.start.ready):
                    m.next = "RECORD"
                    with m.If(record == writer.index("empty")):
                        m.next = "IDLE"
            with m.State("RECORD"):
                # What the record says holds when this request executes, not the next.
                with m.If(writer.start.ready):
                    m.next = "IDLE"

        with m.If(abort):
            m.d.sync += [aborting.eq(1), open_job.eq(0), self.jobs.valid.eq(0)]
        return m
