"""Gate-level netlists of a device as Verilated models."""

from dataclasses import dataclass
from pathlib import Path

from adakern_hw.cells import cell_models
from adakern_hw.toolchain import find_tool, tool_version
from adakern_spec.networks import Folds, Shape

from .cache import Cache, digest
from .compiler import Status
from .model import ByteModel
from .verilate import VERILOG, Build, Design

BYTE_DEVICE = "adakern_hw.netlist:byte_device"
NETLIST_CACHE = "netlists"
NETLIST = "netlist"
"""Name of the netlist's module."""

RESET_CYCLES = 15

TOP = f"""
module top (
  input clk,
  input rx__valid, input [7:0] rx__payload, output rx__ready,
  output tx__valid, output [7:0] tx__payload, input tx__ready
);
  reg [3:0] cycles = 0;
  wire rst = cycles != {RESET_CYCLES};
  always @(posedge clk) if (rst) cycles <= cycles + 1;
  {NETLIST} netlist (
    .clk, .rst, .rx__valid, .rx__payload, .rx__ready, .tx__valid, .tx__payload, .tx__ready
  );
endmodule
"""
"""Resets the netlist as it starts, as a board does."""


@dataclass(frozen=True)
class Netlist:
    """A component that is synthesised for a family, through a cache of what came of it.

    Parameters
    ----------
    family : str
        One of `adakern_hw.boards.board.FAMILIES`.
    design : Design
        With the name `NETLIST`.
    """

    family: str
    design: Design

    def key(self) -> str:
        """Digest of all that the netlist depends on."""
        tool = (find_tool("yosys"), tool_version("yosys"))
        return digest(self.family, self.design.key(), *tool, Path(__file__).read_bytes())

    def verilog(self, status: Status | None = None) -> str:
        """Verilog of the netlist, from the cache if it is there."""

        def build(folder: Path) -> None:
            from adakern_hw.boards.board import FAMILIES
            from adakern_hw.netlist import synthesise_netlist

            if status is not None:
                status(f"synthesising the gateware for {self.family} with Yosys {tool_version('yosys')}")
            family = FAMILIES[self.family]
            netlist = synthesise_netlist(self.design.elaborate(), family, self.design.name)
            (folder / VERILOG).write_text(netlist)

        return (Cache(NETLIST_CACHE).get(self.key(), build) / VERILOG).read_text()


def byte_netlist(family: str, shape: Shape, folds: Folds, clock_hz: int, board: str | None = None) -> Netlist:
    """The whole device at its byte interface; parameters as `adakern_hw.netlist.byte_device`."""
    arguments = {"family": family, "shape": shape, "folds": folds, "clock_hz": clock_hz, "board": board}
    return Netlist(family, Design(BYTE_DEVICE, arguments, NETLIST))


def netlist_model(
    family: str,
    shape: Shape,
    folds: Folds,
    clock_hz: int,
    status: Status | None = None,
    board: str | None = None,
) -> ByteModel:
    """`tops.byte_model` of the netlist that synthesis for ``family`` leaves."""
    return model_of(family, byte_netlist(family, shape, folds, clock_hz, board).verilog(status), status)


def model_of(family: str, netlist: str, status: Status | None = None) -> ByteModel:
    """Model of a netlist with a byte interface, out of reset."""
    model = ByteModel(Build(cell_models(family, netlist) + netlist + TOP).library(status))
    model.run(b"", RESET_CYCLES)
    return model
