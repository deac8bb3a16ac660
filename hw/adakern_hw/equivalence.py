"""Proof that synthesis keeps what a component does: its netlist against its source, by Yosys' SAT solver."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from amaranth.lib import wiring

from .blocks.hints import SYNTHESIS
from .boards.board import Family
from .cells import cell_models
from .netlist import synthesise_netlist
from .rtlil_text import to_rtlil
from .toolchain import ToolError, Workshop

DEPTH = 4
"""Cycles of the induction, and of the check from the initial state."""

GENERIC = ("proc", "flatten", "memory_map", "opt_clean", "async2sync", "dffunmap", "opt_clean")
"""Yosys commands that leave plain registers and logic."""


@dataclass(frozen=True)
class Equivalence:
    """``proven`` bits of ports and registers that are equal, names of those that are ``unproven``.

    ``starts_equal``: no output differs in the first `DEPTH` cycles from power-up.
    """

    proven: int
    unproven: tuple[str, ...]
    starts_equal: bool

    @property
    def holds(self) -> bool:
        return not self.unproven and self.starts_equal


def compare_with_source(
    component: wiring.Component, family: Family, netlist: str | None = None
) -> Equivalence:
    """Compare ``component`` with its netlist for ``family``, for all inputs and lengths of time.

    Registers are matched by name. By induction, source and netlist cannot diverge once all matched bits
    have been equal for `DEPTH` cycles; that the outputs are equal from power-up on is checked for as many
    cycles. ``netlist`` is a module ``gate`` with the models of its cells, made by synthesis unless given.
    Raises ToolError.
    """
    gate = netlist_with_cells(component, family) if netlist is None else netlist
    prepare = (
        *("read_rtlil gold.il", SYNTHESIS, "hierarchy -top gold", *GENERIC, "design -stash gold"),
        *("read_verilog gate.v", "hierarchy -check -top gate", *GENERIC, "design -stash gate"),
        *("design -copy-from gold gold", "design -copy-from gate gate"),
    )
    induction = (
        *prepare,
        *("equiv_make gold gate equiv", "hierarchy -top equiv", "opt_clean -purge"),
        *("equiv_simple -seq 1", f"equiv_induct -seq {DEPTH}", "tee -q -o status.txt equiv_status"),
    )
    start = (
        *prepare,
        *("miter -equiv -flatten gold gate miter", "hierarchy -top miter"),
        f"sat -verify -prove trigger 0 -tempinduct-baseonly -maxsteps {DEPTH} miter",
    )
    with tempfile.TemporaryDirectory(prefix="adakern-equivalence-") as name, Workshop(Path(name)) as workshop:
        folder = workshop.folder
        (folder / "gold.il").write_text(to_rtlil(component, "gold"))
        (folder / "gate.v").write_text(gate)
        (folder / "induction.ys").write_text("\n".join(induction))
        (folder / "start.ys").write_text("\n".join(start))
        workshop.run("yosys", ["-q", "induction.ys"], "induction.log")
        status = (folder / "status.txt").read_text()
        try:
            workshop.run("yosys", ["-q", "start.ys"], "start.log")
            starts_equal = True
        except ToolError:
            if "proof did fail" not in (folder / "start.log").read_text():
                raise
            starts_equal = False
    found = re.search(r"(\d+) are proven and \d+ are unproven", status)
    if found is None:
        raise ToolError("compared nothing", "yosys", "give a component with outputs")
    unproven = re.findall(r"Unproven \$equiv \S+ \\(.*?)_gold( \[\d+\])?", status)
    return Equivalence(int(found[1]), tuple("".join(parts) for parts in unproven), starts_equal)


def netlist_with_cells(component: wiring.Component, family: Family) -> str:
    """Verilog of the netlist as the module ``gate``, and of the models of its cells."""
    gate = synthesise_netlist(component, family, "gate")
    return cell_models(family.name, gate) + gate
