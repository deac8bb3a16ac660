"""Adaptive kernel modulation networks: shapes, folds and exact formats of smoother and classifier.

A layer is conv, Gaussian smoother, gate, ReLU and, if wanted, downsampling; behind the last one come a
global average and a linear classifier. Exact arithmetic (design part 1, "Gaussian smoother", "Gate"),
with d from -radius to radius, ``x`` the signed 8-bit output of the conv stage and zero outside the map::

    u = rs(sum over d of length_taps[|d|] * x[row, column + d], TAP.frac - BETWEEN_FRAC)
    y = saturate(rs(sum over d of height_taps[|d|] * u[row + d, column], TAP.frac + BETWEEN_FRAC))

``y`` is unsigned with 8 bits, the ReLU being its lower bound, and has as many fraction bits as ``x``. The
gate is folded into the height's taps. Where fewer than ``border`` columns of the map lie before or after
a pixel's own, ``u = x * 2**BETWEEN_FRAC``: that is the "copy border" mode, and ``border = 0`` zero padding.

Every direction's taps sum to at most one: ``taps[0] + 2 * (taps[1] + ...) <= 2**TAP.frac``.

The classifier takes the means of the last layer's channels (MEAN, as the scale head does)::

    logit[k] = bias[k] + sum over c of weight[k, c] * mean[c]
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from .errors import ShapeError
from .network import ConvShape, Fold, fold_for_interval
from .numbers import BIAS_BITS, LENGTH_BITS, Format
from .parameters import Field, record_size, stage_size
from .protocol import REPLY_PAYLOAD_MAX, RESULT_FIELDS, fields_size
from .protocol import Field as ReplyField

TAP = Format(16, signed=False, frac=15)
"""Format of the smoother's taps, from 0 to 1. Fits the multipliers of both FPGA families."""

BETWEEN_FRAC = 7
"""Fraction bits of the smoother between its passes, beside those of its input: a sum of two values is then as
wide as a multiplier of 16 bits takes."""

LOGIT = Format(BIAS_BITS, signed=True)
"""Format of the classifier's outputs and biases."""

RADIUS = 6
"""Largest smoothing radius that gateware is built for unless it is told otherwise."""


class Downsample(StrEnum):
    """What a layer does to the resolution of its output."""

    NONE = "none"
    STRIDE2 = "stride2"
    """Keep even rows and even columns: as a conv of stride 2 behind which nothing else changes."""
    MAX2 = "max2"
    """Largest of each 2 × 2 block; an odd last row or column is dropped, as in torch.max_pool2d."""

    def size(self, count: int) -> int:
        """Rows or columns that are left of ``count``."""
        return {Downsample.NONE: count, Downsample.STRIDE2: (count + 1) // 2, Downsample.MAX2: count // 2}[
            self
        ]


@dataclass(frozen=True)
class AkmLayer:
    """One layer: output channels, odd conv kernel, downsampling of the output."""

    out_channels: int
    kernel: int = 3
    downsample: Downsample = Downsample.NONE


RESULT_PREFIX = tuple(
    field for field in RESULT_FIELDS if field.name in ("job", "parameter_crc", "cycles", "stalls")
)
"""What every result says beside its answer."""

CLASSES_MAX = (REPLY_PAYLOAD_MAX - fields_size(RESULT_PREFIX)) // (LOGIT.bits // 8)
"""Most classes whose logits fit into a reply."""


@dataclass(frozen=True)
class AkmShape:
    """Adaptive kernel modulation network: what a bitstream is built for.

    ``height`` rows come in, and a job's valid length says how many columns; an image's own rows run
    along the height. ``radius`` is the largest smoothing radius that the gateware can be loaded with.
    ``per_channel``: every channel has a width and a gate of its own, else every layer has one.
    """

    in_channels: int
    height: int
    layers: tuple[AkmLayer, ...]
    classes: int
    radius: int = RADIUS
    per_channel: bool = True
    weight_bits: int = 8
    input_signed: bool = False
    max_length: int = (1 << LENGTH_BITS) - 1

    def __post_init__(self) -> None:
        if not self.layers:
            raise ShapeError("no layer", "network shape", "give at least one")
        if not 2 <= self.classes <= CLASSES_MAX:
            raise ShapeError(f"{self.classes} classes", "network shape", f"use 2 to {CLASSES_MAX}")
        if self.height < 1:
            raise ShapeError(f"height {self.height}", "network shape", "use at least one row")
        if self.radius < 1:
            raise ShapeError(f"smoothing radius {self.radius}", "network shape", "use at least 1")
        if not 1 <= self.max_length < 1 << LENGTH_BITS:
            raise ShapeError(
                f"longest length {self.max_length}", "network shape", f"use 1 to {(1 << LENGTH_BITS) - 1}"
            )
        for stage in self.stages:
            stage.__post_init__()
        if min(*self.heights, *self.lengths(self.max_length)) < 1:
            raise ShapeError(
                f"nothing is left of {self.height} rows and {self.max_length} columns",
                "network shape",
                "downsample less often",
            )

    @property
    def stages(self) -> tuple[ConvShape, ...]:
        """The layers' conv stages; the ReLU comes behind the smoother."""
        channels = (self.in_channels, *(layer.out_channels for layer in self.layers))
        return tuple(
            ConvShape(
                ci,
                layer.out_channels,
                layer.kernel,
                self.weight_bits,
                self.input_signed and index == 0,
                relu=False,
            )
            for index, (ci, layer) in enumerate(zip(channels, self.layers, strict=False))
        )

    @property
    def outputs(self) -> int:
        return self.classes

    @property
    def features(self) -> int:
        """Channels that the classifier sees."""
        return self.layers[-1].out_channels

    def _sizes(self, count: int) -> Iterator[int]:
        yield count
        for layer in self.layers:
            count = layer.downsample.size(count)
            yield count

    @property
    def heights(self) -> tuple[int, ...]:
        """Rows at the input of every layer, then at the global average."""
        return tuple(self._sizes(self.height))

    def lengths(self, length: int) -> tuple[int, ...]:
        """Columns at the input of every layer, then at the global average, of a map of ``length``."""
        return tuple(self._sizes(length))

    @property
    def reaches(self) -> tuple[int, ...]:
        """Columns on either side that a pixel must know of, at the input of every layer and of the average.

        Those that its layer's windows reach, and, behind a downsampling, twice what the next layer needs.
        """
        needed = [1]
        for stage, layer in zip(reversed(self.stages), reversed(self.layers), strict=True):
            behind = needed[0] * (1 if layer.downsample is Downsample.NONE else 2)
            needed.insert(0, max(stage.radius, self.radius, behind))
        return tuple(needed)

    @property
    def min_length(self) -> int:
        """Fewest columns of which every layer has at least one."""
        shortest = 1
        for layer in reversed(self.layers):
            if layer.downsample is Downsample.MAX2:
                shortest *= 2
            elif layer.downsample is Downsample.STRIDE2:
                shortest = 2 * shortest - 1
        return shortest

    def pixels(self, length: int) -> int:
        """Pixels of a map of ``length`` columns."""
        return self.height * length

    def map_bytes(self, length: int) -> int:
        """Bytes of such a map on the link, one per value."""
        return self.pixels(length) * self.in_channels

    def macs(self, length: int) -> int:
        """Multiply-accumulates of the convs and the classifier for one map; those of the smoothers aside."""
        sizes = zip(self.stages, self.heights, self.lengths(length), strict=False)
        return (
            sum(stage.macs * height * columns for stage, height, columns in sizes)
            + self.classes * self.features
        )

    def records(self, layer: int) -> int:
        """Kernel records of a layer: one for each channel, or one for all."""
        return self.layers[layer].out_channels if self.per_channel else 1


def tap_fields(radius: int) -> tuple[Field, ...]:
    """A kernel record: taps of either direction from the centre outwards, then the border columns."""
    taps = [(name, index) for name in ("length", "height") for index in range(radius + 1)]
    return (
        *(Field.of(f"{name}_{index}", TAP) for name, index in taps),
        Field("border", radius.bit_length(), signed=False),
    )


LOGIT_FIELDS = (Field.of("bias", LOGIT),)
"""Per class, behind all the classifier's weights."""


def classifier_size(shape: AkmShape) -> int:
    """Bytes of the classifier: for each class a weight of every channel, then the biases."""
    return shape.classes * (shape.features + record_size(LOGIT_FIELDS))


def kernel_sizes(shape: AkmShape) -> tuple[int, ...]:
    """Bytes of each layer's kernel records."""
    return tuple(
        shape.records(layer) * record_size(tap_fields(shape.radius)) for layer in range(len(shape.layers))
    )


def akm_block_size(shape: AkmShape) -> int:
    """Bytes of the whole parameter block: conv stages, classifier, then the kernel records of every layer.

    What adapts comes last, in one piece.
    """
    return kernel_offset(shape) + sum(kernel_sizes(shape))


def kernel_offset(shape: AkmShape) -> int:
    """Where the kernel records begin."""
    return sum(map(stage_size, shape.stages)) + classifier_size(shape)


def akm_result_fields(shape: AkmShape) -> tuple[ReplyField, ...]:
    """Result of a map: what every result says, then a logit for each class, signed."""
    return (
        *RESULT_PREFIX,
        *(ReplyField(f"logit_{index}", LOGIT.bits // 8) for index in range(shape.classes)),
    )


@dataclass(frozen=True)
class LayerFold:
    """How a layer shares its multipliers over time.

    ``lanes`` channels go through the smoother in each cycle.
    """

    conv: Fold
    lanes: int

    def multipliers(self, radius: int) -> int:
        """Of the conv stage and of both passes of the smoother; a pair of taps shares one."""
        return self.conv.multipliers + 2 * (radius + 1) * self.lanes

    def interval(self, stage: ConvShape) -> int:
        """Cycles per pixel."""
        return max(self.conv.interval(stage), stage.out_channels // self.lanes)

    def check(self, stage: ConvShape) -> None:
        """Refuse a fold that does not divide the layer evenly."""
        self.conv.check(stage)
        if self.lanes < 1 or stage.out_channels % self.lanes:
            raise ShapeError(
                f"{self.lanes} lanes for {stage.out_channels} channels", "smoother", "use a divisor"
            )


def layer_folds_for_interval(shape: AkmShape, interval: int) -> tuple[LayerFold, ...]:
    """Fewest multipliers with which the first layer takes a pixel every ``interval`` cycles.

    The pixels that a downsampling layer lets through within a column are twice as far apart, so the
    layers behind it have twice the time.
    """
    folds = []
    for stage, layer in zip(shape.stages, shape.layers, strict=True):
        lanes = next(
            n
            for n in range(1, stage.out_channels + 1)
            if stage.out_channels <= n * interval and stage.out_channels % n == 0
        )
        folds.append(LayerFold(fold_for_interval(stage, interval), lanes))
        interval *= 1 if layer.downsample is Downsample.NONE else 2
    return tuple(folds)


def slowest_layer_folds(shape: AkmShape) -> tuple[LayerFold, ...]:
    """A multiplier for every conv, and the fewest for its smoother."""
    return layer_folds_for_interval(shape, _slowest(shape))


def fastest_layer_folds(
    shape: AkmShape, allowed: Callable[[tuple[LayerFold, ...]], bool]
) -> tuple[LayerFold, ...] | None:
    """The fastest folds that are ``allowed``, as all slower ones must be; None if the slowest are not."""
    low, high = 1, _slowest(shape)
    if not allowed(slowest_layer_folds(shape)):
        return None
    while low < high:
        middle = (low + high) // 2
        if allowed(layer_folds_for_interval(shape, middle)):
            high = middle
        else:
            low = middle + 1
    return layer_folds_for_interval(shape, low)


def _slowest(shape: AkmShape) -> int:
    """Cycles per pixel with a multiplier for every conv."""
    return max(stage.macs for stage in shape.stages)


def layer_folds_for_budget(shape: AkmShape, multipliers: int) -> tuple[LayerFold, ...]:
    """The fastest folds within ``multipliers``, those of the smoothers included."""

    def allowed(folds: tuple[LayerFold, ...]) -> bool:
        return sum(fold.multipliers(shape.radius) for fold in folds) <= multipliers

    folds = fastest_layer_folds(shape, allowed)
    if folds is None:
        smoother = 2 * (shape.radius + 1)
        raise ShapeError(
            f"{multipliers} multipliers",
            "multiplier budget",
            f"use at least {len(shape.layers) * (1 + smoother)} (a layer's smoother alone takes {smoother}) "
            "or a smaller radius",
        )
    return folds
