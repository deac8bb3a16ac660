"""The smoother against integers from the formula of `adakern_spec.akm`, and against float64."""

import itertools

import numpy as np
import pytest
from amaranth import ResetInserter, Signal
from simulated_rows import SimulatedEcp5Row

from adakern_hw.blocks.multiplier import MultiplierRow
from adakern_hw.blocks.smoother import GaussianSmoother
from adakern_sim.pixels import blank_pixels, pixels, tagged_pixels
from adakern_sim.streams import Bench
from adakern_spec.akm import BETWEEN_FRAC, TAP, tap_fields
from adakern_spec.akm_cycles import smoother_latency
from adakern_spec.errors import ShapeError

pytestmark = pytest.mark.usefixtures("pessimistic_memories")

LOADED = 4
"""Cycles for the last parameter byte to reach its memory."""

ONE = 1 << TAP.frac
BETWEEN = 1 << BETWEEN_FRAC


def gaussian(sigma, gate=1.0):
    """Taps from the centre outwards; their sum with both sides is ``gate``."""
    taps = np.exp(-(np.arange(int(3 * sigma) + 1) ** 2) / (2 * sigma**2)) if sigma else np.ones(1)
    return gate * taps / (taps[0] + 2 * taps[1:].sum())


def quantised(taps, radius):
    """Taps as integers whose sum is at most ``ONE``."""
    rounded = np.floor(np.pad(taps, (0, radius + 1 - len(taps))) * ONE + 0.5).astype(int)
    rounded[0] = min(rounded[0], ONE - 2 * rounded[1:].sum())
    return rounded


class Kernel:
    """A kernel record; ``sigma`` and ``gate`` if it is a Gaussian."""

    def __init__(self, length, height, border=0, sigma=None, gate=1.0):
        self.length, self.height, self.border = length, height, border
        self.sigma, self.gate = sigma, gate

    @classmethod
    def gaussian(cls, sigma, gate, radius, border=0):
        return cls(
            quantised(gaussian(sigma), radius), quantised(gaussian(sigma, gate), radius), border, sigma, gate
        )

    @classmethod
    def random(cls, rng, radius):
        """Any taps whose sum is at most one."""
        taps = [quantised(rng.dirichlet(np.ones(radius + 1)) / 2, radius) for _ in range(2)]
        return cls(*taps, int(rng.integers(radius + 1)))

    def block(self):
        taps = [int(tap) for tap in (*self.length, *self.height)]
        return b"".join(tap.to_bytes(2, "little") for tap in taps) + bytes([self.border])

    def smooth(self, values):
        """``values`` [row, column], in exact integers."""
        radius = len(self.length) - 1
        height, length = values.shape
        padded = np.pad(values.astype(np.int64), radius)
        sums = sum(
            self.length[abs(d)] * padded[:, radius + d : radius + d + length]
            for d in range(-radius, radius + 1)
        )
        between = (sums + ONE // BETWEEN // 2) // (ONE // BETWEEN)
        column = np.arange(length)
        copied = (column < self.border) | (length - 1 - column < self.border)
        between = np.where(copied[None], padded[:, radius : radius + length] * BETWEEN, between)
        sums = sum(
            self.height[abs(d)] * between[radius + d : radius + d + height]
            for d in range(-radius, radius + 1)
        )
        return np.clip((sums + ONE * BETWEEN // 2) // (ONE * BETWEEN), 0, 255)

    def ideal(self, values):
        """The same in float64, with exact taps: zero padding, no border."""

        def convolved(lines, taps):
            mirrored = np.concatenate([taps[:0:-1], taps])
            return np.array([np.convolve(line, mirrored, "full") for line in lines])[
                :, len(taps) - 1 : len(taps) - 1 + lines.shape[1]
            ]

        across = convolved(values.astype(float), gaussian(self.sigma))
        return np.maximum(convolved(across.T, gaussian(self.sigma, self.gate)).T, 0)


def extremes(rng, channels, height, length):
    """Maps whose pixels are all at an extreme."""
    kind = rng.integers(4)
    if kind == 0:
        return np.full((channels, height, length), 127)
    if kind == 1:
        return np.full((channels, height, length), -128)
    if kind == 2:
        checks = (np.arange(height)[:, None] + np.arange(length)) % 2
        return np.broadcast_to(np.where(checks, 127, -128), (channels, height, length))
    return rng.choice([-128, 127], (channels, height, length))


class Run:
    """Maps through a smoother; what comes out, and when."""

    def __init__(self, dut, kernels, maps, stall=0.0, blanks=0, seed=0):
        bench = Bench(dut, seed)
        stream = []
        for index, values in enumerate(maps):
            stream += tagged_pixels(values, dut.reach)
            stream += blank_pixels(index % (blanks + 1), dut.channels, value=99)
        stream += blank_pixels(dut.delay, dut.channels, value=-77)

        async def feed(ctx):
            await bench.send(ctx, dut.parameters, b"".join(kernel.block() for kernel in kernels))
            await ctx.tick().repeat(LOADED)
            await bench.send(ctx, dut.pixels, stream, stall)

        bench.add(feed)
        self.outputs = bench.get(dut.outputs, len(stream), stall)
        self.accepted, self.offered = bench.times(dut.pixels), bench.times(dut.outputs)
        bench.run()
        self.maps = maps
        self.tags = [pixel["tags"] for pixel in stream if pixel["tags"]["real"]]
        self.channel_kernels = kernels * (dut.channels // len(kernels))

    @property
    def values(self):
        return [output["values"] for output in self.outputs if output["tags"]["real"]]

    def check(self):
        """Values and tags of every map."""
        expected = []
        for values in self.maps:
            channels = zip(self.channel_kernels, values, strict=True)
            expected += pixels(np.array([kernel.smooth(channel) for kernel, channel in channels]))
        assert self.values == expected
        assert [o["tags"] for o in self.outputs if o["tags"]["real"]] == self.tags


SWEEP = [
    # channels, height, radius, lanes, per channel, reach
    (1, 4, 1, 1, True, 1),
    (2, 5, 2, 2, True, 2),
    (4, 3, 3, 1, True, 7),
    (4, 1, 2, 2, True, 2),
    (6, 2, 6, 3, False, 6),
    (1, 1, 1, 1, True, 1),
    (8, 4, 2, 1, False, 5),
    (3, 7, 1, 3, True, 2),
]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("channels", "height", "radius", "lanes", "per_channel", "reach"), SWEEP)
def test_maps_are_smoothed_exactly_and_in_the_published_cycles(
    channels, height, radius, lanes, per_channel, reach, stall
):
    rng = np.random.default_rng(radius)
    kernels = [Kernel.random(rng, radius) for _ in range(channels if per_channel else 1)]
    maps = [
        rng.integers(-128, 128, (channels, height, length))
        if index % 2
        else extremes(rng, channels, height, length)
        for index, length in enumerate((3, 1, 2 * radius + 3, 1, 2, radius, 5))
    ]
    dut = GaussianSmoother(channels, height, radius, lanes, per_channel=per_channel, reach=reach)
    run = Run(dut, kernels, maps, stall, blanks=3, seed=height)
    run.check()
    if not stall:
        assert {end - start for start, end in zip(run.accepted, run.offered, strict=True)} == {dut.latency}
        assert dut.latency == smoother_latency(radius, channels // lanes)


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_back_to_back_maps_take_pixels_times_channels_over_lanes(lanes):
    channels, height, length = 4, 3, 6
    rng = np.random.default_rng(lanes)
    kernels = [Kernel.random(rng, 2) for _ in range(channels)]
    maps = [rng.integers(-128, 128, (channels, height, length)) for _ in range(4)]
    run = Run(GaussianSmoother(channels, height, 2, lanes), kernels, maps)
    run.check()
    starts = run.accepted[:: height * length][: len(maps)]
    ends = run.offered[:: height * length][: len(maps)]
    for times in (starts, ends):
        cycles = {after - before for before, after in itertools.pairwise(times)}
        assert cycles == {height * length * channels // lanes}


@pytest.mark.parametrize(("radius", "row"), [(1, SimulatedEcp5Row), (3, MultiplierRow), (6, MultiplierRow)])
def test_never_more_than_one_off_float64(radius, row):
    """Every sigma of a grid up to the built radius; random and extreme maps, gates and no gate."""
    rng = np.random.default_rng(radius)
    grid = [*np.arange(0, (radius + 1) / 3, 0.05), np.nextafter((radius + 1) / 3, 0)]
    channels = len(grid)
    kernels = [
        Kernel.gaussian(sigma, 1.0 if index % 2 else rng.uniform(0.02, 1), radius)
        for index, sigma in enumerate(grid)
    ]
    shape = (channels, 4, radius + 3)
    maps = [rng.integers(-128, 128, shape), *(extremes(rng, *shape) for _ in range(3))]
    run = Run(GaussianSmoother(channels, shape[1], radius, 1, multiplier=row), kernels, maps)
    run.check()
    ideal = [
        pixel
        for values in maps
        for column in np.array([k.ideal(v) for k, v in zip(kernels, values, strict=True)]).T
        for pixel in column
    ]
    assert np.abs(np.array(run.values) - np.array(ideal)).max() <= 1


def test_a_blocked_output_loses_nothing():
    rng = np.random.default_rng(3)
    kernels = [Kernel.random(rng, 1) for _ in range(2)]
    values = rng.integers(-128, 128, (2, 3, 12))
    dut = GaussianSmoother(2, 3, 1, 1)
    bench = Bench(dut)
    stream = [*tagged_pixels(values, 1), *blank_pixels(dut.delay, 2)]
    outputs = []

    async def drain(ctx):
        await ctx.tick().repeat(300)
        await bench.receive(ctx, dut.outputs, len(stream), into=outputs)

    async def feed(ctx):
        await bench.send(ctx, dut.parameters, b"".join(kernel.block() for kernel in kernels))
        await ctx.tick().repeat(LOADED)
        await bench.send(ctx, dut.pixels, stream)

    bench.add(feed)
    bench.add(drain)
    bench.run()
    smoothed = np.array([kernel.smooth(channel) for kernel, channel in zip(kernels, values, strict=True)])
    assert [o["values"] for o in outputs if o["tags"]["real"]] == list(pixels(smoothed))


def test_reset_drops_the_map_keeps_the_taps_and_new_ones_load():
    rng = np.random.default_rng(6)
    old, new = ([Kernel.random(rng, 2) for _ in range(4)] for _ in range(2))
    values = rng.integers(-128, 128, (4, 4, 3))
    dut = GaussianSmoother(4, 4, 2, 2)
    reset = Signal()
    bench = Bench(ResetInserter(reset)(dut))
    stream = [*tagged_pixels(values, 2), *blank_pixels(dut.delay, 4)]
    outputs = []

    async def drive(ctx):
        block = b"".join(kernel.block() for kernel in old)
        await bench.send(ctx, dut.parameters, block)
        await ctx.tick().repeat(LOADED)
        for cut in (1, 7, 12):
            ctx.set(dut.outputs.ready, 1)
            await bench.send(ctx, dut.pixels, stream[:cut])
            await bench.send(ctx, dut.parameters, block[:cut])
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            ctx.set(dut.outputs.ready, 0)
            for pixel in stream:
                await bench.send(ctx, dut.pixels, [pixel])
                await bench.receive(ctx, dut.outputs, 1, into=outputs)
        await bench.send(ctx, dut.parameters, b"".join(kernel.block() for kernel in new))
        await ctx.tick().repeat(LOADED)
        for pixel in stream:
            await bench.send(ctx, dut.pixels, [pixel])
            await bench.receive(ctx, dut.outputs, 1, into=outputs)

    bench.add(drive)
    bench.run()
    expected = []
    for kernels in (old, old, old, new):
        smoothed = [kernel.smooth(channel) for kernel, channel in zip(kernels, values, strict=True)]
        expected += pixels(np.array(smoothed))
    assert [o["values"] for o in outputs if o["tags"]["real"]] == expected


def test_a_kernel_has_the_size_of_the_spec():
    kernel = Kernel.random(np.random.default_rng(0), 6)
    assert len(kernel.block()) == sum(field.size for field in tap_fields(6))


def test_lanes_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ShapeError, match="3 lanes for 8 channels"):
        GaussianSmoother(8, 4, 2, 3)
