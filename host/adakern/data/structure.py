"""Secondary structure: from dot-bracket to the type of loop that each base lies in."""

from adakern_spec.errors import InputError

LOOP_TYPES = "SMIBHEX"
"""Stem, multiloop, internal loop, bulge, hairpin, dangling end, external loop."""

STRUCTURE_SYMBOLS = "(.)"

_EXTERIOR = -1


def pair_partners(structure: str) -> list[int]:
    """Index of each base's partner, −1 where unpaired. InputError for unbalanced brackets."""
    partners = [-1] * len(structure)
    opened: list[int] = []
    for position, symbol in enumerate(structure):
        if symbol == "(":
            opened.append(position)
        elif symbol == ")":
            if not opened:
                raise InputError(
                    "bracket closes nothing", f"structure, position {position + 1}", "balance it"
                )
            partners[position] = opened.pop()
            partners[partners[position]] = position
        elif symbol != ".":
            raise InputError(
                f"symbol {symbol!r}", f"structure, position {position + 1}", f"use {STRUCTURE_SYMBOLS!r} only"
            )
    if opened:
        raise InputError("bracket is never closed", f"structure, position {opened[-1] + 1}", "balance it")
    return partners


def loop_types(structure: str) -> str:
    """Loop type of every base, one letter of SMIBHEX each.

    A loop is what one base pair closes, directly inside it: without a pair of its own it is a
    hairpin, with one an internal loop (a bulge if unpaired bases lie on one side only), with more a
    multiloop. Outside of every pair lie dangling ends, and between stems the external loop. The letters
    are bpRNA's (Danaee et al. 2018), which calls some external loops of three or more stems M.
    InputError for unbalanced brackets or other symbols.
    """
    partners = pair_partners(structure)
    types = ["S"] * len(structure)
    for opening in [_EXTERIOR, *(i for i, partner in enumerate(partners) if partner > i)]:
        closing = len(structure) if opening == _EXTERIOR else partners[opening]
        gaps = _gaps(partners, opening + 1, closing)
        for gap, letter in zip(gaps, _gap_letters(gaps, opening == _EXTERIOR), strict=True):
            for position in gap:
                types[position] = letter
    return "".join(types)


def _gaps(partners: list[int], start: int, stop: int) -> list[range]:
    """Runs of unpaired bases of a loop, empty ones too: before, between and after its inner pairs."""
    gaps = []
    begin = position = start
    while position < stop:
        if partners[position] < 0:
            position += 1
        else:
            gaps.append(range(begin, position))
            begin = position = partners[position] + 1
    gaps.append(range(begin, stop))
    return gaps


def _gap_letters(gaps: list[range], exterior: bool) -> str:
    inner_pairs = len(gaps) - 1
    if exterior:
        return "E" if inner_pairs == 0 else "E" + "X" * (inner_pairs - 1) + "E"
    if inner_pairs == 0:
        return "H"
    if inner_pairs == 1:
        return "II" if all(gaps) else "BB"
    return "M" * len(gaps)
