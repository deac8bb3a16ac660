"""Windows of several maps at once, laid out so that a conv stage is a matrix product."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided


@dataclass(frozen=True)
class Piece:
    """Part of one map along its length.

    Positions ``start`` to ``stop`` are computed and ``first`` to ``last`` are kept: what lies around
    them is a halo in which a cut through the map shows.
    """

    index: int
    start: int
    stop: int
    first: int
    last: int

    @classmethod
    def whole(cls, index: int, length: int) -> "Piece":
        return cls(index, 0, length, 0, length)

    @property
    def size(self) -> int:
        return self.stop - self.start


def cut(index: int, length: int, longest: int, halo: int) -> list[Piece]:
    """Pieces of a map of ``length`` that keep up to ``longest`` positions each.

    ``halo`` positions around them belong to the neighbours: the reach of all stages together.
    """
    firsts = range(0, length, longest)
    lasts = [min(first + longest, length) for first in firsts]
    return [
        Piece(index, max(first - halo, 0), min(last + halo, length), first, last)
        for first, last in zip(firsts, lasts, strict=True)
    ]


class Columns:
    """Pieces side by side along one axis of columns, ``radius`` columns of zeros after each.

    The zeros pad the end of a piece and the start of its neighbour, so no position beyond a length
    exists. ``width`` columns in all.
    """

    def __init__(self, pieces: Sequence[Piece], radius: int) -> None:
        self.pieces = pieces
        sizes = np.array([piece.size for piece in pieces])
        ends = np.cumsum(sizes + radius)
        self._begins = [int(begin) for begin in ends - sizes - radius]
        self.width = int(ends[-1])
        self._padding = (ends[:, None] - np.arange(1, radius + 1)).ravel()

    def load(self, maps: Sequence[np.ndarray], out: np.ndarray) -> None:
        """Write the pieces of ``maps``, each [C, H, at least its length], into ``out`` [H, C, width]."""
        for piece, begin in zip(self.pieces, self._begins, strict=True):
            values = maps[piece.index][:, :, piece.start : piece.stop]
            out[:, :, begin : begin + piece.size] = values.transpose(1, 0, 2)
        self.mask(out)

    def mask(self, columns: np.ndarray) -> None:
        """Zero the columns [H, C, width] between the pieces."""
        columns[:, :, self._padding] = 0

    def unload(self, columns: np.ndarray, maps: np.ndarray) -> None:
        """Write the kept positions of ``columns`` [H, C, width] into ``maps`` [B, C, H, L]."""
        for piece, kept in zip(self.pieces, self._kept(), strict=True):
            maps[piece.index, :, :, piece.first : piece.last] = columns[:, :, kept].transpose(1, 0, 2)

    def add_sums(self, columns: np.ndarray, sums: np.ndarray) -> None:
        """Add the kept positions of ``columns`` int64 [C, width] to each map's ``sums`` [B, C]."""
        for piece, kept in zip(self.pieces, self._kept(), strict=True):
            sums[piece.index] += columns[:, kept].sum(axis=1)

    def _kept(self) -> list[slice]:
        return [
            slice(begin + piece.first - piece.start, begin + piece.last - piece.start)
            for piece, begin in zip(self.pieces, self._begins, strict=True)
        ]


class Window:
    """Input of a conv stage: all rows of [H, C] pixels, shifted along the length K times.

    The lines are [H + 2·radius, K, C], ``width`` columns each, so that the K rows around row h, with all
    shifts and channels, are K·K·C consecutive lines: the windows of a row of outputs without a copy.
    ``buffer`` is flat storage of at least `Window.values` values, zero at first and reused from batch
    to batch: what an earlier one left in the last columns is seen by padding only.
    """

    def __init__(self, buffer: np.ndarray, channels: int, height: int, kernel: int, width: int) -> None:
        self.width = width
        self.radius = kernel // 2
        used = buffer[: self.values(channels, height, kernel, width)]
        lines = used.reshape(height + 2 * self.radius, kernel, channels, width)
        lines[: self.radius] = 0
        lines[self.radius + height :] = 0
        self._inner = lines[self.radius : self.radius + height]
        row, _, line, column = lines.strides
        self._windows = as_strided(
            lines, (height, kernel * kernel * channels, width), (row, line, column), writeable=False
        )

    @staticmethod
    def values(channels: int, height: int, kernel: int, width: int) -> int:
        """Size of the buffer."""
        return (height + 2 * (kernel // 2)) * kernel * channels * width

    @property
    def pixels(self) -> np.ndarray:
        """The pixels [H, C, width] themselves, to be written ahead of `shifted`."""
        return self._inner[:, self.radius]

    def shifted(self) -> np.ndarray:
        """Shift the pixels; the windows [H, K·K·C, width] in the order height, length, channel."""
        for distance in range(1, self.radius + 1):
            reach = min(distance, self.width)
            before = self._inner[:, self.radius - distance]
            before[:, :, :reach] = 0
            before[:, :, reach:] = self.pixels[:, :, : self.width - reach]
            after = self._inner[:, self.radius + distance]
            after[:, :, : self.width - reach] = self.pixels[:, :, reach:]
        return self._windows
