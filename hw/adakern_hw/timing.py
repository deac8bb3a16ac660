"""Clock and worst path of a placed and routed design, from nextpnr's report."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adakern_spec.errors import AdakernError


class TimingError(AdakernError):
    """A clock that a placed and routed design misses."""


@dataclass(frozen=True)
class TimingPath:
    """A path between two registers, by module and signal; delays in ns."""

    start: str
    end: str
    delay: float
    routing: float
    logic_levels: int

    def __str__(self) -> str:
        return (
            f"{self.start} → {self.end}, {self.delay:.2f} ns, {self.routing:.2f} ns of them routing, "
            f"{self.logic_levels} levels of logic"
        )


@dataclass(frozen=True)
class Timing:
    """``wanted`` and ``reached`` clock in MHz, and the path that limits it."""

    wanted: float
    reached: float
    worst: TimingPath

    @property
    def met(self) -> bool:
        return self.reached >= self.wanted

    @property
    def slack(self) -> float:
        """Of a period at the wanted clock, in ns; negative if it is missed."""
        return 1e3 / self.wanted - 1e3 / self.reached

    def check(self, where: str) -> None:
        """TimingError if the clock is missed."""
        if not self.met:
            raise TimingError(
                f"{self.reached:.2f} MHz reached, {self.wanted:.2f} MHz wanted; worst path: {self.worst}",
                where,
                "ask for a slower clock, fewer multipliers, or try more placements with --search",
            )


def read_timing(report: Mapping[str, Any]) -> Timing:
    """Timing of the fastest constrained clock in nextpnr's JSON report."""
    clock, limits = max(report["fmax"].items(), key=lambda item: item[1]["constraint"])
    path = next(
        path["path"]
        for path in report["critical_paths"]
        if path["from"].endswith(clock) and path["to"].endswith(clock)
    )
    return Timing(limits["constraint"], limits["achieved"], _path(path))


def _path(steps: Sequence[Mapping[str, Any]]) -> TimingPath:
    return TimingPath(
        start=_signal(steps[0]["from"]["cell"]),
        end=_signal(steps[-1]["to"]["cell"]),
        delay=sum(step["delay"] for step in steps),
        routing=sum(step["delay"] for step in steps if step["type"] == "routing"),
        logic_levels=sum(step["type"] == "logic" for step in steps),
    )


def _signal(cell: str) -> str:
    """Module and signal behind a cell's name: Yosys and nextpnr append what kind of cell it is."""
    return re.sub(r"(_(TRELLIS_|SB_|LUT4|CCU2C|PFUMX|L6MUX21|DP16KD|MULT18X18D)|\$nextpnr).*", "", cell)
