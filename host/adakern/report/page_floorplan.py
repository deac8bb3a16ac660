"""Picture of a floorplan: a tile of the die for each tile, coloured by subsystem."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from adakern_hw.hierarchy import UNNAMED

from .subsystems import Subsystem, short, subsystem

LEFT, TOP, RIGHT, BOTTOM = 3.2, 3.0, 4.2, 2.4
"""Tiles of free space around the die, for axes and labels."""

LEVELS = 4
"""Shades by how full a logic tile is."""

AXIS_STEP = 10
"""Tiles between the numbers at the axes."""

TILE_WIDTH, PICTURE_WIDTH = 20, 1130
"""Pixels: a tile at most, and the picture, which sets the tiles of a large die."""

LABEL = 6
"""Columns that a name takes."""

SHOWN_PARTS = 3
"""Modules that the hint of a tile names."""

_SHAPES = {
    "logic": "M{x} {y}h.9v.9h-.9z",
    "dsp": "M{x} {y}h.9v.9h-.9zm.45 .1l.35 .35l-.35 .35l-.35-.35z",
    "block_ram": "M{x} {y}h.9v.9h-.9zm.12 .2h.66v.2h-.66zm0 .32h.66v.2h-.66z",
    "single_port_ram": "M{x} {y}h.9v.9h-.9zm.12 .35h.66v.2h-.66z",
    "io": "M{x} {y}m.45-.35l.8 .8l-.8 .8l-.8-.8z",
    "pll": "M{x} {y}m-.4-.4h1.7v1.7h-1.7zm.4 .4v.9h.9v-.9z",
    "clock": "M{x} {y}m.45-.15l.6 1.1h-1.2z",
}
"""Outlines by kind of tile in units of tiles; what they cut out is left empty (even-odd rule)."""

NAMES = {
    "logic": "logic, darker where fuller",
    "dsp": "DSP block",
    "block_ram": "block RAM",
    "single_port_ram": "single-port RAM",
    "io": "pin",
    "pll": "PLL",
    "clock": "clock buffer",
}

_SHORT = {"dsp": "DSP", "block_ram": "RAM"}


def draw_floorplan(plan: Mapping[str, Any], hops: Sequence[Mapping[str, Any]]) -> Markup:
    """SVG of a floorplan's facts, with the path of ``hops`` across it; sizes follow the page."""
    columns, rows = plan["columns"], plan["rows"]
    width, height = columns + LEFT + RIGHT, rows + TOP + BOTTOM
    tile = min(TILE_WIDTH, PICTURE_WIDTH / width)
    pins = sum(kind == "io" for _, _, kind, _ in plan["tiles"])
    text = (
        f"{len(plan['tiles'])} occupied tiles of a die of {columns} columns and {rows} rows, "
        f"coloured by subsystem; {pins} tiles with pins; the critical path drawn across"
    )
    parts = [
        Markup(
            '<svg class="floorplan" role="img" aria-labelledby="floorplan-title floorplan-text" '
            'viewBox="{} {} {} {}" style="max-width:{}px;--px:{:.4f}">'
            '<title id="floorplan-title">Floorplan</title><desc id="floorplan-text">{}</desc>'
        ).format(-LEFT, -TOP, f"{width:g}", f"{height:g}", round(width * tile), 1 / tile, text),
        Markup('<rect class="die" x="-.5" y="-.5" width="{}" height="{}" rx=".6"/>').format(
            columns + 1, rows + 1
        ),
        *_strips(plan),
        *_axes(plan),
        *(_tile(plan, *content) for content in plan["tiles"]),
        *_labels(plan),
        *_path(plan, hops, tile),
        Markup("</svg>"),
    ]
    return Markup("\n").join(parts)


def shape_sample(kind: str, colour: str = "clock") -> Markup:
    """A tile of one kind by itself, for the legend."""
    outline = _SHAPES[kind].format(x=0, y=0)
    box = "-.1 -.1 1.1 1.1" if kind in ("logic", "dsp", "block_ram", "single_port_ram") else "-.6 -.6 2.1 2.1"
    return Markup(
        '<svg class="sample" viewBox="{}" aria-hidden="true"><path class="{} full4" '
        'fill-rule="evenodd" d="{}"/></svg>'
    ).format(box, colour, outline)


def tile_subsystem(plan: Mapping[str, Any], cells: Sequence[Sequence[int]]) -> Subsystem:
    """The subsystem that has most of a tile's cells."""
    votes: Counter[Subsystem] = Counter()
    for module, count in cells:
        votes[subsystem(plan["modules"][module])] += count
    return min(votes, key=lambda one: (-votes[one], one))


def _tile(plan: Mapping[str, Any], column: int, row: int, kind: str, cells: list[list[int]]) -> Markup:
    count = sum(number for _, number in cells)
    level = max(1, min(LEVELS, -(-LEVELS * count // plan["slots"]))) if kind == "logic" else LEVELS
    names = [f"{short(plan['modules'][module])} {number}" for module, number in cells[:SHOWN_PARTS]]
    names += [f"{len(cells) - SHOWN_PARTS} more"] if len(cells) > SHOWN_PARTS else []
    return Markup('<path class="tile {} full{}" d="{}"><title>X{} Y{}: {}</title></path>').format(
        tile_subsystem(plan, cells).colour,
        level,
        _SHAPES[kind].format(x=column, y=_down(plan, row)),
        column,
        row,
        ", ".join(names),
    )


def _down(plan: Mapping[str, Any], row: int) -> int:
    """Row counted from the top of the picture."""
    return plan["rows"] - 1 - row if plan["row_up"] else row


def _strips(plan: Mapping[str, Any]) -> list[Markup]:
    """The rows and columns of hard blocks, empty or not."""
    columns, rows = plan["columns"], plan["rows"]
    parts = []
    for row, kind in plan["block_rows"].items():
        y = _down(plan, int(row))
        parts.append(
            Markup('<rect class="strip" x="-.5" y="{}" width="{}" height="1.1"/>').format(
                y - 0.1, columns + 1
            )
        )
        parts.append(
            Markup('<text class="strip-label" x="{}" y="{}">{}</text>').format(
                columns + 1, y + 0.9, _SHORT[kind]
            )
        )
    for column, kind in plan["block_columns"].items():
        x = int(column)
        parts.append(
            Markup('<rect class="strip" x="{}" y="-.5" width="1.1" height="{}"/>').format(x - 0.1, rows + 1)
        )
        parts.append(
            Markup('<text class="strip-label middle" x="{}" y="{}">{}</text>').format(
                x + 0.45, rows + 1.7, _SHORT[kind]
            )
        )
    return parts


def _axes(plan: Mapping[str, Any]) -> list[Markup]:
    """Numbers of columns above and of rows on the left."""
    above = [
        Markup('<text class="axis middle" x="{}" y="-1.2">{}</text>').format(column + 0.45, column)
        for column in range(0, plan["columns"], AXIS_STEP)
    ]
    left = [
        Markup('<text class="axis end" x="-1.2" y="{}">{}</text>').format(_down(plan, row) + 0.85, row)
        for row in range(0, plan["rows"], AXIS_STEP)
    ]
    return above + left


def _labels(plan: Mapping[str, Any]) -> list[Markup]:
    """Names at the PLL and at the pins, beside them where there is no other name."""
    names: dict[tuple[int, int], set[str]] = {}
    for column, row, kind, cells in plan["tiles"]:
        if kind in ("io", "pll"):
            found = {_pin(plan["modules"][module]) for module, _ in cells} if kind == "io" else {"PLL"}
            names.setdefault((_down(plan, row), column), set()).update(found)
    places = sorted(names)
    parts = []
    for (y, column), before, after in zip(places, [(-1, 0), *places], [*places[1:], (-1, 0)], strict=False):
        crowded_left = before[0] == y and column - before[1] < LABEL
        crowded_right = after[0] == y and after[1] - column < LABEL
        left = crowded_right or (column > plan["columns"] / 2 and not crowded_left)
        parts.append(
            Markup('<text class="label {}" x="{:g}" y="{:g}">{}</text>').format(
                "end" if left else "start",
                column + (-0.7 if left else 1.6),
                y + 0.85,
                ", ".join(sorted(names[y, column])),
            )
        )
    return parts


def _pin(module: str) -> str:
    """What a pin is called: its module, as far as that is known."""
    return "pin" if module == UNNAMED else short(module).split(".")[0]


def _path(plan: Mapping[str, Any], hops: Sequence[Mapping[str, Any]], tile: float) -> list[Markup]:
    """The critical path from tile to tile: a ring where it starts, a dot where it ends; tiles in pixels."""
    places: list[tuple[float, float]] = []
    for hop in hops:
        column, row = hop["place"]
        place = (column + 0.45, _down(plan, row) + 0.45)
        if not places or places[-1] != place:
            places.append(place)
    if not places:
        return []
    points = " ".join(f"{x:g},{y:g}" for x, y in places)
    (first_x, first_y), (last_x, last_y) = places[0], places[-1]
    return [
        Markup('<g class="path"><polyline class="halo" points="{0}"/><polyline points="{0}"/>').format(
            points
        ),
        Markup('<circle class="start" cx="{:g}" cy="{:g}" r="{:.2f}"/>').format(first_x, first_y, 8 / tile),
        Markup('<circle class="end" cx="{:g}" cy="{:g}" r="{:.2f}"/></g>').format(last_x, last_y, 6 / tile),
    ]
