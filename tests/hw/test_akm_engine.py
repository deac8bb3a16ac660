"""The kernel modulation engine against the integer reference, in bits and in cycles."""

import itertools

import numpy as np
import pytest
from amaranth import ResetInserter, Signal
from engine_run import SETTLED, EngineRun
from simulated_rows import SimulatedEcp5Row

from adakern.akm_parameters import AkmParameters
from adakern.reference.akm import AkmReference
from adakern_hw.engines.akm import AkmEngine, LayerMultipliers
from adakern_sim.pixels import pixels
from adakern_sim.streams import Bench
from adakern_spec import akm_cycles as cycles
from adakern_spec.akm import AkmLayer, AkmShape, Downsample, LayerFold, layer_folds_for_interval
from adakern_spec.errors import ShapeError
from adakern_spec.network import Fold

pytestmark = pytest.mark.usefixtures("pessimistic_memories")

SWEPT = 40
"""Cycles in which a restart has passed through every block."""


def maps_of(shape, lengths, rng):
    fmt = shape.stages[0].input_format
    dtype = np.int8 if fmt.signed else np.uint8
    size = (shape.in_channels, shape.height)
    return [rng.integers(fmt.min, fmt.max + 1, (*size, length)).astype(dtype) for length in lengths]


class Run(EngineRun):
    """Random maps of these lengths through an engine with random parameters."""

    def __init__(self, shape, folds, lengths, seed=0, extreme=False, multipliers=None, **options):
        rng = np.random.default_rng(seed)
        self.shape, self.folds, self.lengths = shape, folds, lengths
        self.parameters = AkmParameters.random(shape, rng, extreme)
        maps = maps_of(shape, lengths, rng)
        dut = AkmEngine(shape, folds, multipliers)
        super().__init__(dut, self.parameters.to_block(), maps, seed, **options)

    def check(self):
        expected = AkmReference(self.parameters).run(self.maps).logits.tolist()
        assert [result["logits"] for result in self.results] == expected
        for length, result in zip(self.lengths, self.results, strict=True):
            busy = result["cycles"] - result["stalls"]
            assert busy == cycles.latency(self.shape, self.folds, length)


NONE, STRIDE2, MAX2 = Downsample


def shape_of(in_channels, height, layers, radius, **options):
    layers = tuple(AkmLayer(*layer) for layer in layers)
    return AkmShape(in_channels, height, layers, 3, radius, max_length=60, **options)


ALL = shape_of(1, 6, [(2, 3, STRIDE2), (2, 3, MAX2), (2, 3, NONE)], 1)
ODD = shape_of(2, 7, [(2, 3, MAX2), (4, 1, STRIDE2)], 2, input_signed=True, per_channel=False)
WIDE = shape_of(1, 3, [(4, 5, NONE), (2, 3, NONE)], 6, weight_bits=4)
ROW = shape_of(3, 1, [(2, 3, STRIDE2), (2, 1, STRIDE2)], 1)
SINGLE = shape_of(2, 4, [(3, 3, MAX2)], 3)

SWEEP = [
    (ALL, layer_folds_for_interval(ALL, 4)),
    # The second layer is the slowest, or the last; the smoother is.
    (ALL, (LayerFold(Fold(2, 9), 2), LayerFold(Fold(1, 3), 1), LayerFold(Fold(2, 18), 2))),
    (ALL, (LayerFold(Fold(2, 9), 2), LayerFold(Fold(2, 18), 2), LayerFold(Fold(1, 1), 1))),
    (ALL, (LayerFold(Fold(2, 9), 1), LayerFold(Fold(2, 18), 1), LayerFold(Fold(2, 18), 1))),
    (ODD, layer_folds_for_interval(ODD, 4)),
    (ODD, layer_folds_for_interval(ODD, 1)),
    (WIDE, layer_folds_for_interval(WIDE, 2)),
    (ROW, layer_folds_for_interval(ROW, 3)),
    (SINGLE, layer_folds_for_interval(SINGLE, 6)),
]


def lengths_of(shape, count):
    """The shortest lengths, one twice, and a longer one in between."""
    return [shape.min_length + extra for extra in (2, 0, 0, 3, 1, 2)[:count]]


@pytest.mark.parametrize(("shape", "folds", "extreme"), [(*case, i % 2) for i, case in enumerate(SWEEP)])
def test_back_to_back_maps_are_exact_in_bits_and_cycles(shape, folds, extreme):
    run = Run(shape, folds, lengths_of(shape, 6), extreme=extreme)
    run.check()
    assert all(result["stalls"] == 0 for result in run.results)


@pytest.mark.parametrize(("shape", "folds", "more"), [(*case, i % 3) for i, case in enumerate(SWEEP)])
def test_maps_of_one_length_follow_at_the_published_interval(shape, folds, more):
    length = shape.min_length + more
    run = Run(shape, folds, [length] * 3)
    run.check()
    gaps = {later - earlier for earlier, later in itertools.pairwise(run.starts)}
    assert gaps == {cycles.interval(shape, folds, length)}
    assert gaps == {later - earlier for earlier, later in itertools.pairwise(run.result_times)}


def test_the_interval_lasts_when_as_many_maps_are_under_way_as_ever():
    shape, folds = ROW, layer_folds_for_interval(ROW, 3)
    length = shape.min_length
    run = Run(shape, folds, [length] * (cycles.flights(shape, folds) + 2))
    run.check()
    gaps = {later - earlier for earlier, later in itertools.pairwise(run.starts)}
    assert gaps == {cycles.interval(shape, folds, length)}


@pytest.mark.parametrize(("shape", "folds"), SWEEP[1::2])
def test_starvation_and_back_pressure_change_nothing_but_the_stalls(shape, folds):
    # About one pixel in 2.5 times the engine's pace.
    stall = 1 - 0.4 / cycles.pace(shape, folds)
    run = Run(shape, folds, lengths_of(shape, 4), seed=1, stall=stall, result_stall=0.97)
    run.check()
    assert sum(result["stalls"] for result in run.results) > 0


def test_a_stall_counts_for_the_map_that_it_holds_up():
    shape, folds = SWEEP[0]
    length = shape.min_length + 2
    first = shape.pixels(length)
    run = Run(shape, folds, [length] * 3, pauses={2: 50, first - 1: 40, first + 1: 60})
    run.check()
    # The feeder may be a pixel ahead, which hides a pixel's time of each pause.
    pace = cycles.pace(shape, folds)
    for result, paused in zip(run.results, (90, 60, 0), strict=True):
        assert paused - 2 * pace <= result["stalls"] <= paused


def test_device_multipliers_are_exact_in_bits_and_cycles():
    rows = (LayerMultipliers(SimulatedEcp5Row, SimulatedEcp5Row),) * 2
    run = Run(WIDE, layer_folds_for_interval(WIDE, 4), lengths_of(WIDE, 3), multipliers=rows)
    run.check()


def test_results_nobody_takes_stop_new_jobs_and_are_kept():
    shape, folds = SWEEP[5]
    run = Run(shape, folds, [shape.min_length] * 10, result_stall=0.998)
    run.check()
    assert max(run.result_times) > 10 * cycles.interval(shape, folds, shape.min_length)


@pytest.mark.parametrize("restarts", [False, True], ids=["reset", "restart"])
def test_reset_in_the_middle_of_a_map_then_a_right_answer(restarts):
    """By the clock domain's reset, or by ``restart``, which passes through the blocks one by one."""
    shape, folds = SWEEP[0]
    length = shape.min_length + 3
    rng = np.random.default_rng(5)
    parameters, other = AkmParameters.random(shape, rng), AkmParameters.random(shape, rng)
    (values,) = maps_of(shape, [length], rng)
    dut = AkmEngine(shape, folds)
    reset = Signal()
    bench = Bench(dut if restarts else ResetInserter(reset)(dut))
    if restarts:
        reset = dut.restart
    stream = list(pixels(values))
    answers, idle = [], []

    async def predict(ctx):
        await bench.send(ctx, dut.jobs, [length])
        idle.append(ctx.get(dut.busy))
        await bench.send(ctx, dut.pixels, stream)
        await bench.receive(ctx, dut.results, 1, into=answers)
        await ctx.tick()
        idle.append(ctx.get(dut.busy))

    async def drive(ctx):
        await bench.send(ctx, dut.parameters, parameters.to_block())
        await ctx.tick().repeat(SETTLED)
        for cut in (1, 20, len(stream)):
            await bench.send(ctx, dut.jobs, [length, length])
            await bench.send(ctx, dut.pixels, stream[:cut])
            if cut == len(stream):
                # Into the drain of a later layer.
                await ctx.tick().repeat(cycles.latency(shape, folds, length) // 2)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            await predict(ctx)
        block = other.to_block()
        for cut in (1, len(block) // 2, len(block) - 1):
            await bench.send(ctx, dut.parameters, block[:cut])
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            await ctx.tick().repeat(SWEPT)
        await bench.send(ctx, dut.parameters, block)
        await ctx.tick().repeat(SETTLED)
        await predict(ctx)

    bench.add(drive)
    bench.run()
    expected = [AkmReference(model).run([values]).logits[0].tolist() for model in [parameters] * 3 + [other]]
    assert [answer["logits"] for answer in answers] == expected
    assert {a["cycles"] - a["stalls"] for a in answers} == {cycles.latency(shape, folds, length)}
    assert idle == [1, 0] * 4


def test_a_result_that_waits_is_gone_with_a_restart():
    """Not on offer while the restart passes through the blocks, either: a new job's would be expected."""
    shape, folds = ROW, layer_folds_for_interval(ROW, 3)
    rng = np.random.default_rng(2)
    parameters = AkmParameters.random(shape, rng)
    (values,) = maps_of(shape, [shape.min_length], rng)
    dut = AkmEngine(shape, folds)
    bench = Bench(dut)
    offered, answers = [], []

    async def drive(ctx):
        await bench.send(ctx, dut.parameters, parameters.to_block())
        await ctx.tick().repeat(SETTLED)
        await bench.send(ctx, dut.jobs, [shape.min_length])
        await bench.send(ctx, dut.pixels, pixels(values))
        await ctx.tick().until(dut.results.valid)
        ctx.set(dut.restart, 1)
        await ctx.tick()
        ctx.set(dut.restart, 0)
        ctx.set(dut.jobs.payload, shape.min_length)
        ctx.set(dut.jobs.valid, 1)
        while not ctx.get(dut.jobs.ready):
            offered.append(ctx.get(dut.results.valid))
            await ctx.tick()
        offered.append(ctx.get(dut.results.valid))
        await bench.send(ctx, dut.jobs, [shape.min_length])
        await bench.send(ctx, dut.pixels, pixels(values))
        await bench.receive(ctx, dut.results, 1, into=answers)

    bench.add(drive)
    bench.run()
    assert len(offered) > 5
    assert not any(offered)
    assert [a["logits"] for a in answers] == AkmReference(parameters).run([values]).logits.tolist()


def test_a_restart_in_any_cycle_of_an_answer_leaves_the_next_map_its_own_numbers():
    shape = AkmShape(1, 1, (AkmLayer(1, kernel=1),), 2, radius=1, max_length=4)
    folds = layer_folds_for_interval(shape, 1)
    latency = cycles.latency(shape, folds, 1)
    parameters = AkmParameters.random(shape, np.random.default_rng(3))
    maps = [np.full((1, 1, 1), value, np.uint8) for value in (250, 3)]
    dut = AkmEngine(shape, folds)
    bench = Bench(dut)
    answers = []

    async def drive(ctx):
        await bench.send(ctx, dut.parameters, parameters.to_block())
        await ctx.tick().repeat(SETTLED)
        for wait in range(latency - 25, latency + 10):
            await bench.send(ctx, dut.jobs, [1])
            await bench.send(ctx, dut.pixels, [[250]])
            await ctx.tick().repeat(wait)
            ctx.set(dut.restart, 1)
            await ctx.tick()
            ctx.set(dut.restart, 0)
            await bench.send(ctx, dut.jobs, [1])
            await bench.send(ctx, dut.pixels, [[3]])
            await bench.receive(ctx, dut.results, 1, into=answers)
            await ctx.tick().repeat(3)
            assert not ctx.get(dut.busy)

    bench.add(drive)
    bench.run()
    logits = AkmReference(parameters).run(maps).logits[1].tolist()
    expected = {"cycles": latency, "stalls": 0, "logits": logits}
    assert [answer for answer in answers if answer != expected] == []


def test_an_engine_wants_one_fold_and_one_kind_of_multiplier_per_layer():
    shape, folds = SWEEP[0]
    with pytest.raises(ShapeError, match="1 folds; give one for each of 3 layers"):
        AkmEngine(shape, folds[:1])
    with pytest.raises(ShapeError, match="1 multipliers; give one for each of 3 layers"):
        AkmEngine(shape, folds, (LayerMultipliers(),))
