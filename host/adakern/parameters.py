"""Integers of a scale prediction network, and their byte block (layout: `adakern_spec.parameters`)."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from adakern_spec import parameters as layout
from adakern_spec.errors import ShapeError
from adakern_spec.network import SpnShape
from adakern_spec.numbers import BASE, GAIN, KERNEL, SCALE, SHIFT_MAX

from .parameter_block import SHIFT, BlockReader, Parameters, check_array, pack
from .random_stages import random_stages

KERNEL_ONE = 1 << KERNEL.frac
"""A kernel size of 1 in UQ8.8, the smallest there is."""

_HEAD_NAMES = tuple(field.name for field in layout.HEAD_FIELDS)
_DIRECTION_NAMES = tuple(field.name for field in layout.DIRECTION_FIELDS)


@dataclass(frozen=True, eq=False)
class SpnParameters(Parameters):
    """Integers of a scale prediction network: the conv stages (`Parameters`), then the scale head.

    Parameters
    ----------
    gain, gain_shift, offset : [outputs]; gain signed 16 bit, offset UQ2.14.
    base, k_min, k_max : [2] (height, length); base an integer of at least 1, the bounds UQ8.8.

    Source: design part 1.
    """

    shape: SpnShape
    gain: np.ndarray
    gain_shift: np.ndarray
    offset: np.ndarray
    base: np.ndarray
    k_min: np.ndarray
    k_max: np.ndarray

    def check(self) -> None:
        super().check()
        outputs, directions = (self.shape.outputs,), (len(layout.DIRECTIONS),)
        for name, size, fmt in (
            ("gain", outputs, GAIN),
            ("gain_shift", outputs, SHIFT),
            ("offset", outputs, SCALE),
            ("base", directions, BASE),
            ("k_min", directions, KERNEL),
            ("k_max", directions, KERNEL),
        ):
            check_array(getattr(self, name), size, fmt, name)
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
        parts = [self.stages_block()]
        parts.append(pack(layout.HEAD_FIELDS, {name: getattr(self, name) for name in _HEAD_NAMES}))
        parts.append(pack(layout.DIRECTION_FIELDS, {name: getattr(self, name) for name in _DIRECTION_NAMES}))
        return b"".join(parts)

    @classmethod
    def from_block(cls, shape: SpnShape, block: bytes) -> Self:
        """Parameters of ``to_block``'s bytes; ShapeError if the size or a value does not fit ``shape``."""
        reader = BlockReader(block, layout.block_size(shape), str(shape.channels))
        weights, biases, shifts = reader.stages(shape.stages)
        head = reader.records(layout.HEAD_FIELDS, shape.outputs)
        directions = reader.records(layout.DIRECTION_FIELDS, len(layout.DIRECTIONS))
        return cls(
            shape,
            weights,
            biases,
            shifts,
            **{name: head[name] for name in _HEAD_NAMES},
            **{name: directions[name] for name in _DIRECTION_NAMES},
        )

    @classmethod
    def random(cls, shape: SpnShape, rng: np.random.Generator, extreme: bool = False) -> Self:
        """Parameters for tests and for `verify`.

        The ordinary ones spread activations over the whole format and most scales over [0.5, 2];
        with ``extreme`` every stage lies at the limits of its formats, the accumulators included, and
        so does every other head.
        """
        weights, biases, shifts = random_stages(shape.stages, rng, extreme)
        # An extreme head saturates: an ordinary one lets extreme sums show in the scales.
        head = _extreme_head if extreme and rng.integers(2) else _ordinary_head
        return cls(shape, weights, biases, shifts, **head(shape, rng))


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
