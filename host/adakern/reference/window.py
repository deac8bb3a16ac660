"""Windows of several maps at once, laid out so that a conv stage is a matrix product."""

import numpy as np


class Segments:
    """Maps of several lengths side by side along one axis of columns, zeros between them.

    Each map takes its length and then ``radius`` columns of zero padding, which end it and start its
    neighbour: no position beyond a length exists. ``starts`` [B], ``width`` columns in all.
    """

    def __init__(self, lengths: np.ndarray, radius: int) -> None:
        self.lengths = np.asarray(lengths, np.int64)
        ends = np.cumsum(self.lengths + radius)
        self.starts = ends - (self.lengths + radius)
        self.width = int(ends[-1])
        self.valid = np.ones(self.width, bool)
        for offset in range(1, radius + 1):
            self.valid[ends - offset] = False

    def slices(self) -> list[slice]:
        """The columns of each map."""
        return [slice(int(s), int(s + n)) for s, n in zip(self.starts, self.lengths, strict=True)]


class Window:
    """Buffer [H + 2·radius, K, C, columns]: every row of a map, shifted along the length K times.

    Rows h to h + K - 1 of a map, all K shifts and channels, are consecutive rows of one matrix: the
    windows of a row of outputs without a copy. The rows of padding above and below stay zero.
    """

    def __init__(
        self, channels: int, height: int, kernel: int, columns: int, dtype: type[np.floating]
    ) -> None:
        self.radius = kernel // 2
        self.height = height
        self._buffer = np.zeros((height + 2 * self.radius, kernel, channels, columns), dtype)

    def centre(self, width: int) -> np.ndarray:
        """The unshifted rows [H, C, width], to be written ahead of `spread`."""
        return self._buffer[self.radius : self.radius + self.height, self.radius, :, :width]

    def spread(self, width: int) -> None:
        """Copy the unshifted columns to the other shifts; zeros come in at both ends."""
        centre = self.centre(width)
        inner = self._buffer[self.radius : self.radius + self.height]
        for distance in range(1, min(self.radius, width) + 1):
            before = inner[:, self.radius - distance, :, :width]
            before[:, :, :distance] = 0
            before[:, :, distance:] = centre[:, :, : width - distance]
            after = inner[:, self.radius + distance, :, :width]
            after[:, :, width - distance :] = 0
            after[:, :, : width - distance] = centre[:, :, distance:]

    def matrix(self, first: int, rows: int, width: int) -> np.ndarray:
        """Windows [(rows + 2·radius)·K·C, width] of the ``rows`` output rows from ``first``."""
        _, kernel, channels, columns = self._buffer.shape
        block = self._buffer[first : first + rows + 2 * self.radius]
        return block.reshape(-1, columns)[:, :width]
