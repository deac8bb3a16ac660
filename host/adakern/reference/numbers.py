"""Rounding and saturation over integer arrays (design part 1)."""

import numpy as np

from adakern_spec.numbers import Format


def rs(values: np.ndarray, shift: np.ndarray | int) -> np.ndarray:
    """``floor((v + 2^(s-1)) / 2^s)``, round half up for negative v as well; ``rs(v, 0) = v``.

    ``values`` int64, ``shift`` 0 to 62 and broadcast against them; |v| + 2^(s-1) must fit in int64.
    """
    half = np.left_shift(np.int64(1), shift) >> 1
    return (values + half) >> shift


def saturate(values: np.ndarray, fmt: Format) -> np.ndarray:
    """Nearest integers that ``fmt`` holds."""
    return np.clip(values, fmt.min, fmt.max)
