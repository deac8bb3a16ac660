"""What a design takes of a part, as nextpnr counts it once it has packed cells into sites."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from .boards.board import Family


@dataclass(frozen=True)
class Footprint:
    """Sites of a part.

    ``luts``: on ECP5 look-up tables, those of carry chains and LUT RAM among them; on iCE40 logic cells,
    with a look-up table, a register or both. ``registers``; ``dsps``; ``block_rams``.
    """

    luts: int
    registers: int
    dsps: int
    block_rams: int

    def to_json(self) -> dict[str, int]:
        return asdict(self)


KINDS = tuple(field.name for field in fields(Footprint))


def read_footprint(
    family: Family, utilisation: Mapping[str, Mapping[str, int]], cells: Mapping[str, int]
) -> Footprint:
    """From the ``utilization`` of nextpnr's report and the cells after synthesis.

    Packing leaves the number of registers as it is, and not every nextpnr counts them.
    """
    sites = {kind: utilisation[site]["used"] for kind, site in family.sites.items()}
    return Footprint(registers=cells["registers"], **sites)
