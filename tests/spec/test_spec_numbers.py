"""The rounding rule and the formats against exact fractions."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adakern_spec import numbers
from adakern_spec.numbers import Format, bits_for, rs

FORMATS = [
    Format(8, signed=True),
    Format(8, signed=False, frac=3),
    Format(4, signed=True, frac=7),
    Format(1, signed=False),
    numbers.SCALE,
    numbers.KERNEL,
]


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


@pytest.mark.parametrize("shift", range(6))
def test_rs_rounds_every_small_number_half_up(shift):
    for v in range(-200, 201):
        assert rs(v, shift) == half_up(Fraction(v, 2**shift)), v


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, numbers.SHIFT_MAX))
def test_rs_rounds_accumulators_half_up(v, shift):
    assert rs(v, shift) == half_up(Fraction(v, 2**shift))


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_format_holds_two_to_the_bits_numbers(fmt):
    assert fmt.max - fmt.min + 1 == 2**fmt.bits
    assert fmt.min == (-(fmt.max + 1) if fmt.signed else 0)


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_saturate_gives_the_nearest_number_of_the_format(fmt):
    for q in range(fmt.min - 3, fmt.min + 4):
        assert fmt.saturate(q) == max(q, fmt.min) or q > fmt.max
    for q in range(fmt.max - 3, fmt.max + 4):
        assert fmt.saturate(q) == min(q, fmt.max) or q < fmt.min


@given(st.sampled_from(FORMATS), st.fractions(-600, 600, max_denominator=4096))
def test_quantise_rounds_half_up_and_saturates(fmt, value):
    value = float(value)
    wanted = half_up(Fraction(value) * 2**fmt.frac)
    assert fmt.quantise(value) == min(max(wanted, fmt.min), fmt.max)


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_value_undoes_quantise_on_every_grid_point(fmt):
    for q in {fmt.min, fmt.max, 0, 1, (fmt.min + fmt.max) // 2}:
        assert fmt.quantise(fmt.value(q)) == q


def test_bits_for_is_the_least_number_of_bits():
    assert bits_for(0) == 1
    for largest in range(1, 1026):
        bits = bits_for(largest)
        assert 2 ** (bits - 1) <= largest < 2**bits


def test_formats_of_the_scale_head():
    """design part 1: scale in [0.5, 2] as UQ2.14, kernel size UQ8.8, mean with 8 extra bits."""
    assert (numbers.SCALE_MIN, numbers.SCALE_MAX) == (1 << 13, 1 << 15)
    assert numbers.SCALE.value(numbers.SCALE.max) < 4 <= numbers.SCALE.value(numbers.SCALE.max + 1)
    assert numbers.KERNEL.value(numbers.KERNEL.max) < 256 <= numbers.KERNEL.value(numbers.KERNEL.max + 1)
    assert numbers.KERNEL_SHIFT == 6
    assert numbers.MEAN_EXTRA_BITS == 8
    assert numbers.MEAN.max >= 255 << numbers.MEAN_EXTRA_BITS
