import random

import numpy as np
import pytest

from adakern_hw.blocks.window import WindowGenerator
from adakern_sim.pixels import blank_pixels, tagged_pixels
from adakern_sim.streams import Bench, plain
from adakern_spec.network import ConvShape

pytestmark = pytest.mark.usefixtures("pessimistic_memories")


def windows_of(values, kernel):
    """Zero-padded neighbourhoods [position][channel] of every pixel, length-major."""
    radius = kernel // 2
    _, height, length = values.shape
    padded = np.pad(values, ((0, 0), (radius, radius), (radius, radius)))
    for column in range(length):
        for row in range(height):
            yield [padded[:, row + kh, column + kl].tolist() for kl in range(kernel) for kh in range(kernel)]


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("height", [1, 2, 3, 5])
@pytest.mark.parametrize("gaps", [False, True])
def test_windows_are_the_zero_padded_neighbourhoods(kernel, height, gaps):
    channels = 2
    shape = ConvShape(channels, 1, kernel)
    dut = WindowGenerator(shape, height)
    bench = Bench(dut, seed=kernel)
    chance = random.Random(kernel * height)
    rng = np.random.default_rng(height)
    stream, expected = [], []
    for length in (3, 1, 1, 6, 2):
        values = rng.integers(0, 256, (channels, height, length))
        stream += tagged_pixels(values, shape.radius)
        expected += windows_of(values, kernel)
        if gaps:
            stream += blank_pixels(chance.randrange(3), channels, value=77)
    stream += blank_pixels(dut.delay, channels, value=99)
    seen = []

    async def drive(ctx):
        for pixel in stream:
            while gaps and chance.random() < 0.3:
                ctx.set(dut.push, 0)
                await ctx.tick()
            ctx.set(dut.pixel, pixel)
            ctx.set(dut.push, 1)
            await ctx.tick()
            ctx.set(dut.push, 0)
            if ctx.get(dut.centre.real):
                masks = ctx.get(dut.masks)
                words = [ctx.get(word) * (masks >> index & 1) for index, word in enumerate(dut.window)]
                seen.append([[word & 255, word >> 8] for word in words])
                assert plain(ctx.get(dut.centre))["real"] == 1

    bench.add(drive)
    bench.run()
    assert seen == expected
