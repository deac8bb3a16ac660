"""Conv stage with requantisation, exact in floating point (design part 1, "Conv stage")."""

import numpy as np

from adakern_spec.errors import InputError
from adakern_spec.network import ConvShape

from .window import Columns, Piece, Window

FLOAT32_EXACT = 1 << 24
"""float32 holds every integer up to this magnitude."""

Float = type[np.float32] | type[np.float64]


def exact_dtype(stage: ConvShape, weights: np.ndarray, bias: np.ndarray, half: np.ndarray) -> Float:
    """float32 if no sum of a channel can leave its exact range, else float64.

    Whatever the order of summation, a partial sum of products, bias and the rounding's ``half`` is at
    most the sum of their magnitudes. A common factor of 2^-shift changes no mantissa. float64 holds
    every accumulator of 32 bit.
    """
    largest_input = max(abs(stage.input_format.min), stage.input_format.max)
    worst = largest_input * np.abs(weights).sum(axis=(1, 2, 3)) + np.abs(bias) + half
    return np.float32 if worst.max() <= FLOAT32_EXACT else np.float64


class ConvStage:
    """A stage made ready to run on maps of ``height`` rows, up to ``columns`` columns at once.

    ``weights`` [co, ci, K, K], ``bias`` and ``shift`` [co], all int64.
    """

    def __init__(
        self,
        shape: ConvShape,
        weights: np.ndarray,
        bias: np.ndarray,
        shift: np.ndarray,
        height: int,
        columns: int,
    ) -> None:
        self.shape = shape
        half = np.left_shift(np.int64(1), shift) >> 1
        self.dtype = exact_dtype(shape, weights, bias, half)
        # rs(v, s) = floor((v + half) * 2^-s): the factor goes into the weights, half into the bias.
        factor = np.ldexp(self.dtype(1), -shift)[:, None]
        ordered = weights.transpose(0, 2, 3, 1).reshape(shape.out_channels, shape.elements)
        self._weights = ordered.astype(self.dtype) * factor
        self._bias = (bias + half).astype(self.dtype)[:, None] * factor
        self._height = height
        self._lines = np.zeros(Window.values(shape.in_channels, height, shape.kernel, columns), self.dtype)
        self._sums = np.empty(height * shape.out_channels * columns, self.dtype)

    def window(self, width: int) -> Window:
        """Where the inputs of ``width`` columns go ahead of `run`; the last one given is the valid one."""
        return Window(self._lines, self.shape.in_channels, self._height, self.shape.kernel, width)

    def run(self, window: Window, columns: Columns, out: np.ndarray) -> None:
        """Write the outputs [H, co, width] to ``out``, zeros between the pieces."""
        sums = self._sums[: self._height * self.shape.out_channels * window.width]
        values = sums.reshape(self._height, self.shape.out_channels, window.width)
        np.matmul(self._weights, window.shifted(), out=values)
        values += self._bias
        np.floor(values, out=values)
        fmt = self.shape.output_format
        np.clip(values, self.dtype(fmt.min), self.dtype(fmt.max), out=out)
        columns.mask(out)


def conv_stage(
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    shift: np.ndarray,
    relu: bool = True,
    lengths: np.ndarray | None = None,
) -> np.ndarray:
    """``saturate(rs(conv2d(x) + bias, shift))``: stride 1, zero "same" padding, as torch.conv2d.

    Parameters
    ----------
    x : uint8 or int8 [B, ci, H, L]; values at positions ≥ length do not count.
    weights : integers [co, ci, K, K] of at most 8 bit, K odd.
    bias, shift : integers [co] of 32 bit; shift 0 to 31.
    relu : bool
        Lower bound 0 and outputs uint8 if true, else int8.
    lengths : integers [B] from 1 to L; all L if not given.

    Returns [B, co, H, L], zero at positions ≥ length. Raises InputError for another dtype, shape or length.
    """
    if x.dtype not in (np.uint8, np.int8) or x.ndim != 4 or not x.size:
        raise InputError(f"{x.dtype} of shape {x.shape}", "conv stage", "give uint8 or int8 [B, C, H, L]")
    batch, channels, height, positions = x.shape
    if weights.ndim != 4 or weights.shape[1] != channels or weights.shape[2] != weights.shape[3]:
        raise InputError(f"weights of shape {weights.shape}", "conv stage", f"give [co, {channels}, K, K]")
    valid = np.full(batch, positions) if lengths is None else np.asarray(lengths)
    if valid.shape != (batch,) or valid.min() < 1 or valid.max() > positions:
        raise InputError(f"lengths {valid.tolist()}", "conv stage", f"give {batch} from 1 to {positions}")
    shape = ConvShape(
        channels, weights.shape[0], weights.shape[2], input_signed=x.dtype == np.int8, relu=relu
    )
    columns = Columns([Piece.whole(index, int(length)) for index, length in enumerate(valid)], shape.radius)
    weights, bias, shift = (np.asarray(values, np.int64) for values in (weights, bias, shift))
    stage = ConvStage(shape, weights, bias, shift, height, columns.width)
    window = stage.window(columns.width)
    columns.load(list(x), window.pixels)
    out = np.empty((height, shape.out_channels, columns.width), stage.dtype)
    stage.run(window, columns, out)
    maps = np.zeros((batch, shape.out_channels, height, positions), np.uint8 if relu else np.int8)
    columns.unload(out, maps)
    return maps
