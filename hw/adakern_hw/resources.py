"""Resources of a synthesised design, in all and by module, from Yosys' netlist."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

MODULE_DEPTH = 3
"""Levels of the hierarchy that are told apart: a block of the link, a stage of the engine."""

KINDS = {
    "luts": ("LUT4", "SB_LUT4"),
    "carries": ("CCU2C", "SB_CARRY"),
    "registers": ("TRELLIS_FF", "SB_DFF"),
    "dsps": ("MULT18X18D", "SB_MAC16"),
    "block_rams": ("DP16KD", "SB_RAM40_4K"),
    "lut_rams": ("TRELLIS_DPR16X4",),
}
"""Kinds by how the names of their cells begin."""

UNNAMED = "(shared)"
"""Module of cells whose names do not say where they come from."""


def count_cells(netlist: Mapping[str, Any], top: str) -> dict[str, dict[str, int]]:
    """Cells of each kind by module, most look-up tables first; their sum under the module ``""``."""
    counts: dict[str, Counter[str]] = {"": Counter()}
    for name, cell in netlist["modules"][top]["cells"].items():
        kind = next((kind for kind, prefixes in KINDS.items() if cell["type"].startswith(prefixes)), None)
        if kind is not None:
            counts.setdefault(_module(name), Counter())[kind] += 1
            counts[""][kind] += 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1]["luts"], item[0]))
    return {module: {kind: count[kind] for kind in KINDS} for module, count in ordered}


def _module(cell: str) -> str:
    """Path of the module in a flattened cell's name: its last part is the cell's own."""
    if cell.startswith("$"):
        return UNNAMED
    return ".".join(cell.split(".")[:-1][:MODULE_DEPTH]) or UNNAMED
