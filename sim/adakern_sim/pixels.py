"""Maps as the gateware's pixel streams take them: length-major (design part 2)."""

from collections.abc import Iterator, Sequence
from typing import Any

Map = Sequence[Sequence[Sequence[int]]]
"""Values [channel][row][column]."""


def pixels(values: Map) -> Iterator[list[int]]:
    """The values of each pixel, all rows of a column, then the next column."""
    for column in range(len(values[0][0])):
        for row in range(len(values[0])):
            yield [int(channel[row][column]) for channel in values]


def tagged_pixels(values: Map, radius: int) -> Iterator[dict[str, Any]]:
    """Payloads of `adakern_hw.blocks.pixels.pixel_layout`."""
    height, length = len(values[0]), len(values[0][0])
    for index, pixel in enumerate(pixels(values)):
        column = index // height
        tags = {"real": 1, "last": int(index == height * length - 1)}
        if radius:
            tags |= {"before": min(column, radius), "after": min(length - 1 - column, radius)}
        yield {"values": pixel, "tags": tags}


def blank_pixels(count: int, channels: int, value: int = 0) -> Iterator[dict[str, Any]]:
    """Pixels that belong to no map; their values count for nothing."""
    for _ in range(count):
        yield {"values": [value] * channels, "tags": {"real": 0, "last": 0}}
