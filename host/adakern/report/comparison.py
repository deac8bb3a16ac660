"""Float values against the integers that stand for them, layer by layer."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from adakern_spec.numbers import Format


@dataclass(frozen=True)
class LayerComparison:
    """One layer's values: float range, format, and how far the integers are off.

    ``low`` and ``high`` are the range of the float values, ``error_max`` the largest and
    ``error_mean`` the mean magnitude of float − q·2^-frac. ``sqnr_db`` is
    10·log10(Σ float² / Σ (float − q·2^-frac)²), None where one of the sums is zero. ``saturated``
    of ``values`` integers were cut at a bound of the format (a ReLU's zero does not count).
    """

    name: str
    bits: int
    signed: bool
    frac: int
    low: float
    high: float
    error_max: float
    error_mean: float
    sqnr_db: float | None
    saturated: int
    values: int

    @property
    def format(self) -> Format:
        return Format(self.bits, self.signed, self.frac)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "LayerComparison":
        return cls(**values)


class LayerMeter:
    """Adds up one layer's comparison over batches."""

    def __init__(self, name: str, fmt: Format) -> None:
        self._name = name
        self._fmt = fmt
        self._low, self._high = math.inf, -math.inf
        self._largest = self._magnitude = self._signal = self._noise = 0.0
        self._saturated = self._values = 0

    def add(self, floats: np.ndarray, integers: np.ndarray, saturated: int) -> None:
        """Valid values alone: equal shapes, at least one value; ``saturated`` of them were cut."""
        exact = np.asarray(floats, np.float64)
        error = exact - np.asarray(integers, np.float64) * 2.0**-self._fmt.frac
        self._low = min(self._low, float(exact.min()))
        self._high = max(self._high, float(exact.max()))
        self._largest = max(self._largest, float(np.abs(error).max()))
        self._magnitude += float(np.abs(error).sum())
        self._signal += float(np.square(exact).sum())
        self._noise += float(np.square(error).sum())
        self._saturated += saturated
        self._values += exact.size

    def result(self) -> LayerComparison:
        known = self._signal > 0 and self._noise > 0
        return LayerComparison(
            name=self._name,
            bits=self._fmt.bits,
            signed=self._fmt.signed,
            frac=self._fmt.frac,
            low=self._low,
            high=self._high,
            error_max=self._largest,
            error_mean=self._magnitude / self._values,
            sqnr_db=10 * math.log10(self._signal / self._noise) if known else None,
            saturated=self._saturated,
            values=self._values,
        )
