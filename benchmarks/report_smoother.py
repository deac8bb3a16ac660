"""Section of docs/benchmarks.md about the smoother."""

from typing import Any

from markdown import table

Result = dict[str, Any]

KINDS = ["luts", "carries", "registers", "block_rams", "lut_rams"]


def smoother(result: Result) -> str:
    """Speed beside libraries, and resources over lanes and radius; what was not measured is left out."""
    parts = [_speed(result)] if "speed" in result else []
    return "\n".join(["## Smoother\n", *parts, *([_resources(result)] if "resources" in result else [])])


def _speed(result: Result) -> str:
    machine = result["machine"]
    rows = []
    for row in result["speed"]:
        size = f"{result['channels']} × {result['height']} × {row['length']}"
        libraries = row["libraries_us"]
        for name, microseconds in libraries.items():
            rows.append([size, name, "", f"{microseconds:,.1f}", ""])
        for lanes, cycles in row["cycles"].items():
            named = f"gateware, {lanes} lane{'s' if lanes != '1' else ''}"
            taken = f"{row['gateware_us'][lanes]:,.1f}" if row["gateware_us"] else ""
            rows.append([size, named, f"{cycles:,}", taken, f"{cycles / min(libraries.values()):,.0f} MHz"])
    clock = (
        f"at the {result['clock_mhz']:.1f} MHz that the build {result['build']} reaches, with "
        f"{', '.join(map(str, result['lanes_built']))} lanes in its smoothers (wider ones are not routed)"
        if result["clock_mhz"]
        else "without a time: no board build of a network with smoothers is recorded"
    )
    text = [
        "Zero-padded Gaussian of radius 6 in both directions, the best of "
        f"{result['runs']} runs of each library on float32, one thread, {machine['cpu']}, load "
        f"{machine['load']:.1f}. The gateware is counted in cycles, which are exact in the steady state "
        f"(pixels × channels / lanes, `tests/hw/test_smoother.py`), {clock}; the last column is the clock "
        "at which it is as fast as the fastest library. It works on 8 bits, with a kernel of its own for "
        "every channel; the libraries have one kernel for all channels.\n",
        table(["map", "what", "cycles", "µs per map", "level with the fastest at"], rows),
    ]
    return "\n".join(text)


def _resources(result: Result) -> str:
    rows = [
        [
            str(row["lanes"]),
            str(row["radius"]),
            str(row["cycles_per_pixel"]),
            f"{row['multipliers_per_lane']:g} ({2 * (row['radius'] + 1)})",
            *(f"{row[kind]:,}" for kind in KINDS),
            str(row["block_rams_elsewhere"]),
        ]
        for row in result["resources"]
    ]
    head = ["lanes", "radius", "cycles per pixel", "multipliers per lane (bound)", *KINDS]
    text = [
        f"Resources from Yosys alone, ECP5, {result['channels']} channels, {result['height']} rows.\n",
        table([*(name.replace("_", " ") for name in head), "block RAMs beside the lines"], rows),
    ]
    return "\n".join(text)
