import random

import pytest
from amaranth import ResetInserter, Signal

from adakern_hw.blocks.delay import DelayLine
from adakern_sim.streams import Bench

pytestmark = pytest.mark.usefixtures("pessimistic_memories")


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 8, 17])
def test_output_is_the_input_of_depth_advances_ago(depth, blank):
    dut = DelayLine(8, depth, blank=blank)
    bench = Bench(dut, seed=depth)
    chance = random.Random(depth)
    inputs, outputs = [], []

    async def drive(ctx):
        while len(inputs) < 3 * depth + 5:
            advance, value = chance.random() < 0.6, chance.randrange(256)
            ctx.set(dut.advance, advance)
            ctx.set(dut.input, value)
            if advance:
                inputs.append(value)
                outputs.append(ctx.get(dut.output))
            await ctx.tick()

    bench.add(drive)
    bench.run()
    assert outputs[depth:] == inputs[: len(inputs) - depth]
    if blank:
        assert outputs[:depth] == [0] * depth


@pytest.mark.parametrize("depth", [2, 6])
def test_a_blank_line_forgets_at_reset(depth):
    dut = DelayLine(8, depth, blank=True)
    reset = Signal()
    bench = Bench(ResetInserter(reset)(dut))
    outputs = []

    async def drive(ctx):
        ctx.set(dut.advance, 1)
        ctx.set(dut.input, 255)
        await ctx.tick().repeat(3 * depth)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        for _ in range(depth + 3):
            outputs.append(ctx.get(dut.output))
            await ctx.tick()

    bench.add(drive)
    bench.run()
    assert outputs == [0] * depth + [255] * 3
