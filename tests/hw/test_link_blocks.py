"""The link's smaller blocks by themselves: what they say of their cycles, and their limits."""

import random

import crc32c
import pytest

from adakern.device.packets import Record
from adakern_hw.link.counters import APART, RARE, Counters
from adakern_hw.link.feeder import PixelFeeder
from adakern_hw.link.store import ParameterStore
from adakern_hw.link.window import RequestWindow
from adakern_sim.streams import Bench
from adakern_spec import protocol
from adakern_spec.network import ConvShape
from adakern_spec.protocol import Request

pytestmark = pytest.mark.usefixtures("pessimistic_memories")

COUNTERS = Record(protocol.COUNTER_FIELDS)


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
        for first, piece in ((20, content[20:]), (0, content[:20])):
            await seek(ctx, first)
            for byte in piece:
                ctx.set(dut.write.payload, byte)
                ctx.set(dut.write.valid, 1)
                await ctx.tick()
                ctx.set(dut.write.valid, 0)
        for _ in range(2):
            await seek(ctx, address)
            ctx.set(dut.reads, 1)
            received.append(bytes(await bench.receive(ctx, dut.bytes, count - 1, stall)))
            while not ctx.get(dut.bytes.valid):
                await ctx.tick()
            ends.append(ctx.get(dut.last))
            received[-1] += bytes(await bench.receive(ctx, dut.bytes, 1, stall))
            ctx.set(dut.reads, 0)
            while not ctx.get(dut.settled):
                await ctx.tick()
            crc = []
            for _ in range(4):
                crc.append(ctx.get(dut.crc))
                ctx.set(dut.drain, 1)
                await ctx.tick()
                ctx.set(dut.drain, 0)
                while not ctx.get(dut.settled):
                    await ctx.tick()
            crcs.append(int.from_bytes(crc, "little"))

    async def seek(ctx, place):
        ctx.set(dut.rewind if place == 0 else dut.seek.valid, 1)
        ctx.set(dut.seek.payload, place)
        await ctx.tick()
        ctx.set(dut.rewind, 0)
        ctx.set(dut.seek.valid, 0)

    async def watch(ctx):
        async for _, _, reads in ctx.tick().sample(dut.reads):
            if reads:
                reading.append(bench.cycle)

    received, reading, ends = [], [], []
    bench._simulator.add_testbench(watch, background=True)
    bench.add(drive)
    times = bench.times(dut.bytes)
    bench.run()
    expected = content[address : address + count]
    assert received == [expected] * 2
    assert ends == [address + count == size] * 2
    assert crcs == [crc32c.crc32c(expected)] * 2
    if not stall:
        assert times[0] - reading[0] == 2
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
    last = dict.fromkeys(names, 0)
    readings = []

    async def events(ctx):
        for turn in range(6):
            for _ in range(rng.randrange(200, 700)):
                for number, name in enumerate(names):
                    event = rng.random() < (number + 1) / len(names)
                    if name in RARE:
                        event = event and bench.cycle >= last[name] + APART
                        last[name] = bench.cycle if event else last[name]
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
