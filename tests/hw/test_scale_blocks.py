import numpy as np
import pytest

from adakern.parameters import SpnParameters
from adakern.reference.scale import global_average, kernel_size, scale_head
from adakern_hw.blocks.scale import GlobalAverage, KernelSize, ScaleHead
from adakern_sim.pixels import blank_pixels, tagged_pixels
from adakern_sim.streams import Bench
from adakern_spec.network import SpnShape
from adakern_spec.parameters import DIRECTION_FIELDS, DIRECTIONS, record_size

pytestmark = pytest.mark.usefixtures("pessimistic_memories")


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("height", [1, 3])
def test_average_over_the_real_pixels_of_each_map(outputs, height, stall):
    rng = np.random.default_rng(height)
    lengths = [1, 4, 1, 1, 7, 30]
    dut = GlobalAverage(outputs, 1, height * 30)
    bench = Bench(dut, seed=outputs)
    stream, sums = [], []
    for length in lengths:
        values = rng.integers(0, 256, (outputs, height, length))
        values[0] = 255 if length == 30 else values[0]
        stream += tagged_pixels(values, 1)
        stream += blank_pixels(length % 3, outputs, value=200)
        sums.append(values.sum((1, 2)))
    bench.put(dut.pixels, stream, stall)
    means = bench.get(dut.means, outputs * len(lengths), stall)
    bench.run()
    expected = global_average(np.array(sums), height, np.array(lengths))
    assert means == expected.reshape(-1).tolist()


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scales_and_kernel_sizes_equal_the_reference(outputs, extreme, seed, stall):
    rng = np.random.default_rng(seed)
    parameters = SpnParameters.random(SpnShape((1, outputs)), rng, extreme)
    means = np.concatenate([[[0] * outputs, [65280] * outputs], rng.integers(0, 65281, (12, outputs))])
    block = parameters.to_block()
    directions = len(DIRECTIONS) * record_size(DIRECTION_FIELDS)
    head, kernel = ScaleHead(outputs), KernelSize(outputs)
    head_bench, kernel_bench = Bench(head, seed), Bench(kernel, seed)

    async def feed_head(ctx):
        await head_bench.send(ctx, head.parameters, block[-directions - 5 * outputs : -directions])
        await ctx.tick().repeat(3)
        await head_bench.send(ctx, head.means, means.reshape(-1).tolist(), stall)

    head_bench.add(feed_head)
    scales = head_bench.get(head.scales, means.size, stall)
    head_bench.run()
    expected = scale_head(parameters, means)
    assert scales == expected[:, :outputs].reshape(-1).tolist()

    async def feed_kernel(ctx):
        await kernel_bench.send(ctx, kernel.parameters, block[-directions:])
        await ctx.tick().repeat(3)
        await kernel_bench.send(ctx, kernel.scales, scales, stall)

    kernel_bench.add(feed_kernel)
    sizes = kernel_bench.get(kernel.sizes, 2 * len(means), stall)
    kernel_bench.run()
    assert [size["scale"] for size in sizes] == expected.reshape(-1).tolist()
    assert [size["kernel"] for size in sizes] == kernel_size(parameters, expected).reshape(-1).tolist()
