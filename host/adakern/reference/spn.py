"""The whole scale prediction network in exact integers (design part 1)."""

from dataclasses import dataclass

import numpy as np

from ..parameters import SpnParameters
from .conv import ConvStage, load_maps, unload_maps
from .scale import global_average, kernel_size, scale_head
from .window import Segments, Window

COLUMNS = 600
"""Positions in flight, so that windows and sums stay in a second-level cache."""


@dataclass(frozen=True)
class SpnResult:
    """``scales`` UQ2.14 and ``kernels`` UQ8.8, int64 [B, 2] each, height first.

    ``stages``: with a trace, the output of every conv stage, uint8 [B, C, H, L], zero at positions ≥
    length; else empty.
    """

    scales: np.ndarray
    kernels: np.ndarray
    stages: list[np.ndarray]


class SpnReference:
    """A model made ready to run many batches."""

    def __init__(self, parameters: SpnParameters) -> None:
        self.parameters = parameters
        stages = parameters.shape.stages
        self._stages = [
            ConvStage(*stage)
            for stage in zip(stages, parameters.weights, parameters.biases, parameters.shifts, strict=True)
        ]

    def run(self, maps: np.ndarray, lengths: np.ndarray, trace: bool = False) -> SpnResult:
        lengths = np.asarray(lengths, np.int64)
        shape = self.parameters.shape
        sums = np.empty((len(maps), shape.outputs), np.int64)
        traced: list[list[np.ndarray]] = [[] for _ in self._stages]
        for chunk in _chunks(lengths):
            segments = Segments(lengths[chunk], shape.kernel // 2)
            x = maps[chunk]
            for index, stage in enumerate(self._stages):
                conv = stage.shape
                window = Window(conv.in_channels, shape.height, conv.kernel, segments.width, stage.dtype)
                if index == 0:
                    load_maps(x, segments, window.centre(segments.width))
                else:
                    window.centre(segments.width)[:] = out
                window.spread(segments.width)
                out = np.empty((shape.height, conv.out_channels, segments.width), stage.dtype)
                stage.run(window, segments, out)
                if trace:
                    traced[index].append(unload_maps(out, segments, maps.shape[3], np.dtype(np.uint8)))
            # Exact in float: a column of rows sums to at most 255·H.
            columns = out.sum(axis=0).astype(np.int64)
            sums[chunk] = np.add.reduceat(columns, segments.starts, axis=1).T
        scales = scale_head(self.parameters, global_average(sums, shape.height, lengths))
        stages = [np.concatenate(parts) for parts in traced] if trace else []
        return SpnResult(scales, kernel_size(self.parameters, scales), stages)


def _chunks(lengths: np.ndarray) -> list[slice]:
    chunks, first, columns = [], 0, 0
    for index, length in enumerate(lengths):
        if index > first and columns + length > COLUMNS:
            chunks.append(slice(first, index))
            first, columns = index, 0
        columns += length
    return [*chunks, slice(first, len(lengths))]


def run_spn(
    parameters: SpnParameters, maps: np.ndarray, lengths: np.ndarray, trace: bool = False
) -> SpnResult:
    """Scales and kernel sizes of ``maps`` [B, C, H, L] with valid lengths [B]."""
    return SpnReference(parameters).run(maps, lengths, trace)
