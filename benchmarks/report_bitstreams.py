"""Sections of docs/benchmarks.md about bitstreams: what was built, how well it was predicted, the peers."""

import json
from pathlib import Path
from typing import Any

from markdown import number, share, table

from adakern_hw.boards import find_board
from adakern_hw.footprint import read_footprint

PEERS = Path(__file__).with_name("peers.json")

NETWORKS = {"spn": "scale prediction", "akm": "kernel modulation"}

PEER_COLUMNS = ["", "multipliers", "cycles per map", "utilisation", "look-up tables", "clock", "µs per map"]

CLAIM = """We claim no general advantage over a CPU: a good vector kernel is ahead of the engine's 18,432
cycles at any clock an ECP5 reaches. What the engine offers is a fixed latency, no host in the loop, and
the price of the part. Hard-wired weights are faster per clock and frozen.
"""

Result = dict[str, Any]


def _used(build: Result) -> dict[str, int]:
    """nextpnr's figures after packing."""
    family = find_board(build["board"]).family
    return read_footprint(family, build["utilisation"], build["resources"]["total"]).to_json()


def _named(build: Result) -> str:
    """What the build's network is called if it is not the reference."""
    name = build["asked"].get("network", "reference")
    return "" if name == "reference" else f", {name}"


def bitstreams(result: Result) -> str:
    """What was built, board by board, and what was refused."""
    head = ["build", "multipliers", "cycles per map", "utilisation", "clock, MHz (wanted)", "seed", "maps/s"]
    head += [
        "µs per map",
        "µs for a single map",
        "look-up tables",
        "registers",
        "DSP",
        "block RAM",
        "tools' time (load of two cores at its end)",
    ]
    rows, refused, tools = [], [], {}
    for name, build in result["builds"].items():
        if "error" in build:
            refused.append(f"- {name}: {build['error']}\n")
            continue
        clock, network, used = build["clock"], build["network"], _used(build)
        megahertz = clock["reached_mhz"]
        maps = 1e6 * megahertz / network["cycles_per_map"]
        tools |= build["tools"]
        rows.append(
            [
                f"{build['part']}, {network['weight_bits']} bit{_named(build)}",
                f"{network['multipliers']}",
                f"{network['cycles_per_map']:,}",
                f"{network['utilisation']:.1%}",
                f"{megahertz:.1f} ({clock['wanted_mhz']:.1f})",
                f"{clock['seed']}",
                f"{maps:,.0f}",
                f"{1e6 / maps:.1f}",
                f"{network['latency_cycles'] / megahertz:.1f}",
                *(f"{used[kind]:,}" for kind in ("luts", "registers", "dsps", "block_rams")),
                f"{sum(build['seconds'].values()) / 60:.0f} min ({build['load']:.0f})",
            ]
        )
    versions = ", ".join(f"{tool} {version}" for tool, version in sorted(tools.items()))
    other = ""
    if any(_named(build) for build in result["builds"].values()):
        other = "Kernel modulation: 1→8→16→16 channels, smoothers of radius 6, maps of 28 × 28. "
    note = (
        f"The reference network with its serial link, placed and routed; no board was run. {other}Times are "
        "those at the clock that nextpnr reaches, without the serial line. Look-up tables as nextpnr packs "
        f"them, those of carry chains and LUT RAM among them. {versions}.\n\n"
    )
    return "## Bitstreams\n\n" + note + table(head, rows) + "\n" + "".join(refused)


def prediction(result: Result) -> str:
    """How well the weights predict designs that they did not learn from."""
    rows = []
    learned = [
        (family, network, entry)
        for family, kinds in result["families"].items()
        for network, entry in kinds["networks"].items()
    ]
    for family, network, entry in learned:
        count = str(len(entry["samples"]))
        for kind, errors in entry["errors"].items():
            figures = (errors[name] for name in ("fitted_worst", "left_out_mean", "left_out_worst"))
            names = [f"{family}, {NETWORKS[network]}", kind.replace("_", " ")]
            rows.append([*names, count, *(f"{figure:.1%}" for figure in figures)])
    note = (
        "Relative errors of `adakern estimate --board` against nextpnr's figures after packing: of the fit "
        "over its samples, and of each sample predicted by a fit to the other designs. A family has one fit "
        "for both kinds of network. DSP blocks are counted and exact.\n\n"
    )
    head = ["family, network", "resource", "designs", "worst of the fit", "mean, left out", "worst, left out"]
    return "## Estimate before synthesis\n\n" + note + table(head, rows)


def peers(builds: Result) -> str:
    """Other ways to run the reference network beside the bitstreams."""
    others = json.loads(PEERS.read_text())
    generators, wired, processors = (others[name] for name in ("generators", "hard_wired", "processors"))
    rows = []
    for build in builds["builds"].values():
        if "error" in build or _named(build):
            continue
        network, megahertz = build["network"], build["clock"]["reached_mhz"]
        rows.append(
            [
                f"**adakern**, {network['weight_bits']} bit, {build['part']}, seed {build['clock']['seed']}",
                f"{network['multipliers']}",
                f"{network['cycles_per_map']:,}",
                share(network["utilisation"]),
                f"{_used(build)['luts']:,}",
                f"{megahertz:.1f} MHz",
                f"{network['cycles_per_map'] / megahertz:.1f}",
            ]
        )
    for row in generators["rows"] + wired["rows"]:
        luts = number(row.get("luts")) + ("" if row.get("fits", True) else ", does not fit")
        rows.append(
            [
                f"{row['what']} ({row['version']})",
                number(row.get("multipliers")),
                number(row.get("cycles")),
                share(row.get("utilisation")),
                luts,
                f"{row['mhz']} MHz" if "mhz" in row else "",
                "",
            ]
        )
    for row in processors["rows"]:
        version = f" {row['version']}" if "version" in row else ""
        batch = f" ({row['us_batch_64']} in batches of 64)" if "us_batch_64" in row else ""
        rows.append([f"{row['what']}{version}", *[""] * 5, number(row["us_batch_1"], ",g") + batch])
    emulation = others["emulation"]["rows"][0]
    published = "; ".join(
        f"{row['what']} {row.get('note') or share(row['utilisation']) + ' utilisation'} ({row['source']})"
        for row in others["published"]["rows"]
    )
    text = [
        "## Peers\n",
        f"The reference network ({others['network']}) elsewhere, beside the bitstreams above at the clock "
        f"that nextpnr reaches. Processors: {processors['source']} on {others['machine']}, "
        f"batches of one. NNgen: {generators['source']}. da4ml: {wired['source']}.\n",
        table(PEER_COLUMNS, rows),
        f"Bit-true emulation: {emulation['what']} {emulation['version']} {emulation['maps_per_second']} "
        f"maps/s after {emulation['build_seconds']} s to build. Published: {published}.\n",
        CLAIM,
    ]
    return "\n".join(text)
