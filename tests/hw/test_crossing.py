"""The crossing to an engine's own clock: nothing of before a restart comes behind it."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from adakern.akm_parameters import AkmParameters
from adakern.reference.akm import AkmReference
from adakern_hw.engines.akm import AkmEngine
from adakern_hw.engines.crossing import ENGINE, EngineCrossing
from adakern_sim.benches.stub_engine import StubEngine
from adakern_spec.akm import AkmLayer, AkmShape, layer_folds_for_interval
from adakern_spec.network import SpnShape
from adakern_spec.parameters import block_size

SHAPE = SpnShape((1, 2), height=1, max_length=20)
PERIOD = 1e-6
RESTARTS = 25
LAYERS = 6
"""More than a restart has passed through when the crossing has seen its end."""


async def send(ctx, port, payload):
    ctx.set(port.payload, payload)
    ctx.set(port.valid, 1)
    await ctx.tick().until(port.ready)
    ctx.set(port.valid, 0)


@pytest.mark.parametrize("ratio", [1.0, 1.37, 2.7, 8.0])
def test_a_restart_amid_a_map_leaves_nothing_of_it(ratio):
    """Pixels and jobs are cut off at any place and moment; the map behind it has its own sum and no other."""
    dut = EngineCrossing(StubEngine(SHAPE))
    simulator = Simulator(dut)
    simulator.add_clock(PERIOD)
    simulator.add_clock(PERIOD / ratio, phase=0.31 * PERIOD / ratio, domain=ENGINE)
    rng = random.Random(1)
    done = []

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


def test_results_that_wait_in_an_engine_of_many_layers_are_gone_with_a_restart():
    """They would come out of it until the restart has passed through, and count for the next map."""
    shape = AkmShape(1, 1, (AkmLayer(1, kernel=1),) * LAYERS, 2, radius=1, max_length=4)
    parameters = AkmParameters.random(shape, np.random.default_rng(3))
    maps = [np.full((1, 1, 1), value, np.uint8) for value in (250, 3)]
    old, new = AkmReference(parameters).run(maps).logits.tolist()
    assert old != new
    dut = EngineCrossing(AkmEngine(shape, layer_folds_for_interval(shape, 1)))
    simulator = Simulator(dut)
    for domain in ("sync", ENGINE):
        simulator.add_clock(PERIOD, domain=domain)
    found = []

    async def process(ctx):
        for byte in parameters.to_block():
            await send(ctx, dut.parameters, byte)
        # Two of the results wait in the crossing, further ones in the engine.
        for _ in range(4):
            await send(ctx, dut.jobs, 1)
            await send(ctx, dut.pixels, [250])
        await ctx.tick().repeat(1000)
        ctx.set(dut.restart, 1)
        await ctx.tick()
        ctx.set(dut.restart, 0)
        await send(ctx, dut.jobs, 1)
        await send(ctx, dut.pixels, [3])
        ctx.set(dut.results.ready, 1)
        (result,) = await ctx.tick().sample(dut.results.payload).until(dut.results.valid)
        found.append([int(logit) for logit in result.logits])

    simulator.add_testbench(process)
    simulator.run_until(6000 * PERIOD)
    assert found == [new]
