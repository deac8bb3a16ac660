"""cocotb benches of the conv stage and the SPN engine against the golden model in PyTorch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from amaranth.hdl import Const
from amaranth.lib import data

from adakern.parameters import SpnParameters
from adakern.quantize.golden import GoldenNetwork
from adakern_hw.blocks.conv import ConvStage
from adakern_hw.blocks.pixels import input_layout
from adakern_hw.engines.spn import RESULT_LAYOUT, SpnEngine
from adakern_sim.benches.plan import BenchPlan, StreamPlan
from adakern_sim.benches.runner import BenchFailed, run_bench
from adakern_sim.pixels import blank_pixels, pixels, tagged_pixels
from adakern_spec.network import Fold, SpnShape
from adakern_spec.parameters import stage_size

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("bench models")]

STREAM_BENCH = "adakern_sim.benches.stream_bench"
SHAPE = SpnShape((2, 4, 2), height=3, max_length=40)
FOLDS = (Fold(2, 6), Fold(2, 12))
"""Six and three cycles per pixel: the second stage waits for the first."""

LENGTHS = (5, 1, 12, 2, 2, 17, 3, 9, 1, 4, 2, 6)

ALWAYS_READY = ("idle", "stalled")
"""Parameter bytes are taken as they come."""


def packed(layout: data.Layout, value: object) -> int:
    return Const.cast(layout.const(value)).value & ((1 << layout.size) - 1)


def random_maps(shape: SpnShape, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (shape.in_channels, shape.height, length), np.uint8) for length in LENGTHS]


def golden(parameters: SpnParameters, values: np.ndarray):
    with torch.no_grad():
        return GoldenNetwork(parameters)(torch.tensor(values[None]), torch.tensor([values.shape[2]]))


def engine_plan(parameters: SpnParameters, seed: int) -> BenchPlan:
    shape = parameters.shape
    maps = random_maps(shape, seed)
    layout = input_layout(shape.stages[0])
    results = [golden(parameters, values) for values in maps]
    mask = packed(RESULT_LAYOUT, {"cycles": 0, "stalls": 0, "scales": [0xFFFF] * 2, "kernels": [0xFFFF] * 2})
    answers = [
        {"cycles": 0, "stalls": 0, "scales": result.scales[0].tolist(), "kernels": result.kernels[0].tolist()}
        for result in results
    ]
    return BenchPlan(
        (
            StreamPlan("parameters", True, tuple(parameters.to_block()), unreachable=ALWAYS_READY),
            StreamPlan("jobs", True, LENGTHS, phase=1, unreachable=("back_to_back",)),
            StreamPlan(
                "pixels",
                True,
                tuple(packed(layout, pixel) for values in maps for pixel in pixels(values.tolist())),
                phase=1,
                unreachable=("back_to_back",),
            ),
            StreamPlan(
                "results",
                False,
                tuple(packed(RESULT_LAYOUT, answer) for answer in answers),
                masks=(mask,) * len(answers),
                unreachable=("back_to_back",),
            ),
        ),
        seed,
    )


@pytest.mark.parametrize(("seed", "extreme"), [(1, False), (2, False), (3, True)])
def test_engine_equals_the_golden_model(tmp_path: Path, seed: int, extreme: bool) -> None:
    parameters = SpnParameters.random(SHAPE, np.random.default_rng(seed), extreme)
    run_bench(SpnEngine(SHAPE, FOLDS), STREAM_BENCH, tmp_path, engine_plan(parameters, seed))


def test_bench_sees_wrong_weights(tmp_path: Path) -> None:
    """The bench can fail: one channel's weights differ between the golden model and the engine."""
    parameters = SpnParameters.random(SHAPE, np.random.default_rng(4))
    plan = engine_plan(parameters, 4)
    elements = SHAPE.stages[0].elements
    block = list(plan.streams[0].payloads)
    block[:elements] = [byte ^ 0x80 for byte in block[:elements]]
    wrong = StreamPlan("parameters", True, tuple(block), unreachable=ALWAYS_READY)
    with pytest.raises(BenchFailed, match=r"results: payload \d is .*, expected"):
        run_bench(
            SpnEngine(SHAPE, FOLDS), STREAM_BENCH, tmp_path, BenchPlan((wrong, *plan.streams[1:]), plan.seed)
        )


@pytest.mark.parametrize("seed", [1, 2])
def test_conv_stage_equals_the_golden_model(tmp_path: Path, seed: int) -> None:
    """Maps of several lengths back to back, outputs of blank pixels not compared but for being blank."""
    parameters = SpnParameters.random(SHAPE, np.random.default_rng(seed))
    stage = ConvStage(SHAPE.stages[0], FOLDS[0], SHAPE.height)
    radius = SHAPE.stages[0].radius
    real = packed(stage.output_layout, {"tags": {"real": 1}})
    everything = (1 << stage.output_layout.size) - 1

    inputs, outputs = [], list(blank_pixels(stage.delay, SHAPE.stages[0].out_channels))
    for values in random_maps(SHAPE, seed):
        inputs += tagged_pixels(values.tolist(), radius)
        outputs += tagged_pixels(golden(parameters, values).stages[0].outputs[0].tolist(), radius)
    inputs += blank_pixels(stage.delay, SHAPE.in_channels, value=255)

    run_bench(
        stage,
        STREAM_BENCH,
        tmp_path,
        BenchPlan(
            (
                StreamPlan(
                    "parameters",
                    True,
                    tuple(parameters.to_block()[: stage_size(SHAPE.stages[0])]),
                    unreachable=ALWAYS_READY,
                ),
                StreamPlan(
                    "pixels",
                    True,
                    tuple(packed(stage.input_layout, pixel) for pixel in inputs),
                    phase=1,
                    unreachable=("back_to_back",),
                ),
                StreamPlan(
                    "outputs",
                    False,
                    tuple(packed(stage.output_layout, pixel) for pixel in outputs),
                    masks=tuple(everything if pixel["tags"]["real"] else real for pixel in outputs),
                ),
            ),
            seed,
        ),
    )
