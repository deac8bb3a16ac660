"""Integers of a kernel modulation network, and their byte block (layout: `adakern_spec.akm`)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from adakern_spec.akm import (
    LOGIT,
    LOGIT_FIELDS,
    TAP,
    AkmShape,
    akm_block_size,
    tap_fields,
)
from adakern_spec.errors import InputError, ShapeError
from adakern_spec.numbers import BIAS, MEAN, Format

from .kernels import ONE, Border, Kernels, gates_of, largest_sigma, sigmas_of
from .parameter_block import Arrays, BlockReader, Parameters, check_array, check_bounds, pack
from .random_stages import random_stages

CLASS_WEIGHT = Format(8, signed=True)
"""Format of the classifier's weights, whatever the convs' is."""


@dataclass(frozen=True, eq=False)
class AkmParameters(Parameters):
    """Integers of a kernel modulation network: conv stages (`Parameters`), kernels, classifier.

    Parameters
    ----------
    length_taps, height_taps : one [records, radius + 1] per layer, from the centre outwards (TAP).
    borders : one [records] per layer, columns that are not smoothed, 0 to the radius.
    class_weights : [classes, features], 8 bit.
    class_biases : [classes], 32 bit.

    Raises ShapeError as `Parameters` does, and for taps that sum to more than one and logits whose worst
    case needs more than 32 bit. Source: `adakern_spec.akm`.
    """

    shape: AkmShape
    length_taps: Arrays
    height_taps: Arrays
    borders: Arrays
    class_weights: np.ndarray
    class_biases: np.ndarray

    def check(self) -> None:
        super().check()
        shape = self.shape
        column = Format(shape.radius.bit_length(), signed=False)
        for layer in range(len(shape.layers)):
            records = shape.records(layer)
            for name in ("length_taps", "height_taps"):
                taps, where = getattr(self, name)[layer], f"stage {layer} {name}"
                check_array(taps, (records, shape.radius + 1), TAP, where)
                sums = 2 * taps.sum(axis=1) - taps[:, 0]
                if sums.max() > ONE:
                    record = int(sums.argmax())
                    raise ShapeError(
                        f"taps that sum to {sums[record]}", f"{where}, channel {record}", f"use {ONE} at most"
                    )
            where = f"stage {layer} borders"
            check_array(self.borders[layer], (records,), column, where)
            if self.borders[layer].max() > shape.radius:
                raise ShapeError(
                    f"border of {self.borders[layer].max()} columns", where, f"use {shape.radius} at most"
                )
        check_array(self.class_weights, (shape.classes, shape.features), CLASS_WEIGHT, "class weights")
        check_array(self.class_biases, (shape.classes,), BIAS, "class biases")
        low, high = _class_sums(self.class_weights)
        check_bounds((self.class_biases + low, self.class_biases + high), LOGIT, "logit", "class")

    def kernels(self, layer: int) -> Kernels:
        """Kernel records of a layer."""
        return Kernels(self.length_taps[layer], self.height_taps[layer], self.borders[layer])

    @property
    def border(self) -> Border:
        """Mode in which the kernels were made: COPY if all of them leave columns untouched."""
        return Border.COPY if min(records.min() for records in self.borders) > 0 else Border.ZERO

    def with_kernels(self, kernels: Sequence[Kernels]) -> Self:
        """The same network with other kernels, one `Kernels` for each layer."""
        length, height, border = _arrays(kernels)
        return replace(self, length_taps=length, height_taps=height, borders=border)

    def to_block(self) -> bytes:
        """The parameter block, `adakern_spec.akm.akm_block_size` bytes."""
        classifier = self.class_weights.astype(np.int8).tobytes()
        classifier += pack(LOGIT_FIELDS, {"bias": self.class_biases})
        return self.stages_block() + classifier + self.kernels_block()

    def kernels_block(self) -> bytes:
        """The last part of the block, from `adakern_spec.akm.kernel_offset` on: what adapts."""
        fields = tap_fields(self.shape.radius)
        return b"".join(
            pack(
                fields,
                {
                    "border": border,
                    **{f"length_{index}": column for index, column in enumerate(length.T)},
                    **{f"height_{index}": column for index, column in enumerate(height.T)},
                },
            )
            for length, height, border in zip(self.length_taps, self.height_taps, self.borders, strict=True)
        )

    @classmethod
    def from_block(cls, shape: AkmShape, block: bytes) -> Self:
        """Parameters of ``to_block``'s bytes; ShapeError if the size or a value does not fit ``shape``."""
        reader = BlockReader(block, akm_block_size(shape), f"{len(shape.layers)} layers")
        stages = reader.stages(shape.stages)
        weights = reader.take(np.dtype(np.int8), shape.classes * shape.features)
        biases = reader.records(LOGIT_FIELDS, shape.classes)["bias"]
        kernels = []
        for layer in range(len(shape.layers)):
            records = reader.records(tap_fields(shape.radius), shape.records(layer))
            length, height = (
                np.stack([records[f"{name}_{index}"] for index in range(shape.radius + 1)], axis=1)
                for name in ("length", "height")
            )
            kernels.append(Kernels(length, height, records["border"]))
        classifier = weights.reshape(shape.classes, shape.features)
        return cls(shape, *stages, *_arrays(kernels), classifier, biases)

    @classmethod
    def random(cls, shape: AkmShape, rng: np.random.Generator, extreme: bool = False) -> Self:
        """Parameters for tests and for `verify`.

        The ordinary ones spread activations over their format and draw kernels of every width, gate and
        border mode; with ``extreme`` stages, kernels and classifier lie at the limits of their formats.
        """
        draw = _extreme_kernels if extreme else _ordinary_kernels
        stages = random_stages(shape.stages, rng, extreme)
        kernels = [draw(shape.records(layer), shape.radius, rng) for layer in range(len(shape.layers))]
        size = (shape.classes, shape.features)
        if extreme:
            weights = rng.choice([CLASS_WEIGHT.min, CLASS_WEIGHT.max], size)
            low, high = _class_sums(weights)
            ends = np.stack([LOGIT.max - high, LOGIT.min - low, np.zeros_like(low)])
            biases = np.clip(ends, *_limits(BIAS))[
                rng.integers(0, 3, shape.classes), np.arange(shape.classes)
            ]
        else:
            weights = np.clip(np.rint(rng.normal(0, CLASS_WEIGHT.max / 3, size)), *_limits(CLASS_WEIGHT))
            biases = np.rint(rng.normal(0, 1 << 18, shape.classes))
        return cls(shape, *stages, *_arrays(kernels), weights.astype(np.int64), biases.astype(np.int64))


def kernels_of(
    shape: AkmShape,
    r: Sequence[ArrayLike],
    s: Sequence[ArrayLike],
    border: Border = Border.ZERO,
    clip: bool = False,
) -> list[Kernels]:
    """Kernels of every layer from its widths r and gates s, one number or one per channel each.

    σ = |r|, gate = sigmoid(s); with ``clip`` a sigma above the built radius becomes the largest that fits.
    Raises InputError, naming layer and channel: what is no number, a value that is not finite, a sigma above
    the built radius, another number of layers or of channels.
    """
    layers = range(len(shape.layers))
    for name, given in (("r", r), ("s", s)):
        try:
            what = "" if len(given) == len(layers) else f"{name} of {len(given)} layers"
        except TypeError:
            what = f"{name} is a single {type(given).__name__}"
        if what:
            raise InputError(what, "adaptation", f"give {len(layers)}, one per layer")
    kernels = []
    for layer in layers:
        where, records = f"layer {layer}", shape.records(layer)
        sigmas, gates = sigmas_of(r[layer], shape.radius, clip, where), gates_of(s[layer], where)
        for name, values in (("r", sigmas), ("s", gates)):
            if values.shape not in ((1,), (records,)):
                wanted = "1 value" if records == 1 else f"1 or {records} values"
                raise InputError(f"{name} of shape {values.shape}", where, f"give {wanted}")
        kernels.append(Kernels.of(np.broadcast_to(sigmas, records), gates, shape.radius, border, where))
    return kernels


def _arrays(kernels: Sequence[Kernels]) -> tuple[Arrays, Arrays, Arrays]:
    """Length taps, height taps and borders of all layers."""
    length, height, border = zip(
        *((layer.length, layer.height, layer.border) for layer in kernels), strict=True
    )
    return length, height, border


def _class_sums(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest sum of each class over every mean that the format holds, biases aside."""
    low, high = np.minimum(weights, 0), np.maximum(weights, 0)
    return MEAN.max * low.sum(axis=1), MEAN.max * high.sum(axis=1)


def _limits(fmt: Format) -> tuple[int, int]:
    return fmt.min, fmt.max


def _joined(kernels: Sequence[Kernels]) -> Kernels:
    parts = ([getattr(record, name) for record in kernels] for name in ("length", "height", "border"))
    return Kernels(*map(np.concatenate, parts))


def _ordinary_kernels(records: int, radius: int, rng: np.random.Generator) -> Kernels:
    sigmas = rng.uniform(0, largest_sigma(radius), records)
    gates = 1 / (1 + np.exp(-rng.normal(2, 1, records)))
    borders = rng.choice(list(Border), records)
    drawn = zip(sigmas, gates, borders, strict=True)
    return _joined([Kernels.of(sigma, gate, radius, Border(border)) for sigma, gate, border in drawn])


def _extreme_kernels(records: int, radius: int, rng: np.random.Generator) -> Kernels:
    """Per direction all weight in the centre, at the far ends, spread evenly, or none."""
    centre, ends, nothing = np.zeros((3, radius + 1), np.int64)
    centre[0], ends[-1] = ONE, ONE // 2
    even = np.full(radius + 1, ONE // (2 * radius + 1))
    profiles = np.stack([centre, ends, even, nothing])
    return Kernels(
        profiles[rng.integers(0, len(profiles), records)],
        profiles[rng.integers(0, len(profiles), records)],
        rng.choice([0, radius], records),
    )
