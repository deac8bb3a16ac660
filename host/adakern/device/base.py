"""What every device offers: the emulator, the Verilated gateware and a board on a serial port."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from adakern_spec.network import SpnShape

from ..parameters import SpnParameters
from .maps import checked_maps

if TYPE_CHECKING:
    from torch import nn

Progress = Callable[[int], None]
"""Called with the number of maps finished so far."""


@dataclass(frozen=True)
class Prediction:
    """Answer for one map, as the device gave it.

    ``scales`` are UQ2.14 and ``kernels`` UQ8.8 integers, height first. ``cycles`` run from the map's
    first window to its result, without the cycles in which the engine waited for the link.
    """

    scales: tuple[int, int]
    kernels: tuple[int, int]
    cycles: int


@dataclass(frozen=True)
class Predictions:
    """Answers for a batch: int64 arrays ``scales`` [B, 2], ``kernels`` [B, 2] and ``cycles`` [B]."""

    scales: np.ndarray
    kernels: np.ndarray
    cycles: np.ndarray

    @classmethod
    def collect(cls, predictions: Iterable[Prediction]) -> "Predictions":
        rows = list(predictions)
        return cls(
            np.array([row.scales for row in rows], np.int64).reshape(-1, 2),
            np.array([row.kernels for row in rows], np.int64).reshape(-1, 2),
            np.array([row.cycles for row in rows], np.int64),
        )


class Device(ABC):
    """A scale prediction network that runs somewhere; a context manager.

    Parameters
    ----------
    shape : SpnShape
        The network shape that the device is built for.

    Maps are integers in the artifact's input format, [C, H, length] each, of dtype uint8 (int8 if
    the shape's input is signed).
    """

    url: str

    def __init__(self, shape: SpnShape) -> None:
        self.shape = shape

    @abstractmethod
    def load(self, parameters: SpnParameters) -> None:
        """Load a model's parameters; takes effect between maps, never within one."""

    @abstractmethod
    def stream(self, maps: Iterable[np.ndarray]) -> Iterator[Prediction]:
        """Run maps [C, H, length] one after another and yield their answers in order.

        Consumes the iterable as the device takes the data: memory does not grow with its length.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the device. Closing twice is harmless."""

    def predict(self, maps: np.ndarray, lengths: np.ndarray, progress: Progress | None = None) -> Predictions:
        """Run a batch [B, C, H, L] with valid lengths [B]; positions beyond a length do not count."""
        rows = []
        for row in self.stream(checked_maps(self.shape, maps, lengths)):
            rows.append(row)
            if progress is not None:
                progress(len(rows))
        return Predictions.collect(rows)

    def as_module(self, input_frac: int) -> "nn.Module":
        """The device as a torch module ``(maps [B, C, H, L] float, lengths [B]) -> scales [B, 2]``.

        Takes the place of a `ScalePredictionNetwork` inside a model. ``input_frac`` is the number of
        fraction bits of the artifact's input format.
        """
        from .module import DeviceModule

        return DeviceModule(self, input_frac)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
