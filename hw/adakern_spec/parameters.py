"""Layout of the parameter block: everything of a model that loads at run time.

A block is a plain sequence of bytes, independent of how the stages are folded. Multi-byte
integers are little-endian. For each conv stage, in order:

====================  =====================================================================
weights               for each output channel, ``elements`` bytes in the window's order
                      (``ConvShape.elements``), two's complement, one byte each also at 4 bit
channels              for each output channel: bias (4 bytes, signed), shift (1 byte)
====================  =====================================================================

then for each output of the scale head: gain (2, signed), gain_shift (1), offset (2), and for
each of the two directions (height, length): base (1), k_min (2), k_max (2).

With one shared scale there is one head output and still two directions.
The CRC-32C of the block names the model that made a result (design part 5, rule 7).
"""

from dataclasses import dataclass

from .network import ConvShape, SpnShape
from .numbers import BASE, BIAS, BIAS_BITS, GAIN, KERNEL, SCALE, SHIFT_MAX, Format, bits_for

DIRECTIONS = ("height", "length")


@dataclass(frozen=True)
class Field:
    """One integer of the block."""

    name: str
    bits: int
    signed: bool

    @property
    def size(self) -> int:
        """Bytes in the block."""
        return (self.bits + 7) // 8

    @classmethod
    def of(cls, name: str, fmt: Format) -> "Field":
        return cls(name, fmt.bits, fmt.signed)


SHIFT_BITS = bits_for(SHIFT_MAX)

CHANNEL_FIELDS = (Field("bias", BIAS_BITS, BIAS.signed), Field("shift", SHIFT_BITS, False))
"""Per output channel of a conv stage."""

HEAD_FIELDS = (Field.of("gain", GAIN), Field("gain_shift", SHIFT_BITS, False), Field.of("offset", SCALE))
"""Per output of the scale head."""

DIRECTION_FIELDS = (Field.of("base", BASE), Field.of("k_min", KERNEL), Field.of("k_max", KERNEL))
"""Per direction of the pooling kernel."""


def record_size(fields: tuple[Field, ...]) -> int:
    """Bytes of one record of ``fields``."""
    return sum(field.size for field in fields)


def stage_size(stage: ConvShape) -> int:
    """Bytes of one conv stage."""
    return stage.out_channels * (stage.elements + record_size(CHANNEL_FIELDS))


def head_size(shape: SpnShape) -> int:
    """Bytes of the scale head and the kernel sizes."""
    return shape.outputs * record_size(HEAD_FIELDS) + len(DIRECTIONS) * record_size(DIRECTION_FIELDS)


def block_size(shape: SpnShape) -> int:
    """Bytes of the whole block."""
    return sum(stage_size(stage) for stage in shape.stages) + head_size(shape)
