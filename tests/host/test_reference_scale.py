"""Average, scale head and kernel sizes against exact fractions."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adakern.parameters import SpnParameters
from adakern.reference.scale import global_average, kernel_size, scale_head
from adakern_spec.network import SpnShape


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def clamp(value, low, high):
    return min(max(value, low), high)


def head(outputs: int, **fields: list[int]) -> SpnParameters:
    """Any parameters of ``outputs`` outputs with these fields."""
    parameters = SpnParameters.random(SpnShape((1, outputs)), np.random.default_rng(0))
    return dataclasses.replace(parameters, **{name: np.array(values) for name, values in fields.items()})


@given(
    st.integers(1, 64), st.lists(st.tuples(st.integers(1, 65535), st.floats(0, 1)), min_size=1, max_size=5)
)
def test_average_is_the_mean_with_eight_more_bits_rounded_half_up(height, maps):
    lengths = np.array([length for length, _ in maps])
    sums = np.array([[int(share * 255 * height * length)] for length, share in maps])
    means = global_average(sums, height, lengths)
    for mean, total, length in zip(means[:, 0], sums[:, 0], lengths, strict=True):
        assert mean == half_up(Fraction(int(total), height * int(length)) * 256)


def test_average_at_halves_and_limits():
    sums = np.array([[0], [1], [3], [255 * 512 * 2]])
    assert global_average(sums, 512, np.array([1, 1, 1, 2])).ravel().tolist() == [0, 1, 2, 255 << 8]


gains = st.one_of(st.sampled_from([-(2**15), -1, 0, 1, 2**15 - 1]), st.integers(-(2**15), 2**15 - 1))
means = st.one_of(st.sampled_from([0, 1, 65280]), st.integers(0, 65280))


@given(
    st.lists(st.tuples(means, means), min_size=1, max_size=4),
    st.tuples(gains, gains),
    st.tuples(st.integers(0, 31), st.integers(0, 31)),
    st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
)
def test_scale_is_gain_times_mean_plus_offset_clamped(rows, gain, gain_shift, offset):
    parameters = head(2, gain=gain, gain_shift=gain_shift, offset=offset)
    scales = scale_head(parameters, np.array(rows))
    for row, answer in zip(rows, scales, strict=True):
        for output in range(2):
            rounded = half_up(Fraction(row[output] * gain[output], 2 ** gain_shift[output]))
            real = Fraction(rounded + offset[output], 2**14)
            assert Fraction(int(answer[output]), 2**14) == clamp(real, Fraction(1, 2), 2)


def test_a_shared_scale_serves_both_directions():
    parameters = head(1, gain=[1 << 10], gain_shift=[8], offset=[1 << 13])
    assert scale_head(parameters, np.array([[1000], [2000]])).tolist() == [[12192, 12192], [16192, 16192]]


@given(
    st.tuples(st.integers(8192, 32768), st.integers(8192, 32768)),
    st.tuples(st.integers(1, 255), st.integers(1, 255)),
    st.tuples(st.integers(256, 65535), st.integers(256, 65535)),
    st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
)
def test_kernel_size_is_base_times_scale_clamped(scales, base, k_min, span):
    k_max = [min(low + more, 65535) for low, more in zip(k_min, span, strict=True)]
    parameters = head(2, base=base, k_min=k_min, k_max=k_max)
    (kernels,) = kernel_size(parameters, np.array([scales]))
    for direction in range(2):
        size = half_up(Fraction(base[direction] * scales[direction], 2**14) * 2**8)
        assert kernels[direction] == clamp(size, k_min[direction], k_max[direction])
