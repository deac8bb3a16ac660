"""Shell scripts in the place of the tools of an ECP5 build: they take no time and leave plausible files."""

import os
from dataclasses import dataclass
from pathlib import Path

from adakern_hw.boards import find_board

BOARD = find_board("icepi-zero")
BITSTREAM = b"\xff\x00Part\x00\xff" + BOARD.family.preamble + bytes(100)

STAGES = {"yosys": "YOSYS", "nextpnr": "NEXTPNR_ECP5", "ecppack": "ECPPACK"}
"""Tools in the order in which a build runs them, and the variables that name them."""

_REPORT = """{"fmax": {"sync": {"achieved": 400.0, "constraint": 62.5}},
"critical_paths": [{"from": "posedge sync", "to": "posedge sync", "path": [
{"type": "clk-to-q", "delay": 2.5, "from": {"cell": "engine.sum", "port": "Q", "loc": [1, 1]},
"to": {"cell": "engine.total", "port": "D", "loc": [2, 1]}}]}],
"utilization": {"TRELLIS_COMB": {"used": 5, "available": 24288},
"TRELLIS_FF": {"used": 3, "available": 24288}, "MULT18X18D": {"used": 0, "available": 28},
"DP16KD": {"used": 0, "available": 56}}}"""

_PLACED = (
    """{"modules": {"top": {"cells": {}, "settings": {"arch.type": "lfe5u_25f", "arch.name": "ecp5"}}}}"""
)

_WORK = {
    "yosys": """echo '{"modules": {"top": {"cells": {}}}}' > top.json""",
    "nextpnr": """
while [ $# -gt 0 ]; do
  case "$1" in
    --report) cp "$0.report" "$2";;
    --write) cp "$0.placed" "$2";;
    --textcfg) echo .device > "$2";;
  esac
  shift
done""",
    "ecppack": """for last; do :; done; cp "$0.bit" "$last\"""",
}

_SCRIPT = """#!/bin/sh
[ "$1" = --version ] && echo 'tool 0.70' && exit
echo {name} >> {folder}/runs
[ -e {folder}/held-{name} ] && echo $$ > {folder}/pid
while [ -e {folder}/held-{name} ]; do sleep 0.05; done
{work}
"""


@dataclass(frozen=True)
class FakeTools:
    """The scripts in ``folder``."""

    folder: Path

    @classmethod
    def install(cls, folder: Path) -> "FakeTools":
        folder.mkdir()
        for name, work in _WORK.items():
            path = folder / name
            path.write_text(_SCRIPT.format(name=name, folder=folder, work=work))
            path.chmod(0o755)
        (folder / "nextpnr.report").write_text(_REPORT)
        (folder / "nextpnr.placed").write_text(_PLACED)
        (folder / "ecppack.bit").write_bytes(BITSTREAM)
        return cls(folder)

    @property
    def environment(self) -> dict[str, str]:
        """This process' variables with those that name the scripts."""
        return os.environ | {variable: str(self.folder / name) for name, variable in STAGES.items()}

    def replace(self, name: str, work: str) -> None:
        """Have one tool do something else."""
        (self.folder / name).write_text(_SCRIPT.format(name=name, folder=self.folder, work=work))

    def hold(self, name: str) -> None:
        """Have one tool run until it is released or ended."""
        (self.folder / f"held-{name}").touch()

    def release(self, name: str) -> None:
        """Let it go on."""
        (self.folder / f"held-{name}").unlink()

    @property
    def runs(self) -> list[str]:
        """Tools that have run, in order."""
        path = self.folder / "runs"
        return path.read_text().split() if path.exists() else []

    @property
    def held(self) -> int | None:
        """Process of the tool that is held; None before there is one."""
        path = self.folder / "pid"
        text = path.read_text() if path.exists() else ""
        return int(text) if text else None
