"""The crossing to an engine's own clock: nothing of before a restart comes behind it."""

import random

import pytest
from amaranth.sim import Simulator

from adakern_hw.engines.crossing import ENGINE, EngineCrossing
from adakern_sim.benches.stub_engine import StubEngine
from adakern_spec.network import SpnShape
from adakern_spec.parameters import block_size

SHAPE = SpnShape((1, 2), height=1, max_length=20)
PERIOD = 1e-6
RESTARTS = 25


@pytest.mark.parametrize("ratio", [1.0, 1.37, 2.7, 8.0])
def test_a_restart_amid_a_map_leaves_nothing_of_it(ratio):
    """Pixels and jobs are cut off at any place and moment; the map behind it has its own sum and no other."""
    dut = EngineCrossing(StubEngine(SHAPE))
    simulator = Simulator(dut)
    simulator.add_clock(PERIOD)
    simulator.add_clock(PERIOD / ratio, phase=0.31 * PERIOD / ratio, domain=ENGINE)
    rng = random.Random(1)
    done = []

    async def send(ctx, port, payload):
        ctx.set(port.payload, payload)
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)

    async def process(ctx):
        for value in range(block_size(SHAPE)):
            await send(ctx, dut.parameters, value % 5)
        for _ in range(RESTARTS):
            await send(ctx, dut.jobs, 9)
            for _ in range(rng.randrange(9)):
                await send(ctx, dut.pixels, [255])
            await ctx.tick().repeat(rng.randrange(1, 9))
            ctx.set(dut.restart, 1)
            await ctx.tick()
            ctx.set(dut.restart, 0)
            values = [rng.randrange(200) for _ in range(rng.randrange(1, 5))]
            await send(ctx, dut.jobs, len(values))
            for value in values:
                await send(ctx, dut.pixels, [value])
            ctx.set(dut.results.ready, 1)
            (result,) = await ctx.tick().sample(dut.results.payload).until(dut.results.valid)
            ctx.set(dut.results.ready, 0)
            found = (result.scales[0], result.scales[1], result.kernels[1])
            assert found == (sum(values), 1, len(values))
            await ctx.tick().repeat(2)
            assert not ctx.get(dut.busy)
            done.append(values)

    simulator.add_testbench(process)
    simulator.run_until(RESTARTS * 600 * PERIOD)
    assert len(done) == RESTARTS
