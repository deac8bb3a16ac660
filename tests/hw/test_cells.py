"""Stand-ins for vendor cells: proven equal to Yosys' models, or compared with what Yosys makes them of."""

import random
import re
from pathlib import Path

import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory, ReadPort, WritePort
from amaranth.lib.wiring import In
from cxx_model import CxxModel

from adakern_hw.blocks.hints import UNINITIALISED
from adakern_hw.boards.board import ECP5
from adakern_hw.cells import MODULE, cell_models, yosys_models
from adakern_hw.netlist import synthesise_netlist
from adakern_hw.toolchain import ToolError, Workshop

pytestmark = pytest.mark.slow

TABLES = {
    "ecp5": ("LUT4", "INIT", "ABCD", "Z"),
    "ice40": ("SB_LUT4", "LUT_INIT", ("I0", "I1", "I2", "I3"), "O"),
}
"""The cell, its parameter, its inputs from the low index bit on, its output."""


def prove_tables_equal(family: str, ours: str, folder: Path) -> None:
    """All inputs of 16 tables with one bit set each; an output is a bit of the table, so these suffice."""
    cell, parameter, inputs, output = TABLES[family]
    theirs = next(match[0] for match in MODULE.finditer(yosys_models(family)) if match[1] == cell)
    ports = ", ".join(f".{name}(x[{index}])" for index, name in enumerate(inputs))
    sides = ""
    for side in ("ours", "theirs"):
        cells = "".join(
            f"  {side}_{cell} #(.{parameter}(16'd{1 << bit})) t{bit} ({ports}, .{output}(y[{bit}]));\n"
            for bit in range(16)
        )
        sides += f"module {side} (input [3:0] x, output [15:0] y);\n{cells}endmodule\n"
    for side, model in (("ours", ours), ("theirs", theirs)):
        sides += re.sub(rf"\bmodule {cell}\b", f"module {side}_{cell}", model)
    (folder / "tables.v").write_text(sides)
    script = (
        "read_verilog -D NO_ICE40_DEFAULT_ASSIGNMENTS -D ICE40_DEFAULT_ASSIGNMENT_0= tables.v",
        "hierarchy; proc; flatten; clean",
        "miter -equiv -flatten -make_assert ours theirs miter",
        "sat -verify -prove-asserts -show-inputs miter",
    )
    with Workshop(folder) as workshop:
        workshop.run("yosys", ["-q", "-p", "; ".join(script)], "yosys.log")


def stand_in(family: str) -> str:
    cell = TABLES[family][0]
    models = cell_models(family, f"{cell} ")
    return next(match[0] for match in MODULE.finditer(models) if match[1] == cell)


@pytest.mark.parametrize("family", TABLES)
def test_look_up_tables_equal_those_of_yosys(family, tmp_path):
    prove_tables_equal(family, stand_in(family), tmp_path)


@pytest.mark.parametrize("family", TABLES)
def test_proof_sees_exchanged_inputs(family, tmp_path):
    low, high = TABLES[family][2][:2]
    model = stand_in(family)
    wrong = model.replace(f"{high}, {low}}}]", f"{low}, {high}}}]")
    assert wrong != model
    with pytest.raises(ToolError):
        prove_tables_equal(family, wrong, tmp_path)


class BlockRam(wiring.Component):
    """A memory as in `Ram`, with contents, and write enables for each of ``bytes`` parts of a word."""

    def __init__(self, width, depth, bytes_, init):
        attributes = {"ram_style": "block", "no_rw_check": 1}
        self.memory = Memory(shape=width, depth=depth, init=init, attrs=attributes)
        self.granularity = width // bytes_
        bits = (depth - 1).bit_length()
        super().__init__(
            {
                "write": In(WritePort.Signature(addr_width=bits, shape=width, granularity=self.granularity)),
                "read": In(ReadPort.Signature(addr_width=bits, shape=width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = self.memory
        write = self.memory.write_port(granularity=self.granularity)
        read = self.memory.read_port(domain="comb")
        data = Signal.like(read.data, reset_less=True, attrs={UNINITIALISED: 1})
        m.d.comb += [
            *(getattr(write, member).eq(getattr(self.write, member)) for member in ("addr", "data", "en")),
            read.addr.eq(self.read.addr),
            self.read.data.eq(data),
        ]
        with m.If(self.read.en):
            m.d.sync += data.eq(read.data)
        return m


CONFIGURATIONS = [
    (1, 16384, 1),
    (2, 8192, 1),
    (4, 4096, 1),
    (9, 2048, 1),
    (18, 1024, 1),
    (18, 1024, 2),
    (36, 512, 4),
]


@pytest.mark.parametrize(("width", "depth", "bytes_"), CONFIGURATIONS)
def test_block_ram_is_the_memory_that_it_was_made_of(width, depth, bytes_, tmp_path):
    """Random accesses from random contents; where a read meets a write, the word comes inverted."""
    chance = random.Random(width * bytes_)
    words = [chance.getrandbits(width) for _ in range(depth)]
    netlist = synthesise_netlist(BlockRam(width, depth, bytes_, words), ECP5, "memory")
    assert len(re.findall(r"^  DP16KD #\(", netlist, re.MULTILINE)) == 1
    model = CxxModel(netlist + cell_models("ecp5", netlist), "memory", tmp_path)
    part = width // bytes_
    expected = None
    clashes = 0
    for _ in range(4000):
        # A few addresses, so that reads meet writes and words are read again.
        write, read = (chance.choice((chance.randrange(depth), chance.randrange(4))) for _ in range(2))
        value, enables, reads = chance.getrandbits(width), chance.getrandbits(bytes_), chance.random() < 0.7
        mask = sum(((1 << part) - 1) << part * byte for byte in range(bytes_) if enables >> byte & 1)
        for name, content in (
            ("write__addr", write),
            ("write__data", value),
            ("write__en", enables),
            ("read__addr", read),
            ("read__en", reads),
        ):
            model.set(name, content)
        model.tick()
        if reads:
            clash = mask if write == read else 0
            clashes += bool(clash)
            expected = words[read] ^ clash
        words[write] = (words[write] & ~mask) | (value & mask)
        assert expected is None or model.get("read__data") == expected
    assert clashes > 50


SETTINGS = [("REGMODE_B", '"OUTREG"'), ("CSDECODE_A", '"0b001"'), ("DATA_WIDTH_A", "3")]


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_block_ram_setting_without_a_model_is_refused(name, value, tmp_path):
    models = cell_models("ecp5", "DP16KD ")
    source = f"{models}\nmodule top; DP16KD #(.{name}({value})) memory (); endmodule\n"
    with pytest.raises(ToolError, match="setting_without_a_model"):
        CxxModel(source, "top", tmp_path)
