"""Answers of a device, for either kind of network."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from adakern_spec.akm import LOGIT, AkmShape
from adakern_spec.networks import Shape


@dataclass(frozen=True)
class Prediction:
    """Answer of a scale prediction network for one map, as the device gave it.

    ``scales`` are UQ2.14 and ``kernels`` UQ8.8 integers, height first. ``cycles`` run from the map's
    first window to its result, without the cycles in which the engine waited for the link.
    """

    scales: tuple[int, int]
    kernels: tuple[int, int]
    cycles: int

    @property
    def values(self) -> dict[str, int]:
        """The answer alone, named as in the device's result."""
        names = ("scale_height", "scale_length", "kernel_height", "kernel_length")
        return dict(zip(names, (*self.scales, *self.kernels), strict=True))

    @classmethod
    def of(cls, row: Mapping[str, int], cycles: int) -> Self:
        """Of the fields of a device's result."""
        return cls(
            (row["scale_height"], row["scale_length"]), (row["kernel_height"], row["kernel_length"]), cycles
        )

    @staticmethod
    def collect(rows: Iterable["Prediction"]) -> "Predictions":
        rows = list(rows)
        return Predictions(
            np.array([row.scales for row in rows], np.int64).reshape(-1, 2),
            np.array([row.kernels for row in rows], np.int64).reshape(-1, 2),
            np.array([row.cycles for row in rows], np.int64),
        )


@dataclass(frozen=True)
class Predictions:
    """Answers for a batch: int64 arrays ``scales`` [B, 2], ``kernels`` [B, 2] and ``cycles`` [B]."""

    scales: np.ndarray
    kernels: np.ndarray
    cycles: np.ndarray


@dataclass(frozen=True)
class ClassPrediction:
    """Answer of a kernel modulation network for one image, as the device gave it.

    ``logits`` are integers at the scale of the artifact's last fraction bits; ``cycles`` as in Prediction.
    ``parameter_crc`` names the parameters that made it (`Parameters.crc`): after `Device.adapt`, which.
    """

    logits: tuple[int, ...]
    cycles: int
    parameter_crc: int

    @property
    def values(self) -> dict[str, int]:
        """The answer alone, named as in the device's result."""
        return {f"logit_{index}": logit for index, logit in enumerate(self.logits)}

    @classmethod
    def of(cls, row: Mapping[str, int], cycles: int) -> Self:
        """Of the fields of a device's result, which are unsigned on the link."""
        raw = [value for name, value in row.items() if name.startswith("logit_")]
        logits = tuple(value - (1 << LOGIT.bits) if value > LOGIT.max else value for value in raw)
        return cls(logits, cycles, row["parameter_crc"])

    @staticmethod
    def collect(rows: Iterable["ClassPrediction"]) -> "ClassPredictions":
        rows = list(rows)
        return ClassPredictions(
            np.array([row.logits for row in rows], np.int64).reshape(len(rows), -1),
            np.array([row.cycles for row in rows], np.int64),
        )


@dataclass(frozen=True)
class ClassPredictions:
    """Answers for a batch: int64 arrays ``logits`` [B, classes] and ``cycles`` [B]."""

    logits: np.ndarray
    cycles: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """Classes of the largest logits, int64 [B]; of equals the first."""
        return self.logits.argmax(axis=1)


def prediction_type(shape: Shape) -> type[Any]:
    """Prediction or ClassPrediction, whichever a device of ``shape`` gives."""
    return ClassPrediction if isinstance(shape, AkmShape) else Prediction
