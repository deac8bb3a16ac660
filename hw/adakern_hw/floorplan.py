"""Which module's cells sit where on the die, tile by tile, from nextpnr's placed design."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .hierarchy import UNNAMED, Hierarchy

TILES = {
    "logic": ("SLICE", "lc"),
    "dsp": ("MULT18", "ALU54", "mac16"),
    "block_ram": ("EBR", "ram"),
    "single_port_ram": ("spram",),
    "io": ("PIO", "io"),
    "pll": ("EHXPLL", "pll"),
}
"""Kinds of tile by how the names of the sites in them begin."""

OTHER = "clock"
"""Kind of every other tile: buffers of global nets, above all."""

LOGIC_SLOTS = {"ecp5": 16, "ice40": 8}
"""Cells that a full logic tile holds: 8 look-up tables and 8 registers; 8 pairs of them."""

NEIGHBOURS = 8
"""Cells at a net that tells where they belong; constants and clocks have more."""

_SITE = re.compile(r"X(\d+)/Y(\d+)/(.+)")


@dataclass(frozen=True)
class Die:
    """Tiles of a part: ``columns`` × ``rows``, and the rows or columns that hold one kind of hard block."""

    columns: int
    rows: int
    block_rows: Mapping[int, str]
    block_columns: Mapping[int, str]


DIES = {
    "lfe5u_25f": Die(73, 51, {13: "dsp", 25: "block_ram", 37: "block_ram"}, {}),
    "lfe5u_45f": Die(91, 72, {10: "block_ram", 22: "dsp", 34: "block_ram", 46: "dsp", 58: "block_ram"}, {}),
    "lfe5u_85f": Die(
        127,
        96,
        {row: "dsp" if row in (10, 34, 58) else "block_ram" for row in (10, 22, 34, 46, 58, 70, 82)},
        {},
    ),
    "up5k": Die(26, 32, {}, {0: "dsp", 6: "block_ram", 19: "block_ram", 25: "dsp"}),
}
"""Dies by nextpnr's name for the part; rows are counted from the edge where nextpnr does."""


@dataclass(frozen=True)
class Tile:
    """An occupied tile: cells by module."""

    column: int
    row: int
    kind: str
    cells: Mapping[str, int]


@dataclass(frozen=True)
class Floorplan:
    """A part and its occupied tiles, in the order of rows and columns.

    ``part`` is nextpnr's name, ``row_up`` whether rows count upwards; ``slots``: cells of a full logic tile.
    """

    part: str
    die: Die
    row_up: bool
    slots: int
    tiles: tuple[Tile, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; a tile is [column, row, kind, [[index of the module, cells], …]]."""
        modules = sorted({module for tile in self.tiles for module in tile.cells})
        index = {module: number for number, module in enumerate(modules)}
        return {
            "part": self.part,
            "columns": self.die.columns,
            "rows": self.die.rows,
            "row_up": self.row_up,
            "slots": self.slots,
            "block_rows": {str(row): kind for row, kind in self.die.block_rows.items()},
            "block_columns": {str(column): kind for column, kind in self.die.block_columns.items()},
            "modules": modules,
            "tiles": [
                [
                    tile.column,
                    tile.row,
                    tile.kind,
                    [[index[module], count] for module, count in tile.cells.items()],
                ]
                for tile in self.tiles
            ],
        }


def read_floorplan(placed: Mapping[str, Any], top: str, hierarchy: Hierarchy) -> Floorplan:
    """Floorplan of a design as nextpnr writes it (``--write``), modules by `Hierarchy`."""
    design = placed["modules"][top]
    owners = _owners(design, hierarchy)
    tiles: dict[tuple[int, int, str], Counter[str]] = {}
    for name, cell in design["cells"].items():
        site = _SITE.fullmatch(cell["attributes"].get("NEXTPNR_BEL", ""))
        if site is not None:
            column, row, kind = int(site[1]), int(site[2]), _kind(site[3])
            tiles.setdefault((row, column, kind), Counter())[owners[name]] += 1
    part = design["settings"]["arch.type"]
    ice40 = design["settings"]["arch.name"] == "ice40"
    return Floorplan(
        part=part,
        die=DIES.get(part) or _smallest_die(tiles),
        row_up=ice40,
        slots=LOGIC_SLOTS["ice40" if ice40 else "ecp5"],
        tiles=tuple(
            Tile(column, row, kind, dict(cells.most_common()))
            for (row, column, kind), cells in sorted(tiles.items())
        ),
    )


def _kind(site: str) -> str:
    return next((kind for kind, names in TILES.items() if site.startswith(names)), OTHER)


def _owners(design: Mapping[str, Any], hierarchy: Hierarchy) -> dict[str, str]:
    """Module of every cell.

    Cells that nextpnr adds, such as the ends of carry chains, go by the cells that they share a net with,
    over as many of themselves as lie between.
    """
    cells = design["cells"]
    owners = {name: hierarchy.module(name) for name in cells}
    added = [name for name, module in owners.items() if module == UNNAMED]
    wires = {name: {bit for bits in cells[name]["connections"].values() for bit in bits} for name in added}
    ends: dict[int, list[str]] = {bit: [] for bits in wires.values() for bit in bits}
    for name, cell in cells.items():
        for bits in cell["connections"].values():
            for bit in bits:
                if bit in ends:
                    ends[bit].append(name)
    while added:
        found = {}
        for name in added:
            near = [ends[bit] for bit in wires[name] if len(ends[bit]) <= NEIGHBOURS]
            votes = Counter(owners[other] for others in near for other in others)
            del votes[UNNAMED]
            if votes:
                found[name] = min(votes, key=lambda module: (-votes[module], module))
        if not found:
            break
        owners |= found
        added = [name for name in added if name not in found]
    return owners


def _smallest_die(tiles: Mapping[tuple[int, int, str], Any]) -> Die:
    """Of a part that is not listed: as large as what is occupied."""
    return Die(
        columns=1 + max((column for _, column, _ in tiles), default=0),
        rows=1 + max((row for row, _, _ in tiles), default=0),
        block_rows={},
        block_columns={},
    )
