"""Clock and worst path of a placed and routed design, from nextpnr's report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adakern_spec.errors import AdakernError

from .hierarchy import Hierarchy, local_name, signal_of


class TimingError(AdakernError):
    """A clock that a placed and routed design misses."""


@dataclass(frozen=True)
class Hop:
    """One step of a path: through a cell or along a net, ``delay`` in ns.

    ``kind`` is nextpnr's: clk-to-q, routing, logic, setup. ``name`` is the net that is routed, else the
    cell; ``port`` where the step arrives, of the cell at ``place`` (column, row).
    """

    kind: str
    delay: float
    name: str
    port: str
    place: tuple[int, int]


@dataclass(frozen=True)
class TimingPath:
    """A path between two registers, by module and signal; delays in ns."""

    start: str
    end: str
    delay: float
    routing: float
    logic_levels: int
    hops: tuple[Hop, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.start} → {self.end}, {self.delay:.2f} ns, {self.routing:.2f} ns of them routing, "
            f"{self.logic_levels} levels of logic"
        )

    def to_json(self, hierarchy: Hierarchy) -> dict[str, Any]:
        """Plain values, each hop with its module and signal."""
        return {
            "start": self.start,
            "end": self.end,
            "delay_ns": self.delay,
            "routing_ns": self.routing,
            "logic_levels": self.logic_levels,
            "hops": [
                {
                    "kind": hop.kind,
                    "delay_ns": hop.delay,
                    "module": hierarchy.module(hop.name),
                    "signal": hierarchy.split(signal_of(hop.name))[1],
                    "name": hop.name,
                    "port": hop.port,
                    "place": list(hop.place),
                }
                for hop in self.hops
            ],
        }


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


@dataclass(frozen=True)
class Clock:
    """A clock of a design: the net's name, ``wanted`` and ``reached`` in MHz."""

    name: str
    wanted: float
    reached: float

    @property
    def slack(self) -> float:
        """Of a period at the wanted clock, in ns; negative if it is missed."""
        return 1e3 / self.wanted - 1e3 / self.reached


def read_clocks(report: Mapping[str, Any]) -> tuple[Clock, ...]:
    """Every clock in nextpnr's JSON report, the fastest constraint first."""
    clocks = (
        Clock(local_name(name), limits["constraint"], limits["achieved"])
        for name, limits in report["fmax"].items()
    )
    return tuple(sorted(clocks, key=lambda clock: (-clock.wanted, clock.name)))


def read_timing(report: Mapping[str, Any]) -> Timing:
    """Timing of the clock with the least slack in nextpnr's JSON report."""
    clocks = report["fmax"]
    name = min(clocks, key=lambda name: 1 / clocks[name]["constraint"] - 1 / clocks[name]["achieved"])
    path = next(
        path["path"]
        for path in report["critical_paths"]
        if path["from"].endswith(name) and path["to"].endswith(name)
    )
    return Timing(clocks[name]["constraint"], clocks[name]["achieved"], _path(path))


def _path(steps: Sequence[Mapping[str, Any]]) -> TimingPath:
    return TimingPath(
        start=signal_of(steps[0]["from"]["cell"]),
        end=signal_of(steps[-1]["to"]["cell"]),
        delay=sum(step["delay"] for step in steps),
        routing=sum(step["delay"] for step in steps if step["type"] == "routing"),
        logic_levels=sum(step["type"] == "logic" for step in steps),
        hops=tuple(_hop(step) for step in steps),
    )


def _hop(step: Mapping[str, Any]) -> Hop:
    column, row = step["to"]["loc"]
    return Hop(
        kind=step["type"],
        delay=step["delay"],
        name=step.get("net", step["to"]["cell"]),
        port=step["to"]["port"],
        place=(column, row),
    )
