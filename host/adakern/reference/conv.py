"""Conv stage with requantisation, exact in floating point (design part 1, "Conv stage")."""

import numpy as np
from adakern_spec.errors import InputError
from adakern_spec.network import ConvShape
from adakern_spec.numbers import Format

from ..parameters import accumulator_bounds
from .window import Segments, Window

ROWS = 4
"""Output rows of one matrix product: more of them make larger products with more zeros in them."""

Float = type[np.float32] | type[np.float64]


def exact_dtype(stage: ConvShape, weights: np.ndarray, bias: np.ndarray, shift: np.ndarray) -> Float:
    """float32 if no sum can exceed its 24 bits, else float64.

    Whatever the order of summation, a partial sum of products, bias and the rounding's 2^(shift-1)
    is at most the sum of the magnitudes. All terms are scaled by the same 2^-shift, which is exact.
    Every accumulator of 32 bit fits the 53 bits of float64.
    """
    magnitude = max(-stage.input_format.min, stage.input_format.max)
    half = np.left_shift(np.int64(1), shift) >> 1
    worst = magnitude * np.abs(weights).sum((1, 2, 3)) + np.abs(bias) + half
    return np.float32 if worst.max() <= 1 << np.finfo(np.float32).nmant + 1 else np.float64


class ConvStage:
    """One stage made ready to run: weights as a banded matrix over ``ROWS`` output rows.

    ``weights`` [co, ci, K, K], ``bias`` and ``shift`` [co], all int64.
    """

    def __init__(self, stage: ConvShape, weights: np.ndarray, bias: np.ndarray, shift: np.ndarray) -> None:
        self.shape = stage
        self.dtype = exact_dtype(stage, weights, bias, shift)
        half = np.left_shift(np.int64(1), shift) >> 1
        scale = np.exp2(-shift.astype(np.float64))
        self._bias = ((bias + half) * scale).astype(self.dtype)[None, :, None]
        taps = (weights * scale[:, None, None, None]).transpose(0, 2, 3, 1).astype(self.dtype)
        outputs, kernel = stage.out_channels, stage.kernel
        # band[row, co, row + kh, kl, ci] = weights[co, ci, kh, kl] / 2^shift[co]
        band = np.zeros((ROWS, outputs, ROWS + kernel - 1, kernel, stage.in_channels), self.dtype)
        for row in range(ROWS):
            band[row, :, row : row + kernel] = taps
        self._band = band.reshape(ROWS * outputs, -1)

    def run(self, window: Window, segments: Segments, out: np.ndarray) -> None:
        """Outputs [H, co, width] from ``window``, zero between the maps.

        rs and saturation are one floor and a clamp: the rounding's half is part of the bias.
        """
        width = segments.width
        per_row = self.shape.kernel * self.shape.in_channels
        sums = np.empty((window.height * self.shape.out_channels, width), self.dtype)
        for first in range(0, window.height, ROWS):
            rows = min(ROWS, window.height - first)
            outputs = slice(first * self.shape.out_channels, (first + rows) * self.shape.out_channels)
            band = self._band[: rows * self.shape.out_channels, : (rows + self.shape.kernel - 1) * per_row]
            np.matmul(band, window.matrix(first, rows, width), out=sums[outputs])
        values = sums.reshape(out.shape)
        values += self._bias
        np.floor(values, out=values)
        low, high = (np.where(segments.valid, bound, 0).astype(self.dtype) for bound in self._bounds)
        np.maximum(values, low, out=values)
        np.minimum(values, high, out=out)

    @property
    def _bounds(self) -> tuple[int, int]:
        fmt = self.shape.output_format
        return fmt.min, fmt.max


def conv_stage(
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    shift: np.ndarray,
    relu: bool = True,
    lengths: np.ndarray | None = None,
) -> np.ndarray:
    """``saturate(rs(conv2d(x) + bias, shift))`` with zero "same" padding, stride 1.

    Parameters
    ----------
    x : uint8 or int8 [B, ci, H, L]; values at positions ≥ length do not count.
    weights : integers [co, ci, K, K] of at most 8 bit, K odd.
    bias, shift : integers [co], shift 0 to 31.
    relu : bool
        Outputs uint8 if true, else int8.
    lengths : [B], all L if not given.

    Returns [B, co, H, L], zero at positions ≥ length.
    """
    if x.dtype not in (np.uint8, np.int8) or x.ndim != 4:
        raise InputError(f"{x.dtype} of shape {x.shape}", "conv stage", "give uint8 or int8 [B, C, H, L]")
    stage = ConvShape(x.shape[1], weights.shape[0], weights.shape[2], 8, x.dtype == np.int8, relu)
    batch, _, height, positions = x.shape
    lengths = np.full(batch, positions) if lengths is None else np.asarray(lengths)
    conv = ConvStage(stage, *(np.asarray(v, np.int64) for v in (weights, bias, shift)))
    segments = Segments(lengths, stage.radius)
    window = Window(stage.in_channels, height, stage.kernel, segments.width, conv.dtype)
    centre = window.centre(segments.width)
    load_maps(x, segments, centre)
    window.spread(segments.width)
    out = np.empty((height, stage.out_channels, segments.width), conv.dtype)
    conv.run(window, segments, out)
    return unload_maps(out, segments, positions, np.dtype(np.uint8 if relu else np.int8))


def load_maps(maps: np.ndarray, segments: Segments, columns: np.ndarray) -> None:
    """Write the valid positions of ``maps`` [B, C, H, L] into ``columns`` [H, C, width], zeros between."""
    columns[:, :, ~segments.valid] = 0
    for values, place in zip(maps, segments.slices(), strict=True):
        columns[:, :, place] = values[:, :, : place.stop - place.start].transpose(1, 0, 2)


def unload_maps(columns: np.ndarray, segments: Segments, positions: int, dtype: np.dtype) -> np.ndarray:
    """The maps [B, C, H, positions] of ``columns`` [H, C, width], zero beyond each length."""
    height, channels, _ = columns.shape
    maps = np.zeros((len(segments.lengths), channels, height, positions), dtype)
    for values, place in zip(maps, segments.slices(), strict=True):
        values[:, :, : place.stop - place.start] = columns[:, :, place].transpose(1, 0, 2)
    return maps
