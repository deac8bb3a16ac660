"""The conv stage against torch in exact arithmetic."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adakern.reference import conv
from adakern.reference.conv import FLOAT32_EXACT, conv_stage
from adakern_spec.errors import InputError


def torch_stage(x, weights, bias, shift, relu, lengths):
    """conv2d in float64 (sums below 2^53), then floor(a/2^s + 1/2) as floor((2a + 2^s) / 2^(s+1))."""
    mask = np.arange(x.shape[3]) < np.asarray(lengths)[:, None, None, None]
    wide = (torch.from_numpy(np.asarray(v, np.float64)) for v in (x * mask, weights, bias))
    sums = torch.nn.functional.conv2d(*wide, padding=weights.shape[2] // 2).numpy().astype(np.int64)
    s = shift[:, None, None]
    rounded = np.where(s > 0, (2 * sums + (1 << s)) // (2 << s), sums)
    return np.clip(rounded, 0 if relu else -128, 255 if relu else 127) * mask


@st.composite
def stages(draw):
    kernel = draw(st.sampled_from([1, 3, 5, 7]))
    batch, ci, co = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    height, positions = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    signed, relu = draw(st.booleans()), draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = np.int8 if signed else np.uint8
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max + 1, (batch, ci, height, positions)).astype(dtype)
    weights = rng.integers(-128, 128, (co, ci, kernel, kernel))
    reach = draw(st.sampled_from([0, 1000, 10**6, 2**30]))
    bias = rng.integers(-reach, reach + 1, co)
    shift = rng.integers(0, draw(st.sampled_from([1, 13, 32])), co)
    lengths = rng.integers(1, positions + 1, batch)
    return x, weights, bias, shift, relu, lengths


@settings(max_examples=200, deadline=None)
@given(stages())
def test_equals_torch_on_every_bit(stage):
    x, weights, bias, shift, relu, lengths = stage
    y = conv_stage(x, weights, bias, shift, relu, lengths)
    assert y.dtype == (np.uint8 if relu else np.int8)
    assert np.array_equal(y, torch_stage(x, weights, bias, shift, relu, lengths))


def test_lengths_default_to_the_whole_map():
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    weights, bias, shift = rng.integers(-128, 128, (2, 3, 3, 3)), np.array([5, -5]), np.array([9, 10])
    assert np.array_equal(
        conv_stage(x, weights, bias, shift), torch_stage(x, weights, bias, shift, True, [5, 5])
    )


@settings(max_examples=50, deadline=None)
@given(stages(), st.integers(0, 6))
def test_padding_and_what_it_holds_change_nothing(stage, extra):
    x, weights, bias, shift, relu, lengths = stage
    y = conv_stage(x, weights, bias, shift, relu, lengths)
    rng = np.random.default_rng(extra)
    longer = rng.integers(0, 100, (*x.shape[:3], x.shape[3] + extra)).astype(x.dtype)
    for index, length in enumerate(lengths):
        longer[index, :, :, :length] = x[index, :, :, :length]
    padded = conv_stage(longer, weights, bias, shift, relu, lengths)
    assert np.array_equal(padded[..., : x.shape[3]], y)
    assert not padded[..., x.shape[3] :].any()


def boundary_stage(worst: int, shift: int):
    """A 3×3 stage whose sum of magnitudes, rounding included, is ``worst``, and inputs around it."""
    rng = np.random.default_rng(worst)
    weights = rng.integers(100, 128, (1, 4, 3, 3))
    weights[0, 0] = 1
    bias = np.array([worst - (1 << shift - 1) - 255 * int(weights.sum())])
    x = np.full((40, 4, 3, 3), 255, np.uint8)
    x[1:, 0] -= rng.integers(0, 2, (39, 3, 3), dtype=np.uint8)
    return x, weights, bias, np.array([shift])


@pytest.mark.parametrize("excess", [-1, 0, 1, 2])
def test_float32_is_chosen_up_to_its_last_exact_integer(excess, monkeypatch):
    chosen = []
    choose = conv.exact_dtype

    def record(*arguments):
        chosen.append(choose(*arguments))
        return chosen[-1]

    monkeypatch.setattr(conv, "exact_dtype", record)
    stage = boundary_stage(FLOAT32_EXACT + excess, 17)
    y = conv_stage(*stage)
    assert chosen == [np.float32 if excess <= 0 else np.float64]
    # 2^24 / 2^17 = 128 is reached at the centre or missed by a few units.
    assert set(np.unique(y[:, :, 1, 1])) == ({127} if excess < 0 else {127, 128})
    assert np.array_equal(y, torch_stage(*stage, True, [3] * 40))


def test_a_larger_bound_would_be_wrong(monkeypatch):
    """Half below a rounding step at 2^25, float32 has no odd integers: the bound is needed."""
    x, weights = np.zeros((1, 1, 1, 1), np.uint8), np.ones((1, 1, 1, 1), int)
    shift = np.array([18])
    bias = np.array([(1 << 25) - 1 - (1 << 17)])
    assert conv_stage(x, weights, bias, shift).item() == 127
    monkeypatch.setattr(conv, "FLOAT32_EXACT", 1 << 30)
    assert conv_stage(x, weights, bias, shift).item() == 128


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("shift", [0, 1, 23, 31])
def test_accumulators_at_the_32_bit_limits(sign, shift):
    x = np.array([0, 1, 254, 255], np.uint8).reshape(1, 1, 1, 4)
    weights = np.array([[[[sign]]]])
    limit = 2**31 - 1 if sign > 0 else -(2**31)
    stage = (x, weights, np.array([limit - sign * 255]), np.array([shift]), False)
    assert np.array_equal(conv_stage(*stage), torch_stage(*stage, [4]))


def test_rounds_half_up_also_below_zero():
    """-3/2 becomes -1 and -1/2 becomes 0: shift 1, bias and input give every accumulator from -4 to 4."""
    x = np.arange(9, dtype=np.uint8).reshape(1, 1, 1, 9)
    y = conv_stage(x, np.ones((1, 1, 1, 1), int), np.array([-4]), np.array([1]), relu=False)
    assert y.ravel().tolist() == [-2, -1, -1, 0, 0, 1, 1, 2, 2]


X = np.zeros((2, 3, 4, 5), np.uint8)
W = np.zeros((2, 3, 3, 3), int)
B = np.zeros(2, int)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X.astype(int), W, B, B), "int64 of shape (2, 3, 4, 5); give uint8 or int8"),
        ((X[0], W, B, B), "uint8 of shape (3, 4, 5)"),
        ((X[:0], W, B, B), "uint8 of shape (0, 3, 4, 5)"),
        ((X, W[:, :2], B, B), "weights of shape (2, 2, 3, 3); give [co, 3, K, K]"),
        ((X, W[:, :, :1], B, B), "weights of shape (2, 3, 1, 3)"),
        ((X, W, B, B, True, [5]), "lengths [5]; give 2 from 1 to 5"),
        ((X, W, B, B, True, [5, 0]), "lengths [5, 0]"),
        ((X, W, B, B, True, [6, 1]), "lengths [6, 1]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses_what_does_not_fit(arguments, message):
    with pytest.raises(InputError) as caught:
        conv_stage(*arguments)
    assert message in str(caught.value)
