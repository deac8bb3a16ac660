"""What the parameters of every network share: arrays that fit their formats, conv stages, the byte block."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import crc32c
import numpy as np

from adakern_spec import parameters as layout
from adakern_spec.errors import ShapeError
from adakern_spec.network import ConvShape
from adakern_spec.networks import Shape
from adakern_spec.numbers import ACCUMULATOR, BIAS, Format

Arrays = tuple[np.ndarray, ...]
"""One for each stage."""

Stages = tuple[Arrays, Arrays, Arrays]
"""Weights, biases and shifts."""

SHIFT = Format(layout.SHIFT_BITS, signed=False)
"""Format of a requantiser's shift."""


@dataclass(frozen=True, eq=False)
class Parameters(ABC):
    """Everything of a model that loads at run time, as read-only int64 arrays.

    Parameters
    ----------
    shape : SpnShape or AkmShape
    weights : one [co, ci, K, K] per stage, in torch's order (height, then length).
    biases, shifts : one [co] per stage; bias at the accumulator's scale, shift 0 to 31.

    Raises ShapeError, naming the stage and the channel, for an array of another shape or kind, a
    value outside its format, and an accumulator whose worst case needs more than 32 bit.
    Source: design part 1.
    """

    shape: Shape
    weights: Arrays
    biases: Arrays
    shifts: Arrays

    def __post_init__(self) -> None:
        for field in fields(self)[1:]:
            values = getattr(self, field.name)
            if isinstance(values, tuple):
                values = tuple(_frozen(a, f"stage {index} {field.name}") for index, a in enumerate(values))
            else:
                values = _frozen(values, field.name)
            object.__setattr__(self, field.name, values)
        self.check()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return self.shape == other.shape and self.to_block() == other.to_block()

    def __hash__(self) -> int:
        return hash((self.shape, self.to_block()))

    def check(self) -> None:
        """Raise ShapeError for whatever the hardware could not hold."""
        for field in fields(self)[1:]:
            values, wanted = getattr(self, field.name), len(self.shape.stages)
            if isinstance(values, tuple) and len(values) != wanted:
                what = f"{field.name} of {len(values)} stages"
                raise ShapeError(what, "parameters", f"give {wanted}, one per stage")
        for index, stage in enumerate(self.shape.stages):
            channels = (stage.out_channels,)
            kernel = (*channels, stage.in_channels, stage.kernel, stage.kernel)
            where = f"stage {index}"
            check_array(self.weights[index], kernel, stage.weight_format, f"{where} weights")
            check_array(self.biases[index], channels, BIAS, f"{where} biases")
            check_array(self.shifts[index], channels, SHIFT, f"{where} shifts")
            _check_accumulator(stage, self.weights[index], self.biases[index], where)

    @abstractmethod
    def to_block(self) -> bytes:
        """The parameter block."""

    @classmethod
    @abstractmethod
    def random(cls, shape: Any, rng: np.random.Generator, extreme: bool = False) -> Self:
        """Parameters for tests and for `verify`: ordinary, or at the limits of their formats."""

    @cached_property
    def crc(self) -> int:
        """CRC-32C of the block: names the model in every result (design part 5, rule 7)."""
        return int(crc32c.crc32c(self.to_block()))

    def stages_block(self) -> bytes:
        """The conv stages' part of the block, which comes first."""
        parts = []
        for weights, bias, shift in zip(self.weights, self.biases, self.shifts, strict=True):
            # The window's order is length, height, channel: e = (kl * K + kh) * ci_count + ci.
            parts.append(weights.transpose(0, 3, 2, 1).astype(np.int8).tobytes())
            parts.append(pack(layout.CHANNEL_FIELDS, {"bias": bias, "shift": shift}))
        return b"".join(parts)


class BlockReader:
    """Takes a parameter block apart; ShapeError if its size is not ``size``, that of the network ``name``."""

    def __init__(self, block: bytes, size: int, name: str) -> None:
        if len(block) != size:
            raise ShapeError(f"{len(block)} bytes", "parameter block", f"give {size} for {name}")
        self._block = block
        self._position = 0

    def take(self, dtype: np.dtype, count: int) -> np.ndarray:
        """The next ``count`` values."""
        values = np.frombuffer(self._block, dtype, count, self._position)
        self._position += values.nbytes
        return values

    def records(self, record: Sequence[layout.Field], count: int) -> np.ndarray:
        """The next ``count`` records, fields by name."""
        return self.take(_record(record), count)

    def stages(self, stages: Sequence[ConvShape]) -> Stages:
        """The conv stages."""
        weights, biases, shifts = [], [], []
        for stage in stages:
            window = (stage.out_channels, stage.kernel, stage.kernel, stage.in_channels)
            values = self.take(np.dtype(np.int8), stage.out_channels * stage.elements)
            weights.append(values.reshape(window).transpose(0, 3, 2, 1))
            channels = self.records(layout.CHANNEL_FIELDS, stage.out_channels)
            biases.append(channels["bias"])
            shifts.append(channels["shift"])
        return tuple(weights), tuple(biases), tuple(shifts)


def _record(fields: Sequence[layout.Field]) -> np.dtype:
    """Packed little-endian record of ``fields``."""
    return np.dtype([(field.name, f"<{'i' if field.signed else 'u'}{field.size}") for field in fields])


def pack(fields: Sequence[layout.Field], columns: dict[str, np.ndarray]) -> bytes:
    records = np.empty(len(columns[fields[0].name]), _record(fields))
    for field in fields:
        records[field.name] = columns[field.name]
    return records.tobytes()


def _frozen(values: np.ndarray, where: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise ShapeError(f"dtype {array.dtype}", where, "give integers")
    array = np.array(array, dtype=np.int64, order="C")
    array.setflags(write=False)
    return array


def check_array(values: np.ndarray, shape: tuple[int, ...], fmt: Format, where: str) -> None:
    if values.shape != shape:
        raise ShapeError(f"shape {values.shape}", where, f"give {shape}")
    outside = (values < fmt.min) | (values > fmt.max)
    if outside.any():
        index = tuple(int(i) for i in np.argwhere(outside)[0])
        place = f"{where}, channel {index[0]}"
        raise ShapeError(f"value {values[index]}", place, f"use {fmt.min} to {fmt.max}")


def accumulator_bounds(
    stage: ConvShape, weights: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest accumulator of each output channel, int64 [co] each.

    Over every input that the stage's format holds; zero padding lies between the bounds. The bound
    holds ahead of the requantiser, which adds its 2^(shift-1) one bit wider.
    """
    flat = weights.reshape(stage.out_channels, -1)
    products = np.stack([flat * stage.input_format.min, flat * stage.input_format.max])
    return bias + products.min(0).sum(1), bias + products.max(0).sum(1)


def _check_accumulator(stage: ConvShape, weights: np.ndarray, bias: np.ndarray, where: str) -> None:
    check_bounds(accumulator_bounds(stage, weights, bias), ACCUMULATOR, "accumulator", f"{where}, channel")


def check_bounds(bounds: tuple[np.ndarray, np.ndarray], fmt: Format, what: str, where: str) -> None:
    """ShapeError, with the number behind ``where``, for the first sum that ``fmt`` does not hold.

    ``bounds``: smallest and largest value of each.
    """
    low, high = bounds
    outside = (low < fmt.min) | (high > fmt.max)
    if outside.any():
        index = int(np.argmax(outside))
        raise ShapeError(
            f"{what} from {low[index]} to {high[index]} needs more than {fmt.bits} bit",
            f"{where} {index}",
            "use a smaller bias or smaller weights",
        )
