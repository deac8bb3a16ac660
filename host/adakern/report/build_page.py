"""The report of a build as one HTML file, which needs no network, no server and no script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .module_tree import Row, module_tree, rows
from .page_charts import composition, draw_composition, draw_errors, draw_stages, last_bits
from .page_floorplan import NAMES, draw_floorplan, shape_sample
from .page_path import draw_path, module_shares, path_steps
from .subsystems import plain, subsystem, subsystems

TEMPLATE, STYLE = "build.html", "build.css"

OPEN_DEPTH = 3
"""Levels of modules that are unfolded when the page opens."""

KINDS = {
    "luts": "look-up tables",
    "registers": "registers",
    "carries": "carry cells",
    "lut_rams": "LUT RAMs",
    "dsps": "DSP blocks",
    "block_rams": "block RAMs",
}
"""Resources in the order of the page."""

_CAPACITY = {"luts": "luts", "registers": "luts", "dsps": "dsps", "block_rams": "block_rams"}
"""Resource: field of the part's capacity that bounds it."""

_SITES = {"carries": (("TRELLIS_COMB", 2), ("ICESTORM_LC", 1)), "lut_rams": (("TRELLIS_RAMW", 1),)}
"""Further resources: what nextpnr counts on the part, and how many of them one takes."""

_PLACED = ("TRELLIS_COMB", "ICESTORM_LC")
"""nextpnr's count of occupied look-up tables, with those that carry chains and LUT RAM take."""

_PACKED = "luts"
"""What the estimate has of that count; of the cells before packing it has none."""


@dataclass(frozen=True)
class Resource:
    """A line of the table of resources; ``bar`` shows where it goes."""

    name: str
    used: int
    available: int | None
    estimate: float | None
    bar: Markup

    @property
    def share(self) -> float | None:
        return self.used / self.available if self.available else None

    @property
    def deviation(self) -> float | None:
        """Estimate against what was built, relative."""
        if self.estimate is None:
            return None
        return (self.estimate - self.used) / self.used if self.used else 0.0 if not self.estimate else None


def build_page(facts: Mapping[str, Any]) -> str:
    """HTML of a build's facts (`adakern.report.build_facts`)."""
    plan, path, network = facts["floorplan"], facts["critical_path"], facts["network"]
    period = 1e3 / path["wanted_mhz"]
    steps = path_steps(path["hops"], plan)
    lines = rows(module_tree(facts["modules"]))
    layers = facts.get("quantisation", {}).get("layers", [])
    return _template().render(
        facts=facts,
        title=f"{'→'.join(map(str, network['channels']))} on {facts['board']}",
        style=Markup(_environment().get_template(STYLE).render()),
        folding=_folding(lines),
        resources=_resources(facts),
        kinds={kind: name for kind, name in KINDS.items() if facts["resources"]["total"].get(kind)},
        lines=lines,
        open_depth=OPEN_DEPTH,
        colours=_colours(facts["modules"]),
        legend=subsystems(facts["modules"]),
        floorplan=draw_floorplan(plan, path["hops"]),
        shapes=[
            (shape_sample(kind), NAMES[kind])
            for kind in NAMES
            if any(tile[2] == kind for tile in plan["tiles"])
        ],
        steps=steps,
        shares=module_shares(steps),
        slack=min(clock["slack_ns"] for clock in facts["clocks"]),
        timeline=draw_path(steps, period),
        period=period,
        longest=max(period, path["delay_ns"]),
        layers=layers,
        errors=draw_errors(layers) if layers else "",
        last_bits=last_bits,
        stage_bar=draw_stages(facts["seconds"]),
    )


def _resources(facts: Mapping[str, Any]) -> list[Resource]:
    total, capacity, estimate = (
        facts["resources"].get(name, {}) for name in ("total", "capacity", "estimate")
    )
    found = []
    for kind, name in KINDS.items():
        available = capacity.get(_CAPACITY.get(kind, "")) or _sites(facts["utilisation"], kind)
        if not available and not total.get(kind):
            continue
        bar = draw_composition(composition(facts["modules"], kind), available, name)
        predicted = None if kind == _PACKED else estimate.get(kind)
        found.append(Resource(name, total.get(kind, 0), available, predicted, bar))
    for site in _PLACED:
        if site in facts["utilisation"]:
            count = facts["utilisation"][site]
            bar = _placed_bar(facts, count)
            predicted = estimate.get(_PACKED)
            found.insert(
                0, Resource("logic cells, placed", count["used"], count["available"], predicted, bar)
            )
    return found


def _sites(utilisation: Mapping[str, Mapping[str, int]], kind: str) -> int | None:
    """How many of a resource the part has by nextpnr's counts."""
    for site, taken in _SITES.get(kind, ()):
        if site in utilisation:
            return utilisation[site]["available"] // taken
    return None


def _placed_bar(facts: Mapping[str, Any], count: Mapping[str, int]) -> Markup:
    """Subsystems by their cells in logic tiles: the placer counts look-up tables and registers apart."""
    cells: dict[str, dict[str, int]] = {}
    plan = facts["floorplan"]
    for _, _, kind, inside in plan["tiles"]:
        if kind == "logic":
            for module, number in inside:
                place = cells.setdefault(plan["modules"][module], {"cells": 0})
                place["cells"] += number
    parts = composition(cells, "cells")
    whole = sum(number for _, number in parts) or 1
    share = count["used"] / whole
    return draw_composition(
        [(one, round(number * share)) for one, number in parts], count["available"], "logic cells"
    )


def _colours(modules: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """Colour of each module and each of its parents, ``mixed`` if what is below is of several subsystems."""
    found: dict[str, set[str]] = {}
    for module, cells in modules.items():
        path = module
        while path:
            inside = found.setdefault(path, set())
            if any(cells.values()):
                inside.add(subsystem(module).colour)
            path = path.rpartition(".")[0]
    return {path: inside.pop() if len(inside) == 1 else "mixed" for path, inside in found.items()}


def _folding(lines: Sequence[Row]) -> Markup:
    """Style rules that hide what lies below a folded module: no script is needed."""
    parents = sorted({parent for line in lines for parent in line.parents})
    return Markup("\n").join(
        Markup(".tree:has(#fold{0}:not(:checked)) .in{0}{{display:none}}").format(number)
        for number in parents
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("adakern.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": _count,
        "decimals": _decimals,
        "percent": _percent,
        "plain": plain,
        "seconds": _seconds,
    }
    return environment


def _template() -> Any:
    return _environment().get_template(TEMPLATE)


def _count(value: float | None) -> str:
    """A whole number with thousands apart; a dash for none."""
    return "–" if value is None else f"{value:,.0f}"


def _decimals(value: float, places: int = 2) -> str:
    return f"{value:,.{places}f}"


def _percent(value: float | None, places: int = 0, sign: bool = False) -> str:
    return "–" if value is None else f"{value:{'+' if sign else ''}.{places}%}".replace("-", "−")


def _seconds(value: float) -> str:
    """Seconds, and minutes ahead of them from the first one on."""
    minutes, rest = divmod(value, 60)
    return f"{minutes:.0f} min {rest:.0f} s" if minutes else f"{rest:.1f} s"
