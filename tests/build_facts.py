"""Facts of a build made up for tests of its report: a design of any size on any of the dies."""

import random
from typing import Any

from adakern_hw.floorplan import DIES, LOGIC_SLOTS, Floorplan, Tile

MODULES = (
    "clock",
    "clock.lock",
    "rx$11.buf",
    "device.receiver",
    "device.accelerator",
    "device.accelerator.dispatcher",
    "device.accelerator.dispatcher.writer",
    "device.accelerator.sender.crc$31",
    "device.accelerator.engine.sequencer",
    "device.accelerator.engine.stage_0.window",
    "device.accelerator.engine.stage_0.macs",
    "device.accelerator.engine.stage_1",
)
KINDS = ("luts", "carries", "registers", "dsps", "block_rams", "lut_rams")


def made_up_facts(part: str = "lfe5u_25f", tiles: int = 60, seed: int = 1) -> dict[str, Any]:
    """Facts with ``tiles`` full logic tiles, a few hard blocks and a path over three modules."""
    rng = random.Random(seed)
    die, ice40 = DIES[part], part == "up5k"
    slots = LOGIC_SLOTS["ice40" if ice40 else "ecp5"]
    places = [
        (row, column)
        for row in range(die.rows)
        for column in range(die.columns)
        if row not in die.block_rows and column not in die.block_columns
    ]
    chosen = sorted(rng.sample(places, tiles))
    occupied = [Tile(column, row, "logic", _cells(rng, slots)) for row, column in chosen]
    occupied += [
        Tile(1, 0, "dsp", {MODULES[10]: 1}),
        Tile(2, 0, "block_ram", {MODULES[5]: 1}),
        Tile(0, 3, "io", {MODULES[2]: 1}),
        Tile(4, 0, "pll", {"clock": 1}),
        Tile(5, 0, "clock", {"clock": 1}),
    ]
    modules = {
        module: {kind: rng.randrange(200) for kind in KINDS} | {"dsps": 0, "block_rams": 0}
        for module in MODULES
    }
    modules[MODULES[10]]["dsps"] = modules[MODULES[5]]["block_rams"] = 1
    used = sum(sum(tile.cells.values()) for tile in occupied[:tiles])
    return {
        "digest": "d1" * 32,
        "sha256": "5a" * 32,
        "board": "ulx3s-85f",
        "part": "a part",
        "tools": {"yosys": "0.70", "nextpnr-ecp5": "0.11.1"},
        "clock": {
            "wanted_mhz": 100.0,
            "reached_mhz": 125.0,
            "slack_ns": 2.0,
            "worst_path": "device.receiver.a → device.accelerator.b, 8.00 ns",
            "seed": 3,
        },
        "clocks": [{"name": "clock.fast", "wanted_mhz": 100.0, "reached_mhz": 125.0, "slack_ns": 2.0}],
        "network": _network(),
        "resources": {
            "total": {kind: sum(cells[kind] for cells in modules.values()) for kind in KINDS},
            "capacity": {"luts": 83640, "dsps": 156, "block_rams": 208},
            "estimate": {"dsps": 1, "luts": 1000},
        },
        "modules": modules,
        "critical_path": _path(),
        "floorplan": Floorplan(part, die, ice40, slots, tuple(occupied)).to_json(),
        "utilisation": {"ICESTORM_LC" if ice40 else "TRELLIS_COMB": {"available": 83640, "used": used}},
        "seconds": {"synthesis": 14.5, "place and route": 605.0, "packing": 1.5},
        "model": {"file": "demo.safetensors", "spec_digest": "ab" * 16, "parameter_crc": "0123abcd"},
        "command": "adakern build demo.safetensors --board ulx3s-85f --out demo.bit",
        "quantisation": _quantisation(),
    }


def _cells(rng: random.Random, slots: int) -> dict[str, int]:
    first, second = rng.sample(MODULES[3:], 2)
    many = rng.randrange(slots // 2 + 1, slots)
    return {first: many, second: slots - many}


def _network() -> dict[str, Any]:
    stage = {"in_channels": 8, "out_channels": 8, "multipliers": 64, "macs_per_pixel": 576}
    return {
        "channels": [8, 8, 2],
        "height": 16,
        "weight_bits": 8,
        "length": 128,
        "folds": [[8, 8], [2, 8]],
        "cycles_per_pixel": 9,
        "stages": [
            stage | {"cycles_per_pixel": 9},
            stage | {"out_channels": 2, "multipliers": 16, "macs_per_pixel": 144, "cycles_per_pixel": 9},
        ],
        "multipliers": 80,
        "utilisation": 1.0,
        "cycles_per_map": 18432,
        "latency_cycles": 19065,
        "clock_hz": 100_000_000,
        "maps_per_second": 5425.34722,
        "latency_us": 190.65,
        "maps_per_second_at_reached": 6781.68402,
        "latency_us_at_reached": 152.52,
    }


def _path() -> dict[str, Any]:
    hops = (
        ("clk-to-q", 0.5, "device.receiver", "a", "Q", [10, 2]),
        ("routing", 3.0, "device.receiver", "a[3]", "B", [14, 2]),
        ("logic", 0.25, "device.accelerator.engine.stage_1", "sum", "F", [14, 2]),
        ("routing", 4.0, "device.accelerator.engine.stage_1", "sum", "CE", [20, 9]),
        ("setup", 0.25, "device.accelerator", "b", "CE", [20, 9]),
    )
    return {
        "wanted_mhz": 100.0,
        "start": "device.receiver.a",
        "end": "device.accelerator.b",
        "delay_ns": 8.0,
        "routing_ns": 7.0,
        "logic_levels": 1,
        "hops": [
            {
                "kind": kind,
                "delay_ns": delay,
                "module": module,
                "signal": signal,
                "name": f"{module}.{signal}",
                "port": port,
                "place": place,
            }
            for kind, delay, module, signal, port, place in hops
        ],
    }


def _quantisation() -> dict[str, Any]:
    layer = {"bits": 8, "signed": False, "low": 0.0, "high": 1.0, "saturated": 2, "values": 100}
    return {
        "method": "ptq",
        "weight_bits": 8,
        "maps": 36,
        "layers": [
            layer | {"name": "input", "frac": 7, "error_max": 2**-8, "error_mean": 2**-10, "sqnr_db": 42.9},
            layer | {"name": "scale", "frac": 14, "error_max": 2**-7, "error_mean": 0.0, "sqnr_db": None},
        ],
        "shares": [0.25, 0.75],
        "scale_error_max": 2**-7,
        "scale_error_mean": 0.0,
    }
