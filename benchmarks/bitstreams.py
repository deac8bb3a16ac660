"""Bitstreams of the reference network: clock, resources, throughput on each board.

    python benchmarks/bitstreams.py [--only BOARD] [--search N] [--out FILE.json]

Builds each board's entry of BUILDS and keeps what its report says. A clock that is missed is kept as
what it is: the error with the worst path. Boards that are not built this time keep their entries.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from adakern.bitstreams import build_bitstream
from adakern.files import write_atomically
from adakern_hw.boards import BOARDS, find_board
from adakern_spec.errors import AdakernError
from adakern_spec.network import REFERENCE

BUILDS: dict[str, tuple[int | None, float]] = {
    "ulx3s-85f": (144, 100.0),
    "icepi-zero": (9, 62.5),
    "icebreaker": (None, 20.25),
}
"""Multiplier budget and wanted clock in MHz by board."""


def measure(board: str, search: int) -> dict[str, Any]:
    """One build: its report without the tools' own tables, or the error."""
    multipliers, megahertz = BUILDS[board]
    start = time.monotonic()
    asked = {"multipliers": multipliers, "clock_mhz": megahertz, "search": search}
    try:
        built = build_bitstream(
            REFERENCE,
            find_board(board),
            multipliers,
            round(megahertz * 1e6),
            search,
            lambda stage, elapsed: print(f"{board}: {stage} at {elapsed:.0f} s", file=sys.stderr),
        )
    except AdakernError as error:
        return {"asked": asked, "error": str(error), "load": os.getloadavg()[0]}
    return {
        "asked": asked,
        **built.report,
        "cached": built.cached,
        "wall_seconds": round(time.monotonic() - start, 1),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Build, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", choices=BOARDS, help="one board")
    parser.add_argument("--search", type=int, default=1, help="placements to try")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "bitstreams.json")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"command": "python benchmarks/bitstreams.py", "boards": {}}
    if arguments.out.exists():
        result["boards"] = json.loads(arguments.out.read_text())["boards"]
    for board in [arguments.only] if arguments.only else BUILDS:
        result["boards"][board] = figures = measure(board, arguments.search)
        print(f"{board}: {figures.get('error') or json.dumps(figures['clock'])}")
        text = json.dumps(result, indent=2) + "\n"
        write_atomically(arguments.out, lambda path, text=text: path.write_text(text))


if __name__ == "__main__":
    main()
