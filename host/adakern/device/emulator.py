"""The exact integer reference as a device: needs no simulator and no board."""

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import numpy as np

from adakern_spec.errors import DeviceError, InputError
from adakern_spec.networks import Folds, Shape, latency

from ..parameter_block import Parameters
from ..reference.networks import Reference, reference
from .base import Device, Progress
from .maps import checked_map, checked_maps
from .predictions import prediction_type

BATCH = 64
"""Maps that a stream takes before it answers the first of them."""


class EmulatorDevice(Device):
    """Answers as the gateware built with ``folds`` does, to the bit and to the cycle.

    Raises DeviceError for a model of another shape, and for maps ahead of a model.
    """

    url = "emulator:"

    def __init__(self, shape: Shape, folds: Folds) -> None:
        super().__init__(shape)
        self._folds = folds
        self._reference: Reference | None = None
        self._latencies: dict[int, int] = {}

    def load(self, parameters: Parameters) -> None:
        self._check_shape(parameters)
        self._parameters = parameters
        self._reference = reference(parameters)

    def stream(self, maps: Iterable[np.ndarray]) -> Iterator[Any]:
        """Answers in order, ``BATCH`` at a time; those ahead of a refused map come before its InputError.

        Every map runs with the parameters in force when it was drawn.
        """
        source = enumerate(maps)
        refused: InputError | None = None
        while refused is None:
            waiting: list[tuple[Reference, np.ndarray]] = []
            try:
                for index, values in islice(source, BATCH):
                    waiting.append((self._loaded(), checked_map(self.shape, values, f"map {index}")))
            except InputError as error:
                refused = error
            if not waiting and refused is None:
                return
            for loaded, run in groupby(waiting, itemgetter(0)):
                yield from self._answer(loaded, [values for _, values in run])
        raise refused

    def predict(self, maps: np.ndarray, lengths: np.ndarray, progress: Progress | None = None) -> Any:
        waiting = list(checked_maps(self.shape, maps, lengths))
        rows: list[Any] = []
        for first in range(0, len(waiting), BATCH):
            rows += self._answer(self._loaded(), waiting[first : first + BATCH])
            if progress is not None:
                progress(len(rows))
        return prediction_type(self.shape).collect(rows)

    def close(self) -> None:
        self._parameters = self._reference = None

    def _loaded(self) -> Reference:
        if self._reference is None:
            raise DeviceError("no parameters", self.url, "load a model first")
        return self._reference

    def _answer(self, loaded: Reference, maps: list[np.ndarray]) -> list[Any]:
        prediction, named = prediction_type(self.shape), {"parameter_crc": loaded.parameters.crc}
        rows = zip(loaded.rows(maps), maps, strict=True)
        return [prediction.of(row | named, self._cycles(values)) for row, values in rows]

    def _cycles(self, values: np.ndarray) -> int:
        length = values.shape[2]
        if length not in self._latencies:
            self._latencies[length] = latency(self.shape, self._folds, length)
        return self._latencies[length]
