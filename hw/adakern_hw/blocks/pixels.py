"""Payload of the pixel streams between the blocks.

Pixels travel length-major (design part 2): all rows of a column, then the next column. Where a map
must be followed by padding, blank pixels (``real`` = 0) travel in its place; they take their turn
like any other, so that each block answers one pixel with one pixel.
"""

from amaranth.lib import data

from adakern_spec.network import ConvShape
from adakern_spec.numbers import Format

from ..fixed import shape_of


def tag_layout(radius: int) -> data.StructLayout:
    """What a pixel carries besides its values.

    ``real``: it belongs to a map. ``last``: it is its map's last one. ``before``, ``after``: columns of
    the map on either side of the pixel's own, saturated at ``radius`` (none if that is 0).
    """
    columns = {"before": range(radius + 1), "after": range(radius + 1)} if radius else {}
    return data.StructLayout({"real": 1, "last": 1, **columns})


def values_layout(fmt: Format, channels: int) -> data.ArrayLayout:
    """Values of a pixel, one of ``fmt`` per channel."""
    return data.ArrayLayout(shape_of(fmt), channels)


def pixel_layout(fmt: Format, channels: int, radius: int) -> data.StructLayout:
    """A pixel: ``values`` and ``tags``."""
    return data.StructLayout({"values": values_layout(fmt, channels), "tags": tag_layout(radius)})


def input_layout(stage: ConvShape) -> data.ArrayLayout:
    """A pixel of a map as it enters the engine whose first stage this is, without tags."""
    return values_layout(stage.input_format, stage.in_channels)
