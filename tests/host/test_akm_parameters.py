"""Parameters of kernel modulation networks: checks, byte block against a reader of its own, random ones."""

import itertools
import struct

import numpy as np
import pytest
from changed_parameters import assert_refused, replaced

from adakern.akm_parameters import AkmParameters, kernels_of
from adakern.kernels import ONE, Kernels
from adakern.parameter_block import accumulator_bounds
from adakern_spec.akm import AkmLayer, AkmShape, Downsample, kernel_offset
from adakern_spec.errors import InputError, ShapeError

NETWORK = AkmShape(1, 9, (AkmLayer(4, downsample=Downsample.MAX2), AkmLayer(3, 5), AkmLayer(6, 1)), 5)
SHAPES = [
    NETWORK,
    AkmShape(2, 4, (AkmLayer(3),), 2, radius=1, per_channel=False, input_signed=True, weight_bits=4),
]

every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["per-channel", "per-layer"])


def draw(shape: AkmShape = NETWORK, seed: int = 0, extreme: bool = False) -> AkmParameters:
    return AkmParameters.random(shape, np.random.default_rng(seed), extreme)


@every_shape
@pytest.mark.parametrize("extreme", [False, True])
def test_block_holds_every_value_where_the_layout_says(shape, extreme):
    parameters = draw(shape, 3, extreme)
    block = parameters.to_block()
    position = 0

    def take(code: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from("<" + code, block, position)
        position += struct.calcsize("<" + code)
        return value

    for index, stage in enumerate(shape.stages):
        kernel = range(stage.kernel)
        for co, kl, kh, ci in itertools.product(
            range(stage.out_channels), kernel, kernel, range(stage.in_channels)
        ):
            assert take("b") == parameters.weights[index][co, ci, kh, kl]
        for co in range(stage.out_channels):
            assert (take("i"), take("B")) == (parameters.biases[index][co], parameters.shifts[index][co])
    weights = [[take("b") for _ in range(shape.features)] for _ in range(shape.classes)]
    assert weights == parameters.class_weights.tolist()
    assert [take("i") for _ in range(shape.classes)] == parameters.class_biases.tolist()
    assert position == kernel_offset(shape)
    assert block[position:] == parameters.kernels_block()
    for layer in range(len(shape.layers)):
        for record in range(shape.records(layer)):
            taps = [[take("H") for _ in range(shape.radius + 1)] for _ in range(2)]
            assert taps[0] == parameters.length_taps[layer][record].tolist()
            assert taps[1] == parameters.height_taps[layer][record].tolist()
            assert take("B") == parameters.borders[layer][record]
    assert position == len(block)


@every_shape
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("extreme", [False, True])
def test_block_round_trip(shape, seed, extreme):
    parameters = draw(shape, seed, extreme)
    again = AkmParameters.from_block(shape, parameters.to_block())
    assert again == parameters
    assert again.crc == parameters.crc
    assert again != draw(shape, seed + 9, extreme)


def test_block_of_the_wrong_size_is_refused():
    with pytest.raises(ShapeError, match=r"parameter block: 7 bytes; give \d+ for 3 layers"):
        AkmParameters.from_block(NETWORK, bytes(7))


def test_other_kernels_change_nothing_but_the_blocks_end():
    parameters = draw()
    sizes = [layer.out_channels for layer in NETWORK.layers]
    adapted = parameters.with_kernels([Kernels.of(np.linspace(0, 2, n), 0.5, NETWORK.radius) for n in sizes])
    offset = kernel_offset(NETWORK)
    assert adapted.to_block()[:offset] == parameters.to_block()[:offset]
    assert adapted.kernels_block() != parameters.kernels_block()
    assert adapted.crc != parameters.crc


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            replaced(draw(), "length_taps", (2, 0), ONE + 1, 0),
            "stage 0 length_taps, channel 2: taps that sum to",
        ),
        (
            replaced(draw(), "height_taps", (1, 3), ONE // 2 + 1, 1),
            "stage 1 height_taps, channel 1: taps that sum",
        ),
        (replaced(draw(), "height_taps", (0, 1), -1, 2), "stage 2 height_taps, channel 0: value -1"),
        (replaced(draw(), "borders", 3, 7, 0), "stage 0 borders: border of 7 columns; use 6 at most"),
        (replaced(draw(), "borders", 0, 8, 0), "stage 0 borders, channel 0: value 8"),
        (
            replaced(draw(), "class_weights", (4, 0), 128),
            "class weights, channel 4: value 128; use -128 to 127",
        ),
        (replaced(draw(), "class_biases", 4, 1 << 31), "class biases, channel 4: value 2147483648"),
        (replaced(draw(), "class_biases", 3, (1 << 31) - 1), "class 3: logit from"),
        ({"length_taps": draw().length_taps[:2]}, "length_taps of 2 stages; give 3"),
        ({"class_biases": np.zeros(5)}, "class_biases: dtype float64; give integers"),
        (replaced(draw(), "weights", (2, 0, 0, 0), 128, 1), "stage 1 weights, channel 2: value 128"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses_what_the_hardware_cannot_hold(change, message):
    assert_refused(draw(), change, message)


def test_extreme_parameters_reach_the_limits():
    every = [draw(seed=seed, extreme=True) for seed in range(20)]
    bounds = [accumulator_bounds(NETWORK.stages[0], p.weights[0], p.biases[0]) for p in every]
    assert min(low.min() for low, _ in bounds) == -(2**31)
    assert max(high.max() for _, high in bounds) == 2**31 - 1
    taps = np.concatenate([p.length_taps[0] for p in every])
    assert (taps[:, 0] == ONE).any()
    assert (taps[:, -1] == ONE // 2).any()
    largest = [p.class_biases + 65535 * np.maximum(p.class_weights, 0).sum(axis=1) for p in every]
    smallest = [p.class_biases + 65535 * np.minimum(p.class_weights, 0).sum(axis=1) for p in every]
    assert (np.min(smallest), np.max(largest)) == (-(2**31), 2**31 - 1)


def test_one_record_for_a_layer_takes_one_value():
    shape = AkmShape(1, 4, (AkmLayer(3),), 2, per_channel=False)
    (kernels,) = kernels_of(shape, [0.5], [0.0])
    assert kernels.length.shape == (1, shape.radius + 1)
    with pytest.raises(InputError, match=r"layer 0: r of shape \(3,\); give 1 value$"):
        kernels_of(shape, [[0.5] * 3], [0.0])
