import itertools
import random

import pytest

from adakern_hw.blocks.sequencer import Sequencer
from adakern_hw.engines.spn import spn_schedule
from adakern_sim.pixels import pixels, tagged_pixels
from adakern_sim.streams import Bench
from adakern_spec import cycles
from adakern_spec.network import SpnShape, folds_for_interval

LENGTHS = [3, 1, 5, 1, 2]


def random_map(channels, height, length, chance):
    return [[[chance.randrange(256) for _ in range(length)] for _ in range(height)] for _ in range(channels)]


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize(("kernel", "height", "pace"), [(3, 4, 6), (3, 1, 1), (1, 3, 2), (5, 2, 5)])
def test_maps_come_out_tagged_unbroken_padded_and_paced(kernel, height, pace, stall):
    shape = SpnShape((2, 1, 1), height, kernel)
    folds = folds_for_interval(shape, pace)
    pace = cycles.pace(shape, folds)
    dut = Sequencer(spn_schedule(shape, folds))
    bench = Bench(dut, seed=height)
    chance = random.Random(kernel)
    maps = [random_map(2, height, length, chance) for length in LENGTHS]
    expected = [list(tagged_pixels(values, shape.stages[0].radius)) for values in maps]
    outputs = []

    async def drain(ctx):
        ctx.set(dut.room, 1)
        while sum(output["tags"]["last"] for output in outputs) < len(LENGTHS):
            await bench.receive(ctx, dut.tagged, 1, stall / 2, into=outputs)
        await bench.receive(ctx, dut.tagged, cycles.padding(shape, folds), stall / 2, into=outputs)

    bench.put(dut.jobs, LENGTHS, stall)
    bench.put(dut.pixels, [pixel for values in maps for pixel in pixels(values)], stall)
    bench.add(drain)
    times = bench.times(dut.tagged)
    bench.run()

    real = [output for output in outputs if output["tags"]["real"]]
    assert real == list(itertools.chain(*expected))
    if not stall:
        assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= pace
    # No blank pixel inside a map, and enough of them after the last one.
    position = 0
    for output in outputs[: len(outputs) - cycles.padding(shape, folds)]:
        if output["tags"]["real"]:
            position = 0 if output["tags"]["last"] else position + 1
        else:
            assert position == 0
    assert not any(
        output["tags"]["real"] for output in outputs[len(outputs) - cycles.padding(shape, folds) :]
    )


def test_without_room_no_job_is_accepted():
    shape = SpnShape((1, 1), 2)
    dut = Sequencer(spn_schedule(shape, folds_for_interval(shape, 9)))
    bench = Bench(dut)
    accepted = bench.times(dut.jobs)

    async def drive(ctx):
        ctx.set(dut.jobs.valid, 1)
        ctx.set(dut.jobs.payload, 1)
        await ctx.tick().repeat(20)
        assert not accepted
        ctx.set(dut.room, 1)
        await ctx.tick().repeat(2)
        assert accepted

    bench.add(drive)
    bench.run()
