"""Kernels of a smoother: widths and gates in, integer taps out.

``y = sigmoid(s) · G_r(x)``: taps exp(-i²/2σ²) for i ≤ int(3σ), normalised to one, σ = |r|. The gate is
folded into the height's taps. Source: design part 1, "Gaussian smoother" and "Gate"; formats:
`adakern_spec.akm`.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from adakern_spec.akm import TAP
from adakern_spec.errors import InputError

ONE = 1 << TAP.frac
"""A tap of 1."""


class Border(StrEnum):
    """What the smoother does at the edges of a map."""

    ZERO = "zero"
    """Both directions, zero padding."""
    COPY = "copy"
    """Along the length alone, the outermost int(3σ) columns not smoothed."""


@dataclass(frozen=True, eq=False)
class Kernels:
    """Kernel records of one layer, as the hardware loads them.

    ``length`` and ``height`` int64 [n, radius + 1]: taps from the centre outwards, a format of
    `adakern_spec.akm.TAP`. ``border`` int64 [n]: columns that are not smoothed at either end, 0 in mode ZERO
    alone.
    """

    length: np.ndarray
    height: np.ndarray
    border: np.ndarray

    @classmethod
    def of(
        cls,
        sigma: ArrayLike,
        gate: ArrayLike,
        radius: int,
        border: Border = Border.ZERO,
        where: str = "layer",
    ) -> Self:
        """Kernels of ``sigma`` ≥ 0 and ``gate`` 0 to 1, one number or [n] each, for a smoother of ``radius``.

        A direction's taps sum to exactly what it should: 1 along the length, the gate along the height,
        rounded to a tap's step. Raises InputError, naming ``where`` and the channel, for a value that is
        not finite or out of range and for a sigma above `largest_sigma`.
        """
        sigmas, gates = np.broadcast_arrays(
            *(np.atleast_1d(np.asarray(values, np.float64)) for values in (sigma, gate))
        )
        for index, value in enumerate(sigmas):
            _check_sigma(float(value), radius, f"{where}, channel {index}" if len(sigmas) > 1 else where)
        if not ((gates >= 0) & (gates <= 1)).all():
            raise InputError(f"gate {gates.tolist()}", where, "use 0 to 1")
        totals = np.floor(gates * ONE + 0.5).astype(np.int64)
        profiles = [gaussian(float(value), radius) for value in sigmas]
        length = np.array([rounded(profile, ONE) for profile in profiles])
        if border is Border.COPY:
            height = np.zeros_like(length)
            height[:, 0] = totals
            # At radius 0 taps and border pass a column through alike; so the record tells the mode.
            columns = [max(1, int(3 * value)) for value in sigmas]
        else:
            height = np.array([rounded(p, int(t)) for p, t in zip(profiles, totals, strict=True)])
            columns = [0] * len(sigmas)
        return cls(length, height, np.array(columns, np.int64))


def sigmas_of(r: ArrayLike, radius: int, clip: bool = False, where: str = "layer") -> np.ndarray:
    """Widths |r|, float64; with ``clip`` none above `largest_sigma`. InputError: r is no finite number."""
    values = np.abs(_finite(r, "r", where))
    return np.minimum(values, largest_sigma(radius)) if clip else values


def gates_of(s: ArrayLike, where: str = "layer") -> np.ndarray:
    """sigmoid(s), float64. InputError: s is no finite number."""
    # 1/(1 + exp(-s)), without an overflow for large negative s.
    return 0.5 * (1 + np.tanh(_finite(s, "s", where) / 2))


def _finite(given: ArrayLike, name: str, where: str) -> np.ndarray:
    try:
        values = np.atleast_1d(np.asarray(given, np.float64))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} is no number and no array ({error})", where, "give real numbers") from None
    if not np.isfinite(values).all():
        channel = int(np.argmin(np.isfinite(values)))
        raise InputError(
            f"{name} is not finite", f"{where}, channel {channel}", "adapt again with a lower learning rate"
        )
    return values


def largest_sigma(radius: int) -> float:
    """Largest sigma whose radius int(3σ) is ``radius``."""
    sigma = (radius + 1) / 3
    while int(3 * sigma) > radius:
        sigma = math.nextafter(sigma, 0)
    return sigma


def gaussian(sigma: float, radius: int) -> np.ndarray:
    """Taps 0 … ``radius`` of one side, float64; both sides sum to one. ``int(3 * sigma) <= radius``."""
    reach = int(3 * sigma)
    taps = np.zeros(radius + 1)
    # Below σ = 1/3 nothing is left but the centre.
    taps[: reach + 1] = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2) if reach else 1.0
    return taps / (2 * taps.sum() - taps[0])


def rounded(taps: np.ndarray, total: int) -> np.ndarray:
    """Integers nearest to ``taps * total`` whose sum over both sides is exactly ``total``.

    The sides are rounded down, then as many of those with the largest remainders up as leave the centre
    no smaller than it should be, and less than 2 larger: no tap is negative.
    """
    exact = taps * total
    result = np.floor(exact).astype(np.int64)
    remainders = (exact - result)[1:]
    up = np.argsort(-remainders, kind="stable")[: int(remainders.sum())]
    result[1 + up] += 1
    result[0] = total - 2 * result[1:].sum()
    return result


def _check_sigma(sigma: float, radius: int, where: str) -> None:
    if not math.isfinite(sigma) or sigma < 0:
        raise InputError(f"sigma {sigma:g}", where, "use a finite number from 0 on")
    if int(3 * sigma) > radius:
        # Rounded down, so that what is named does fit.
        fitting = math.floor(largest_sigma(radius) * 1e4) / 1e4
        raise InputError(
            f"sigma {sigma:.4f} needs a radius of {int(3 * sigma)}, the smoother has {radius}",
            where,
            f"use |r| up to {fitting:.4f} or clip it (--clip-sigma, clip_sigma=True)",
        )
