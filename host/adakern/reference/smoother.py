"""Gaussian smoother with its gate and ReLU, exact (formulas: `adakern_spec.akm`)."""

import numpy as np

from adakern_spec.akm import BETWEEN_FRAC, TAP
from adakern_spec.errors import InputError
from adakern_spec.numbers import ACTIVATION_BITS, Format

from ..kernels import Kernels
from .numbers import rs, saturate

_OUTPUT = Format(ACTIVATION_BITS, signed=False)


def smooth(x: np.ndarray, kernels: Kernels) -> np.ndarray:
    """``saturate(rs(G(x)))``, first along the length, then along the height.

    Parameters
    ----------
    x : int8 [B, C, H, L]
    kernels : C records, or one for all channels.

    Returns uint8 [B, C, H, L] with the fraction bits of ``x``. Every sum is below 2^30 in magnitude: int32
    holds it. Raises InputError for another dtype, shape or number of records.
    """
    if x.dtype != np.int8 or x.ndim != 4 or not x.size:
        raise InputError(f"{x.dtype} of shape {x.shape}", "smoother", "give int8 [B, C, H, L]")
    if len(kernels.border) not in (1, x.shape[1]):
        raise InputError(f"kernels of {len(kernels.border)} channels", "smoother", f"give 1 or {x.shape[1]}")
    values = x.astype(np.int32)
    columns = np.arange(x.shape[3])
    nearest = np.minimum(columns, columns[::-1])
    u = rs(_sums(values, kernels.length, axis=3), TAP.frac - BETWEEN_FRAC)
    inner = nearest >= kernels.border[:, None, None]
    u = np.where(inner, u, values << BETWEEN_FRAC)
    y = rs(_sums(u, kernels.height, axis=2), TAP.frac + BETWEEN_FRAC)
    return saturate(y, _OUTPUT).astype(np.uint8)


def _sums(x: np.ndarray, taps: np.ndarray, axis: int) -> np.ndarray:
    """Sum over d of taps[|d|] · x[· + d] along ``axis``, zero outside; ``taps`` [1 or C, radius + 1]."""
    weights = taps.astype(np.int32).T[..., None, None]
    size = x.shape[axis]
    total = weights[0] * x
    for distance in range(1, min(len(weights), size)):
        if not weights[distance].any():
            continue
        near, far = (
            (slice(None),) * axis + (part,) for part in (slice(size - distance), slice(distance, None))
        )
        total[near] += weights[distance] * x[far]
        total[far] += weights[distance] * x[near]
    return total
