"""The exact integer reference as a device: needs no simulator and no board."""

from collections.abc import Iterable, Iterator

import numpy as np

from adakern_spec.cycles import latency
from adakern_spec.errors import DeviceError, InputError
from adakern_spec.network import Fold, SpnShape

from ..parameters import SpnParameters
from ..reference.spn import SpnReference
from .base import Device, Prediction, Predictions, Progress
from .maps import checked_map, checked_maps

BATCH = 64
"""Maps that a stream takes before it answers the first of them."""


class EmulatorDevice(Device):
    """Answers as the gateware built with ``folds`` does, to the bit and to the cycle.

    Raises DeviceError for a model of another shape, and for maps ahead of a model.
    """

    url = "emulator:"

    def __init__(self, shape: SpnShape, folds: tuple[Fold, ...]) -> None:
        super().__init__(shape)
        self._folds = folds
        self._reference: SpnReference | None = None
        self._latencies: dict[int, int] = {}

    def load(self, parameters: SpnParameters) -> None:
        if parameters.shape != self.shape:
            raise DeviceError(
                f"a model of shape {parameters.shape} for a device of shape {self.shape}",
                self.url,
                "open a device of the model's shape",
            )
        self._reference = SpnReference(parameters)

    def stream(self, maps: Iterable[np.ndarray]) -> Iterator[Prediction]:
        """Answers in order, ``BATCH`` at a time; those ahead of a refused map come before its InputError."""
        waiting: list[np.ndarray] = []
        try:
            for index, values in enumerate(maps):
                waiting.append(checked_map(self.shape, values, f"map {index}"))
                if len(waiting) == BATCH:
                    yield from self._answer(waiting)
                    waiting = []
        except InputError:
            yield from self._answer(waiting)
            raise
        yield from self._answer(waiting)

    def predict(self, maps: np.ndarray, lengths: np.ndarray, progress: Progress | None = None) -> Predictions:
        waiting = list(checked_maps(self.shape, maps, lengths))
        scales, kernels = (np.empty((len(waiting), 2), np.int64) for _ in range(2))
        for first in range(0, len(waiting), BATCH):
            batch = slice(first, first + BATCH)
            result = self._model().run(waiting[batch])
            scales[batch], kernels[batch] = result.scales, result.kernels
            if progress is not None:
                progress(min(first + BATCH, len(waiting)))
        cycles = np.array([self._cycles(values) for values in waiting], np.int64)
        return Predictions(scales, kernels, cycles)

    def close(self) -> None:
        self._reference = None

    def _answer(self, maps: list[np.ndarray]) -> Iterator[Prediction]:
        if not maps:
            return
        result = self._model().run(maps)
        rows = zip(result.scales.tolist(), result.kernels.tolist(), maps, strict=True)
        for (height, length), (kernel_height, kernel_length), values in rows:
            yield Prediction((height, length), (kernel_height, kernel_length), self._cycles(values))

    def _model(self) -> SpnReference:
        if self._reference is None:
            raise DeviceError("no parameters", self.url, "load a model first")
        return self._reference

    def _cycles(self, values: np.ndarray) -> int:
        length = values.shape[2]
        if length not in self._latencies:
            self._latencies[length] = latency(self.shape, self._folds, length)
        return self._latencies[length]
