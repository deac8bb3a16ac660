import itertools

import numpy as np
import pytest
from amaranth import ResetInserter, Signal

from adakern.reference.conv import conv_stage
from adakern_hw.blocks.conv import ConvStage
from adakern_sim.pixels import blank_pixels, pixels, tagged_pixels
from adakern_sim.streams import Bench
from adakern_spec.errors import ShapeError
from adakern_spec.network import ConvShape, Fold
from adakern_spec.parameters import stage_size

pytestmark = pytest.mark.usefixtures("pessimistic_memories")

LENGTHS = (3, 1, 5, 1, 1, 2)


class Model:
    """Random parameters of a stage, their bytes and the reference's outputs."""

    def __init__(self, shape, seed):
        self.shape = shape
        rng = np.random.default_rng(seed)
        limit = 1 << (shape.weight_bits - 1)
        kernel = (shape.out_channels, shape.in_channels, shape.kernel, shape.kernel)
        self.weights = rng.integers(-limit, limit, kernel)
        self.bias = rng.integers(-(2**14), 2**14, shape.out_channels)
        self.shift = rng.integers(0, 14, shape.out_channels)
        self.rng = rng

    def block(self):
        # Window order: along the length, the height, then the channel; torch has (channel, kh, kl).
        weights = self.weights.transpose(0, 3, 2, 1).astype(np.int8).tobytes()
        channels = b"".join(
            int(bias).to_bytes(4, "little", signed=True) + bytes([shift])
            for bias, shift in zip(self.bias, self.shift, strict=True)
        )
        return weights + channels

    def map(self, height, length):
        low, high = self.shape.input_format.min, self.shape.input_format.max
        dtype = np.int8 if self.shape.input_signed else np.uint8
        values = self.rng.integers(low, high + 1, (self.shape.in_channels, height, length)).astype(dtype)
        if self.rng.random() < 0.3:
            values[:] = high
        return values

    def outputs(self, values):
        arguments = (self.weights, self.bias, self.shift, self.shape.relu)
        return list(pixels(conv_stage(values[None], *arguments)[0]))


def real_values(outputs):
    return [output["values"] for output in outputs if output["tags"]["real"]]


SWEEP = [
    (ConvShape(2, 2), Fold(1, 1), 3),
    (ConvShape(2, 4), Fold(2, 6), 4),
    (ConvShape(2, 4, weight_bits=4), Fold(4, 9), 4),
    (ConvShape(2, 4, input_signed=True), Fold(4, 18), 1),
    (ConvShape(1, 3, relu=False), Fold(3, 3), 2),
    (ConvShape(8, 2, relu=False), Fold(2, 8), 3),
    (ConvShape(3, 3, kernel=1, input_signed=True), Fold(3, 1), 5),
    (ConvShape(1, 1, kernel=1), Fold(1, 1), 1),
    (ConvShape(3, 6, kernel=5), Fold(6, 25), 3),
    (ConvShape(1, 2, kernel=5), Fold(1, 25), 1),
    (ConvShape(8, 4), Fold(1, 4), 5),
    (ConvShape(3, 2), Fold(2, 1), 2),
    (ConvShape(2, 2, kernel=5), Fold(1, 1), 1),
]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("shape", "fold", "height"), SWEEP)
def test_stage_equals_the_reference_and_its_published_cycles(shape, fold, height, stall):
    model = Model(shape, seed=height)
    dut = ConvStage(shape, fold, height)
    bench = Bench(dut, seed=height)
    stream, expected = [], []
    for index, length in enumerate(LENGTHS):
        values = model.map(height, length)
        stream += tagged_pixels(values, shape.radius)
        stream += blank_pixels(index % 3, shape.in_channels, value=99 if index % 2 else 0)
        expected += model.outputs(values)
    stream += blank_pixels(dut.delay, shape.in_channels, value=55)

    async def feed(ctx):
        await bench.send(ctx, dut.parameters, model.block())
        await ctx.tick().repeat(4)
        await bench.send(ctx, dut.pixels, stream, stall)

    bench.add(feed)
    outputs = bench.get(dut.outputs, len(stream), stall)
    accepted, offered = bench.times(dut.pixels), bench.times(dut.outputs)
    bench.run()

    assert real_values(outputs) == expected
    lasts = [output["tags"]["last"] for output in outputs if output["tags"]["real"]]
    assert sum(lasts) == len(LENGTHS)
    if not stall:
        assert {end - start for start, end in zip(accepted, offered, strict=True)} == {dut.latency}
        assert {after - before for before, after in itertools.pairwise(accepted)} == {dut.interval}


def test_a_blocked_output_loses_nothing():
    shape, height = ConvShape(1, 2), 3
    model = Model(shape, seed=3)
    dut = ConvStage(shape, Fold(2, 9), height)
    bench = Bench(dut)
    values = model.map(height, 6)
    stream = [*tagged_pixels(values, 1), *blank_pixels(dut.delay, 1)]
    outputs = []

    async def drain(ctx):
        await ctx.tick().repeat(300)
        await bench.receive(ctx, dut.outputs, len(stream), into=outputs)

    async def feed(ctx):
        await bench.send(ctx, dut.parameters, model.block())
        await ctx.tick().repeat(4)
        await bench.send(ctx, dut.pixels, stream)

    bench.add(feed)
    bench.add(drain)
    bench.run()
    assert real_values(outputs) == model.outputs(values)


def test_reset_drops_the_map_keeps_the_parameters_and_new_ones_load():
    shape, height = ConvShape(2, 4), 4
    old, new = Model(shape, seed=1), Model(shape, seed=2)
    dut = ConvStage(shape, Fold(2, 6), height)
    reset = Signal()
    bench = Bench(ResetInserter(reset)(dut))
    values = old.map(height, 3)
    stream = [*tagged_pixels(values, 1), *blank_pixels(dut.delay, 2)]
    outputs = []

    async def drive(ctx):
        await bench.send(ctx, dut.parameters, old.block())
        await ctx.tick().repeat(4)
        for cut in (1, 7, height * 3):
            ctx.set(dut.outputs.ready, 1)
            await bench.send(ctx, dut.pixels, stream[:cut])
            await bench.send(ctx, dut.parameters, old.block()[:cut])
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            ctx.set(dut.outputs.ready, 0)
            for pixel in stream:
                await bench.send(ctx, dut.pixels, [pixel])
                await bench.receive(ctx, dut.outputs, 1, into=outputs)
        await bench.send(ctx, dut.parameters, new.block())
        await ctx.tick().repeat(4)
        for pixel in stream:
            await bench.send(ctx, dut.pixels, [pixel])
            await bench.receive(ctx, dut.outputs, 1, into=outputs)

    bench.add(drive)
    bench.run()
    assert real_values(outputs) == old.outputs(values) * 3 + new.outputs(values)


@pytest.mark.parametrize("kernel", [1, 3])
def test_tags_that_reach_further_than_the_kernel_pass(kernel):
    shape, height, reach = ConvShape(1, 2, kernel), 2, 5
    model = Model(shape, seed=4)
    dut = ConvStage(shape, Fold(1, 1), height, reach=reach)
    bench = Bench(dut)
    maps = [model.map(height, length) for length in (9, 1, 6)]
    stream = [pixel for values in maps for pixel in tagged_pixels(values, reach)]
    stream += blank_pixels(dut.delay, 1)

    async def feed(ctx):
        await bench.send(ctx, dut.parameters, model.block())
        await ctx.tick().repeat(4)
        await bench.send(ctx, dut.pixels, stream)

    bench.add(feed)
    outputs = bench.get(dut.outputs, len(stream))
    bench.run()
    assert real_values(outputs) == [pixel for values in maps for pixel in model.outputs(values)]
    tags = [output["tags"] for output in outputs if output["tags"]["real"]]
    assert tags == [pixel["tags"] for pixel in stream if pixel["tags"]["real"]]


def test_parameters_of_a_stage_have_the_size_of_the_spec():
    shape = ConvShape(3, 6, kernel=5)
    assert len(Model(shape, seed=0).block()) == stage_size(shape)


def test_a_fold_that_does_not_divide_the_stage_is_refused():
    with pytest.raises(ShapeError, match="does not divide"):
        ConvStage(ConvShape(2, 4), Fold(3, 6), 4)
