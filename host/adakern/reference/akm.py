"""The whole kernel modulation network in exact integers (`adakern_spec.akm`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from adakern_spec.akm import Downsample

from ..akm_parameters import AkmParameters
from ..device.maps import checked_maps
from .conv import conv_stage
from .scale import global_average
from .smoother import smooth

COLUMNS = 512
"""Columns under way at once, those of at least one map."""


@dataclass(frozen=True)
class LayerTrace:
    """One layer's outputs [B, C, H, L] for maps of one length.

    ``conv`` int8; ``smoothed`` uint8, gated and behind the ReLU; ``output`` uint8, that downsampled.
    """

    conv: np.ndarray
    smoothed: np.ndarray
    output: np.ndarray


@dataclass(frozen=True)
class AkmResult:
    """Answers for a batch of maps: ``logits`` int64 [B, classes]; with a trace, ``layers`` of each map."""

    logits: np.ndarray
    layers: list[list[LayerTrace]]


class AkmReference:
    """A model made ready to run batch after batch."""

    def __init__(self, parameters: AkmParameters) -> None:
        self.parameters = parameters

    def run(self, maps: Sequence[np.ndarray], trace: bool = False) -> AkmResult:
        """Answers for ``maps`` [C, H, length], each of a length of its own.

        uint8, or int8 for a signed input; not checked here. The trace has one entry per map, batches of one.
        """
        logits = np.empty((len(maps), self.parameters.shape.classes), np.int64)
        layers: list[list[LayerTrace]] = [[] for _ in maps] if trace else []
        for batch in _batches(maps):
            logits[batch], traced = self._run_batch(np.stack([maps[index] for index in batch]))
            for position, index in enumerate(batch if trace else ()):
                one = slice(position, position + 1)
                layers[index] = [LayerTrace(t.conv[one], t.smoothed[one], t.output[one]) for t in traced]
        return AkmResult(logits, layers)

    def rows(self, maps: Sequence[np.ndarray]) -> list[dict[str, int]]:
        """Answers for ``maps``, named as in a device's result."""
        return [
            {f"logit_{index}": logit for index, logit in enumerate(row)}
            for row in self.run(maps).logits.tolist()
        ]

    def _run_batch(self, x: np.ndarray) -> tuple[np.ndarray, list[LayerTrace]]:
        p = self.parameters
        traced = []
        for index, layer in enumerate(p.shape.layers):
            conv = conv_stage(x, p.weights[index], p.biases[index], p.shifts[index], relu=False)
            smoothed = smooth(conv, p.kernels(index))
            x = downsample(smoothed, layer.downsample)
            traced.append(LayerTrace(conv, smoothed, x))
        sums = x.sum(axis=(2, 3), dtype=np.int64)
        means = global_average(sums, x.shape[2], np.full(len(x), x.shape[3]))
        return means @ p.class_weights.T + p.class_biases, traced


def downsample(x: np.ndarray, way: Downsample) -> np.ndarray:
    """Rows and columns of ``x`` [B, C, H, L] that a layer passes on."""
    if way is Downsample.STRIDE2:
        return x[:, :, ::2, ::2]
    if way is Downsample.MAX2:
        batch, channels, height, length = x.shape
        blocks = x[:, :, : height // 2 * 2, : length // 2 * 2]
        blocks = blocks.reshape(batch, channels, height // 2, 2, length // 2, 2)
        return blocks.max(axis=(3, 5))
    return x


def run_akm(
    parameters: AkmParameters, maps: np.ndarray, lengths: np.ndarray, trace: bool = False
) -> AkmResult:
    """Logits of ``maps`` [B, C, H, L] with valid lengths [B], exact to the bit.

    Maps are uint8, or int8 for a signed input. Raises InputError for a batch that does not fit the shape.
    """
    return AkmReference(parameters).run(list(checked_maps(parameters.shape, maps, lengths)), trace)


def _batches(maps: Sequence[np.ndarray]) -> Iterator[list[int]]:
    """Indices of maps of one length, `COLUMNS` columns at a time."""
    by_length: dict[int, list[int]] = {}
    for index, values in enumerate(maps):
        by_length.setdefault(values.shape[2], []).append(index)
    for length, indices in by_length.items():
        step = max(1, COLUMNS // length)
        for first in range(0, len(indices), step):
            yield indices[first : first + step]
