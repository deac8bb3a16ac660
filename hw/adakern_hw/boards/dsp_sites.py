"""Where the DSP blocks of a design go: rows of multipliers side by side, stages compact.

nextpnr's placer scatters DSP blocks over the die when most of them are in use (0.11.1), and then no net
between them is short. So the gateware says where each goes, and everything else gathers around it.
"""

from collections.abc import Sequence

from adakern_spec.errors import ShapeError

SiteLine = tuple[str, ...]
"""Places for MULT18X18D in one line across the die, from left to right, as nextpnr names them."""

SITES_PER_TILE = ((0, 0), (1, 1), (4, 4), (5, 5))
"""Offset in columns and number in the block of the four multipliers of a pair of DSP slices."""


def ecp5_lines(columns: Sequence[int], rows: Sequence[int]) -> tuple[SiteLine, ...]:
    """Lines of a part with pairs of DSP slices from each of ``columns`` on, in each of ``rows``."""
    return tuple(
        tuple(f"X{x + offset}/Y{y}/MULT18_{number}" for x in columns for offset, number in SITES_PER_TILE)
        for y in rows
    )


LFE5U_25 = ecp5_lines((4, 13, 22, 33, 42, 51, 60), (13,))
LFE5U_85 = ecp5_lines((4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114), (10, 34, 58))


def place_rows(lines: Sequence[SiteLine], rows: Sequence[int]) -> list[SiteLine]:
    """Sites for each of ``rows``, given by the blocks that it takes, in order.

    A row goes to the line that is filled the least, so that rows which follow each other lie above each
    other, and rows of one stage in one area. What does not fit at one place is given what is left,
    line by line. ShapeError if there are too few sites.
    """
    left = [list(line) for line in lines]
    if sum(rows) > sum(map(len, left)):
        raise ShapeError(f"{sum(rows)} DSP blocks", "part", f"use at most {sum(map(len, left))}")
    placed = []
    for count in rows:
        line = max(left, key=len)
        sites = line[:count]
        del line[:count]
        while len(sites) < count:
            line = max(left, key=len)
            sites.append(line.pop(0))
        placed.append(tuple(sites))
    return placed
