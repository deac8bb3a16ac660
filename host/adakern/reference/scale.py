"""From the last stage's sums to scales and kernel sizes (design part 1)."""

import numpy as np

from adakern_spec.numbers import KERNEL_SHIFT, MEAN_EXTRA_BITS, SCALE_MAX, SCALE_MIN

from ..parameters import SpnParameters
from .numbers import rs


def global_average(sums: np.ndarray, height: int, lengths: np.ndarray) -> np.ndarray:
    """Mean over the valid positions with 8 extra bits: ``floor((S·2^8 + floor(N/2)) / N)``, N = H·length.

    ``sums`` [B, C] int64, ``lengths`` [B]; returns int64 [B, C].
    """
    count = (height * lengths)[:, None]
    return ((sums << MEAN_EXTRA_BITS) + count // 2) // count


def scale_head(parameters: SpnParameters, means: np.ndarray) -> np.ndarray:
    """Scales UQ2.14 in [0.5, 2] from ``means`` [B, outputs]: int64 [B, 2], height first.

    ``clamp(rs(mean · gain, gain_shift) + offset)``; a single output serves both directions.
    """
    raw = rs(means * parameters.gain, parameters.gain_shift) + parameters.offset
    return np.broadcast_to(np.clip(raw, SCALE_MIN, SCALE_MAX), (len(means), 2)).copy()


def kernel_size(parameters: SpnParameters, scales: np.ndarray) -> np.ndarray:
    """Kernel sizes UQ8.8 from ``scales`` [B, 2]: ``clamp(rs(base · scale, 6), k_min, k_max)``."""
    return np.clip(rs(parameters.base * scales, KERNEL_SHIFT), parameters.k_min, parameters.k_max)
