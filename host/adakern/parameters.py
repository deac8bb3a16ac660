"""Integers of a scale prediction network, and their byte block (layout: `adakern_spec.parameters`)."""

from collections.abc import Sequence
from dataclasses import dataclass

import crc32c
import numpy as np

from adakern_spec import parameters as layout
from adakern_spec.errors import ShapeError
from adakern_spec.network import ConvShape, SpnShape
from adakern_spec.numbers import ACCUMULATOR, BASE, BIAS, GAIN, KERNEL, SCALE, SHIFT_MAX, Format

KERNEL_ONE = 1 << KERNEL.frac
"""A kernel size of 1 in UQ8.8, the smallest there is."""

_SHIFT = Format(layout.SHIFT_BITS, signed=False)
_HEAD_NAMES = tuple(field.name for field in layout.HEAD_FIELDS)
_DIRECTION_NAMES = tuple(field.name for field in layout.DIRECTION_FIELDS)


def _record(fields: Sequence[layout.Field]) -> np.dtype:
    """Packed little-endian record of ``fields``."""
    return np.dtype([(field.name, f"<{'i' if field.signed else 'u'}{field.size}") for field in fields])


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


@dataclass(frozen=True, eq=False)
class SpnParameters:
    """Everything of a model that loads at run time, as read-only int64 arrays.

    Parameters
    ----------
    shape : SpnShape
    weights : one [co, ci, K, K] per stage, in torch's order (height, then length).
    biases, shifts : one [co] per stage; bias at the accumulator's scale, shift 0 to 31.
    gain, gain_shift, offset : [outputs]; gain signed 16 bit, offset UQ2.14.
    base, k_min, k_max : [2] (height, length); base an integer of at least 1, the bounds UQ8.8.

    Raises ShapeError, naming the stage and the channel, for an array of another shape or kind, a
    value outside its format, and an accumulator whose worst case needs more than 32 bit.
    Source: design part 1.
    """

    shape: SpnShape
    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    shifts: tuple[np.ndarray, ...]
    gain: np.ndarray
    gain_shift: np.ndarray
    offset: np.ndarray
    base: np.ndarray
    k_min: np.ndarray
    k_max: np.ndarray

    def __post_init__(self) -> None:
        for name in ("weights", "biases", "shifts"):
            stages = tuple(
                _frozen(values, f"stage {index} {name}") for index, values in enumerate(getattr(self, name))
            )
            object.__setattr__(self, name, stages)
        for name in _HEAD_NAMES + _DIRECTION_NAMES:
            object.__setattr__(self, name, _frozen(getattr(self, name), name))
        self.check()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpnParameters):
            return NotImplemented
        return self.shape == other.shape and self.to_block() == other.to_block()

    def __hash__(self) -> int:
        return hash((self.shape, self.to_block()))

    def check(self) -> None:
        """Raise ShapeError for whatever the hardware could not hold."""
        for name in ("weights", "biases", "shifts"):
            given, wanted = len(getattr(self, name)), len(self.shape.stages)
            if given != wanted:
                raise ShapeError(f"{name} of {given} stages", "parameters", f"give {wanted}, one per stage")
        for index, stage in enumerate(self.shape.stages):
            channels = (stage.out_channels,)
            kernel = (*channels, stage.in_channels, stage.kernel, stage.kernel)
            where = f"stage {index}"
            _check_array(self.weights[index], kernel, stage.weight_format, f"{where} weights")
            _check_array(self.biases[index], channels, BIAS, f"{where} biases")
            _check_array(self.shifts[index], channels, _SHIFT, f"{where} shifts")
            _check_accumulator(stage, self.weights[index], self.biases[index], where)
        outputs, directions = (self.shape.outputs,), (len(layout.DIRECTIONS),)
        for name, size, fmt in (
            ("gain", outputs, GAIN),
            ("gain_shift", outputs, _SHIFT),
            ("offset", outputs, SCALE),
            ("base", directions, BASE),
            ("k_min", directions, KERNEL),
            ("k_max", directions, KERNEL),
        ):
            _check_array(getattr(self, name), size, fmt, name)
        if self.base.min() < 1:
            raise ShapeError(f"base {self.base.tolist()}", "parameters", "use kernel sizes of at least 1")
        if self.k_min.min() < KERNEL_ONE or (self.k_min > self.k_max).any():
            raise ShapeError(
                f"kernel sizes from {self.k_min.tolist()} to {self.k_max.tolist()}",
                "parameters",
                f"use {KERNEL_ONE} <= k_min <= k_max (UQ8.8)",
            )

    def to_block(self) -> bytes:
        """The parameter block, `adakern_spec.parameters.block_size` bytes."""
        parts = []
        for weights, bias, shift in zip(self.weights, self.biases, self.shifts, strict=True):
            # The window's order is length, height, channel: e = (kl * K + kh) * ci_count + ci.
            parts.append(weights.transpose(0, 3, 2, 1).astype(np.int8).tobytes())
            parts.append(_pack(layout.CHANNEL_FIELDS, {"bias": bias, "shift": shift}))
        parts.append(_pack(layout.HEAD_FIELDS, {name: getattr(self, name) for name in _HEAD_NAMES}))
        parts.append(_pack(layout.DIRECTION_FIELDS, {name: getattr(self, name) for name in _DIRECTION_NAMES}))
        return b"".join(parts)

    @classmethod
    def from_block(cls, shape: SpnShape, block: bytes) -> "SpnParameters":
        """Parameters of ``to_block``'s bytes; ShapeError if the size or a value does not fit ``shape``."""
        wanted = layout.block_size(shape)
        if len(block) != wanted:
            raise ShapeError(f"{len(block)} bytes", "parameter block", f"give {wanted} for {shape.channels}")
        position = 0

        def take(dtype: np.dtype, count: int) -> np.ndarray:
            nonlocal position
            values = np.frombuffer(block, dtype, count, position)
            position += values.nbytes
            return values

        weights, biases, shifts = [], [], []
        for stage in shape.stages:
            window = (stage.out_channels, stage.kernel, stage.kernel, stage.in_channels)
            values = take(np.dtype(np.int8), stage.out_channels * stage.elements)
            weights.append(values.reshape(window).transpose(0, 3, 2, 1))
            channels = take(_record(layout.CHANNEL_FIELDS), stage.out_channels)
            biases.append(channels["bias"])
            shifts.append(channels["shift"])
        head = take(_record(layout.HEAD_FIELDS), shape.outputs)
        directions = take(_record(layout.DIRECTION_FIELDS), len(layout.DIRECTIONS))
        return cls(
            shape,
            tuple(weights),
            tuple(biases),
            tuple(shifts),
            **{name: head[name] for name in _HEAD_NAMES},
            **{name: directions[name] for name in _DIRECTION_NAMES},
        )

    @property
    def crc(self) -> int:
        """CRC-32C of the block: names the model in every result (design part 5, rule 7)."""
        return int(crc32c.crc32c(self.to_block()))

    @classmethod
    def random(cls, shape: SpnShape, rng: np.random.Generator, extreme: bool = False) -> "SpnParameters":
        """Parameters for tests and for `verify`.

        The ordinary ones spread activations over the whole format and most scales over [0.5, 2];
        with ``extreme`` every stage lies at the limits of its formats, the accumulators included, and
        so does every other head.
        """
        if extreme:
            stages = [_extreme_stage(stage, rng) for stage in shape.stages]
            # An extreme head saturates: an ordinary one lets extreme sums show in the scales.
            head = _extreme_head(shape, rng) if rng.integers(2) else _ordinary_head(shape, rng)
        else:
            stages = [_ordinary_stage(stage, index == 0, rng) for index, stage in enumerate(shape.stages)]
            head = _ordinary_head(shape, rng)
        weights, biases, shifts = zip(*stages, strict=True)
        return cls(shape, weights, biases, shifts, **head)


def _frozen(values: np.ndarray, where: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise ShapeError(f"dtype {array.dtype}", where, "give integers")
    array = np.array(array, dtype=np.int64, order="C")
    array.setflags(write=False)
    return array


def _check_array(values: np.ndarray, shape: tuple[int, ...], fmt: Format, where: str) -> None:
    if values.shape != shape:
        raise ShapeError(f"shape {values.shape}", where, f"give {shape}")
    outside = (values < fmt.min) | (values > fmt.max)
    if outside.any():
        index = tuple(int(i) for i in np.argwhere(outside)[0])
        place = f"{where}, channel {index[0]}"
        raise ShapeError(f"value {values[index]}", place, f"use {fmt.min} to {fmt.max}")


def _check_accumulator(stage: ConvShape, weights: np.ndarray, bias: np.ndarray, where: str) -> None:
    low, high = accumulator_bounds(stage, weights, bias)
    outside = (low < ACCUMULATOR.min) | (high > ACCUMULATOR.max)
    if outside.any():
        channel = int(np.argmax(outside))
        raise ShapeError(
            f"accumulator from {low[channel]} to {high[channel]} needs more than {ACCUMULATOR.bits} bit",
            f"{where}, channel {channel}",
            "use a smaller bias or smaller weights",
        )


def _pack(fields: Sequence[layout.Field], columns: dict[str, np.ndarray]) -> bytes:
    records = np.empty(len(columns[fields[0].name]), _record(fields))
    for field in fields:
        records[field.name] = columns[field.name]
    return records.tobytes()


Stage = tuple[np.ndarray, np.ndarray, np.ndarray]


def _ordinary_stage(stage: ConvShape, first: bool, rng: np.random.Generator) -> Stage:
    """Weights of a bell shape; bias and shift put the outputs into the middle of their format."""
    fmt, inputs = stage.weight_format, stage.input_format
    size = (stage.out_channels, stage.in_channels, stage.kernel, stage.kernel)
    weights = np.clip(np.rint(rng.normal(0, fmt.max / 2.5, size)), fmt.min, fmt.max).astype(np.int64)
    # Uniform inputs; behind a stage like this one, mean and deviation of about a fifth of the format.
    mean = (inputs.min + inputs.max) / (2 if first else 5)
    deviation = (inputs.max - inputs.min) / (12**0.5 if first else 5)
    spread = np.sqrt(np.square(weights).sum((1, 2, 3))) * deviation + 1
    centre = rng.uniform(0.2, 1, stage.out_channels) * spread
    bias = np.rint(centre - mean * weights.sum((1, 2, 3))).astype(np.int64)
    shift = np.clip(np.ceil(np.log2(spread / 80)), 0, SHIFT_MAX).astype(np.int64)
    return weights, bias, shift


def _ordinary_head(shape: SpnShape, rng: np.random.Generator) -> dict[str, np.ndarray]:
    outputs, directions = shape.outputs, len(layout.DIRECTIONS)
    gain_shift = rng.integers(8, 15, outputs)
    # mean * gain / 2^gain_shift spans up to 0.6 of a scale for a mean of 64.
    span = rng.uniform(-0.6, 0.6, outputs) * (1 << SCALE.frac) * 2.0**gain_shift / (64 << 8)
    base = rng.integers(1, 16, directions)
    return {
        "gain": np.rint(span).astype(np.int64),
        "gain_shift": gain_shift,
        "offset": rng.integers(SCALE.quantise(0.7), SCALE.quantise(1.7), outputs),
        "base": base,
        "k_min": rng.integers(KERNEL_ONE, base * KERNEL_ONE, endpoint=True),
        "k_max": rng.integers(base * KERNEL_ONE, KERNEL.max // 2),
    }


def _extreme_stage(stage: ConvShape, rng: np.random.Generator) -> Stage:
    """Per channel: all weights at one limit or mixed limits; bias as far out as 32 bit allow."""
    fmt = stage.weight_format
    size = (stage.out_channels, stage.in_channels, stage.kernel, stage.kernel)
    mixed = np.where(rng.integers(0, 2, size) == 1, fmt.max, fmt.min)
    one_limit = np.where(rng.integers(0, 2, stage.out_channels) == 1, fmt.max, fmt.min)
    uniform = np.broadcast_to(one_limit[:, None, None, None], size)
    weights = np.where(rng.integers(0, 2, (stage.out_channels, 1, 1, 1)) == 1, mixed, uniform).astype(
        np.int64
    )
    zero = np.zeros(stage.out_channels, np.int64)
    low, high = accumulator_bounds(stage, weights, zero)
    biases = np.stack([ACCUMULATOR.max - high, ACCUMULATOR.min - low, zero, -(high + low) // 2])
    shifts = np.stack([zero, zero + SHIFT_MAX, zero + 8, zero + ACCUMULATOR.bits // 2])
    channels = np.arange(stage.out_channels)
    bias = np.clip(biases, BIAS.min, BIAS.max)[rng.integers(0, len(biases), stage.out_channels), channels]
    return weights, bias, shifts[rng.integers(0, len(shifts), stage.out_channels), channels]


def _extreme_head(shape: SpnShape, rng: np.random.Generator) -> dict[str, np.ndarray]:
    outputs, directions = shape.outputs, len(layout.DIRECTIONS)
    k_min = rng.choice([KERNEL_ONE, KERNEL.max], directions)
    return {
        "gain": rng.choice([GAIN.min, GAIN.max, -1, 1], outputs),
        "gain_shift": rng.choice([0, SHIFT_MAX, GAIN.bits], outputs),
        "offset": rng.choice([SCALE.min, SCALE.max, 1 << SCALE.frac], outputs),
        "base": rng.choice([1, BASE.max], directions),
        "k_min": k_min,
        "k_max": np.maximum(k_min, rng.choice([KERNEL_ONE, KERNEL.max], directions)),
    }
