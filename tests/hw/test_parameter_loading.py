import random

import pytest
from amaranth import ResetInserter, Signal

from adakern_hw.blocks.parameters import ParameterRouter, RecordStore
from adakern_sim.streams import Bench, plain
from adakern_spec.parameters import CHANNEL_FIELDS, HEAD_FIELDS

pytestmark = pytest.mark.usefixtures("pessimistic_memories")


@pytest.mark.parametrize("sizes", [[5], [1, 1, 1], [3, 1, 7]])
def test_router_gives_every_sink_its_bytes_and_starts_over(sizes):
    dut = ParameterRouter(sizes)
    bench = Bench(dut, seed=len(sizes))
    block = [value % 256 for value in range(7, 7 + sum(sizes))]
    bench.put(dut.bytes, block * 2, stall=0.3)
    received = [bench.get(sink, 2 * size) for sink, size in zip(dut.sinks, sizes, strict=True)]
    bench.run()
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    assert received == [block[start : start + size] * 2 for start, size in zip(starts, sizes, strict=True)]


def random_records(fields, count, chance):
    def value(field):
        low = -(1 << field.bits - 1) if field.signed else 0
        return chance.choice(
            [low, low + (1 << field.bits) - 1, chance.randrange(low, low + (1 << field.bits))]
        )

    return [{field.name: value(field) for field in fields} for _ in range(count)]


def encode(fields, records):
    return b"".join(
        record[field.name].to_bytes(field.size, "little", signed=field.signed)
        for record in records
        for field in fields
    )


@pytest.mark.parametrize("fields", [CHANNEL_FIELDS, HEAD_FIELDS])
@pytest.mark.parametrize(("count", "lanes"), [(1, 1), (6, 1), (6, 2), (3, 3)])
def test_records_read_as_written_after_a_reset_and_when_written_again(fields, count, lanes):
    chance = random.Random(count)
    first, second = (random_records(fields, count, chance) for _ in range(2))
    dut = RecordStore(fields, count, lanes)
    reset = Signal()
    bench = Bench(ResetInserter(reset)(dut))
    seen = []

    async def read(ctx):
        records = []
        for address in range(dut.depth):
            ctx.set(dut.address, address)
            await ctx.tick()
            records += [plain(ctx.get(record)) for record in dut.records]
        seen.append(records)

    async def drive(ctx):
        await bench.send(ctx, dut.bytes, encode(fields, first), stall=0.2)
        await ctx.tick().repeat(2)
        await read(ctx)
        await bench.send(ctx, dut.bytes, encode(fields, first)[:3])
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        await read(ctx)
        await bench.send(ctx, dut.bytes, encode(fields, second))
        await ctx.tick().repeat(2)
        await read(ctx)

    bench.add(drive)
    bench.run()
    assert seen == [first, first, second]
