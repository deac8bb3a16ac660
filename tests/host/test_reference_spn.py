"""The whole network against torch and exact fractions, at every padding, length and batch."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adakern.parameters import SpnParameters
from adakern.reference import spn
from adakern.reference.spn import SpnReference, run_spn
from adakern_spec.errors import InputError
from adakern_spec.network import REFERENCE, SpnShape

SHAPES = [
    REFERENCE,
    SpnShape((3, 5, 1), height=7, kernel=5),
    SpnShape((2, 4, 2), height=1, kernel=1, input_signed=True),
    SpnShape((1, 4, 3, 2), height=5, weight_bits=4, input_signed=True),
]

every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def draw_maps(shape: SpnShape, batch: int, positions: int, rng: np.random.Generator) -> np.ndarray:
    dtype = np.dtype(np.int8 if shape.input_signed else np.uint8)
    size = (batch, shape.in_channels, shape.height, positions)
    return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, size, endpoint=True).astype(dtype)


def golden(parameters: SpnParameters, values: np.ndarray) -> tuple[list[np.ndarray], list[int], list[int]]:
    """Stages, scales and kernels of one map [C, H, length]: torch for the sums, fractions for the rest."""
    x = values.astype(np.float64)
    stages = []
    for weights, bias, shift in zip(parameters.weights, parameters.biases, parameters.shifts, strict=True):
        wide = (torch.from_numpy(v.astype(np.float64)) for v in (x[None], weights, bias))
        sums = torch.nn.functional.conv2d(*wide, padding=weights.shape[2] // 2).numpy()[0].astype(np.int64)
        s = shift[:, None, None]
        x = np.clip(np.where(s > 0, (2 * sums + (1 << s)) // (2 << s), sums), 0, 255).astype(np.float64)
        stages.append(x.astype(np.uint8))

    def half_up(value: Fraction) -> int:
        return math.floor(value + Fraction(1, 2))

    scales, kernels = [], []
    for direction in range(2):
        output = min(direction, parameters.shape.outputs - 1)
        plane = stages[-1][output]
        mean = half_up(Fraction(int(plane.sum(dtype=np.int64)) * 256, plane.size))
        gain, gain_shift = int(parameters.gain[output]), int(parameters.gain_shift[output])
        raw = half_up(Fraction(mean * gain, 2**gain_shift)) + int(parameters.offset[output])
        scales.append(min(max(raw, 8192), 32768))
        size = half_up(Fraction(int(parameters.base[direction]) * scales[-1], 64))
        kernels.append(min(max(size, int(parameters.k_min[direction])), int(parameters.k_max[direction])))
    return stages, scales, kernels


@every_shape
@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_golden_model_on_every_bit(shape, extreme, seed):
    rng = np.random.default_rng(seed)
    parameters = SpnParameters.random(shape, rng, extreme)
    maps, lengths = draw_maps(shape, 9, 30, rng), np.array([30, 1, 2, 29, 15, *rng.integers(1, 31, 4)])
    result = run_spn(parameters, maps, lengths, trace=True)
    assert [stage.shape[1] for stage in result.stages] == list(shape.channels[1:])
    for index, length in enumerate(lengths):
        stages, scales, kernels = golden(parameters, maps[index, :, :, :length])
        for mine, theirs in zip(result.stages, stages, strict=True):
            assert mine.dtype == np.uint8
            assert np.array_equal(mine[index, :, :, :length], theirs)
            assert not mine[index, :, :, length:].any()
        assert result.scales[index].tolist() == scales
        assert result.kernels[index].tolist() == kernels


def test_random_parameters_answer_inside_the_clamp():
    """Else an equal answer would say little."""
    inside = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        parameters = SpnParameters.random(REFERENCE, rng)
        result = run_spn(parameters, draw_maps(REFERENCE, 3, 20, rng), np.full(3, 20), trace=True)
        inside.append((result.scales > 8192) & (result.scales < 32768))
        for stage in result.stages:
            assert 5 < stage.mean() < 200
            assert stage.any(axis=(0, 2, 3)).mean() > 0.7
    assert np.mean(inside) > 0.8


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(SHAPES),
    st.booleans(),
    st.lists(st.integers(1, 25), min_size=1, max_size=5),
    st.integers(0, 30),
    st.integers(0, 2**32),
)
def test_padding_and_companions_change_nothing(shape, extreme, lengths, extra, seed):
    rng = np.random.default_rng(seed)
    parameters = SpnParameters.random(shape, rng, extreme)
    maps = draw_maps(shape, len(lengths), max(lengths) + extra, rng)
    together = run_spn(parameters, maps, np.array(lengths), trace=True)
    assert together.stages[0].shape[3] == max(lengths) + extra
    for index, length in enumerate(lengths):
        alone = run_spn(parameters, maps[index : index + 1, :, :, :length], np.array([length]), trace=True)
        assert together.scales[index].tolist() == alone.scales[0].tolist()
        assert together.kernels[index].tolist() == alone.kernels[0].tolist()
        for mine, theirs in zip(together.stages, alone.stages, strict=True):
            assert np.array_equal(mine[index, :, :, :length], theirs[0])
            assert not mine[index, :, :, length:].any()


@every_shape
@pytest.mark.parametrize("positions", [1, 2, 7, 20])
def test_maps_cut_into_pieces_give_the_same_answer(shape, positions, monkeypatch):
    rng = np.random.default_rng(positions)
    parameters = SpnParameters.random(shape, rng)
    lengths = np.array([60, 1, positions, positions + 1, 2 * positions, 33])
    maps = draw_maps(shape, len(lengths), 60, rng)
    whole = run_spn(parameters, maps, lengths, trace=True)
    monkeypatch.setattr(spn, "POSITIONS", positions)
    pieces = run_spn(parameters, maps, lengths, trace=True)
    assert np.array_equal(pieces.scales, whole.scales)
    assert np.array_equal(pieces.kernels, whole.kernels)
    for mine, theirs in zip(pieces.stages, whole.stages, strict=True):
        assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("length", [spn.POSITIONS, spn.POSITIONS + 1, 3 * spn.POSITIONS + 7])
def test_long_maps_equal_the_golden_model(length):
    shape = SpnShape((2, 3, 3, 2), height=4)
    rng = np.random.default_rng(length)
    parameters = SpnParameters.random(shape, rng)
    maps = draw_maps(shape, 1, length, rng)
    result = run_spn(parameters, maps, np.array([length]), trace=True)
    stages, scales, _ = golden(parameters, maps[0])
    for mine, theirs in zip(result.stages, stages, strict=True):
        assert np.array_equal(mine[0], theirs)
    assert result.scales[0].tolist() == scales


@pytest.mark.parametrize("missing", [0, 1])
def test_a_sum_beyond_24_bit_decides_on_its_last_unit(missing):
    """N = 512·2047 pixels; S = 2047·(2m − 1) makes S·256/N = m − 1/2, which rounds up, and S − 1 does not."""
    shape = SpnShape((1, 1), height=16, kernel=1)
    parameters = SpnParameters(
        shape,
        weights=(np.array([[[[1]]]]),),
        biases=(np.array([0]),),
        shifts=(np.array([0]),),
        gain=np.array([1]),
        gain_shift=np.array([1]),
        offset=np.array([0]),
        base=np.array([1, 1]),
        k_min=np.array([256, 256]),
        k_max=np.array([256, 256]),
    )
    length, mean = 65504, 60001
    total, pixels = 2047 * (2 * mean - 1) - missing, 16 * length
    maps = np.full(pixels, total // pixels, np.uint8)
    maps[: total % pixels] += 1
    assert maps.sum(dtype=np.int64) == total > 1 << 24
    result = run_spn(parameters, maps.reshape(1, 1, 16, length), np.array([length]))
    assert result.scales[0].tolist() == [(mean - missing + 1) // 2] * 2


def test_a_reference_is_the_same_batch_after_batch():
    """Buffers are reused: what an earlier batch left behind must not show."""
    rng = np.random.default_rng(8)
    parameters = SpnParameters.random(REFERENCE, rng)
    reference = SpnReference(parameters)
    for lengths in ([40, 3, 17], [1], [512], [600, 5], [128] * 9, [2, 2]):
        maps = [draw_maps(REFERENCE, 1, length, rng)[0] for length in lengths]
        again = reference.run(maps)
        fresh = SpnReference(parameters).run(maps)
        assert np.array_equal(again.scales, fresh.scales)
        assert again.stages == []


def test_an_empty_batch_has_an_empty_answer():
    parameters = SpnParameters.random(REFERENCE, np.random.default_rng(0))
    result = run_spn(parameters, np.zeros((0, 8, 16, 5), np.uint8), np.zeros(0, int), trace=True)
    assert result.scales.shape == result.kernels.shape == (0, 2)
    assert result.stages[2].shape == (0, 2, 16, 5)


M = np.zeros((2, 8, 16, 5), np.uint8)


@pytest.mark.parametrize(
    ("maps", "lengths", "message"),
    [
        (M.astype(np.int8), [5, 5], "map 0: dtype int8; quantise to uint8 first"),
        (M.astype(float), [5, 5], "dtype float64"),
        (M[:, :7], [5, 5], "shape (7, 16, 5)"),
        (M[:, :, :7], [5, 5], "shape (8, 7, 5)"),
        (M[0], [5, 5], "shape (8, 16, 5)"),
        (M, [5], "lengths of shape (1,)"),
        (M, [5, 0], "map 1: length 0; give 1 to 5"),
        (M, [6, 5], "map 0: length 6; give 1 to 5"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses_what_does_not_fit(maps, lengths, message):
    parameters = SpnParameters.random(REFERENCE, np.random.default_rng(0))
    with pytest.raises(InputError) as caught:
        run_spn(parameters, maps, np.array(lengths))
    assert message in str(caught.value)
