import numpy as np
import pytest
from amaranth import ResetInserter, Signal

from adakern_hw.blocks.classifier import Classifier
from adakern_sim.streams import Bench
from adakern_spec.akm_cycles import classifier_latency
from adakern_spec.numbers import MEAN

pytestmark = pytest.mark.usefixtures("pessimistic_memories")

LOADED = 4
"""Cycles for the last parameter byte to reach its memory."""


class Model:
    """Random weights and biases."""

    def __init__(self, features, classes, seed):
        rng = np.random.default_rng(seed)
        self.weights = rng.integers(-128, 128, (classes, features))
        self.weights[0] = -128
        self.weights[-1] = 127
        self.biases = rng.integers(-(1 << 30), 1 << 30, classes)

    def block(self):
        return self.weights.astype(np.int8).tobytes() + self.biases.astype("<i4").tobytes()

    def logits(self, means):
        return (means @ self.weights.T + self.biases).tolist()


def means_of(features, rng):
    rows = [np.zeros(features, int), np.full(features, MEAN.max)]
    return [*rows, *rng.integers(0, MEAN.max + 1, (3, features))]


@pytest.mark.parametrize("stall", [0.0, 0.3])
@pytest.mark.parametrize(("features", "classes"), [(1, 2), (5, 3), (16, 12), (3, 2)])
def test_logits_are_exact_and_come_when_published(features, classes, stall):
    model = Model(features, classes, seed=features)
    maps = means_of(features, np.random.default_rng(classes))
    dut = Classifier(features, classes)
    bench = Bench(dut, seed=features)

    async def feed(ctx):
        await bench.send(ctx, dut.parameters, model.block())
        await ctx.tick().repeat(LOADED)
        await bench.send(ctx, dut.means, [int(mean) for means in maps for mean in means], stall)

    bench.add(feed)
    logits = bench.get(dut.logits, len(maps) * classes, stall)
    taken, answered = bench.times(dut.means), bench.times(dut.logits)
    bench.run()
    assert logits == [logit for means in maps for logit in model.logits(means)]
    if not stall:
        starts, ends = taken[::features], answered[classes - 1 :: classes]
        latencies = {end - start for start, end in zip(starts, ends, strict=True)}
        assert latencies == {classifier_latency(features, classes)}


def test_a_reset_keeps_the_weights_and_new_ones_load():
    old, new = Model(4, 3, seed=1), Model(4, 3, seed=2)
    means = np.random.default_rng(3).integers(0, MEAN.max + 1, 4)
    values = [int(mean) for mean in means]
    dut = Classifier(4, 3)
    reset = Signal()
    bench = Bench(ResetInserter(reset)(dut))
    logits = []

    async def drive(ctx):
        await bench.send(ctx, dut.parameters, old.block())
        await ctx.tick().repeat(LOADED)
        for cut in (1, 3):
            await bench.send(ctx, dut.parameters, old.block()[:cut])
            await bench.send(ctx, dut.means, values[:cut])
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
        await bench.send(ctx, dut.means, values)
        await bench.receive(ctx, dut.logits, 3, into=logits)
        await bench.send(ctx, dut.parameters, new.block())
        await ctx.tick().repeat(LOADED)
        await bench.send(ctx, dut.means, values)
        await bench.receive(ctx, dut.logits, 3, into=logits)

    bench.add(drive)
    bench.run()
    assert logits == old.logits(means) + new.logits(means)
