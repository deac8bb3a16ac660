"""Checks on the maps that go to a device."""

from collections.abc import Iterator

import numpy as np

from adakern_spec.errors import InputError
from adakern_spec.networks import Shape


def map_dtype(shape: Shape) -> np.dtype:
    """Dtype of a map's values: uint8, or int8 for a signed input."""
    return np.dtype(np.int8 if shape.input_signed else np.uint8)


def checked_map(shape: Shape, values: np.ndarray, where: str = "map") -> np.ndarray:
    """The map [C, H, length] itself, or an error that says what does not fit the device."""
    if values.dtype != map_dtype(shape):
        raise InputError(f"dtype {values.dtype}", where, f"quantise to {map_dtype(shape)} first")
    if values.ndim != 3 or values.shape[:2] != (shape.in_channels, shape.height):
        raise InputError(
            f"shape {values.shape}",
            where,
            f"give ({shape.in_channels}, {shape.height}, length) as the device is built",
        )
    if not shape.min_length <= values.shape[2] <= shape.max_length:
        allowed = f"{shape.min_length} to {shape.max_length}"
        raise InputError(f"length {values.shape[2]}", where, f"give {allowed} positions")
    return values


def checked_maps(shape: Shape, maps: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
    """The maps of a batch [B, C, H, L], each cut to its valid length.

    Shapes, dtype and lengths of the whole batch are checked before the first map is given.
    """
    maps, lengths = np.asarray(maps), np.asarray(lengths)
    if maps.ndim != 4 or lengths.shape != maps.shape[:1]:
        raise InputError(
            f"maps of shape {maps.shape} with lengths of shape {lengths.shape}",
            "batch",
            "give [B, C, H, L] and [B]",
        )
    if maps.shape[0] and not (lengths.min() >= 1 and lengths.max() <= maps.shape[3]):
        worst = int(np.argmax((lengths < 1) | (lengths > maps.shape[3])))
        raise InputError(f"length {lengths[worst]}", f"map {worst}", f"give 1 to {maps.shape[3]} positions")
    cut = [values[:, :, : int(length)] for values, length in zip(maps, lengths, strict=True)]
    for index, values in enumerate(cut):
        checked_map(shape, values, f"map {index}")
    return iter(cut)
