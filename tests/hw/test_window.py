import itertools
import random

import numpy as np
import pytest

from adakern_hw.blocks.window import MemoryWindow, RegisterWindow, Window, make_window
from adakern_sim.pixels import blank_pixels, tagged_pixels
from adakern_sim.streams import Bench
from adakern_spec.network import ConvShape, Fold

pytestmark = pytest.mark.usefixtures("pessimistic_memories")


def windows_of(values, kernel):
    """Zero-padded neighbourhoods [position][channel] of every pixel, length-major."""
    radius = kernel // 2
    _, height, length = values.shape
    padded = np.pad(values, ((0, 0), (radius, radius), (radius, radius)))
    for column in range(length):
        for row in range(height):
            yield [padded[:, row + kh, column + kl].tolist() for kl in range(kernel) for kh in range(kernel)]


@pytest.mark.parametrize("form", [RegisterWindow, MemoryWindow])
@pytest.mark.parametrize(
    ("kernel", "channels", "fold"),
    [
        (1, 2, Fold(1, 1)),
        (3, 2, Fold(1, 1)),
        (3, 3, Fold(2, 1)),
        (3, 4, Fold(2, 4)),
        (5, 2, Fold(2, 1)),
        (5, 2, Fold(2, 2)),
    ],
)
@pytest.mark.parametrize("height", [1, 2, 3, 5])
@pytest.mark.parametrize("gaps", [False, True])
def test_lanes_are_the_zero_padded_neighbourhoods(form, kernel, channels, fold, height, gaps):
    shape = ConvShape(channels, 2, kernel)
    dut = form(shape, fold, height)
    bench = Bench(dut)
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

    interval, steps = fold.interval(shape), fold.steps(shape)
    pauses = [chance.randrange(4) if gaps else 0 for _ in stream]
    pushes = list(itertools.accumulate(interval + pause for pause in pauses))
    pixel_at = dict(zip(pushes, stream, strict=True))
    step_at = {push + 2 + turn: turn % steps for push in pushes for turn in range(interval)}
    windows = {}

    async def drive(ctx):
        real = False
        for cycle in range(pushes[-1] + 2 + interval + Window.LATENCY):
            ctx.set(dut.push, cycle in pixel_at)
            if cycle in pixel_at:
                ctx.set(dut.pixel, pixel_at[cycle])
            ctx.set(dut.step, step_at.get(cycle, 0))
            if cycle - 2 in pixel_at:
                real = ctx.get(dut.centre.real)
                windows[cycle - 2] = (real, [])
            if cycle - Window.LATENCY in step_at:
                push = max(push for push in windows if push + 2 + Window.LATENCY <= cycle)
                lanes = ctx.get(dut.lanes)
                windows[push][1].extend(lanes >> 8 * lane & 255 for lane in range(fold.simd))
            await ctx.tick()

    bench.add(drive)
    bench.run()
    groups = fold.groups(shape)
    shown = [elements for real, elements in windows.values() if real]
    assert [np.reshape(elements, (groups, kernel**2, channels)).tolist() for elements in shown] == [
        [window] * groups for window in expected
    ]


@pytest.mark.parametrize(
    ("channels", "fold", "form"),
    [
        (8, Fold(1, 4), MemoryWindow),
        (8, Fold(2, 1), MemoryWindow),
        (8, Fold(2, 8), RegisterWindow),
        (8, Fold(1, 6), RegisterWindow),
        (1, Fold(1, 1), RegisterWindow),
    ],
)
def test_the_fold_decides_on_the_form(channels, fold, form):
    assert type(make_window(ConvShape(channels, 2), fold, 16)) is form
