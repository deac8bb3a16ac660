"""Rounding over arrays against exact fractions."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adakern.reference.numbers import rs


@given(st.lists(st.tuples(st.integers(-(2**40), 2**40), st.integers(0, 31)), min_size=1, max_size=20))
def test_rs_rounds_half_up(pairs):
    values, shifts = np.array(pairs, np.int64).T
    wanted = [math.floor(Fraction(v, 2**s) + Fraction(1, 2)) for v, s in pairs]
    assert rs(values, shifts).tolist() == wanted


def test_rs_takes_one_shift_for_all():
    assert rs(np.arange(-4, 5), 2).tolist() == [-1, -1, 0, 0, 0, 0, 1, 1, 1]
