"""Nothing combinational crosses from one block of an engine into the next (design part 3).

Every path from an input of a block to an output of it meets a register, in the design as Yosys reads it.
"""

import json
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest

from adakern_hw.blocks.classifier import Classifier
from adakern_hw.blocks.conv import ConvStage
from adakern_hw.blocks.downsample import VALUES, Downsample, Drain
from adakern_hw.blocks.pixels import pixel_layout
from adakern_hw.blocks.scale import GlobalAverage
from adakern_hw.blocks.sequencer import Sequencer
from adakern_hw.blocks.smoother import GaussianSmoother
from adakern_hw.engines.akm import akm_schedule
from adakern_hw.rtlil_text import to_rtlil
from adakern_hw.toolchain import Workshop
from adakern_spec import akm
from adakern_spec.network import ConvShape, Fold

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("synthesis")]

COMMANDS = ("read_rtlil top.il", "hierarchy -top top", "proc", "flatten", "opt_clean", "write_json top.json")
REGISTERS = ("$dff", "$sdff", "$dffe", "$sdffe", "$sdffce", "$adff", "$adffe", "$aldff", "$dlatch")

SHAPE = akm.AkmShape(2, 4, (akm.AkmLayer(2),), 3, radius=1, max_length=20)


def crossings(component):
    """Pairs of an input and an output with a path between them that meets no register."""
    with tempfile.TemporaryDirectory(prefix="adakern-ports-") as name, Workshop(Path(name)) as workshop:
        Path(name, "top.il").write_text(to_rtlil(component, "top"))
        workshop.run("yosys", ["-q", "-p", "; ".join(COMMANDS)], "yosys.log")
        top = json.loads(Path(name, "top.json").read_text())["modules"]["top"]
    behind = defaultdict(set)
    for cell in top["cells"].values():
        if cell["type"] in REGISTERS or cell["type"] in ("$scopeinfo", "$print", "$check"):
            continue
        directions, connections = cell["port_directions"], cell["connections"]
        bits = {
            way: [bit for port in connections if directions[port] == way for bit in connections[port]]
            for way in ("input", "output")
        }
        for bit in bits["input"]:
            behind[bit].update(bits["output"])
    ports = top["ports"]
    outputs = {bit: port for port, p in ports.items() if p["direction"] == "output" for bit in p["bits"]}
    found = set()
    for port, properties in ports.items():
        if properties["direction"] == "output" or port in ("clk", "rst"):
            continue
        seen, edge = set(), set(properties["bits"])
        while edge:
            seen |= edge
            edge = {after for bit in edge for after in behind[bit]} - seen
        found |= {(port, outputs[bit]) for bit in seen & outputs.keys()}
    return found


BLOCKS = {
    "sequencer": lambda: Sequencer(akm_schedule(SHAPE, akm.layer_folds_for_interval(SHAPE, 4))),
    "conv": lambda: ConvStage(ConvShape(2, 2, relu=False), Fold(1, 2), 4, reach=3),
    "smoother": lambda: GaussianSmoother(4, 3, 2, 2),
    "drain": lambda: Drain(pixel_layout(VALUES, 2, 2), 5, 2),
    "average": lambda: GlobalAverage(2, 1, 40),
    "classifier": lambda: Classifier(3, 2),
    **{f"downsample {way}": lambda way=way: Downsample(way, 2, 4, 4, 2) for way in akm.Downsample},
}


AT_ONCE = {("pixels__valid", pulse) for pulse in ("first", "last", "stalled")} | {("room", "jobs__ready")}
"""Of the sequencer: it says what happens in this cycle, for registers of the engine, as its room is one."""


@pytest.mark.parametrize("name", BLOCKS)
def test_every_path_through_a_block_meets_a_register(name):
    assert crossings(BLOCKS[name]()) == (AT_ONCE if name == "sequencer" else set())


def test_a_path_is_found():
    """With a pixel per cycle the drain's output register is filled in the cycle in which it is emptied."""
    drain = Drain(pixel_layout(VALUES, 2, 2), 5, 1)
    assert crossings(drain) == {("outputs__ready", "pixels__ready")}
