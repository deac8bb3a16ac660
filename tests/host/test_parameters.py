"""Parameters: checks, byte block against a reader of its own, random ones."""

import dataclasses
import itertools
import struct

import numpy as np
import pytest
from changed_parameters import assert_refused, replaced
from hypothesis import given
from hypothesis import strategies as st

from adakern.parameter_block import accumulator_bounds
from adakern.parameters import KERNEL_ONE, SpnParameters
from adakern_spec.errors import ShapeError
from adakern_spec.network import REFERENCE, ConvShape, SpnShape

SHAPES = [
    REFERENCE,
    SpnShape((3, 5, 1), height=7, kernel=5),
    SpnShape((2, 4, 2), height=1, kernel=1, input_signed=True),
    SpnShape((1, 4, 3, 2), height=5, weight_bits=4, input_signed=True),
]

every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def draw(shape: SpnShape = REFERENCE, seed: int = 0, extreme: bool = False) -> SpnParameters:
    return SpnParameters.random(shape, np.random.default_rng(seed), extreme)


def read_block(shape: SpnShape, block: bytes) -> dict[str, list]:
    """The block as the layout's prose says, one value at a time."""
    position = 0

    def take(code: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from("<" + code, block, position)
        position += struct.calcsize("<" + code)
        return value

    read: dict[str, list] = {"weights": [], "biases": [], "shifts": []}
    for stage in shape.stages:
        weights = np.zeros((stage.out_channels, stage.in_channels, stage.kernel, stage.kernel), int)
        for co in range(stage.out_channels):
            for kl, kh, ci in itertools.product(
                range(stage.kernel), range(stage.kernel), range(stage.in_channels)
            ):
                weights[co, ci, kh, kl] = take("b")
        records = [(take("i"), take("B")) for _ in range(stage.out_channels)]
        read["weights"].append(weights)
        read["biases"].append([bias for bias, _ in records])
        read["shifts"].append([shift for _, shift in records])
    head = [(take("h"), take("B"), take("H")) for _ in range(shape.outputs)]
    directions = [(take("B"), take("H"), take("H")) for _ in range(2)]
    for index, name in enumerate(("gain", "gain_shift", "offset")):
        read[name] = [row[index] for row in head]
    for index, name in enumerate(("base", "k_min", "k_max")):
        read[name] = [row[index] for row in directions]
    assert position == len(block)
    return read


@every_shape
@pytest.mark.parametrize("extreme", [False, True])
def test_block_holds_every_value_where_the_layout_says(shape, extreme):
    parameters = draw(shape, 3, extreme)
    read = read_block(shape, parameters.to_block())
    for name, values in read.items():
        given_values = getattr(parameters, name)
        if name in ("weights", "biases", "shifts"):
            for stage, wanted in zip(given_values, values, strict=True):
                assert np.array_equal(stage, wanted), name
        else:
            assert given_values.tolist() == values, name


@every_shape
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("extreme", [False, True])
def test_block_round_trip(shape, seed, extreme):
    parameters = draw(shape, seed, extreme)
    again = SpnParameters.from_block(shape, parameters.to_block())
    assert again == parameters
    assert hash(again) == hash(parameters)
    assert again.crc == parameters.crc


def test_parameters_of_another_shape_or_value_are_not_equal():
    parameters = draw()
    assert parameters != draw(seed=1)
    assert parameters != dataclasses.replace(parameters, shape=dataclasses.replace(REFERENCE, height=9))
    assert parameters != "parameters"


@pytest.mark.parametrize("size", [0, 1, 1405, 1407])
def test_block_of_the_wrong_size_is_refused(size):
    with pytest.raises(ShapeError, match=rf"parameter block: {size} bytes; give 1406"):
        SpnParameters.from_block(REFERENCE, bytes(size))


@given(st.integers(0, 1405), st.integers(1, 255))
def test_a_tampered_byte_is_refused_or_changes_the_crc(position, flip):
    parameters = draw()
    block = bytearray(parameters.to_block())
    block[position] ^= flip
    try:
        tampered = SpnParameters.from_block(REFERENCE, bytes(block))
    except ShapeError:
        return
    assert tampered.crc != parameters.crc
    assert tampered != parameters


def test_block_with_a_shift_of_32_is_refused():
    block = bytearray(draw().to_block())
    block[8 * 72 + 4] = 32
    with pytest.raises(ShapeError, match=r"stage 0 shifts, channel 0: value 32; use 0 to 31"):
        SpnParameters.from_block(REFERENCE, bytes(block))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            replaced(draw(), "weights", (3, 0, 0, 0), 128, 1),
            "stage 1 weights, channel 3: value 128; use -128 to 127",
        ),
        (replaced(draw(), "weights", (3, 0, 0, 0), -129, 0), "stage 0 weights, channel 3: value -129"),
        (replaced(draw(), "biases", 1, 1 << 31, 2), "stage 2 biases, channel 1: value 2147483648"),
        (replaced(draw(), "shifts", 5, -1, 0), "stage 0 shifts, channel 5: value -1"),
        (replaced(draw(), "gain", 1, 1 << 15), "gain, channel 1: value 32768"),
        (replaced(draw(), "gain_shift", 0, 32), "gain_shift, channel 0: value 32"),
        (replaced(draw(), "offset", 0, -1), "offset, channel 0: value -1"),
        (replaced(draw(), "base", 0, 0), "base [0"),
        (replaced(draw(), "base", 1, 256), "base, channel 1: value 256"),
        (replaced(draw(), "k_min", 0, KERNEL_ONE - 1), "kernel sizes from [255"),
        (replaced(draw(), "k_max", 1, 1 << 16), "k_max, channel 1: value 65536"),
        ({"k_min": np.array([600, 600]), "k_max": np.array([600, 599])}, "from [600, 600] to [600, 599]"),
        ({"gain": np.zeros(1, int)}, "gain: shape (1,); give (2,)"),
        ({"weights": draw().weights[:2]}, "weights of 2 stages; give 3"),
        ({"weights": (draw().weights[0][:, :, :, :2], *draw().weights[1:])}, "stage 0 weights: shape"),
        ({"offset": np.array([1.0, 2.0])}, "offset: dtype float64; give integers"),
        ({"biases": tuple(b.astype(float) for b in draw().biases)}, "stage 0 biases: dtype float64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses_what_the_hardware_cannot_hold(change, message):
    assert_refused(draw(), change, message)


def test_arrays_are_read_only_copies():
    parameters = draw()
    with pytest.raises(ValueError, match="read-only"):
        parameters.weights[0][0] = 0
    gain = np.array([1, 2])
    kept = dataclasses.replace(parameters, gain=gain)
    gain[:] = 9
    assert kept.gain.tolist() == [1, 2]


@pytest.mark.parametrize("input_signed", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_accumulator_bounds_are_reached_and_never_passed(input_signed, seed):
    """Against every combination of extreme and zero inputs."""
    rng = np.random.default_rng(seed)
    stage = ConvShape(7, 3, kernel=1, input_signed=input_signed)
    weights = rng.integers(-128, 128, (3, 7, 1, 1))
    bias = rng.integers(-(10**6), 10**6, 3)
    corners = np.array(list(itertools.product([stage.input_format.min, 0, stage.input_format.max], repeat=7)))
    sums = corners @ weights.reshape(3, 7).T + bias
    low, high = accumulator_bounds(stage, weights, bias)
    assert low.tolist() == sums.min(0).tolist()
    assert high.tolist() == sums.max(0).tolist()


@pytest.mark.parametrize("sign", [1, -1])
def test_accumulator_of_exactly_32_bit_is_taken_and_one_more_refused(sign):
    shape = SpnShape((2, 1), kernel=1)
    weights = np.array([[[[100]], [[-50]]]])
    limit = (2**31 - 1 - 100 * 255) if sign > 0 else -(2**31) + 50 * 255
    fields = {field.name: getattr(draw(shape), field.name) for field in dataclasses.fields(SpnParameters)}
    fields["weights"] = (weights,)
    assert SpnParameters(**{**fields, "biases": (np.array([limit]),)}).biases[0][0] == limit
    with pytest.raises(ShapeError, match=r"stage 0, channel 0: accumulator from .* more than 32 bit"):
        SpnParameters(**{**fields, "biases": (np.array([limit + sign]),)})


@every_shape
def test_extreme_parameters_reach_the_limits(shape):
    every = [draw(shape, seed, extreme=True) for seed in range(20)]
    for index, stage in enumerate(shape.stages):
        shifts = np.concatenate([p.shifts[index] for p in every])
        assert {0, 31} <= set(shifts.tolist())
        weights = np.concatenate([p.weights[index] for p in every])
        assert set(np.unique(weights)) == {stage.weight_format.min, stage.weight_format.max}
        bounds = [accumulator_bounds(stage, p.weights[index], p.biases[index]) for p in every]
        assert min(low.min() for low, _ in bounds) == -(2**31)
        assert max(high.max() for _, high in bounds) == 2**31 - 1
    gains = np.concatenate([p.gain for p in every])
    assert {-(2**15), 2**15 - 1} <= set(gains.tolist())
