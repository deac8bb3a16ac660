"""Stages that take turns equal the reference's stages one after the other."""

import itertools

import numpy as np
import pytest

from adakern.parameters import SpnParameters
from adakern.reference.conv import conv_stage
from adakern_hw.blocks.turns import StagesInTurn
from adakern_sim.pixels import blank_pixels, pixels, tagged_pixels
from adakern_sim.streams import Bench
from adakern_spec.network import Fold, SpnShape
from adakern_spec.parameters import head_size

pytestmark = pytest.mark.usefixtures("pessimistic_memories")

LENGTHS = (3, 1, 5, 1, 2)

SWEEP = [
    (SpnShape((2, 4, 2), 4), Fold(1, 2, shared=True)),
    (SpnShape((2, 2, 2), 3), Fold(1, 1, shared=True)),
    (SpnShape((4, 4, 4, 1), 2, weight_bits=4), Fold(1, 4, shared=True)),
    (SpnShape((4, 2, 6, 1), 1), Fold(1, 2, shared=True)),
    (SpnShape((1, 3, 2), 2, kernel=5), Fold(1, 1, shared=True)),
    (SpnShape((3, 3, 6, 2), 5, kernel=1), Fold(1, 3, shared=True)),
    (SpnShape((12, 4, 2), 1, kernel=1), Fold(1, 1, shared=True)),
]


def stage_block(parameters):
    return parameters.to_block()[: -head_size(parameters.shape)]


def outputs_of(parameters, values):
    """Pixels of the last stage for a map."""
    stages = zip(parameters.weights, parameters.biases, parameters.shifts, strict=True)
    for weights, bias, shift in stages:
        values = conv_stage(values[None], weights, bias, shift, True)[0]
    return list(pixels(values))


def random_map(shape, rng, length):
    values = rng.integers(0, 256, (shape.in_channels, shape.height, length)).astype(np.uint8)
    if rng.random() < 0.3:
        values[:] = 255
    return values


def real_values(outputs):
    return [output["values"] for output in outputs if output["tags"]["real"]]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize(("shape", "fold"), SWEEP)
def test_stages_in_turn_equal_the_reference_and_their_published_cycles(shape, fold, extreme, stall):
    rng = np.random.default_rng(shape.height)
    parameters = SpnParameters.random(shape, rng, extreme)
    dut = StagesInTurn(shape, fold)
    bench = Bench(dut, seed=shape.height)
    stream, expected = [], []
    for index, length in enumerate(LENGTHS):
        values = random_map(shape, rng, length)
        stream += tagged_pixels(values, dut.radius)
        stream += blank_pixels(index % 3, shape.in_channels, value=99 if index % 2 else 0)
        expected += outputs_of(parameters, values)
    stream += blank_pixels(dut.delay, shape.in_channels, value=55)

    async def feed(ctx):
        await bench.send(ctx, dut.parameters, stage_block(parameters))
        await ctx.tick().repeat(4)
        await bench.send(ctx, dut.pixels, stream, stall)

    bench.add(feed)
    outputs = bench.get(dut.outputs, len(stream), stall)
    accepted, offered = bench.times(dut.pixels), bench.times(dut.outputs)
    bench.run()

    assert real_values(outputs) == expected
    assert sum(output["tags"]["last"] for output in outputs if output["tags"]["real"]) == len(LENGTHS)
    if not stall:
        assert {end - start for start, end in zip(accepted, offered, strict=True)} == {dut.latency}
        assert {after - before for before, after in itertools.pairwise(accepted)} == {dut.interval}
