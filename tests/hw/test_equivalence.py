"""Blocks whose netlists are proven equal to their sources, for both families; a fault makes a proof fail."""

import re
from itertools import product

import pytest
from amaranth import Signal, Value, signed, unsigned

from adakern_hw.blocks.multiplier import AdderTree, LogicMultiplierRow
from adakern_hw.blocks.rounding import Requantise, RoundShift
from adakern_hw.blocks.serial import Divider, SerialMultiplier
from adakern_hw.boards.board import FAMILIES
from adakern_hw.equivalence import compare_with_source, netlist_with_cells
from adakern_hw.link.uart import UartReceiver, UartTransmitter
from adakern_spec.numbers import Format

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("equivalence")]


CLOCK = 12_000_000
BAUD = 1_000_000

BLOCKS = {
    "round shift": lambda: RoundShift(signed(32)),
    "requantiser": lambda: Requantise(signed(23), Format(8, signed=False)),
    "adder tree": lambda: AdderTree(8, signed(16)),
    "multiplier in logic": lambda: LogicMultiplierRow(2, 1, unsigned(8), signed(4)),
    "divider": lambda: Divider(20, 16),
    "serial multiplier": lambda: SerialMultiplier(signed(16), 16),
    "uart receiver": lambda: UartReceiver(CLOCK, BAUD),
    "uart transmitter": lambda: UartTransmitter(CLOCK, BAUD),
}

UNPROVEN = {("uart receiver", "ice40"), ("uart transmitter", "ice40")}
"""Their registers that start as ones are kept inverted on iCE40, and no longer match by name."""


def output_bits(component):
    return sum(
        len(Value.cast(port))
        for _, member, port in component.signature.flatten(component)
        if member.flow.name == "Out" and isinstance(Value.cast(port), Signal)
    )


@pytest.mark.parametrize(
    ("name", "family"), [pair for pair in product(BLOCKS, FAMILIES) if pair not in UNPROVEN]
)
def test_netlist_is_proven_equal_to_the_source(name, family):
    component = BLOCKS[name]()
    result = compare_with_source(component, FAMILIES[family])
    assert result.holds, result
    assert result.proven >= output_bits(component)


TABLES = {"ecp5": r"\.INIT\(16'h([0-9a-f]{4})\)", "ice40": r"\.LUT_INIT\(16'h([0-9a-f]{4})\)"}


@pytest.mark.parametrize("family", FAMILIES)
def test_one_inverted_table_is_found(family):
    component = BLOCKS["serial multiplier"]()
    netlist = netlist_with_cells(component, FAMILIES[family])
    table = list(re.finditer(TABLES[family], netlist))[-1]
    wrong = f"{int(table[1], 16) ^ 0xFFFF:04x}"
    faulty = netlist[: table.start(1)] + wrong + netlist[table.end(1) :]
    result = compare_with_source(component, FAMILIES[family], faulty)
    assert result.unproven
    assert not result.holds


def test_another_initial_value_is_found():
    """A transmitter whose line idles low at power-up; no induction sees that."""
    component = BLOCKS["uart transmitter"]()
    family = FAMILIES["ecp5"]
    netlist = netlist_with_cells(component, family)
    assert '.REGSET("SET")' in netlist
    faulty = netlist.replace('.REGSET("SET")', '.REGSET("RESET")')
    assert not compare_with_source(component, family, faulty).starts_equal
