"""Resources of a synthesised design, in all and by module, from Yosys' netlist."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from .hierarchy import Hierarchy

KINDS = {
    "luts": ("LUT4", "SB_LUT4"),
    "carries": ("CCU2C", "SB_CARRY"),
    "registers": ("TRELLIS_FF", "SB_DFF"),
    "dsps": ("MULT18X18D", "SB_MAC16"),
    "block_rams": ("DP16KD", "SB_RAM40_4K"),
    "lut_rams": ("TRELLIS_DPR16X4",),
}
"""Kinds by how the names of their cells begin."""

Counts = dict[str, dict[str, int]]
"""Cells of each kind by module."""


def count_cells(netlist: Mapping[str, Any], top: str) -> Counts:
    """Cells of each kind by module, without those of its submodules; their sum under the module ``""``."""
    hierarchy = Hierarchy.of(netlist, top)
    counts: dict[str, Counter[str]] = {"": Counter()}
    for name, cell in netlist["modules"][top]["cells"].items():
        kind = next((kind for kind, prefixes in KINDS.items() if cell["type"].startswith(prefixes)), None)
        if kind is not None:
            counts.setdefault(hierarchy.module(name), Counter())[kind] += 1
            counts[""][kind] += 1
    return {module: {kind: count[kind] for kind in KINDS} for module, count in sorted(counts.items())}
