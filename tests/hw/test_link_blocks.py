"""The link's smaller blocks by themselves: what they say of their cycles, and their limits."""

import random

import crc32c
import pytest

from adakern.device.packets import Record
from adakern_hw.link.counters import Counters
from adakern_hw.link.feeder import PixelFeeder
from adakern_hw.link.fields import RecordWriter
from adakern_hw.link.results import ResultCollector
from adakern_hw.link.store import ParameterStore
from adakern_hw.link.window import RequestWindow
from adakern_sim.streams import Bench
from adakern_spec import protocol
from adakern_spec.network import ConvShape
from adakern_spec.protocol import LINK, ErrorCode, Field, Request, Status

pytestmark = pytest.mark.usefixtures("pessimistic_memories")

COUNTERS = Record(protocol.COUNTER_FIELDS)
RECORDS = {
    "empty": (),
    "byte": (Field("value", 1),),
    "mixed": (Field("long", 8), Field("digest", 16, raw=True), Field("short", 2), Field("word", 4)),
}


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_record_writer(record, stall):
    dut = RecordWriter(RECORDS, LINK)
    rng = random.Random(1)
    fields = RECORDS[record]
    values = {field.name: rng.randrange(1 << 8 * field.size) for field in fields}
    content = b"".join(values[field.name].to_bytes(field.size, "little") for field in fields)
    bench = Bench(dut)

    async def start(ctx):
        for name, value in values.items():
            ctx.set(dut.values[record][name], value)
        await bench.send(ctx, dut.start, [{"record": dut.index(record), "slot": 5, "status": Status.ERROR}])

    bench.add(start)
    parts = bench.get(dut.parts, len(content) + 1, stall)
    starts, times = bench.times(dut.start), bench.times(dut.parts)
    bench.run()
    assert [part["slot"] for part in parts] == [5] * len(parts)
    assert [part["index"] for part in parts] == list(range(len(content) + 1))
    assert bytes(part["data"] for part in parts[:-1]) == content
    assert [part["final"] for part in parts] == [0] * len(content) + [1]
    assert parts[-1]["data"] == Status.ERROR
    if not stall:
        assert times[-1] - starts[0] == dut.latency(record)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("address", "count"), [(0, 37), (36, 1), (5, 20)])
@pytest.mark.parametrize("crc_bits", [8, 1])
def test_parameter_store(address, count, stall, crc_bits):
    size = 37
    content = random.Random(2).randbytes(size)
    dut = ParameterStore(size, crc_bits)
    bench = Bench(dut, 3)
    crcs = []

    async def drive(ctx):
        for place, byte in enumerate(content):
            ctx.set(dut.write.payload, {"address": place, "data": byte})
            ctx.set(dut.write.valid, 1)
            await ctx.tick()
        ctx.set(dut.write.valid, 0)
        for _ in range(2):
            await bench.send(ctx, dut.read, [{"address": address, "count": count}])
            received.append(bytes(await bench.receive(ctx, dut.bytes, count, stall)))
            while not ctx.get(dut.settled):
                await ctx.tick()
            crcs.append(ctx.get(dut.crc))

    received = []
    bench.add(drive)
    reads, times = bench.times(dut.read), bench.times(dut.bytes)
    bench.run()
    expected = content[address : address + count]
    assert received == [expected] * 2
    assert crcs == [crc32c.crc32c(expected)] * 2
    if not stall:
        assert times[0] - reads[0] == 3
        assert times[count - 1] - times[0] == (count - 1) * (1 if crc_bits == 8 else 9)


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_pixel_feeder(channels, stall):
    dut = PixelFeeder(ConvShape(channels, 2))
    count = 40
    rng = random.Random(4)
    values = [[rng.randrange(256) for _ in range(channels)] for _ in range(count)]
    bench = Bench(dut, 5)
    bench.put(dut.bytes, [byte for pixel in values for byte in pixel], stall)
    pixels = bench.get(dut.pixels, count, stall)
    starts, times = bench.times(dut.bytes), bench.times(dut.pixels)
    bench.run()
    assert pixels == values
    if not stall:
        assert times[0] - starts[channels - 1] == 3
        assert times[-1] - times[0] == channels * (count - 1)
        assert starts[-1] - starts[0] == channels * count - 1


def test_pixel_feeder_holds_what_the_gap_between_packets_needs():
    dut = PixelFeeder(ConvShape(8, 2))
    bench = Bench(dut)
    bench.put(dut.bytes, [0] * dut.DEPTH)
    bench.run()
    assert dut.DEPTH >= 2 * 9


def collect(jobs, results, timeout=100, abort_at=None, cycles=600, stalled=0):
    """Parts of a collector, the cycles in which `expired` pulsed, and the transfer times."""
    dut = ResultCollector(timeout)
    bench = Bench(dut)
    parts, expired = [], []
    times = bench.times(dut.results), bench.times(dut.parts)

    async def drive(ctx):
        ctx.set(dut.parameter_crc, 0xCAFE0123)
        ctx.set(dut.parts.ready, 1)
        ctx.set(dut.stalled, stalled)
        waiting = list(results)
        await bench.send(ctx, dut.jobs, [{"slot": slot, "job": job} for slot, job in jobs])
        for cycle in range(cycles):
            ctx.set(dut.results.valid, bool(waiting))
            if waiting:
                ctx.set(dut.results.payload, waiting[0])
            ctx.set(dut.abort, cycle == abort_at)
            _, _, taken, valid, part, pulse = await ctx.tick().sample(
                dut.results.ready, dut.parts.valid, dut.parts.payload, dut.expired
            )
            if taken and waiting:
                waiting.pop(0)
            if valid:
                parts.append((part["slot"], part["index"], part["data"], part["final"]))
            if pulse:
                expired.append(cycle)

    bench.add(drive)
    bench.run()
    replies = {}
    for slot, index, data, final in parts:
        if final:
            status, content = data, replies.pop(slot, b"")
            assert index == len(content)
            replies[slot] = (status, content)
        else:
            # From the start again, if what was written is void.
            before = replies.get(slot, b"") if index else b""
            assert index == len(before)
            replies[slot] = before + bytes([data])
    return replies, expired, times, dut


RESULT = {"cycles": 0x01020304, "stalls": 5, "scales": [0x1111, 0x2222], "kernels": [0x3333, 0x4444]}
ERROR = (Status.ERROR, bytes([ErrorCode.TIMEOUT]))


def test_result_collector_answers_in_the_order_of_the_jobs():
    replies, expired, (taken, parts), dut = collect([(6, 70), (1, 71)], [RESULT, RESULT | {"stalls": 6}])
    for slot, job, stalls in ((6, 70, 5), (1, 71, 6)):
        values = (job, 0xCAFE0123, 0x01020304, stalls)
        scales = bytes.fromhex("1111222233334444")
        assert replies[slot] == (Status.OK, b"".join(v.to_bytes(4, "little") for v in values) + scales)
    assert expired == []
    size = protocol.fields_size(protocol.RESULT_FIELDS)
    assert taken == parts[size :: size + 1]
    assert taken[1] - taken[0] == 1 + dut.latency()


def test_result_collector_fails_what_is_aborted():
    replies, _, _, _ = collect([(6, 70), (1, 71), (2, 72)], [], abort_at=20)
    assert replies == {6: ERROR, 1: ERROR, 2: ERROR}
    # So is a job whose result is being written: the engine keeps it no longer.
    statuses = []
    for abort_at in range(40):
        replies, _, _, dut = collect([(6, 70), (1, 71)], [RESULT], abort_at=abort_at)
        assert replies[1] == ERROR
        assert replies[6] == ERROR or replies[6][0] == Status.OK
        statuses.append(replies[6][0])
    answered = statuses.index(Status.OK)
    assert answered >= dut.latency()
    assert statuses == [Status.ERROR] * answered + [Status.OK] * (40 - answered)


def test_result_collector_expires_only_while_a_result_is_due():
    assert collect([], [])[1] == []
    expired = collect([(6, 70)], [])[1]
    assert 100 <= expired[0] <= 104
    # The host keeps the engine waiting.
    assert collect([(6, 70)], [], stalled=1)[1] == []


def test_window_cycles():
    """The latencies of `RequestWindow`'s docstring."""
    dut = RequestWindow()
    bench = Bench(dut)
    times = {name: bench.times(getattr(dut, name)) for name in ("frames", "accepted", "requests", "data")}
    offers = []

    async def watch(ctx):
        async for _, _, valid in ctx.tick().sample(dut.frames.valid):
            if valid:
                offers.append(bench.cycle)

    bench._simulator.add_testbench(watch, background=True)

    async def drive(ctx):
        ctx.set(dut.requests.ready, 1)
        ctx.set(dut.data.ready, 1)
        for sequence, kind, length in ((0, Request.SYNC, 0), (1, Request.DATA, 6), (2, Request.DATA, 4)):
            for index in range(length):
                ctx.set(dut.payload.payload, {"index": index, "data": 10 * sequence + index})
                ctx.set(dut.payload.valid, 1)
                await ctx.tick()
            ctx.set(dut.payload.valid, 0)
            header = {"type": kind, "epoch": 7, "sequence": sequence, "length": length}
            await bench.send(ctx, dut.frames, [header])
        await ctx.tick().repeat(30)

    received = []

    async def collect_bytes(ctx):
        async for _, _, valid, byte in ctx.tick().sample(dut.data.valid, dut.data.payload):
            if valid:
                received.append(byte)

    bench._simulator.add_testbench(collect_bytes, background=True)
    bench.add(drive)
    bench.run()
    assert received == [10, 11, 12, 13, 14, 15, 20, 21, 22, 23]
    verdicts = [after - before for before, after in zip(offers[::2], times["frames"], strict=True)]
    assert verdicts == [1, 1, 1]
    assert times["accepted"][0] - times["frames"][1] == 1
    assert times["requests"][0] - times["accepted"][0] == 1
    assert times["data"][0] - times["requests"][0] == 3
    assert times["data"][5] - times["data"][0] == 5
    # The second request waited for the first one's payload.
    assert times["requests"][1] - times["data"][5] == 1


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_counters_count_every_event(stall):
    dut = Counters()
    bench = Bench(dut, 6)
    rng = random.Random(7)
    names = [field.name for field in protocol.COUNTER_FIELDS if field.name != "cycles"]
    counts = dict.fromkeys(names, 0)
    readings = []

    async def events(ctx):
        for turn in range(6):
            for _ in range(rng.randrange(200, 700)):
                for number, name in enumerate(names):
                    event = rng.random() < (number + 1) / len(names)
                    counts[name] += event
                    ctx.set(getattr(dut.events, name), event)
                await ctx.tick()
            for name in names:
                ctx.set(getattr(dut.events, name), 0)
            before = bench.cycle
            ctx.set(dut.read, 1)
            content = await bench.receive(ctx, dut.bytes, COUNTERS.size if turn % 2 else 17, stall)
            ctx.set(dut.read, 0)
            if turn % 2:
                values = COUNTERS.unpack(bytes(content))
                assert before <= values.pop("cycles") <= bench.cycle
                readings.append((values, dict(counts)))

    bench.add(events)
    bench.run()
    assert len(readings) == 3
    assert all(values == expected for values, expected in readings)
