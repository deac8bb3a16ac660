import itertools
import random

import pytest
from amaranth import signed, unsigned
from simulated_rows import SimulatedEcp5Row

from adakern_hw.blocks.macs import MacArray
from adakern_hw.blocks.multiplier import AdderTree, LogicMultiplierRow, MultiplierRow
from adakern_hw.blocks.window import Window
from adakern_sim.streams import Bench, plain
from adakern_spec.network import ConvShape, Fold

pytestmark = pytest.mark.usefixtures("pessimistic_memories")


@pytest.mark.parametrize("input_signed", [False, True])
def test_products_are_exact_after_the_published_latency(input_signed):
    low, high = (-128, 127) if input_signed else (0, 255)
    chance = random.Random(1)
    rows = [([a] * 3, [[b] * 3] * 2) for a in (low, high) for b in (-128, 127)]
    for _ in range(20):
        b = [[chance.randint(-128, 127) for _ in range(3)] for _ in range(2)]
        rows.append(([chance.randint(low, high) for _ in range(3)], b))
    dut = MultiplierRow(3, 2, signed(8) if input_signed else unsigned(8), signed(8))
    bench = Bench(dut)
    results = []

    async def drive(ctx):
        for index in range(len(rows) + dut.latency):
            if index < len(rows):
                ctx.set(dut.a[0], rows[index][0])
                ctx.set(dut.b, rows[index][1])
            if index >= dut.latency:
                results.append([[ctx.get(product) for product in channel] for channel in dut.products])
            await ctx.tick()

    bench.add(drive)
    bench.run()
    assert results == [[[x * y for x, y in zip(a, c, strict=True)] for c in b] for a, b in rows]


@pytest.mark.parametrize("term", [signed(16), unsigned(16)], ids=["signed", "unsigned"])
@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("count", [2, 3, 5, 8, 9])
def test_adder_tree_sums_exactly_after_the_published_latency(count, carried, term):
    chance = random.Random(count)
    low, high = (-(2**15), 2**15 - 1) if term.signed else (0, 2**16 - 1)
    rows = [[low] * count, [high] * count]
    rows += [[chance.randint(low, high) for _ in range(count)] for _ in range(20)]
    # The extremes with all their carries.
    carries = [[carried * (index < 2 or chance.randrange(2)) for _ in row] for index, row in enumerate(rows)]
    dut = AdderTree(count, term, carried)
    bench = Bench(dut)
    results = []

    async def drive(ctx):
        for index in range(len(rows) + dut.latency):
            if index < len(rows):
                for ports, values in ((dut.terms, rows[index]), (dut.carries, carries[index])):
                    for port, value in zip(ports, values, strict=True):
                        ctx.set(port, value)
            if index >= dut.latency:
                results.append(ctx.get(dut.sum) + ctx.get(dut.carry))
            await ctx.tick()

    bench.add(drive)
    bench.run()
    assert results == [sum(row) + sum(ones) for row, ones in zip(rows, carries, strict=True)]


SWEEP = [
    (ConvShape(2, 4), Fold(2, 6)),
    (ConvShape(2, 2), Fold(2, 18)),
    (ConvShape(3, 2, kernel=1, input_signed=True), Fold(1, 1)),
    (ConvShape(4, 2, weight_bits=4), Fold(2, 3)),
    (ConvShape(1, 6, weight_bits=4, input_signed=True), Fold(3, 9)),
    (ConvShape(2, 4, kernel=1, weight_bits=4), Fold(4, 1)),
    (ConvShape(2, 2, weight_bits=4), Fold(1, 6)),
]


@pytest.mark.parametrize(
    ("shape", "fold", "row"),
    [(*case, row) for case in SWEEP for row in (MultiplierRow, SimulatedEcp5Row)]
    + [(*case, LogicMultiplierRow) for case in SWEEP if case[0].weight_bits == LogicMultiplierRow.BITS],
)
def test_sums_of_windows_come_when_published(shape, fold, row):
    chance = random.Random(shape.elements)
    inputs, weights_format = shape.input_format, shape.weight_format
    weights = [
        [chance.randint(weights_format.min, weights_format.max) for _ in range(shape.elements)]
        for _ in range(shape.out_channels)
    ]
    windows = [[inputs.min] * shape.elements, [inputs.max] * shape.elements]
    windows += [[chance.randint(inputs.min, inputs.max) for _ in range(shape.elements)] for _ in range(6)]
    dut = MacArray(shape, fold, row)
    bench = Bench(dut)
    loads, dones, sums = [], [], []

    shown = [0] * Window.LATENCY

    async def cycle(ctx, window, turn):
        """A cycle in which ``step`` is that of this turn."""
        first = turn % fold.steps(shape) * fold.simd
        elements = window[first : first + fold.simd]
        shown.append(sum((value & 255) << 8 * lane for lane, value in enumerate(elements)))
        ctx.set(dut.lanes, shown[-1 - Window.LATENCY])
        await ctx.tick()

    async def feed(ctx):
        await bench.send(ctx, dut.weights, [w & 255 for channel in weights for w in channel])
        await ctx.tick().repeat(3)
        interval = fold.interval(shape)
        for before, window in itertools.pairwise([windows[0], *windows]):
            ctx.set(dut.load, 1)
            loads.append(bench.cycle)
            await cycle(ctx, before, interval - 1)
            ctx.set(dut.load, 0)
            for turn in range(interval - 1):
                await cycle(ctx, window, turn)
        for turn in range(dut.latency + interval):
            await cycle(ctx, windows[-1], interval - 1 if turn == 0 else 0)

    async def watch(ctx):
        while len(dones) < len(windows) * fold.groups(shape):
            if ctx.get(dut.done[0]):
                dones.append(bench.cycle)
                sums.extend(plain(ctx.get(total)) for total in dut.sums)
            await ctx.tick()

    bench.add(feed)
    bench.add(watch)
    bench.run()
    expected = [
        sum(x * w for x, w in zip(window, channel, strict=True)) for window in windows for channel in weights
    ]
    assert sums == expected
    steps = fold.steps(shape)
    assert dones == [load + dut.latency + g * steps for load in loads for g in range(fold.groups(shape))]
