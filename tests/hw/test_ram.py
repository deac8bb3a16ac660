import itertools
import random

import pytest

from adakern_hw.blocks.ram import Queue, Ram
from adakern_sim.streams import Bench


@pytest.mark.parametrize("depth", [1, 5, 16])
def test_a_word_is_read_a_cycle_later_and_kept_while_reads_are_off(depth):
    dut = Ram(8, depth)
    bench = Bench(dut)
    chance = random.Random(depth)

    async def drive(ctx):
        words: list[int | None] = [None] * depth
        expected = None
        for _ in range(200):
            write, read = chance.randrange(depth), chance.randrange(depth)
            value, writes, reads = chance.randrange(256), chance.random() < 0.5, chance.random() < 0.5
            for port, address, enable in ((dut.write, write, writes), (dut.read, read, reads)):
                ctx.set(port.addr, address)
                ctx.set(port.en, enable)
            ctx.set(dut.write.data, value)
            await ctx.tick()
            if reads:
                expected = None if writes and write == read else words[read]
            if writes:
                words[write] = value
            assert expected is None or ctx.get(dut.read.data) == expected

    bench.add(drive)
    bench.run()


@pytest.mark.usefixtures("pessimistic_memories")
@pytest.mark.parametrize(("stall_in", "stall_out"), list(itertools.product((0.0, 0.6), repeat=2)))
@pytest.mark.parametrize("depth", [3, 4, 9])
def test_a_queue_keeps_order_and_holds_its_depth(depth, stall_in, stall_out):
    dut = Queue(8, depth)
    bench = Bench(dut, seed=depth)
    words = list(range(100))
    received: list[int] = []

    async def drain(ctx):
        await ctx.tick().repeat(3 * depth)
        held.append(len(accepted))
        await bench.receive(ctx, dut.output, len(words), stall_out, received)
        await ctx.tick()
        assert ctx.get(dut.empty)

    held: list[int] = []
    bench.put(dut.input, words, stall_in)
    accepted = bench.times(dut.input)
    bench.add(drain)
    bench.run()
    assert received == words
    assert stall_in or held == [depth]


@pytest.mark.usefixtures("pessimistic_memories")
def test_a_queue_passes_a_word_per_cycle_after_its_latency():
    dut = Queue(8, 3)
    bench = Bench(dut)
    bench.put(dut.input, range(20))
    received = bench.get(dut.output, 20)
    entered, left = bench.times(dut.input), bench.times(dut.output)
    bench.run()
    assert received == list(range(20))
    assert {after - before for before, after in zip(entered, left, strict=True)} == {dut.latency}
    assert left == list(range(left[0], left[0] + 20))
