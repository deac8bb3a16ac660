import random

import crc32c
import pytest
from amaranth.sim import Simulator

from adakern_hw.link.crc import Crc
from adakern_hw.top import store_crc_bits
from adakern_spec.network import REFERENCE
from adakern_spec.parameters import block_size

pytestmark = pytest.mark.usefixtures("pessimistic_memories")

MESSAGES = [b"", b"\0", b"123456789", bytes(40), bytes([255] * 5), random.Random(1).randbytes(64)]


def run(bits, process):
    """Run a process with what hands a byte over, asserting how long that takes, and what starts afresh."""
    dut = Crc(bits)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def give(ctx, byte, drain=0):
        ctx.set(dut.data, byte)
        ctx.set(dut.drain, drain)
        ctx.set(dut.valid, 1)
        await ctx.tick()
        ctx.set(dut.valid, 0)
        cycles = 0
        while not ctx.get(dut.ready):
            await ctx.tick()
            cycles += 1
        assert cycles == (dut.latency if bits < 8 else 0)

    async def start(ctx):
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)

    async def testbench(ctx):
        await process(ctx, dut, give, start)

    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_value_bytes_and_match(bits):
    async def process(ctx, dut, give, start):
        for message in MESSAGES:
            for byte in message:
                await give(ctx, byte)
            expected = crc32c.crc32c(message)
            assert ctx.get(dut.value) == expected
            drained = b""
            for _ in range(4):
                drained += bytes([ctx.get(dut.value) & 255])
                await give(ctx, 0x5A, drain=1)
            assert drained == expected.to_bytes(4, "little")
            await start(ctx)
            for byte in message + drained:
                await give(ctx, byte)
            assert ctx.get(dut.match)
            await start(ctx)
            damaged = bytearray(message + drained)
            damaged[len(damaged) // 2] ^= 4
            for byte in damaged:
                await give(ctx, byte)
            assert not ctx.get(dut.match)
            await start(ctx)

    run(bits, process)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_start_forgets_the_byte_under_way(bits):
    async def process(ctx, dut, give, start):
        await give(ctx, 7)
        ctx.set(dut.data, 9)
        ctx.set(dut.valid, 1)
        await ctx.tick()
        ctx.set(dut.valid, 0)
        await start(ctx)
        assert ctx.get(dut.ready)
        assert ctx.get(dut.value) == crc32c.crc32c(b"")

    run(bits, process)


def test_bits_that_do_not_make_up_a_byte_are_refused():
    with pytest.raises(ValueError, match="3 bits"):
        Crc(3)


@pytest.mark.parametrize(
    ("size", "crc_bits", "bits"),
    [
        (block_size(REFERENCE), 1, 1),
        (10_000, 1, 2),
        (20_000, 1, 4),
        (49_444, 1, 8),
        (49_444, 8, 8),
        (2, 4, 4),
    ],
)
def test_a_large_store_is_read_faster(size, crc_bits, bits):
    assert store_crc_bits(size, crc_bits) == bits


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_time_to_read_a_store_is_what_its_bits_were_chosen_by(bits):
    """Bytes taken one after another, each when the CRC is ready."""
    dut = Crc(bits)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    taken = []

    async def process(ctx):
        ctx.set(dut.valid, 1)
        for _ in range(200):
            taken.append(ctx.get(dut.ready))
            await ctx.tick()

    simulator.add_testbench(process)
    simulator.run()
    assert sum(taken) == pytest.approx(200 / (8 // bits + 1), abs=1)
