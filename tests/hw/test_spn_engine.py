import itertools

import numpy as np
import pytest
from amaranth import ResetInserter, Signal
from engine_run import SETTLED, EngineRun
from simulated_rows import SimulatedEcp5Row

from adakern.parameters import SpnParameters
from adakern.reference.spn import run_spn
from adakern_hw.blocks.multiplier import LogicMultiplierRow, MultiplierRow
from adakern_hw.engines.spn import SpnEngine
from adakern_sim.pixels import pixels
from adakern_sim.streams import Bench
from adakern_spec import cycles
from adakern_spec.errors import ShapeError
from adakern_spec.network import Fold, SpnShape, folds_for_interval
from adakern_spec.protocol import LINK, Link

pytestmark = pytest.mark.usefixtures("pessimistic_memories")


class Run(EngineRun):
    """Random maps of these lengths through an engine with random parameters."""

    def __init__(self, shape, folds, lengths, seed=0, extreme=False, multipliers=None, link=LINK, **options):
        rng = np.random.default_rng(seed)
        self.shape, self.folds, self.lengths = shape, folds, lengths
        self.parameters = SpnParameters.random(shape, rng, extreme)
        fmt = shape.stages[0].input_format
        dtype = np.int8 if fmt.signed else np.uint8
        maps = [
            rng.integers(fmt.min, fmt.max + 1, (shape.in_channels, shape.height, length)).astype(dtype)
            for length in lengths
        ]
        dut = SpnEngine(shape, folds, multipliers, link)
        super().__init__(dut, self.parameters.to_block(), maps, seed, **options)

    def check(self):
        for values, result in zip(self.maps, self.results, strict=True):
            expected = run_spn(self.parameters, values[None], np.array([values.shape[2]]))
            assert result["scales"] == expected.scales[0].tolist()
            assert result["kernels"] == expected.kernels[0].tolist()
        for length, result in zip(self.lengths, self.results, strict=True):
            busy = result["cycles"] - result["stalls"]
            assert busy == cycles.latency(self.shape, self.folds, length)


def shape_of(channels, height, kernel=3, **options):
    return SpnShape(channels, height, kernel, max_length=60, **options)


SWEEP = [
    (shape_of((2, 4, 2), 4), (Fold(2, 6), Fold(1, 9))),
    (shape_of((2, 4, 1), 4), (Fold(2, 6), Fold(1, 9))),
    (shape_of((2, 2, 2, 2), 3, weight_bits=4), folds_for_interval(shape_of((2, 2, 2, 2), 3), 2)),
    (shape_of((1, 2, 2), 2, input_signed=True), folds_for_interval(shape_of((1, 2, 2), 2), 1)),
    (shape_of((2, 4, 2, 1), 1, kernel=1), (Fold(4, 2), Fold(2, 2), Fold(1, 1))),
    (shape_of((1, 2), 3, kernel=5), (Fold(2, 5),)),
    (shape_of((1, 1, 2), 1), (Fold(1, 1), Fold(1, 1))),
    (shape_of((4, 4, 2), 4), (Fold(2, 2), Fold(1, 1))),
    (shape_of((2, 4, 2), 4), (Fold(1, 2, shared=True),)),
    (shape_of((2, 2, 2, 1), 1, weight_bits=4), (Fold(1, 1, shared=True),)),
    (shape_of((4, 4, 2), 2, kernel=1), (Fold(1, 2, shared=True),)),
]


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize(("shape", "folds"), SWEEP)
def test_back_to_back_maps_are_exact_in_bits_and_cycles(shape, folds, extreme):
    run = Run(shape, folds, [3, 1, 1, 6, 2, 2, 2, 5], extreme=extreme)
    run.check()
    assert all(result["stalls"] == 0 for result in run.results)


@pytest.mark.parametrize("signed", [False, True])
def test_packed_products_and_those_from_logic_are_exact_in_bits_and_cycles(signed):
    shape = shape_of((2, 4, 3, 2), 3, weight_bits=4, input_signed=signed)
    folds = (Fold(4, 9), Fold(3, 12), Fold(1, 9))
    rows = (SimulatedEcp5Row, SimulatedEcp5Row, LogicMultiplierRow)
    for extreme in (False, True):
        run = Run(shape, folds, [3, 1, 6, 2, 5], extreme=extreme, multipliers=rows)
        run.check()
        assert all(result["stalls"] == 0 for result in run.results)


@pytest.mark.parametrize(("shape", "folds"), SWEEP)
def test_maps_of_one_length_follow_at_the_published_interval(shape, folds):
    for length in (1, 3, 1 + cycles.separation(shape, folds)):
        if length <= shape.max_length and shape.pixels(length) * cycles.pace(shape, folds) < 3000:
            run = Run(shape, folds, [length] * 5)
            run.check()
            gaps = {later - earlier for earlier, later in itertools.pairwise(run.starts)}
            assert gaps == {cycles.interval(shape, folds, length)}


@pytest.mark.parametrize(("shape", "folds", "blank"), [(*SWEEP[0], 10), (*SWEEP[2], 39)])
def test_maps_that_may_not_overlap_follow_at_the_published_interval(shape, folds, blank):
    """Held back by the padding, and, longer, by the head."""
    link = Link(2, 64)
    run = Run(shape, folds, [1] * 4, link=link)
    run.check()
    gaps = {later - earlier for earlier, later in itertools.pairwise(run.starts)}
    assert gaps == {cycles.interval(shape, folds, 1, link)}
    assert gaps == {(shape.pixels(1) + blank) * cycles.pace(shape, folds)}
    assert all(result["stalls"] == 0 for result in run.results)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("shape", "folds"), SWEEP)
def test_starvation_and_back_pressure_change_nothing_but_the_stalls(shape, folds, seed):
    # About one pixel in 2.5 times the engine's pace.
    stall = 1 - 0.4 / cycles.pace(shape, folds)
    run = Run(shape, folds, [3, 1, 5, 1, 1, 8, 2], seed=seed, stall=stall, result_stall=0.97)
    run.check()
    assert sum(result["stalls"] for result in run.results) > 0


def test_a_stall_counts_for_a_map_only_if_it_holds_that_map_up():
    shape = shape_of((1, 2, 2), 2)
    folds = folds_for_interval(shape, 1)
    length = cycles.separation(shape, folds)
    pixels_of_a_map = shape.pixels(length)
    for ahead in range(1, cycles.padding(shape, folds) + 3):
        run = Run(shape, folds, [length] * 2, pauses={pixels_of_a_map + ahead: 5})
        run.check()
        held_up = ahead < cycles.padding(shape, folds)
        assert [result["stalls"] for result in run.results] == [5 if held_up else 0, 5]


def test_results_nobody_takes_stop_new_jobs_and_are_kept():
    shape, folds = SWEEP[0]
    run = Run(shape, folds, [2] * 12, result_stall=0.998)
    run.check()
    assert max(run.result_times) > 12 * cycles.interval(shape, folds, 2)


@pytest.mark.parametrize("restarts", [False, True], ids=["reset", "restart"])
@pytest.mark.parametrize(("shape", "folds"), [SWEEP[0], SWEEP[8]])
def test_reset_in_the_middle_of_a_map_then_a_right_answer(shape, folds, restarts):
    """By the clock domain's reset, or by ``restart``, which passes through the blocks one by one."""
    rng = np.random.default_rng(5)
    parameters, other = SpnParameters.random(shape, rng), SpnParameters.random(shape, rng)
    values = rng.integers(0, 256, (2, 4, 5)).astype(np.uint8)
    dut = SpnEngine(shape, folds)
    reset = Signal()
    bench = Bench(dut if restarts else ResetInserter(reset)(dut))
    if restarts:
        reset = dut.restart
    stream = list(pixels(values))
    answers, idle = [], []

    async def predict(ctx):
        await bench.send(ctx, dut.jobs, [5])
        idle.append(ctx.get(dut.busy))
        await bench.send(ctx, dut.pixels, stream)
        await bench.receive(ctx, dut.results, 1, into=answers)
        await ctx.tick()
        idle.append(ctx.get(dut.busy))

    async def drive(ctx):
        await bench.send(ctx, dut.parameters, parameters.to_block())
        await ctx.tick().repeat(SETTLED)
        for cut in (1, 7, len(stream)):
            await bench.send(ctx, dut.jobs, [5] * min(2, dut.flights))
            await bench.send(ctx, dut.pixels, stream[:cut])
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            assert restarts or not ctx.get(dut.busy)
            await predict(ctx)
        await bench.send(ctx, dut.parameters, other.to_block())
        await ctx.tick().repeat(SETTLED)
        await predict(ctx)

    bench.add(drive)
    bench.run()
    lengths = np.array([5])
    expected = [run_spn(model, values[None], lengths) for model in [parameters] * 3 + [other]]
    assert [answer["scales"] for answer in answers] == [e.scales[0].tolist() for e in expected]
    assert [answer["kernels"] for answer in answers] == [e.kernels[0].tolist() for e in expected]
    assert {a["cycles"] - a["stalls"] for a in answers} == {cycles.latency(shape, folds, 5)}
    assert idle == [1, 0] * 4


def test_an_engine_wants_one_fold_and_one_kind_of_multiplier_per_stage():
    shape, folds = SWEEP[0]
    with pytest.raises(ShapeError, match="1 folds for 2 stages; give one for each"):
        SpnEngine(shape, folds[:1])
    with pytest.raises(ShapeError, match="1 multipliers; give 2, one per fold"):
        SpnEngine(shape, folds, (MultiplierRow,))
    with pytest.raises(ShapeError, match="1 folds for 2 stages; give one for each"):
        SpnEngine(shape_of((2, 4, 2), 4, input_signed=True), (Fold(1, 2, shared=True),))
