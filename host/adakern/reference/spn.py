"""The whole scale prediction network in exact integers (design part 1)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..device.maps import checked_maps
from ..parameters import SpnParameters
from .conv import ConvStage
from .scale import global_average, kernel_size, scale_head
from .window import Columns, Piece, cut

POSITIONS = 512
"""Positions under way at once: the buffers stay in a second-level cache, whatever a map's length."""


@dataclass(frozen=True)
class SpnResult:
    """Answers for a batch of maps, height first.

    ``scales`` int64 [B, 2], UQ2.14; ``kernels`` int64 [B, 2], UQ8.8. ``stages``: with a trace, the
    output of each conv stage, uint8 [B, C, H, L], zero at positions ≥ length; else empty.
    """

    scales: np.ndarray
    kernels: np.ndarray
    stages: list[np.ndarray]


class SpnReference:
    """A model made ready to run batch after batch; not to be shared between threads."""

    def __init__(self, parameters: SpnParameters) -> None:
        self.parameters = parameters
        shape = parameters.shape
        self._radius = shape.kernel // 2
        self._halo = self._radius * len(shape.stages)
        self._capacity = POSITIONS + 2 * self._halo + self._radius
        arrays = zip(shape.stages, parameters.weights, parameters.biases, parameters.shifts, strict=True)
        self._stages = [ConvStage(*stage, shape.height, self._capacity) for stage in arrays]

    def run(self, maps: Sequence[np.ndarray], trace: bool = False) -> SpnResult:
        """Answers for ``maps`` [C, H, length], each of a length of its own.

        uint8, or int8 for a signed input; not checked here. The trace's L is the longest length.
        """
        shape = self.parameters.shape
        lengths = np.array([values.shape[2] for values in maps], np.int64)
        sums = np.zeros((len(maps), shape.outputs), np.int64)
        longest = int(lengths.max(initial=0))
        traced = [
            np.zeros((len(maps), stage.out_channels, shape.height, longest), np.uint8)
            for stage in (shape.stages if trace else ())
        ]
        for columns in self._batches(lengths):
            self._run_columns(maps, columns, sums, traced)
        scales = scale_head(self.parameters, global_average(sums, shape.height, lengths))
        return SpnResult(scales, kernel_size(self.parameters, scales), traced)

    def rows(self, maps: Sequence[np.ndarray]) -> list[dict[str, int]]:
        """Answers for ``maps``, named as in a device's result."""
        result = self.run(maps)
        names = ("scale_height", "scale_length", "kernel_height", "kernel_length")
        answers = np.concatenate([result.scales, result.kernels], axis=1).tolist()
        return [dict(zip(names, row, strict=True)) for row in answers]

    def _run_columns(
        self, maps: Sequence[np.ndarray], columns: Columns, sums: np.ndarray, traced: list[np.ndarray]
    ) -> None:
        shape, width = self.parameters.shape, columns.width
        windows = [stage.window(width) for stage in self._stages]
        outputs = np.empty((shape.height, shape.outputs, width), self._stages[-1].dtype)
        destinations = [window.pixels for window in windows[1:]] + [outputs]
        columns.load(maps, windows[0].pixels)
        for index, stage in enumerate(self._stages):
            stage.run(windows[index], columns, destinations[index])
            if traced:
                columns.unload(destinations[index], traced[index])
        columns.add_sums(outputs.sum(axis=0, dtype=np.int64), sums)

    def _batches(self, lengths: np.ndarray) -> Iterator[Columns]:
        """All maps in order, as many at once as the buffers hold; longer ones in pieces."""
        batch: list[Piece] = []
        width = 0
        for index, length in enumerate(lengths):
            for piece in cut(index, int(length), POSITIONS, self._halo):
                if width + piece.size + self._radius > self._capacity:
                    yield Columns(batch, self._radius)
                    batch, width = [], 0
                batch.append(piece)
                width += piece.size + self._radius
        if batch:
            yield Columns(batch, self._radius)


def run_spn(
    parameters: SpnParameters, maps: np.ndarray, lengths: np.ndarray, trace: bool = False
) -> SpnResult:
    """Scales and kernel sizes of ``maps`` [B, C, H, L] with valid lengths [B], exact to the bit.

    Maps are uint8, or int8 for a signed input. Raises InputError for a batch that does not fit the shape.
    """
    result = SpnReference(parameters).run(list(checked_maps(parameters.shape, maps, lengths)), trace)
    missing = [(0, 0)] * 3
    stages = [np.pad(s, [*missing, (0, maps.shape[3] - s.shape[3])]) for s in result.stages]
    return SpnResult(result.scales, result.kernels, stages)
