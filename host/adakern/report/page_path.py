"""The critical path of a build in words and as a picture, hop by hop."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from .subsystems import plain, short, subsystem

_BLOCKS = {"dsp": "DSP block", "block_ram": "block RAM", "single_port_ram": "single-port RAM", "io": "pin"}
"""Cells by the kind of tile that they sit in; in every other they are logic."""

_PINS = (
    (r"CE[AN]?\d?", "clock enable"),
    (r"LSR|S?R|RST[AB]?", "reset"),
    (r"CLK[AB]?|CK", "clock"),
    (r"D[IN]?|M|DI[AB]?\d*", "data"),
    (r"(WRE|WE[AB]|WREN)\d*", "write enable"),
    (r"AD[AB]?\d+", "address"),
)
"""What a port of a register or memory does, by its name."""


@dataclass(frozen=True)
class Step:
    """One hop: what happens, in words; ``level``: it counts as one of logic.

    ``start`` and ``delay`` in ns, ``place`` is (column, row).
    """

    what: str
    signal: str
    module: str
    colour: str
    routing: bool
    level: bool
    start: float
    delay: float
    place: tuple[int, int]

    @property
    def end(self) -> float:
        return self.start + self.delay


@dataclass(frozen=True)
class ModuleShare:
    """What the path spends in a module from entering it until it leaves it; delays in ns."""

    module: str
    colour: str
    logic: float
    routing: float
    levels: int

    @property
    def delay(self) -> float:
        return self.logic + self.routing


def path_steps(hops: Sequence[Mapping[str, Any]], plan: Mapping[str, Any]) -> list[Step]:
    """A path's hops in words; the floorplan tells which of its cells are hard blocks."""
    blocks = {(column, row): _BLOCKS[kind] for column, row, kind, _ in plan["tiles"] if kind in _BLOCKS}
    steps: list[Step] = []
    clock = 0.0
    for hop in hops:
        place = (hop["place"][0], hop["place"][1])
        before = steps[-1].place if steps else place
        steps.append(
            Step(
                what=_words(hop, before, blocks.get(place)),
                signal=plain(hop["signal"]),
                module=short(hop["module"]),
                colour=subsystem(hop["module"]).colour,
                routing=hop["kind"] == "routing",
                level=hop["kind"] == "logic",
                start=clock,
                delay=hop["delay_ns"],
                place=place,
            )
        )
        clock += hop["delay_ns"]
    return steps


def _words(hop: Mapping[str, Any], before: tuple[int, int], block: str | None) -> str:
    kind, port = hop["kind"], hop["port"]
    cell = block or "register"
    if kind == "clk-to-q":
        return f"leaves the {cell}"
    if kind == "routing":
        columns, rows = (abs(here - there) for here, there in zip(hop["place"], before, strict=True))
        if not columns and not rows:
            return "wire within the tile"
        steps = [f"{count} {unit}{'s' * (count > 1)}" for count, unit in ((columns, "column"), (rows, "row"))]
        return "wire over " + " and ".join(step for step in steps if not step.startswith("0 "))
    if kind == "setup":
        return f"arrives at the {cell}, {pin_words(port)}"
    if kind == "logic":
        return f"through a {block or _logic(port)}"
    return str(kind)


def _logic(port: str) -> str:
    """What a level of logic is, by the output that the path takes."""
    if port.startswith("OFX"):
        return "multiplexer"
    if port in ("FCO", "COUT", "COUT1", "S0", "S1"):
        return "carry chain"
    return "look-up table"


def pin_words(port: str) -> str:
    """What a port of a register or memory does."""
    return next((words for pattern, words in _PINS if re.fullmatch(pattern, port)), f"port {port}")


def module_shares(steps: Sequence[Step]) -> list[ModuleShare]:
    """The path module by module, in its order; a module that it comes back to is listed again."""
    shares: list[ModuleShare] = []
    for step in steps:
        logic, routing = (0.0, step.delay) if step.routing else (step.delay, 0.0)
        levels = int(step.level)
        if shares and shares[-1].module == step.module:
            last = shares.pop()
            logic, routing = last.logic + logic, last.routing + routing
            levels += last.levels
        shares.append(ModuleShare(step.module, step.colour, logic, routing, levels))
    return shares


def draw_path(steps: Sequence[Step], period: float) -> Markup:
    """SVG: the path's delays one after the other against the period of the clock that was wanted."""
    total = max(period, steps[-1].end) if steps else period
    scale = 1000 / total
    parts = [
        Markup(
            '<svg class="timeline" role="img" aria-labelledby="path-title path-text" viewBox="-2 0 1004 74" '
            'preserveAspectRatio="none"><title id="path-title">Critical path against the clock period</title>'
            '<desc id="path-text">{:.2f} ns of {:.2f} ns</desc>'
        ).format(steps[-1].end if steps else 0, period),
        Markup('<rect class="period" x="0" y="12" width="{:.1f}" height="44"/>').format(period * scale),
    ]
    for step in steps:
        if step.delay:
            parts.append(
                Markup(
                    '<rect class="{}" x="{:.1f}" y="{}" width="{:.1f}" height="{}">'
                    "<title>{} {}: {:.2f} ns</title></rect>"
                ).format(
                    "wire" if step.routing else f"{step.colour} full4",
                    step.start * scale,
                    28 if step.routing else 16,
                    max(step.delay * scale - 1, 0.8),
                    12 if step.routing else 36,
                    step.what,
                    step.signal,
                    step.delay,
                )
            )
    parts += [
        Markup('<path class="deadline" d="M{0:.1f} 4V64"/>').format(period * scale),
        Markup("</svg>"),
    ]
    return Markup("").join(parts)
