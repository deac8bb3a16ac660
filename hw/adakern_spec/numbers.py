"""Number formats and the one rounding rule (design part 1).

A value is ``q * 2**-frac`` with ``q`` an integer of ``bits`` bits.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """Fixed-point format: ``bits`` in all, ``frac`` of them after the point."""

    bits: int
    signed: bool
    frac: int = 0

    @property
    def min(self) -> int:
        """Smallest integer ``q``."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        """Largest integer ``q``."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    def saturate(self, q: int) -> int:
        """Nearest integer that the format holds."""
        return min(max(q, self.min), self.max)

    def quantise(self, value: float) -> int:
        """Integer of ``value``, rounded half up, saturated."""
        scaled = value * 2.0**self.frac + 0.5
        return self.saturate(int(scaled // 1))

    def value(self, q: int) -> float:
        """Real number that ``q`` stands for."""
        return q * 2.0**-self.frac


def rs(v: int, s: int) -> int:
    """Round half up and shift right: ``floor((v + 2**(s-1)) / 2**s)``, ``rs(v, 0) = v``."""
    return v if s == 0 else (v + (1 << (s - 1))) >> s


def bits_for(largest: int) -> int:
    """Bits of an unsigned number up to ``largest``, at least one."""
    return max(1, largest.bit_length())


ACTIVATION_BITS = 8
BIAS_BITS = 32
ACCUMULATOR_BITS = 32
ACCUMULATOR = Format(ACCUMULATOR_BITS, signed=True)
BIAS = Format(BIAS_BITS, signed=True)

SHIFT_MAX = ACCUMULATOR_BITS - 1
"""Largest right shift of the requantiser and of the scale head."""

MEAN_EXTRA_BITS = 8
"""F of the global average: extra fraction bits of the mean."""

MEAN = Format(ACTIVATION_BITS + MEAN_EXTRA_BITS, signed=False, frac=MEAN_EXTRA_BITS)
"""Mean of an unsigned activation; ``frac`` is relative to the activation's own."""

GAIN = Format(16, signed=True)
SCALE = Format(16, signed=False, frac=14)
"""UQ2.14, also the format of the head's offset."""

SCALE_MIN = SCALE.quantise(0.5)
SCALE_MAX = SCALE.quantise(2.0)

KERNEL = Format(16, signed=False, frac=8)
"""UQ8.8, a kernel size."""

BASE = Format(8, signed=False)
"""Base kernel size per direction, an integer."""

KERNEL_SHIFT = SCALE.frac - KERNEL.frac
"""k = clamp(rs(base * scale, KERNEL_SHIFT), k_min, k_max)."""

LENGTH_BITS = 16
"""Width of the length counters: positions along the sequence."""
