"""Modules of a flattened design: which of them a cell or a net comes from."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

SCOPE = "$scopeinfo"
"""Type of the cells by which Yosys remembers the modules that it flattened."""

UNNAMED = "(shared)"
"""Module of what no name or net ties to one."""

_GLOBAL = re.compile(r"^\$(gbuf|glbnet)[$_]")
"""What nextpnr puts ahead of the name of a net that it makes global."""

_CELL_KIND = re.compile(
    r"(_(TRELLIS_|SB_|LUT4|CCU2C|PFUMX|L6MUX21|DP16KD|MULT18X18D)|\$(nextpnr|CCU2_COMB|DPRAM|RAMW)).*"
)
"""What Yosys and nextpnr append to the name of a signal to name a cell at it."""


class Hierarchy:
    """The modules of a design by their paths, ``parent.child``; the top module itself is ``""``."""

    def __init__(self, modules: Iterable[str]) -> None:
        self.modules = frozenset(modules)

    @classmethod
    def of(cls, netlist: Mapping[str, Any], top: str) -> "Hierarchy":
        """Modules that were flattened into ``top`` of a netlist as Yosys writes it."""
        cells = netlist["modules"][top]["cells"]
        return cls(name for name, cell in cells.items() if cell["type"] == SCOPE)

    def split(self, name: str) -> tuple[str, str]:
        """Module and own name of a cell or net; the module is `UNNAMED` if the name tells none."""
        name = local_name(name)
        end = name.rfind(".")
        while end > 0:
            if name[:end] in self.modules:
                return name[:end], name[end + 1 :]
            end = name.rfind(".", 0, end)
        return UNNAMED, name

    def module(self, name: str) -> str:
        """Module of a cell or net, `UNNAMED` if its name tells none."""
        return self.split(name)[0]


def local_name(name: str) -> str:
    """Name of a net before nextpnr made it global."""
    return _GLOBAL.sub("", name)


def signal_of(cell: str) -> str:
    """Path of the signal behind a cell's name, without what kind of cell it is."""
    return _CELL_KIND.sub("", cell)
