"""The gate-level netlist of a device for a family."""

import tempfile
from pathlib import Path

from amaranth.lib import wiring

from adakern_spec.akm import AkmShape
from adakern_spec.networks import Folds, Shape
from adakern_spec.protocol import LINK

from .blocks.hints import SYNTHESIS
from .boards import find_board
from .boards.board import FAMILIES, Family
from .boards.layers import layer_rows
from .engines.networks import make_engine
from .rtlil_text import to_rtlil
from .toolchain import Workshop
from .top import ByteTop


def byte_device(family: str, shape: Shape, folds: Folds, clock_hz: int, board: str | None = None) -> ByteTop:
    """The accelerator at its byte interface, with the multipliers of the family, or as on a board.

    Parameters as `ByteTop`; the board, whose multipliers and link it has, by its name.
    """
    row, link = FAMILIES[family].multiplier, LINK
    if board is not None:
        rows, link = find_board(board).rows(shape, folds), find_board(board).link
    elif isinstance(shape, AkmShape):
        rows = layer_rows(row, shape)
    else:
        rows = (row,) * len(folds)
    return ByteTop(shape, folds, clock_hz, engine=make_engine(shape, folds, rows, link), link=link)


def synthesise_netlist(component: wiring.Component, family: Family, name: str) -> str:
    """Verilog of ``component`` as the module ``name`` of the family's cells, with the ports clk and rst.

    Yosys runs with the options of a build for a board. Raises ToolError.
    """
    script = (
        "read_rtlil netlist.il",
        SYNTHESIS,
        f"synth_{family.name} {' '.join(family.synthesis)} -top {name}",
        "write_verilog -noattr netlist.v",
    )
    with tempfile.TemporaryDirectory(prefix="adakern-netlist-") as folder:
        Path(folder, "netlist.il").write_text(to_rtlil(component, name))
        Path(folder, "netlist.ys").write_text("\n".join(script))
        with Workshop(Path(folder)) as workshop:
            workshop.run("yosys", ["-q", "netlist.ys"], "yosys.log")
        return Path(folder, "netlist.v").read_text()
