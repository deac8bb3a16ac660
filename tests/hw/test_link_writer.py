"""Replies from their sources to their parts: the writer by itself, and behind the collector of results."""

import random

import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_hw.blocks.ram import Ram
from adakern_hw.engines.networks import result_layout
from adakern_hw.link.layouts import Layouts
from adakern_hw.link.ledger import CRC_PLACE, JOB_PLACE, RING, SIZE, make_ledger
from adakern_hw.link.results import ResultCollector
from adakern_hw.link.writer import SIZES, Record, ReplyWriter
from adakern_sim.streams import Bench
from adakern_spec import protocol
from adakern_spec.akm import CLASSES_MAX, AkmLayer, AkmShape
from adakern_spec.network import REFERENCE
from adakern_spec.protocol import LINK, ErrorCode, Status, fields_size

pytestmark = pytest.mark.usefixtures("pessimistic_memories")

CRC = 0xCAFE0123
JOBS = [70 + number for number in range(RING)]
CONTENT = bytearray(random.Random(1).randbytes(SIZE))
CONTENT[CRC_PLACE : CRC_PLACE + 4] = CRC.to_bytes(4, "little")
CONTENT[JOB_PLACE:] = b"".join(job.to_bytes(4, "little") for job in JOBS)
RESULT = {"cycles": 0x01020304, "stalls": 5, "scales": [0x1111, 0x2222], "kernels": [0x3333, 0x4444]}
ERROR = (Status.ERROR, bytes([ErrorCode.TIMEOUT]))


class Written(wiring.Component):
    """Writer and collector with a ledger."""

    def __init__(self, timeout=100, shape=REFERENCE):
        self.collector = ResultCollector(timeout)
        self.writer = ReplyWriter(shape, LINK)
        layouts = Layouts(LINK)
        super().__init__(
            {
                "jobs": In(stream.Signature(layouts.slot)),
                "results": In(stream.Signature(result_layout(shape))),
                "answers": In(self.writer.answers.signature.flip()),
                "store": In(stream.Signature(8)),
                "counters": In(stream.Signature(8)),
                "parts": Out(stream.Signature(layouts.reply_part, always_ready=True)),
                "abort": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.collector = collector = self.collector
        m.submodules.writer = writer = self.writer
        m.submodules.ledger = ledger = Ram(8, SIZE, init=bytes(CONTENT))
        wiring.connect(m, writer.ledger, ledger.read)
        wiring.connect(m, collector.replies, writer.results)
        wiring.connect(m, wiring.flipped(self.jobs), collector.jobs)
        for name in ("answers", "store", "counters"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(writer, name))
        wiring.connect(m, writer.parts, wiring.flipped(self.parts))
        m.d.comb += [
            writer.result.eq(self.results.payload),
            writer.abort.eq(self.abort),
            collector.abort.eq(self.abort),
            collector.due.eq(self.results.valid),
            self.results.ready.eq(collector.taken),
        ]
        return m


def watched(bench, dut):
    """The parts as they come, and when."""
    parts, times = [], []

    async def watch(ctx):
        async for _, _, valid, part in ctx.tick().sample(dut.parts.valid, dut.parts.payload):
            if valid:
                parts.append({name: part[name] for name in ("slot", "index", "data", "final")})
                times.append(bench.cycle)

    bench._simulator.add_testbench(watch, background=True)
    return parts, times


async def rest(ctx):
    """Time for the last part."""
    await ctx.tick().repeat(3)


def replies_of(parts):
    """Status and payload by slot; a reply that breaks off and begins again counts from its last beginning."""
    replies = {}
    for part in parts:
        slot = part["slot"]
        if part["final"]:
            content = replies.pop(slot, b"")
            assert part["index"] == len(content)
            replies[slot] = (part["data"], content)
        else:
            before = replies.get(slot, b"") if part["index"] else b""
            assert part["index"] == len(before)
            replies[slot] = before + bytes([part["data"]])
    return replies


@pytest.mark.parametrize("record", [record for record in Record if record is not Record.RESULT])
@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_answers(record, stall):
    dut = Written()
    bench = Bench(dut, 2)
    size = SIZES.get(record, 37)
    source = random.Random(3).randbytes(size)
    if record in (Record.READ, Record.COUNTERS):
        bench.put(dut.store if record is Record.READ else dut.counters, source, stall)
    parts, times = watched(bench, dut)
    taken, offered = bench.times(dut.answers), []

    async def ask(ctx):
        offered.append(bench.cycle)
        answer = {"record": record, "size": size, "code": ErrorCode.OVERRUN, "slot": 5}
        await bench.send(ctx, dut.answers, [answer])
        await rest(ctx)

    bench.add(ask)
    bench.run()
    expected = {
        Record.EMPTY: b"",
        Record.ERROR: bytes([ErrorCode.OVERRUN]),
        Record.IDENTITY: bytes(CONTENT[: fields_size(protocol.IDENTITY_FIELDS)]),
        Record.COMMIT: CRC.to_bytes(4, "little"),
        Record.READ: source,
        Record.COUNTERS: source,
    }
    status = Status.ERROR if record is Record.ERROR else Status.OK
    assert replies_of(parts) == {5: (status, expected[record])}
    assert times[-1] - taken[0] == 1
    if not stall and record in SIZES:
        assert times[-1] - offered[0] == dut.writer.latency(record)


def test_ledger_begins_with_what_is_known():
    identity = {"digest": bytes(range(16)), "clock_hz": 0x01020304, "payload_max": 512}
    content = make_ledger(identity).init
    assert len(content) == fields_size(protocol.IDENTITY_FIELDS)
    assert content[:16] == identity["digest"]
    assert content[20:24] == bytes([4, 3, 2, 1])
    assert content[34:36] == bytes([0, 2])
    assert content[CRC_PLACE:] == bytes(5)


def test_a_result_goes_ahead_of_an_answer():
    dut = Written()
    bench = Bench(dut)
    bench.put(dut.jobs, [3])
    parts, _ = watched(bench, dut)

    async def drive(ctx):
        ctx.set(dut.results.payload, RESULT)
        ctx.set(dut.results.valid, 1)
        while not ctx.get(dut.collector.replies.valid):
            await ctx.tick()
        ctx.set(dut.answers.valid, 1)
        await ctx.tick().until(dut.results.ready)
        ctx.set(dut.results.valid, 0)
        await ctx.tick().until(dut.answers.ready)
        await rest(ctx)

    bench.add(drive)
    bench.run()
    assert [part["slot"] for part in parts] == [3] * 25 + [0]


@pytest.mark.parametrize("classes", [2, 3, CLASSES_MAX])
def test_a_result_has_a_logit_for_each_class(classes):
    dut = Written(shape=AkmShape(1, 8, (AkmLayer(4),), classes))
    bench = Bench(dut)
    logits = [random.Random(classes).randrange(-(1 << 31), 1 << 31) for _ in range(classes)]
    bench.put(dut.jobs, [3])
    bench.put(dut.results, [{"cycles": 7, "stalls": 9, "logits": logits}])
    parts, times = watched(bench, dut)
    offered = bench.times(dut.results)

    async def wait(ctx):
        await ctx.tick().repeat(200)

    bench.add(wait)
    bench.run()
    numbers = [*((number, False) for number in (JOBS[0], CRC, 7, 9)), *((logit, True) for logit in logits)]
    content = b"".join(number.to_bytes(4, "little", signed=signed) for number, signed in numbers)
    assert replies_of(parts) == {3: (Status.OK, content)}
    assert times[-1] - offered[0] == 1


def collect(slots, results, abort_at=None, stalled=0, cycles=600):
    """Replies to jobs and the cycles in which `expired` pulsed, with transfer times and the device."""
    dut = Written()
    bench = Bench(dut)
    expired, taken = [], bench.times(dut.results)
    parts, times = watched(bench, dut)

    async def drive(ctx):
        ctx.set(dut.collector.stalled, stalled)
        waiting = list(results)
        await bench.send(ctx, dut.jobs, slots)
        for cycle in range(cycles):
            ctx.set(dut.results.valid, bool(waiting))
            if waiting:
                ctx.set(dut.results.payload, waiting[0])
            ctx.set(dut.abort, cycle == abort_at)
            _, _, ready, pulse = await ctx.tick().sample(dut.results.ready, dut.collector.expired)
            if ready and waiting:
                waiting.pop(0)
            if pulse:
                expired.append(cycle)

    bench.add(drive)
    bench.run()
    return replies_of(parts), expired, (taken, times), dut


def test_results_are_answered_in_the_order_of_the_jobs():
    results = [RESULT | {"stalls": stalls} for stalls in range(10)]
    slots = [6, 1, 2, 3]
    replies, expired, (taken, parts), dut = collect(slots, results[:4])
    for number, slot in enumerate(slots):
        values = (JOBS[number], CRC, 0x01020304, number)
        scales = bytes.fromhex("1111222233334444")
        assert replies[slot] == (Status.OK, b"".join(v.to_bytes(4, "little") for v in values) + scales)
    assert expired == []
    size = fields_size(protocol.RESULT_FIELDS)
    assert [time + 1 for time in taken] == parts[size :: size + 1]
    assert taken[1] - taken[0] == dut.writer.latency(Record.RESULT)


def test_what_is_aborted_fails():
    assert collect([6, 1, 2], [], abort_at=20)[0] == {6: ERROR, 1: ERROR, 2: ERROR}
    # So is a job whose result is being written: the engine keeps it no longer.
    statuses = []
    for abort_at in range(70):
        replies, _, _, dut = collect([6, 1], [RESULT], abort_at=abort_at, cycles=200)
        assert replies[1] == ERROR
        assert replies[6] == ERROR or replies[6][0] == Status.OK
        statuses.append(replies[6][0])
    answered = statuses.index(Status.OK)
    assert answered >= dut.writer.latency(Record.RESULT) - 2
    assert statuses == [Status.ERROR] * answered + [Status.OK] * (70 - answered)


def test_a_wait_expires_only_while_a_result_is_due():
    assert collect([], [])[1] == []
    expired = collect([6], [])[1]
    assert 100 <= expired[0] <= 104
    # The host keeps the engine waiting.
    assert collect([6], [], stalled=1)[1] == []
