"""Bitstreams of the reference network, and of one with kernel modulation: clock, resources, throughput.

    python benchmarks/bitstreams.py [--only BUILD] [--search N] [--out FILE.json]

Makes each of BUILDS and keeps what its report says. A clock that is missed is kept as what it is: the
error with the worst path. Those that are not built this time keep their entries.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from figures_file import save

from adakern.bitstreams import build_bitstream
from adakern_hw.boards import find_board
from adakern_spec.akm import AkmLayer, AkmShape, Downsample
from adakern_spec.errors import AdakernError
from adakern_spec.network import REFERENCE
from adakern_spec.networks import Shape

KERNEL_MODULATION = AkmShape(
    in_channels=1,
    height=28,
    layers=(
        AkmLayer(8, downsample=Downsample.STRIDE2),
        AkmLayer(16, downsample=Downsample.MAX2),
        AkmLayer(16),
    ),
    classes=5,
    max_length=28,
)
NETWORKS: dict[str, Shape] = {"reference": REFERENCE, "kernel modulation": KERNEL_MODULATION}


@dataclass(frozen=True)
class Asked:
    """What to build: ``multipliers`` is a budget, None for all that the part has."""

    board: str
    multipliers: int | None
    clock_mhz: float
    weight_bits: int = 8
    network: str = "reference"


BUILDS = {
    "ulx3s-85f": Asked("ulx3s-85f", 144, 150.0),
    "ulx3s-85f-4bit": Asked("ulx3s-85f", None, 150.0, weight_bits=4),
    "icepi-zero": Asked("icepi-zero", 9, 62.5),
    "ulx3s-85f-akm": Asked("ulx3s-85f", 48, 100.0, network="kernel modulation"),
    "icebreaker": Asked("icebreaker", None, 20.25),
}

LEFT_OUT = ("modules", "critical_path", "floorplan")
"""Facts of a report that are long and in its page."""


def measure(name: str, search: int) -> dict[str, Any]:
    """One build: its report without the tools' own tables, or the error."""
    build = BUILDS[name]
    start = time.monotonic()
    asked = {**asdict(build), "search": search}
    try:
        built = build_bitstream(
            replace(NETWORKS[build.network], weight_bits=build.weight_bits),
            find_board(build.board),
            build.multipliers,
            round(build.clock_mhz * 1e6),
            search,
            lambda stage, elapsed: print(f"{name}: {stage} at {elapsed:.0f} s", file=sys.stderr),
        )
    except AdakernError as error:
        return {"asked": asked, "error": str(error), "load": os.getloadavg()[0]}
    return {
        "asked": asked,
        **{name: fact for name, fact in built.report.items() if name not in LEFT_OUT},
        "cached": built.cached,
        "wall_seconds": round(time.monotonic() - start, 1),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Build, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", choices=BUILDS, help="one of them")
    parser.add_argument("--search", type=int, default=1, help="placements to try")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "bitstreams.json")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"command": "python benchmarks/bitstreams.py", "builds": {}}
    if arguments.out.exists():
        result["builds"] = json.loads(arguments.out.read_text())["builds"]
    for name in [arguments.only] if arguments.only else BUILDS:
        result["builds"][name] = figures = measure(name, arguments.search)
        print(f"{name}: {figures.get('error') or json.dumps(figures['clock'])}")
        save(arguments.out, result)


if __name__ == "__main__":
    main()
