"""Synthesis of a component by itself, without place and route: what it costs on a device family."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from amaranth.lib import wiring

from .blocks.hints import SYNTHESIS
from .hierarchy import SCOPE
from .resources import Counts, count_cells
from .rtlil_text import to_rtlil
from .toolchain import Workshop

COMMANDS = {"ecp5": "synth_ecp5", "ice40": "synth_ice40 -dsp"}
"""Yosys pass of each family; the multipliers of a plain row are inferred."""


@dataclass(frozen=True)
class Synthesis:
    """``cells`` by the kinds of `resources.KINDS`, in all and of each of ``modules``; ``unmapped``: generic
    cells, which no device has."""

    cells: dict[str, int]
    unmapped: dict[str, int]
    modules: Counts


def synthesise(component: wiring.Component, family: str) -> Synthesis:
    """Synthesise ``component`` for ``family``, ecp5 or ice40.

    Raises ToolError if Yosys is missing or fails; it also fails if the component has a latch.
    """
    steps = [
        "read_rtlil top.il",
        "hierarchy -top top",
        "proc",
        "select -assert-none t:$dlatch",
        SYNTHESIS,
        f"{COMMANDS[family]} -top top",
        "write_json top.json",
    ]
    with tempfile.TemporaryDirectory(prefix="adakern-synthesis-") as folder:
        Path(folder, "top.il").write_text(to_rtlil(component, "top"))
        with Workshop(Path(folder)) as workshop:
            workshop.run("yosys", ["-q", "-p", "; ".join(steps)], "yosys.log")
        netlist = json.loads(Path(folder, "top.json").read_text())
    types = [cell["type"] for cell in netlist["modules"]["top"]["cells"].values()]
    generic = [name for name in types if name.startswith("$") and name != SCOPE]
    modules = count_cells(netlist, "top")
    return Synthesis(modules.pop(""), {name: generic.count(name) for name in set(generic)}, modules)
