"""Average over a box whose sides need not be integers (design part 1, "Fractional box pool")."""

import numpy as np

from adakern_spec.errors import InputError
from adakern_spec.numbers import KERNEL

from ..parameters import KERNEL_ONE

_RADIUS_BITS = KERNEL.frac + 1
"""Fraction bits of r = (k − 1)/2, exact."""


def _box_sums(x: np.ndarray, kernel: np.ndarray, axis: int) -> np.ndarray:
    """Sums along ``axis`` (2 or 3), scaled by 2^9: weight 1 for |d| ≤ n, f for |d| = n + 1.

    With W_n the plain sum over |d| ≤ n, the weighted sum is (1 − f)·W_n + f·W_(n+1).
    """
    radius = kernel - KERNEL_ONE
    whole, fraction = radius >> _RADIUS_BITS, radius & ((1 << _RADIUS_BITS) - 1)
    size = x.shape[axis]
    prefix = np.zeros((*x.shape[:axis], size + 1, *x.shape[axis + 1 :]), np.int64)
    np.cumsum(x, axis=axis, out=prefix[(slice(None),) * axis + (slice(1, None),)])
    positions = np.arange(size)[None, :]
    along = (len(x), *(size if dimension == axis else 1 for dimension in (1, 2, 3)))

    def window_sums(reach: np.ndarray) -> np.ndarray:
        above = np.minimum(positions + reach[:, None] + 1, size).reshape(along)
        below = np.maximum(positions - reach[:, None], 0).reshape(along)
        return np.take_along_axis(prefix, above, axis) - np.take_along_axis(prefix, below, axis)

    f = fraction[:, None, None, None]
    return ((1 << _RADIUS_BITS) - f) * window_sums(whole) + f * window_sums(whole + 1)


def fractional_box_pool(
    x: np.ndarray, kernel_height: np.ndarray, kernel_length: np.ndarray, lengths: np.ndarray | None = None
) -> np.ndarray:
    """Box average with a kernel size per sample, stride 1, zero padded, rounded half up.

    Parameters
    ----------
    x : integers [B, C, H, L] of at most 8 bit.
    kernel_height, kernel_length : UQ8.8 integers [B], at least 1.
    lengths : [B], all L if not given; positions ≥ length count as zero and give zero.

    Returns int64 [B, C, H, L]. ``y = floor((U + floor(D/2)) / D)``, D = 4·kh·kl, U the sum scaled by
    2^18. |U| ≤ 255·D < 2^42, so int64 holds every step.
    """
    x = np.asarray(x)
    kernels = [np.asarray(kernel, np.int64) for kernel in (kernel_height, kernel_length)]
    if x.ndim != 4 or x.dtype.kind not in "iu":
        raise InputError(f"{x.dtype} of shape {x.shape}", "fractional box pool", "give integers [B, C, H, L]")
    for kernel in kernels:
        if kernel.shape != x.shape[:1] or (kernel < KERNEL_ONE).any() or (kernel > KERNEL.max).any():
            raise InputError(
                f"kernel sizes {kernel.tolist()}",
                "fractional box pool",
                f"give {len(x)} from {KERNEL_ONE} to {KERNEL.max} (UQ8.8)",
            )
    mask = np.ones((1, 1, 1, 1), np.int64)
    if lengths is not None:
        mask = (np.arange(x.shape[3]) < np.asarray(lengths)[:, None])[:, None, None, :].astype(np.int64)
    height, length = kernels
    summed = _box_sums(_box_sums(x * mask, length, 3), height, 2)
    divisor = (4 * height * length)[:, None, None, None]
    return (summed + divisor // 2) // divisor * mask
