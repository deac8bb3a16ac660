import itertools

import numpy as np
import pytest
import torch
from amaranth import ResetInserter, Signal

from adakern_hw.blocks.downsample import Downsample, Drain
from adakern_hw.blocks.pixels import pixel_layout
from adakern_sim.pixels import blank_pixels, tagged_pixels
from adakern_sim.streams import Bench
from adakern_spec import akm
from adakern_spec.numbers import Format

pytestmark = pytest.mark.usefixtures("pessimistic_memories")

VALUES = Format(8, signed=False)


def left_of(way, values):
    """What torch leaves of a map."""
    if way is akm.Downsample.MAX2:
        return torch.nn.functional.max_pool2d(torch.tensor(values)[None].float(), 2)[0].int().numpy()
    return values[:, ::2, ::2] if way is akm.Downsample.STRIDE2 else values


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("height", [1, 2, 3, 6, 9])
@pytest.mark.parametrize(
    ("way", "reaches"),
    [*((way, (8, 3)) for way in akm.Downsample), *((way, (2, 1)) for way in akm.Downsample)],
)
def test_what_is_left_is_that_of_torch_and_tagged_anew(way, height, stall, reaches):
    if way.size(height) < 1:
        pytest.skip("nothing is left of a row")
    rng = np.random.default_rng(height)
    channels = 3
    dut = Downsample(way, channels, height, *reaches)
    bench = Bench(dut, seed=height)
    stream, expected, ends = [], [], []
    for length in (4, 2, 3, 7, 2, 10):
        values = rng.integers(0, 256, (channels, height, length))
        stream += tagged_pixels(values, reaches[0])
        expected += tagged_pixels(left_of(way, values), reaches[1])
        stream += blank_pixels(length % 3, channels, value=255)
        ends.append(len(expected))
    bench.put(dut.pixels, stream, stall)
    outputs = bench.get(dut.outputs, len(expected), stall)
    accepted, offered = bench.times(dut.pixels), bench.times(dut.outputs)
    bench.run()
    assert outputs == expected
    if not stall:
        assert all(later - earlier == 1 for earlier, later in itertools.pairwise(accepted))
        # The first output depends on the first pixel, or on the second of the second column.
        completes = height + 1 if way is akm.Downsample.MAX2 else 0
        assert offered[0] - accepted[completes] == dut.latency


def test_a_reset_in_the_middle_of_a_map_leaves_no_trace():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 256, (2, 5, 5))
    dut = Downsample(akm.Downsample.MAX2, 2, 5, 4, 2)
    reset = Signal()
    bench = Bench(ResetInserter(reset)(dut))
    stream, outputs = list(tagged_pixels(values, 4)), []
    expected = list(tagged_pixels(left_of(akm.Downsample.MAX2, values), 2))

    async def drive(ctx):
        for cut in (1, 7, 13):
            await bench.send(ctx, dut.pixels, stream[:cut])
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
        await bench.send(ctx, dut.pixels, stream)
        await bench.receive(ctx, dut.outputs, len(expected), into=outputs)

    bench.add(drive)
    bench.run()
    assert outputs == expected


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize(("blanks", "interval"), [(1, 1), (5, 1), (4, 3), (7, 2)])
def test_blank_pixels_follow_every_map_at_the_pace(blanks, interval, stall):
    rng = np.random.default_rng(blanks)
    maps = [rng.integers(0, 256, (2, 3, length)) for length in (2, 1, 4)]
    dut = Drain(pixel_layout(VALUES, 2, 2), blanks, interval)
    bench = Bench(dut, seed=blanks)
    streams = [list(tagged_pixels(values, 2)) for values in maps]
    count = sum(map(len, streams)) + blanks * len(maps)
    bench.put(dut.pixels, itertools.chain(*streams), stall)
    outputs = bench.get(dut.outputs, count, stall)
    accepted, times = bench.times(dut.pixels), bench.times(dut.outputs)
    bench.run()
    for stream in streams:
        assert outputs[: len(stream)] == stream
        assert not any(output["tags"]["real"] for output in outputs[len(stream) :][:blanks])
        outputs = outputs[len(stream) + blanks :]
    if not stall:
        assert {later - earlier for earlier, later in itertools.pairwise(times)} == {interval}
        assert times[0] - accepted[0] == 1
